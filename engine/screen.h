/*
 * screen: refuses, by the look of its text, a policy whose verdict this engine would get wrong without a word.
 *
 * The table of names and what each cannot stand is in screen.c; docs/POLICY.md has it for users, with the faults that no text shows.
 * Tokens are scan.h's. Pure, thread safe.
 */
#ifndef CT_ENGINE_SCREEN_H
#define CT_ENGINE_SCREEN_H

#include <stddef.h>

#include "err.h"
#include "input.h"
#include "scan.h"

/*
 * 0, or -1 with ERR_REJECTED and the reason: a builtin that is wrong (always, or with the strings that stand in the policy or in the input), a
 * rule body without `if`, a name that is used and nowhere defined. ERR_SYSTEM: ENOMEM.
 */
int screen_policy(const char *text, const struct scan_token *tokens, size_t count, const struct input_traits *input, struct err *err);

#endif
