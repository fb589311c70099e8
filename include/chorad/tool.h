/* The offline tools: what is done with a data directory that no member holds,
 * or with a snapshot's file. */
#ifndef CHORAD_TOOL_H
#define CHORAD_TOOL_H

#include <stdbool.h>
#include <stdio.h>

/* Is this a command, and not the start of a member? */
bool tool_knows(int argc, char *argv[]);

/* Runs the command, for which argv is put in another order; returns the exit
 * code: 0; 1 where it failed; 3 where chorad check found damage; 128 for wrong
 * usage, as etcdutl has it. */
int tool_main(int argc, char *argv[]);

/* One line a command, for the program's help. */
void tool_print_commands(FILE *out);

#endif
