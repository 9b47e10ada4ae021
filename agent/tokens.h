/*
 * tokens: the lines of ct-agent's configuration that name master keys in PKCS#11 tokens.
 *
 *     token URI verify=FILE [kid=KID]
 *
 * URI: token_uri.h. FILE: a JWK set of verification keys alone (ct keygen --verifier); what they have signed, and nothing else, is unwrapped with
 * the token's key. A token knows nothing of signatures, so this line is what binds the two. KID: what files call the master key; else it is the
 * label of the key in the token.
 */
#ifndef CT_AGENT_TOKENS_H
#define CT_AGENT_TOKENS_H

#include <stddef.h>

#include "err.h"
#include "token_uri.h"

#define TOKENS_MAX 16

struct keeper_sets;

struct token_line {
	unsigned int line;
	struct token_uri uri;
	char *verify, *kid; /* kid: NULL where the line has none */
};

struct tokens {
	struct token_line *all;
	size_t count;
};

/* Adds a line's words behind "token". -1 with *why. */
int tokens_add(struct tokens *t, unsigned int line, char *const *words, int n, const char **why);
void tokens_release(struct tokens *t);

/*
 * Opens them all and adds a key set for each, numbered from 1. In the keeper: a module does not survive a fork, and nobody else is to have it. Errors are token_open()'s,
 * name the line, and are meant to end the agent: one that starts without its keys is found out late.
 */
int tokens_open(const struct tokens *t, struct keeper_sets *sets, struct err *err);

#endif
