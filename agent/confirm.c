#include "confirm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "buf.h"
#include "clock.h"
#include "text.h"

#define GENERATIONS_MAX 64 /* of ancestors that are looked at, as often as somebody waits for his question */

/* Who was asked about. dev and ino are 0 where the executable cannot be known. */
struct who {
	pid_t pid;
	uint64_t start; /* ticks since boot: with the pid it is this process and no later one */
	dev_t dev;
	ino_t ino;
	uid_t uid;
};

struct confirm_answer {
	uint64_t id, set;
	struct who who;
	enum confirm_state state; /* YES, NO, ASKED */
	bool late, other;
	int64_t lost_ms; /* ASKED: clock_ms() */
};

/* ---- the program ---- */

/* Without what would make it load code of others, and as ssh-askpass wants it for a question that has no text for an answer. */
static char **environment_of(void)
{
	size_t n = 0, kept = 0;

	while (environ[n])
		n++;
	char **env = calloc(n + 2, sizeof *env);
	for (size_t i = 0; env && i < n; i++)
		if (strncmp(environ[i], "LD_", 3) != 0 && strncmp(environ[i], "SSH_ASKPASS_PROMPT=", 19) != 0)
			env[kept++] = environ[i];
	if (env)
		env[kept] = (char *)"SSH_ASKPASS_PROMPT=confirm";
	return env;
}

void confirm_start(struct confirm *c, const char *program)
{
	char *argv[] = { (char *)program, NULL }, **env = NULL;

	*c = (struct confirm)CONFIRM_NONE;
	if (!program || !program[0])
		c->why_not = "the agent has nobody to ask with: start it with CT_ASKPASS in its environment, a program that takes the question as its argument";
	else if (program[0] != '/' || access(program, X_OK) < 0)
		c->why_not = "the agent has nobody to ask with: CT_ASKPASS in its environment is no absolute path of a program";
	else if (!(env = environment_of()) || !(c->all = calloc(CONFIRM_KEPT_MAX, sizeof *c->all)) ||
	         launcher_start(&c->launcher, argv, env, CONFIRM_MS, NULL) < 0)
		c->why_not = "the agent has nobody to ask with: what starts CT_ASKPASS could not be started";
	free(env);
}

void confirm_stop(struct confirm *c)
{
	launcher_stop(&c->launcher);
	free(c->all);
	*c = (struct confirm)CONFIRM_NONE;
}

const char *confirm_there(const struct confirm *c)
{
	return c->why_not;
}

/* ---- processes ---- */

static bool read_stat(pid_t pid, pid_t *parent, uint64_t *start)
{
	char path[40], text[1024], *behind;
	unsigned long long ticks;
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	behind = strrchr(text, ')'); /* the name before it may hold anything */
	if (!behind || sscanf(behind + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", parent, &ticks) != 2)
		return false;
	*start = ticks;
	return true;
}

/* What was read is the peer's if it is there afterwards, as in peer.c. */
static bool who_is(struct peer *peer, struct who *w)
{
	char path[40];
	struct stat st;
	pid_t parent;

	*w = (struct who){ .pid = peer->pid, .uid = peer->uid };
	if (peer->pid <= 0 || !read_stat(peer->pid, &parent, &w->start))
		return false;
	snprintf(path, sizeof path, "/proc/%d/exe", peer->pid);
	if (stat(path, &st) == 0) {
		w->dev = st.st_dev;
		w->ino = st.st_ino;
	}
	return peer_alive(peer);
}

/* ---- answers ---- */

static struct confirm_answer *by_id(struct confirm *c, uint64_t id, uint64_t set)
{
	for (size_t i = 0; id && i < c->count; i++)
		if (c->all[i].id == id && c->all[i].set == set)
			return &c->all[i];
	return NULL;
}

static struct confirm_answer *by_process(struct confirm *c, uint64_t set, const struct who *w, pid_t pid, uint64_t start)
{
	for (size_t i = 0; i < c->count; i++) {
		const struct who *a = &c->all[i].who;

		if (c->all[i].set == set && a->pid == pid && a->start == start && a->dev == w->dev && a->ino == w->ino && a->uid == w->uid)
			return &c->all[i];
	}
	return NULL;
}

static void drop(struct confirm *c, size_t i)
{
	c->all[i] = c->all[--c->count];
}

/* Makes room: those whose process has gone. */
static void sweep(struct confirm *c)
{
	pid_t parent;
	uint64_t start;

	for (size_t i = c->count; i-- > 0;)
		if (c->all[i].state != CONFIRM_ASKED && !(read_stat(c->all[i].who.pid, &parent, &start) && start == c->all[i].who.start))
			drop(c, i);
}

/* Others have a share of the table, so that they cannot fill it for our own user. */
static bool has_room(const struct confirm *c, bool other)
{
	size_t others = 0;

	for (size_t i = 0; i < c->count; i++)
		others += c->all[i].other;
	return c->count < CONFIRM_KEPT_MAX && (!other || others < CONFIRM_KEPT_OTHERS_MAX);
}

static struct confirm_answer *put(struct confirm *c, uint64_t set, const struct who *w, enum confirm_state state, bool other)
{
	if (!has_room(c, other))
		sweep(c);
	if (!has_room(c, other))
		return NULL;
	c->all[c->count] = (struct confirm_answer){ .id = ++c->last_id, .set = set, .who = *w, .state = state, .other = other };
	return &c->all[c->count++];
}

/*
 * The answer about the process, or about one that it descends from. A worker whose parent ends must not be asked about again, so it gets its own, as far as
 * there is room.
 */
static struct confirm_answer *find(struct confirm *c, uint64_t set, const struct who *w, bool other)
{
	struct confirm_answer *a = by_process(c, set, w, w->pid, w->start), *own;
	pid_t pid = w->pid, parent;
	uint64_t start, id;
	bool late;

	if (a || !w->ino || !read_stat(pid, &parent, &start))
		return a;
	for (int i = 0; i < GENERATIONS_MAX && !a && (pid = parent) > 0 && read_stat(pid, &parent, &start); i++)
		a = by_process(c, set, w, pid, start);
	if (!a || a->state == CONFIRM_ASKED)
		return a;
	late = a->late;
	id = a->id;
	own = put(c, set, w, a->state, other); /* a is nothing any more */
	if (!own)
		return by_id(c, id, set);
	own->late = late;
	return own;
}

/* ---- questions ---- */

static void put_question(struct buf *b, uint64_t set, struct peer *peer, const struct crypto_info *info)
{
	const struct peer_fact *exe = peer_exe(peer);
	char head[600];

	snprintf(head, sizeof head, "Decrypt a model for %s (process %d of uid %u) with key set %llu, key \"%s\", signed by \"%s\"?",
	         exe->text ? TEXT(exe->text, exe->len) : "a program that cannot be seen", peer->pid, peer->uid, (unsigned long long)set,
	         info->enc.has_kid ? text_escape((char[80]){ 0 }, 80, info->enc.kid.p, info->enc.kid.len) : "",
	         info->sign.has_kid ? text_escape((char[80]){ 0 }, 80, info->sign.kid.p, info->sign.kid.len) : "");
	buf_puts(b, head);
	buf_putc(b, '\0');
}

/* Its supervisor has gone without a word. */
static void give_up(struct confirm_answer *a)
{
	if (a->state != CONFIRM_ASKED || clock_ms() < a->lost_ms)
		return;
	a->state = CONFIRM_NO;
	a->late = true;
}

/* A slot for another question is free. */
static bool may_ask(struct confirm *c, bool other)
{
	size_t n = 0, others = 0;

	for (size_t i = 0; i < c->count; i++) {
		give_up(&c->all[i]);
		n += c->all[i].state == CONFIRM_ASKED;
		others += c->all[i].state == CONFIRM_ASKED && c->all[i].other;
	}
	return n < CONFIRM_ASKED_MAX && (!other || others < CONFIRM_OTHERS_MAX);
}

static struct confirm_answer *ask(struct confirm *c, uint64_t set, const struct who *w, struct peer *peer, const struct crypto_info *info, bool other)
{
	struct confirm_answer *a = put(c, set, w, CONFIRM_ASKED, other);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct buf text = BUF_INIT;

	put_question(&text, set, peer, info);
	if (a && (text.failed || null < 0 || launcher_run(&c->launcher, a->id, text.data, &null, 1, NULL) < 0)) {
		c->count--; /* the last one */
		a = NULL;
	}
	if (a)
		a->lost_ms = clock_ms() + CONFIRM_LOST_MS;
	if (null >= 0)
		close(null);
	buf_release(&text);
	return a;
}

static enum confirm_state say(const struct confirm_answer *a, char *reason, size_t cap)
{
	if (a->state == CONFIRM_NO)
		snprintf(reason, cap, a->late ? "key set %llu is given out after a question only, and nobody answered it in %d s: start the program anew" :
		         "key set %llu is given out after a question only, and the answer was no", (unsigned long long)a->set, CONFIRM_MS / 1000);
	return a->state;
}

enum confirm_state confirm_ask(struct confirm *c, uint64_t *id, uint64_t set, struct peer *peer, const struct crypto_info *info, bool look, char *reason,
                               size_t cap)
{
	struct confirm_answer *a = by_id(c, *id, set);
	bool other = peer_rights(peer, true) != PEER_MAY_ALL;
	struct who w;

	if (a) {
		give_up(a);
		return say(a, reason, cap);
	}
	if (c->why_not) {
		snprintf(reason, cap, "key set %llu is given out after a question only, and %s", (unsigned long long)set, c->why_not);
		return CONFIRM_NO;
	}
	if (!who_is(peer, &w)) {
		snprintf(reason, cap, "key set %llu is given out after a question only, and the agent cannot find out which process asks (pid %d, uid %u)",
		         (unsigned long long)set, peer->pid, peer->uid);
		return CONFIRM_NO;
	}
	a = find(c, set, &w, other);
	if (!a && look)
		return CONFIRM_UNASKED;
	if (!a && !may_ask(c, other))
		return CONFIRM_ASKED;
	if (!a)
		a = ask(c, set, &w, peer, info, other);
	if (!a) {
		snprintf(reason, cap, "key set %llu is given out after a question only, and it could not be asked", (unsigned long long)set);
		return CONFIRM_NO;
	}
	*id = a->id;
	return say(a, reason, cap);
}

void confirm_forget(struct confirm *c, uint64_t set)
{
	for (size_t i = c->count; i-- > 0;)
		if (c->all[i].set == set)
			drop(c, i);
}

int confirm_events(struct confirm *c)
{
	struct launcher_end end;
	int r;

	while ((r = launcher_ended(&c->launcher, &end)) > 0)
		for (size_t i = 0; i < c->count; i++)
			if (c->all[i].id == end.job) {
				c->all[i].state = !end.late && end.status == 0 ? CONFIRM_YES : CONFIRM_NO;
				c->all[i].late = end.late;
			}
	if (r < 0) {
		for (size_t i = 0; i < c->count; i++)
			if (c->all[i].state == CONFIRM_ASKED)
				c->all[i].state = CONFIRM_NO;
		launcher_stop(&c->launcher);
		c->why_not = "what starts CT_ASKPASS has ended: start the agent anew";
	}
	return r;
}
