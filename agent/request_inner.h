/* request_inner: what the files of request.c share: an operation each. Each fills *reply; their results are request_take()'s. */
#ifndef CT_AGENT_REQUEST_INNER_H
#define CT_AGENT_REQUEST_INNER_H

#include "request.h"

bool request_is_open(const struct request *rq); /* open, explain */
const char *request_name(const struct request *rq);

/* request_open.c */
enum decision_state request_decide(struct request *rq, struct agent *a, struct peer *peer, struct reply *reply);
int request_open(struct request *rq, struct agent *a, struct peer *peer, const uint8_t *raw, size_t len, struct reply *reply);

/* request_owner.c */
enum decision_state request_add(struct request *rq, struct agent *a, const struct peer *peer, struct reply *reply);
int request_locked(struct reply *reply);
int request_list(struct agent *a, struct reply *reply);
int request_remove(struct request *rq, struct agent *a, const struct peer *peer, struct reply *reply);
int request_lock(struct agent *a, const struct peer *peer, const struct secret *text, struct reply *reply);
int request_unlock(struct agent *a, const struct peer *peer, const struct secret *text, struct reply *reply);

/* request_status.c */
int request_status(struct agent *a, struct reply *reply);

#endif
