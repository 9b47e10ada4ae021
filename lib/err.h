/*
 * err: why something failed, as one code and one line of text.
 *
 * lib knows no process it runs in: it never logs, exits or reads the environment, and nothing here includes shim/, agent/ or
 * cli/. A function that can fail takes a `struct err *` (may be NULL), returns -1 (or NULL) and leaves the reason in it.
 * The same codes travel over the agent's socket by name (wire.h) and become an errno at the edge (design.md, "What an
 * application sees of a failure").
 *
 * A struct err is a plain value: no ownership, no release. Functions are thread safe and allocate nothing.
 */
#ifndef CT_ERR_H
#define CT_ERR_H

enum err_code {
	ERR_NONE = 0,
	ERR_NOKEY,    /* ENOKEY: no agent, or no key for this file */
	ERR_REJECTED, /* EKEYREJECTED: the policy or the agent says no */
	ERR_FORMAT,   /* EBADMSG: malformed, bad signature, data key that does not unwrap */
	ERR_DAMAGED,  /* EIO: a chunk does not authenticate */
	ERR_PLAIN,    /* EPERM: a plain file where an encrypted one is required */
	ERR_SYSTEM,   /* a system call failed: sys_errno says how */
};

struct err {
	enum err_code code;
	int sys_errno;  /* for ERR_SYSTEM only */
	char text[480]; /* one line, NUL-terminated, without a final newline; foreign strings are escaped (text.h) */
};

/* Fills *e (unless NULL) by a printf format and returns -1. Strings from outside must come escaped (text.h). */
int err_set(struct err *e, enum err_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same for a failed system call: code ERR_SYSTEM, ": strerror(errnum)" is appended. Returns -1. */
int err_sys(struct err *e, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The errno an application sees for *e (ENOKEY, EKEYREJECTED, EBADMSG, EIO, EPERM, or sys_errno). 0 for ERR_NONE. */
int err_errno(const struct err *e);

/* That errno's name, "EBADMSG"; static storage. */
const char *err_name(const struct err *e);

/* The code whose err_name() is `name` (NUL-terminated), for the codes ERR_NOKEY … ERR_PLAIN; ERR_NONE for any other. */
enum err_code err_code_by_name(const char *name);

#endif
