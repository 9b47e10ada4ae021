#include "views.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "agent_client.h"
#include "config.h"
#include "content.h"
#include "guard.h"
#include "heap.h"
#include "lock.h"
#include "real.h"
#include "sys.h"

/* ---- the table of descriptors ---- */

#define FD_MAX 65536    /* descriptors above are looked at each time */
#define VIEWS_MAX 4096  /* encrypted files open at once */

enum kind { ANY, PLAIN, VIEW }; /* ANY: not looked at */

#define KIND(slot) ((enum kind)((slot) & 7u))
#define ASKED_WRITE 8u
#define ASKED_DIRECT 16u
#define INDEX_SHIFT 8

static _Atomic uint32_t slots[FD_MAX];
static _Atomic int slots_high; /* no slot at or above this was ever set */

enum state { FREE, LIVE, GONE }; /* GONE: keys wiped, memory still to be freed */

static struct view views[VIEWS_MAX];
static _Atomic int views_high;
static _Atomic int idle_count; /* live views without users */
static struct lock lock = LOCK_INIT; /* over state changes and identities */

static _Atomic uint64_t opens, agent_requests;
static struct file_stats gone; /* what freed views had counted; under lock */

/* A vfork child runs our hooks on its parent's memory: what it closes and opens must not change what the parent knows. */
static long owner; /* pid */
_Atomic bool views_shared;

static bool is_owner(void)
{
	return !views_shared || sys0(SYS_getpid) == owner;
}

static uint32_t slot(int fd)
{
	return fd >= 0 && fd < FD_MAX ? atomic_load_explicit(&slots[fd], memory_order_relaxed) : ANY;
}

static int64_t now(void)
{
	struct timespec t = { 0 };
	sys2(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* Only munmap and arithmetic: may run in a signal handler's close(). */
static void expire(void)
{
	if (atomic_load(&idle_count) == 0 || !is_owner())
		return;
	int64_t t = now();
	lock_saved saved = lock_acquire(&lock);
	for (int i = 0; i < views_high; i++) {
		struct view *v = &views[i];
		if (v->state != LIVE || v->users > 0 || v->expires > t)
			continue;
		atomic_store(&v->state, GONE);
		if (atomic_load(&v->pins) > 0) { /* in use after all: next time */
			atomic_store(&v->state, LIVE);
			continue;
		}
		file_forget(v->file);
		int source = atomic_exchange(&v->source, 0);
		if (source > 0)
			guard_close(source);
		atomic_fetch_sub(&idle_count, 1);
	}
	lock_release(&lock, saved);
}

static void slot_set(int fd, uint32_t value)
{
	if (fd < 0 || fd >= FD_MAX || (value == ANY && slot(fd) == ANY))
		return;
	if (!is_owner()) {
		if (KIND(slot(fd)) == PLAIN) /* a view's hint is checked each time and may stay */
			atomic_store(&slots[fd], ANY);
		return;
	}
	if (KIND(value) == VIEW && atomic_fetch_add(&views[value >> INDEX_SHIFT].users, 1) == 0)
		atomic_fetch_sub(&idle_count, 1);
	if (atomic_load(&slots_high) <= fd)
		atomic_store(&slots_high, fd + 1);
	uint32_t old = atomic_exchange(&slots[fd], value);
	if (KIND(old) != VIEW)
		return;
	struct view *v = &views[old >> INDEX_SHIFT];
	v->expires = now() + v->keep_s;
	if (atomic_fetch_sub(&v->users, 1) == 1)
		atomic_fetch_add(&idle_count, 1);
}

bool views_plain(int fd)
{
	return KIND(slot(fd)) == PLAIN;
}

bool views_hinted(int fd)
{
	return KIND(slot(fd)) == VIEW;
}

bool views_asked_write(int fd)
{
	return slot(fd) & ASKED_WRITE;
}

int views_asked_flags(int fd, int flags)
{
	uint32_t s = slot(fd);
	if (s & ASKED_WRITE)
		flags = (flags & ~O_ACCMODE) | O_RDWR;
	return s & ASKED_DIRECT ? flags | O_DIRECT : flags;
}

void views_ask_direct(int fd, bool on)
{
	uint32_t s = slot(fd);
	if (KIND(s) == VIEW && is_owner())
		slot_set(fd, on ? s | ASKED_DIRECT : s & ~ASKED_DIRECT);
}

void views_received(const struct msghdr *msg)
{
	if (msg->msg_controllen < CMSG_LEN(sizeof(int)))
		return;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR((struct msghdr *)msg, c))
		for (size_t at = CMSG_LEN(0); c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && at + sizeof(int) <= c->cmsg_len;
		     at += sizeof(int)) {
			int fd;
			memcpy(&fd, (char *)c + at, sizeof fd);
			if (slot(fd) != ANY)
				slot_set(fd, ANY);
		}
}

void views_copied(int from, int to)
{
	slot_set(to, slot(from));
}

void views_closed(unsigned int first, unsigned int last)
{
	unsigned int high = (unsigned int)atomic_load(&slots_high);
	for (unsigned int fd = first; fd <= last && fd < high; fd++)
		if (slot((int)fd) != ANY)
			slot_set((int)fd, ANY);
	expire();
}

/* ---- the views ---- */

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool same_id(const struct stat *a, const struct stat *b)
{
	return same_file(a, b) && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
	       a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static bool pin(struct view *v)
{
	atomic_fetch_add(&v->pins, 1);
	if (atomic_load(&v->state) == LIVE)
		return true;
	atomic_fetch_sub(&v->pins, 1);
	return false;
}

void views_put(struct view *v)
{
	atomic_fetch_sub(&v->pins, 1);
}

void views_hold(struct view *v)
{
	atomic_fetch_add(&v->pins, 1);
}

/* Opened anew, not dup'ed: a description that is shared would keep the host's flock() after its last close(). */
int views_source(struct view *v, int fd)
{
	int old = v->source, none = 0;
	char proc[32];
	if (old > 0 || fd < 0)
		return old > 0 ? old : -EBADF;
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	long own = sys4(SYS_openat, AT_FDCWD, proc, O_RDONLY | O_CLOEXEC, 0);
	if (own < 0) /* no /proc, or the host gave up its rights since: */
		own = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 0);
	if (own >= 0)
		own = guard_add((int)own);
	if (own >= 0 && !atomic_compare_exchange_strong(&v->source, &none, (int)own)) {
		guard_close((int)own);
		own = none;
	}
	return (int)own;
}

/* A live view of this file, with the same content or another. */
static bool knows(const struct stat *id)
{
	bool known = false;
	lock_saved saved = lock_acquire(&lock);
	for (int i = 0; i < views_high && !known; i++)
		known = views[i].state == LIVE && same_file(&views[i].id, id);
	lock_release(&lock, saved);
	return known;
}

/* By identity; or, with a digest, the same file whose times changed but not its size or header: its identity is renewed. */
static struct view *find(const struct stat *id, const uint8_t *digest)
{
	struct view *found = NULL;
	if (views_high == 0)
		return NULL;
	lock_saved saved = lock_acquire(&lock);
	for (int i = 0; i < views_high && !found; i++) {
		struct view *v = &views[i];
		if (v->state != LIVE)
			continue;
		bool is = same_id(&v->id, id);
		if (!is && digest && same_file(&v->id, id) && v->id.st_size == id->st_size &&
		    memcmp(v->digest, digest, sizeof v->digest) == 0) {
			v->id = *id;
			is = true;
		}
		if (is && pin(v))
			found = v;
	}
	lock_release(&lock, saved);
	return found;
}

/* Frees what expire() wiped. Only where memory is allocated anyway. */
static void sweep(void)
{
	for (int i = 0; i < views_high; i++) {
		struct file *f = NULL;
		lock_saved saved = lock_acquire(&lock);
		if (views[i].state == GONE && views[i].pins == 0) {
			struct file_stats s;
			f = views[i].file;
			views[i].file = NULL;
			file_stats(f, &s);
			gone.bytes_decrypted += s.bytes_decrypted;
			gone.chunks_decrypted += s.chunks_decrypted;
			gone.ns_decrypting += s.ns_decrypting;
			atomic_store(&views[i].state, FREE);
		}
		lock_release(&lock, saved);
		file_free(f);
	}
}

/* Puts a loaded file into the table, pinned. NULL: too many. If another thread was faster, its view is taken and f freed. */
static struct view *insert(struct file *f, const struct stat *id, const uint8_t digest[32], const char *name, unsigned int keep_s)
{
	struct view *v = find(id, NULL);
	if (v) {
		file_free(f);
		return v;
	}
	lock_saved saved = lock_acquire(&lock);
	for (int i = 0; i < VIEWS_MAX && !v; i++)
		if (views[i].state == FREE)
			v = &views[i];
	if (v) {
		v->file = f;
		v->damaged = 0;
		v->id = *id;
		v->keep_s = keep_s;
		v->users = 0;
		v->source = 0;
		v->expires = now() + keep_s;
		memcpy(v->digest, digest, sizeof v->digest);
		snprintf(v->name, sizeof v->name, "%s", name);
		atomic_fetch_add(&v->pins, 1);
		atomic_fetch_add(&idle_count, 1);
		if (v - views >= views_high)
			views_high = (int)(v - views) + 1;
		atomic_store(&v->state, LIVE);
	}
	lock_release(&lock, saved);
	if (!v)
		file_free(f);
	return v;
}

/* ---- looking at a file ---- */

enum views_name views_name(const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
	return !dot || strcmp(dot, ".safetensors") == 0 ? VIEWS_LOOK_NOW : VIEWS_LOOK_LATER;
}

static int refuse(const char *name, const struct err *err)
{
	config_log(LOG_ERROR, "%s: %s: %s", name, err_name(err), err->text);
	errno = err_errno(err);
	return -1;
}

/*
 * A view is read-only and buffered: O_DIRECT is taken off (reads of any alignment work then), and a descriptor that could write is
 * replaced by one that cannot, so that no door lets plaintext be written into the ciphertext: write() gives EBADF. Only a new one is replaced:
 * later it may have duplicates and locks. 1: it can only write, and is the kernel's own.
 */
static int settle(int fd, const char *name, bool opening, uint32_t *asked)
{
	long flags = sys3(SYS_fcntl, fd, F_GETFL, 0);
	*asked = 0;
	if (flags < 0)
		return 0;
	if (flags & O_DIRECT) {
		*asked = ASKED_DIRECT;
		sys3(SYS_fcntl, fd, F_SETFL, flags & ~O_DIRECT);
	}
	if ((flags & O_ACCMODE) != O_RDWR)
		return (flags & O_ACCMODE) == O_WRONLY;
	*asked |= ASKED_WRITE;
	char proc[32];
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	long keep = flags & (O_NONBLOCK | O_NOATIME), cloexec = sys3(SYS_fcntl, fd, F_GETFD, 0) & FD_CLOEXEC ? O_CLOEXEC : 0;
	long ro = opening ? sys4(SYS_openat, AT_FDCWD, proc, O_RDONLY | O_CLOEXEC | keep, 0) : -EROFS;
	if (ro >= 0) {
		sys3(SYS_dup3, ro, fd, cloexec);
		sys_close((int)ro);
		return 0;
	}
	config_log(LOG_ERROR, "%s: EROFS: encrypted files can only be read, and this descriptor could write: open it read-only", name);
	errno = EROFS;
	return -1;
}

/* As settle(). */
static int attach(int fd, struct view *v, bool opening)
{
	uint32_t asked;
	int r = settle(fd, v->name, opening, &asked);
	if (r >= 0)
		slot_set(fd, r > 0 ? PLAIN : VIEW | asked | (uint32_t)(v - views) << INDEX_SHIFT);
	return r;
}

static const char *environment(const char *name)
{
	return secure_getenv(name);
}

/*
 * What the file says is parsed while the agent does the same. A file that only looks encrypted is told apart later: it costs a question, which the
 * agent counts and logs as a failed one.
 */
static void ask_early(struct agent_open *asked, const struct content *c, uint64_t size)
{
	struct agent_addr addr;
	if (!header_is_marked(c->raw, c->len) || !agent_addr_look(&addr, environment))
		return;
	agent_open_begin(asked, &addr, c->raw, c->len, size);
	if (asked->fd >= 0)
		atomic_fetch_add(&agent_requests, 1);
}

static int fetch_keys(struct file *f, const uint8_t *raw, size_t len, struct agent_open *asked, enum wire_disposition *disposition,
                      unsigned int *keep_s, struct err *err)
{
	struct agent_addr addr;
	struct agent_reply reply;
	if (agent_addr_find(&addr, environment, err) < 0)
		return -1;
	if (asked->fd < 0)
		atomic_fetch_add(&agent_requests, 1);
	if (agent_open(&addr, raw, len, file_size(f), asked, &reply, err) < 0)
		return -1;
	*disposition = reply.disposition;
	*keep_s = reply.keep_s;
	int r = 0;
	if (reply.disposition == WIRE_SERVE) {
		r = file_set_keys(f, reply.blob, err);
		if (r == 0)
			reply.blob = NULL;
	}
	agent_reply_release(&reply);
	return r;
}

/* A file that may be encrypted, new to us: 1 and *v; 0: it is plain; AS_IT_LIES: this program is to see the ciphertext; -1 with *err. */
#define AS_IT_LIES 2

static int load(const struct stat *id, const uint8_t *raw, size_t len, const uint8_t digest[32], const char *name, struct agent_open *asked,
                struct view **v, struct err *err)
{
	enum wire_disposition disposition = WIRE_REFUSE;
	unsigned int keep_s = 0;
	sweep();
	struct file *f = file_parse(raw, len, (uint64_t)id->st_size, err);
	if (!f)
		return err->code == ERR_PLAIN ? 0 : -1;
	if (fetch_keys(f, raw, len, asked, &disposition, &keep_s, err) < 0) {
		file_free(f);
		return -1;
	}
	if (disposition != WIRE_SERVE) { /* WIRE_REFUSE came as an error */
		file_free(f);
		config_log(LOG_INFO, "%s: the agent lets this program read the ciphertext only", name);
		return AS_IT_LIES;
	}
	*v = insert(f, id, digest, name, keep_s);
	if (!*v)
		return err_sys(err, EMFILE, "more than %d encrypted files at once", VIEWS_MAX);
	config_log(LOG_INFO, "%s: encrypted, %zu tensors, served", name, file_header((*v)->file)->count);
	return 1;
}

/* CTSHIM_REQUIRE=1: is this plain file one that must be encrypted? */
static bool plain_refused(const char *path, const uint8_t *raw, size_t len, const struct stat *id)
{
	if (!config.require)
		return false;
	size_t n = path ? strlen(path) : 0;
	if (n >= 12 && strcmp(path + n - 12, ".safetensors") == 0)
		return true;
	struct header h;
	if (!raw || header_parse(&h, raw, len, (uint64_t)id->st_size, NULL) < 0)
		return false;
	header_release(&h);
	return true;
}

/* The view of an encrypted file's content, known or new. As load(). */
static int find_or_load(const struct stat *id, const struct content *c, const char *name, struct view **v, struct err *err)
{
	struct agent_open asked = AGENT_OPEN_INIT;
	uint8_t digest[32];
	bool known = knows(id);
	if (!known)
		ask_early(&asked, c, (uint64_t)id->st_size);
	heap_start_openssl(); /* at first use: programs without models don't pay for it */
	SHA256(c->raw, c->len, digest);
	*v = known ? find(id, digest) : NULL;
	int r = *v ? 1 : load(id, c->raw, c->len, digest, name, &asked, v, err);
	agent_open_drop(&asked);
	return r;
}

/*
 * Looks at the content of fd. 0 with *v (pinned) or NULL; -1 with errno. path: by which it is being opened just now; NULL: at a later use.
 * An error in reading is never taken for "plain".
 */
static int look(int fd, const struct stat *id, const char *path, struct view **v)
{
	struct err err = { 0 };
	struct content c = { .kind = CONTENT_PLAIN };
	char name[sizeof views[0].name];
	int ret = 0, r = 0;
	*v = find(id, NULL);
	if (!*v && S_ISREG(id->st_mode) && content_look(fd, id, &c, &err) < 0) {
		if (path) /* whoever reads it will be told */
			return 0;
		errno = err_errno(&err);
		return -1;
	}
	if (c.smells) {
		content_name(name, sizeof name, fd, path);
		r = find_or_load(id, &c, name, v, &err);
		if (r < 0) {
			ret = refuse(name, &err);
			goto out;
		}
	}
	if (*v) {
		r = attach(fd, *v, path != NULL);
		if (r != 0) {
			views_put(*v);
			*v = NULL;
		}
		ret = r < 0 ? -1 : 0;
		goto out;
	}
	if (c.kind == CONTENT_UNSURE)
		goto out;
	if (r != AS_IT_LIES && S_ISREG(id->st_mode) && plain_refused(path, c.raw, c.len, id)) {
		content_name(name, sizeof name, fd, path);
		err_set(&err, ERR_PLAIN, "plain, and CTSHIM_REQUIRE=1 lets only encrypted model files be read; ct encrypt it");
		ret = refuse(name, &err);
		goto out;
	}
	slot_set(fd, PLAIN);
out:
	content_release(&c);
	return ret;
}

int views_opened(int fd, const char *path, int flags)
{
	struct view *v;
	struct stat id;
	int saved = errno;
	expire();
	bool reads = (flags & O_ACCMODE) != O_WRONLY && !(flags & (O_PATH | O_DIRECTORY)) && (flags & O_TMPFILE) != O_TMPFILE;
	bool device = strncmp(path, "/sys/", 5) == 0 && !strstr(path, "/../"); /* to read an attribute of one may do something */
	if (!reads || device) {
		slot_set(fd, PLAIN);
		return 0;
	}
	slot_set(fd, ANY);
	bool now_or_never = (flags & O_ACCMODE) == O_RDWR; /* see settle() */
	if ((views_name(path) == VIEWS_LOOK_LATER && !now_or_never) || sys2(SYS_fstat, fd, &id) < 0)
		return 0;
	if (look(fd, &id, path, &v) < 0)
		return -1;
	if (v) {
		atomic_fetch_add(&opens, 1);
		views_put(v);
	}
	errno = saved;
	return 0;
}

int views_get(int fd, struct view **v)
{
	struct stat id;
	uint32_t s = slot(fd);
	*v = NULL;
	if (KIND(s) == PLAIN)
		return 0;
	long r = sys2(SYS_fstat, fd, &id);
	if (r == -EBADF) /* no descriptor: the kernel will say so itself */
		return 0;
	if (r < 0)
		return (int)real_answer(r);
	if (KIND(s) == VIEW) {
		struct view *hint = &views[s >> INDEX_SHIFT];
		if (pin(hint)) {
			if (same_id(&hint->id, &id)) {
				*v = hint;
				return 0;
			}
			views_put(hint);
		}
	}
	int saved = errno;
	if (look(fd, &id, NULL, v) < 0)
		return -1;
	errno = saved;
	return 0;
}

/* ---- fork, statistics ---- */

void views_start(void)
{
	owner = sys0(SYS_getpid);
}

bool views_owned(void)
{
	return is_owner();
}

void views_fork_child(void)
{
	views_start();
	lock = (struct lock)LOCK_INIT;
	for (int i = 0; i < views_high; i++)
		if (views[i].state == LIVE)
			file_fork_child(views[i].file);
}

void views_stats(struct views_stats *s)
{
	lock_saved saved = lock_acquire(&lock);
	*s = (struct views_stats){ opens, agent_requests, gone.bytes_decrypted, gone.chunks_decrypted, gone.ns_decrypting };
	for (int i = 0; i < views_high; i++) {
		if (views[i].state == FREE)
			continue;
		struct file_stats f;
		file_stats(views[i].file, &f);
		s->bytes_decrypted += f.bytes_decrypted;
		s->chunks_decrypted += f.chunks_decrypted;
		s->ns_decrypting += f.ns_decrypting;
	}
	lock_release(&lock, saved);
}
