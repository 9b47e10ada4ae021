/* hardening: what ct status says of the protocol's "hardening": which measures the agent has, which not and why. */
#ifndef CT_CLI_HARDENING_H
#define CT_CLI_HARDENING_H

#include "json.h"

/* Prints a line of those that are there, and one for each that is missing. object: the member's value. */
void hardening_show(const struct json *j, int object);

#endif
