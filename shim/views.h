/*
 * views: which descriptor is which encrypted file.
 *
 * A table by descriptor number holds hints; a hint is believed only after fstat() agrees (a close or dup that went past our hooks, a
 * vfork child that cleared the parent's table, a reused number). Views are found by identity (dev, ino, size, mtime, ctime) and
 * shared: ten opens of a file cost one round trip to the agent. A view without descriptors keeps its keys as long as the agent said
 * (keep_s); it is dropped at the next open or close after that.
 *
 * Thread and signal safety: everything here may run where the host calls the hooked function. Looking costs at most an fstat and a
 * pread; only an encrypted file that is not known yet allocates (and asks the agent). No lock is held over a system call that
 * touches the host's memory.
 */
#ifndef SHIM_VIEWS_H
#define SHIM_VIEWS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "file.h"

struct view {
	struct file *file;
	_Atomic uint64_t damaged; /* file offset of the last damaged chunk that was reported, plus one */
	char name[160];           /* escaped, for messages */
	/* private to views.c */
	struct stat id;
	uint8_t digest[32]; /* of the raw header: tells a touched file from a changed one */
	_Atomic int state;
	_Atomic int pins;  /* calls that use it now */
	_Atomic int users; /* descriptors */
	_Atomic int source; /* views_source(); 0: none yet */
	int64_t expires;   /* CLOCK_MONOTONIC seconds; valid without users */
	unsigned int keep_s;
};

enum views_name {
	VIEWS_LOOK_NOW,   /* .safetensors, or no suffix (hub blobs): look at the content at open */
	VIEWS_LOOK_LATER, /* any other: at its first use */
};
enum views_name views_name(const char *path);

/*
 * A descriptor was opened by `path` ("": by something else) with these open flags. 0, or -1 with errno if the file is encrypted and cannot be
 * opened (a line was printed; the descriptor is still open).
 */
int views_opened(int fd, const char *path, int flags);

/*
 * The view behind fd, pinned until views_put(); *v is NULL for the kernel's own files. -1 with errno: an encrypted file that cannot be
 * opened. errno is kept on success.
 */
int views_get(int fd, struct view **v);
void views_put(struct view *v);
void views_hold(struct view *v); /* one more pin of a view that is pinned */

/*
 * A descriptor of the shim's own for the ciphertext of a pinned view, kept as long as the view is. fd: one of the host's for the same file, from
 * which it is made at the first call; -1: only look. -errno.
 */
int views_source(struct view *v, int fd);

/* What is known without a system call: fd was looked at and is the kernel's own; it was a view when last looked at. */
bool views_plain(int fd);
bool views_hinted(int fd);

struct msghdr;
void views_received(const struct msghdr *msg); /* may have brought descriptors; recvmsg() has filled it */
void views_copied(int from, int to);           /* dup */
void views_closed(unsigned int first, unsigned int last);

/*
 * The descriptor was asked for with O_RDWR (it is read-only now: writes must not mix plaintext into ciphertext), or with O_DIRECT (it is read
 * through the page cache). What F_GETFL gave becomes what was asked for; O_DIRECT can be asked for later, too.
 */
bool views_asked_write(int fd);
int views_asked_flags(int fd, int flags);
void views_ask_direct(int fd, bool on);

/*
 * A child that shares our memory may be there: by vfork(), or clone() with CLONE_VM, of which the hooks tell. Once set it stays. Until then nobody but
 * this process runs on this memory, and need not ask the kernel who it is. Signal safe. (posix_spawn(), system() and popen() call no hook
 * in their children.)
 */
extern _Atomic bool views_shared;

/* At the start and in a fork child: this process is whom the table belongs to. Else (vfork child) nothing is remembered. */
void views_start(void);
bool views_owned(void);

void views_fork_child(void); /* makes the locks new (lock.h) */

struct views_stats {
	uint64_t opens, agent_requests, bytes_decrypted, chunks_decrypted, ns_decrypting;
};
void views_stats(struct views_stats *s);

#endif
