/*
 * peer: who is at the other end of a connection, and what he may.
 */
#ifndef CT_AGENT_PEER_H
#define CT_AGENT_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "err.h"
#include "sha256.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define PEER_REMOVED " (deleted)" /* how the kernel's word on a path ends where that was removed; names may end so, too */

/* Something that /proc says of the process. Read once, when it is first asked for. */
struct peer_fact {
	enum { PEER_FACT_UNASKED, PEER_FACT_KNOWN, PEER_FACT_REMOVED, PEER_FACT_UNKNOWN } state;
	char *text; /* KNOWN, REMOVED: fewer than PATH_MAX bytes, malloc'ed, as the kernel has it: a stranger's string */
	size_t len;
};

struct peer {
	uid_t uid;
	gid_t gid;
	int sock;  /* the connection; the owner's; -1: peer_of_process() */
	pid_t pid; /* 0: in a pid namespace that we can't see */
	int pidfd; /* what is asked about the process goes through it, so that a reused pid can't answer; -1: the kernel has none */
	bool gone; /* it had ended when it was looked for */
	struct peer_fact exe, cgroup;
	struct {
		enum { PEER_DIGEST_UNASKED, PEER_DIGEST_KNOWN, PEER_DIGEST_UNKNOWN } state;
		uint8_t sha256[SHA256_LEN];
	} exe_digest;
};

/* The groups that the connecting process had, from the socket (of peer_of_process(), that it has): how many, at most max; -1: the kernel does not say, or they are more. */
int peer_groups(const struct peer *p, gid_t *list, int max);

enum peer_rights { PEER_NOTHING, PEER_MAY_OPEN, PEER_MAY_ALL };

/* Reads it from the socket. false: the kernel does not say; nobody is admitted then. */
bool peer_of(struct peer *p, int fd);
void peer_release(struct peer *p);

/*
 * Another process, as if it had connected: `pid` as asker sees it, who must be in our pid namespace. -1: ERR_SYSTEM, ESRCH: there is none; EINVAL: asker is in another
 * namespace. The caller releases *p in any case.
 */
int peer_of_process(struct peer *p, pid_t pid, const struct peer *asker, struct err *err);

/* admitted: the configuration has a line allow-uid for it. */
enum peer_rights peer_rights(const struct peer *p, bool admitted);

/* The process that connected is still there; true where there is no pidfd. */
bool peer_alive(const struct peer *p);

/*
 * The path of its executable, and of its cgroup. UNKNOWN: in a pid namespace that we can't see, ended, or not ours to ask (the
 * executable of another user's process takes CAP_SYS_PTRACE; so does that of our own user's, if it made itself undumpable).
 */
const struct peer_fact *peer_exe(struct peer *p);
const struct peer_fact *peer_cgroup(struct peer *p);

/*
 * SHA-256 of the executable that peer_exe() names, SHA256_LEN bytes. Reads all of it, at most PEER_EXE_MAX bytes: everybody waits meanwhile. NULL: it
 * cannot be known; also if the file is larger, or the process has executed something else since peer_exe().
 */
#define PEER_EXE_MAX (UINT64_C(256) << 20)
const uint8_t *peer_exe_sha256(struct peer *p);

/*
 * The path that counts among those of /proc/PID/cgroup (text, NUL-terminated, is cut up): that of the unified hierarchy; where it
 * is "/" or missing, systemd's own (name=systemd); else the first that is not "/". NULL: there is none at all.
 */
const char *peer_cgroup_path(char *text);

#endif
