/*
 * input: the JSON object that the policy is asked about, as strict as the engine needs it.
 *
 * The engine keeps strings as they are spelled and takes the last of two members of one name. So an input is refused that has an escape
 * \u or \/ (another spelling of something, which would be unequal to it) or a member twice in one object, at any depth. Pure.
 */
#ifndef CT_ENGINE_INPUT_H
#define CT_ENGINE_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

struct input_traits {
	bool escapes;   /* some string holds an escape (which the engine does not decode) */
	bool non_ascii;
};

/* 0, or -1 with ERR_FORMAT (malformed, see above) or ERR_SYSTEM (ENOMEM). */
int input_check(const char *text, size_t len, struct input_traits *traits, struct err *err);

#endif
