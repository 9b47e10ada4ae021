/*
 * names: which names of a policy are defined in it.
 *
 * The engine takes a name that nothing defines for undefined, so that `not` of it is true: a misspelt `allow if not denied` opens the file.
 * Others refuse to compile that. Here every name must have a place that can define it: a rule's head anywhere; or, in the same rule, a
 * parameter, `:=`, `=`, `some`, `every`, an index, a pattern. That is more lenient than the language, never stricter but for calls that
 * return through their last argument, other than walk's. Pure.
 */
#ifndef CT_ENGINE_NAMES_H
#define CT_ENGINE_NAMES_H

#include <stddef.h>

#include "err.h"
#include "scan.h"

/* 0, or -1 with ERR_REJECTED (a name without such a place, a rule's head with nothing behind it) or ERR_SYSTEM (ENOMEM). */
int names_defined(const char *text, const struct scan_token *tokens, size_t count, struct err *err);

#endif
