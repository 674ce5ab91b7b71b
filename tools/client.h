/* SPDX-License-Identifier: MIT */
/* What the commands that talk to a server share. */
#ifndef COP_TOOLS_CLIENT_H
#define COP_TOOLS_CLIENT_H

#include "tools/args.h"
#include "tools/http_client.h"

/* COPPICE_SERVER, or the default address. */
const char *client_server(void);

/* What a problem document says, with the place in the input where it names one. */
void client_complain(const struct http_answer *answer, const char *subject);

/* Sends, and complains of an answer that is no success, naming the subject. The answer's body is
 * the caller's to free when it succeeded. */
bool client_call(const struct http_request *request, const char *subject,
                 struct http_answer *answer);

#endif
