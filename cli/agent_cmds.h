/*
 * agent_cmds: talking to ct-agent from ct (docs/PROTOCOL.md).
 */
#ifndef CT_AGENT_CMDS_H
#define CT_AGENT_CMDS_H

#include "agent_client.h"
#include "jwk.h"

/*
 * Sends a set without private signing keys, bound to nothing. lifetime: seconds, 0: the agent's default. Stores the set's number in *number.
 */
int agent_add_set(const struct agent_addr *addr, const struct jwk_set *set, uint64_t lifetime, uint64_t *number, struct err *err);

/* A number of the reply's JSON; false: it has none of that name. */
bool agent_reply_number(const struct agent_reply *reply, const char *name, uint64_t *v);

/* The reply has a member of that name, and it is true. */
bool agent_reply_true(const struct agent_reply *reply, const char *name);

/* A short string of the reply's JSON, as it is: the caller escapes it. Empty if it has none of that name, or a longer one. */
void agent_reply_word(const struct agent_reply *reply, const char *name, char *dst, size_t cap);

#endif
