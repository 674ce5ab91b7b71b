/* SPDX-License-Identifier: MIT */
/* The commands of the program, one group to a file. */
#ifndef COP_TOOLS_COMMANDS_H
#define COP_TOOLS_COMMANDS_H

#include "tools/args.h"

int run_serve(const struct command *command, int argc, char **argv); /* serve.c */
int run_get(const struct command *command, int argc, char **argv);   /* client.c */
int run_set(const struct command *command, int argc, char **argv);
int run_erase(const struct command *command, int argc, char **argv);
int run_load(const struct command *command, int argc, char **argv);
int run_why(const struct command *command, int argc, char **argv);        /* why_cmd.c */
int run_graph(const struct command *command, int argc, char **argv);      /* graph_cmd.c */
int run_diff(const struct command *command, int argc, char **argv);       /* patch_cmd.c */
int run_patch(const struct command *command, int argc, char **argv);
int run_watch(const struct command *command, int argc, char **argv);      /* watch_cmd.c */
int run_trace(const struct command *command, int argc, char **argv);   /* trace_cmd.c */
int run_history(const struct command *command, int argc, char **argv); /* history_cmd.c */
int run_restore(const struct command *command, int argc, char **argv);
int run_export(const struct command *command, int argc, char **argv);
int run_import(const struct command *command, int argc, char **argv);
int run_stats(const struct command *command, int argc, char **argv);   /* stats_cmd.c */
int run_top(const struct command *command, int argc, char **argv);     /* top_cmd.c */
int run_doctor(const struct command *command, int argc, char **argv);  /* doctor_cmd.c */
int run_options(const struct command *command, int argc, char **argv); /* options_cmd.c */
int run_options_set(int argc, char **argv);                            /* options_set.c */
int run_options_get(int argc, char **argv);
int run_stress(const struct command *command, int argc, char **argv);  /* stress_cmd.c */
int run_tune(const struct command *command, int argc, char **argv);    /* tune_cmd.c */
int run_version(const struct command *command, int argc, char **argv); /* coppice.c */

#endif
