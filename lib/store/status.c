/* SPDX-License-Identifier: MIT */
/* Names and messages of the status codes, and the library's version. */
#include <coppice/status.h>

#ifndef COP_VERSION_STRING
#define COP_VERSION_STRING "unknown" /* built by hand: configure knows the version */
#endif

const char *
cop_status_name(cop_status status)
{
    switch (status) {
#define STATUS_NAME(name, number, message) \
    case COP_##name:                       \
        return "COP_" #name;
        COP_STATUS_MAP(STATUS_NAME)
#undef STATUS_NAME
    }
    return "COP_E_UNKNOWN";
}

const char *
cop_status_message(cop_status status)
{
    switch (status) {
#define STATUS_MESSAGE(name, number, message) \
    case COP_##name:                          \
        return message;
        COP_STATUS_MAP(STATUS_MESSAGE)
#undef STATUS_MESSAGE
    }
    return "unknown status code";
}

const char *
cop_library_version(void)
{
    return COP_VERSION_STRING;
}
