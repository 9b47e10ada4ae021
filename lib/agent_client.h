/*
 * agent_client: one exchange with ct-agent, for the shim and for ct.
 *
 * Works on raw system calls (sys.h), so that it may run under the shim's own hooks. Reads no environment: the caller hands over a getter.
 * Trust: after connect the peer's uid (SO_PEERCRED) must be ours, root's, or the one that CT_AGENT_UID names; a socket that belongs to
 * anyone else is not believed (ERR_NOKEY, with a line that says so).
 */
#ifndef CT_AGENT_CLIENT_H
#define CT_AGENT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "buf.h"
#include "err.h"
#include "secret.h"
#include "wire.h"

#define AGENT_TIMEOUT_MS 10000 /* one whole exchange */
#define AGENT_PERSON_MS 70000  /* an open for which the agent asks a person: exchanges are repeated that long */

struct agent_addr {
	char path[108];      /* sun_path: NUL-terminated */
	uid_t trust;         /* this uid besides our own and root; (uid_t)-1: none */
	unsigned int wait_s; /* CT_AGENT_WAIT: keep trying to connect that long; agent_open(): and wait for it to have keys */
	unsigned int timeout_ms; /* for one exchange; 0, as agent_addr_find() leaves it: AGENT_TIMEOUT_MS */
};

/*
 * Where the agent should be (design.md, "The agent's socket"): CT_AGENT_SOCK, else the first that exists. get: getenv or
 * secure_getenv. ERR_NOKEY if none of them exists (CT_AGENT_WAIT: within that time) or a variable makes no sense: *addr then holds the
 * first place where one would be looked for. A path in CT_AGENT_SOCK is taken without a look.
 */
int agent_addr_find(struct agent_addr *addr, const char *(*get)(const char *name), struct err *err);

/* The same at once: false where agent_addr_find() would wait or fail. */
bool agent_addr_look(struct agent_addr *addr, const char *(*get)(const char *name));

/* Where ct-agent binds by default: the first whose folder is there. Creates $HOME/.ct (0700) if that is the one. */
int agent_addr_bind(struct agent_addr *addr, const char *(*get)(const char *name), struct err *err);

/*
 * Connects (waiting as addr->wait_s says) and checks who is there. Returns the descriptor (close-on-exec, non-blocking) and stores the
 * agent's pid, which is 0 if it lives in a pid namespace that we can't see. -1: ERR_NOKEY.
 */
int agent_connect(const struct agent_addr *addr, pid_t *pid, struct err *err);

struct agent_reply {
	enum wire_disposition disposition; /* WIRE_REFUSE where the reply names none */
	unsigned int keep_s;
	char reason[400];     /* the agent's, one line, harmless for a terminal; may be empty */
	struct buf json;      /* the reply's JSON as it came, with a NUL behind it */
	struct secret *blob;  /* never NULL after success; may be empty */
	pid_t pid;            /* the agent's, from SO_PEERCRED */
};

/*
 * Sends one request (json: NUL-terminated, blob may be NULL) and reads the reply. Errors: ERR_NOKEY (absent, slow, gone, not believed), or
 * the error that the agent sent, by its code (ERR_SYSTEM for plain errno names such as EPERM), with its reason. On success the caller calls
 * agent_reply_release().
 */
int agent_exchange(const struct agent_addr *addr, const char *json, const void *blob, size_t blob_len, struct agent_reply *reply,
                   struct err *err);
void agent_reply_release(struct agent_reply *r);

/* An open request that has been sent; the caller works while the agent does. agent_open() ends it, or agent_open_drop(). */
struct agent_open {
	int fd;    /* -1: none */
	pid_t pid; /* the agent's */
};
#define AGENT_OPEN_INIT { -1, 0 }

/* Sends the request if the agent is there and reads it (addr: of agent_addr_look()). What is in the way is left for agent_open() to meet and report. */
void agent_open_begin(struct agent_open *o, const struct agent_addr *addr, const uint8_t *raw, size_t len, uint64_t size);
void agent_open_drop(struct agent_open *o); /* nobody wants the reply */

/*
 * The open request: raw[0 .. len) = 8 + N header bytes of a file of `size` bytes. begun: what agent_open_begin() sent of the same file, or NULL. On
 * success with disposition WIRE_SERVE reply->blob holds the data keys in the order of crypto_info.entries; the caller checks that their length fits
 * the file. WIRE_REFUSE comes as ERR_REJECTED. May take AGENT_PERSON_MS: an agent that has asked a person says EAGAIN as long as there is no answer.
 */
int agent_open(const struct agent_addr *addr, const uint8_t *raw, size_t len, uint64_t size, struct agent_open *begun, struct agent_reply *reply,
               struct err *err);

#endif
