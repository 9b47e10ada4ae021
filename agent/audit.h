/*
 * audit: a line of JSON for each decision of the agent (docs/SECURITY.md, "Audit"), to stderr, a file or syslog. Never a secret; foreign strings are spelled
 * so that neither a terminal nor a parser of lines is fooled.
 */
#ifndef CT_AGENT_AUDIT_H
#define CT_AGENT_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "input.h"
#include "peer.h"

struct audit {
	int fd;        /* -1: none is kept */
	bool syslog;   /* fd is a socket to the log daemon */
	bool is_stderr;
	bool cut;      /* the last line was */
	bool required; /* what cannot be written down does not happen */
	uint64_t lost; /* lines */
};

#define AUDIT_NONE { .fd = -1 }

/* "stderr", "syslog", or a file's absolute path: appended to, made with mode 0600. -1: it cannot be opened, or is none of trusted.h. */
int audit_open(struct audit *a, const char *where, bool required, struct err *err);
void audit_close(struct audit *a);

/*
 * What was decided about an "open", or would be ("explain"): "serve", "ciphertext", "refuse", or an errno's name. file NULL: it was not even
 * parsed. set 0: none was found. false: it could not be written, and must not happen.
 */
bool audit_decision(struct audit *a, const char *event, struct peer *peer, const struct input_file *file, uint64_t set, const char *verdict,
                    const char *reason);

/* SIGHUP, from that process: the configuration was read again; where done is false, reason says why the old one stays. */
bool audit_reload(struct audit *a, uid_t uid, pid_t pid, bool done, const char *reason);

/* What an owner did: "add", "remove", "lock", "unlock"; set 0: none in particular. false: it could not be written; it was done all the same. */
bool audit_act(struct audit *a, const struct peer *peer, const char *what, uint64_t set);

/* That a licence is near its end: state, and what does not open any more then (a stranger's text; may be empty). */
bool audit_licence(struct audit *a, const char *id, uint64_t set, const char *state, const char *until, uint64_t days_left, const char *opens);

#endif
