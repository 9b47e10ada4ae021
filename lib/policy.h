/*
 * policy: what a file's policy text means to us.
 *
 * Without an engine only the default text is true. The reference's default for both texts: "package model\nallow = true".
 */
#ifndef CT_POLICY_H
#define CT_POLICY_H

#include <stdbool.h>

#include "header.h"

#define POLICY_DEFAULT "package model\nallow = true"

/* True if text is the default one, white space at its ends aside. */
bool policy_is_default(struct str text);

#endif
