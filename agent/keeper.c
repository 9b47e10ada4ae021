#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "keeper_inner.h"
#include "sys.h"

#define STOP_MS 2000 /* for a token's module to say good-bye */

/* A question about a JWK set. */
struct question {
	enum { FREE, ASKED, OFFERED, REFUSED } state;
	uint64_t serial;
	struct keeper_set set; /* ASKED: as far as it has come */
	struct err why;        /* REFUSED */
};

struct keeper {
	int sock;
	pid_t pid;
	bool gone;
	uint64_t last_serial;
	unsigned int unanswered; /* calls whose answers have not come */
	struct question adds[KEEPER_ADDS_MAX];
	struct secret *room;       /* struct keeper_message: data keys pass through it */
	struct keeper_message *in; /* in it */
	struct keeper_message out;
};

/* ---- both ends ---- */

bool keeper_fits(const struct keeper_head *h, size_t len)
{
	static const struct {
		size_t size;
		uint32_t max;
	} elements[SAY_END] = {
		[ASK_UNWRAP] = { sizeof(struct keeper_wrapped), KEEPER_BATCH },
		[SAY_KEYS] = { sizeof(struct keeper_public), KEEPER_PUBLIC_MAX },
		[SAY_OFFER] = { sizeof(struct keeper_label), 1 },
		[SAY_REFUSAL] = { sizeof(struct err), 1 },
		[SAY_READY] = { sizeof(struct hardening), 1 },
		[SAY_UNWRAPPED] = { 1, KEEPER_BATCH * AEAD_KEY_MAX },
		[SAY_FAILURE] = { sizeof(struct err), 1 },
	};

	return len >= sizeof *h && h->what < SAY_END && h->count <= elements[h->what].max && len - sizeof *h == h->count * elements[h->what].size;
}

bool keeper_send(int sock, const struct keeper_head *h, const void *body, size_t len, int fd, int flags)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec v[] = { { (void *)(uintptr_t)h, sizeof *h }, { (void *)(uintptr_t)body, len } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
	ssize_t n;

	if (fd >= 0) {
		struct cmsghdr *c = &control.align;

		m.msg_control = &control;
		m.msg_controllen = sizeof control;
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	do
		n = sendmsg(sock, &m, MSG_NOSIGNAL | flags);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)(sizeof *h + len);
}

/* ---- start and end ---- */

struct keeper *keeper_start(const struct tokens *tokens, bool background, struct err *err)
{
	struct keeper *k = calloc(1, sizeof *k);
	int pair[2];

	if (k)
		k->room = secret_new(sizeof *k->in);
	if (!k || !k->room || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		err_sys(err, errno, "a socket to the process that keeps the keys");
		goto fail;
	}
	k->in = (struct keeper_message *)k->room->data;
	k->pid = fork();
	if (k->pid < 0) {
		err_sys(err, errno, "the process that keeps the keys");
		close(pair[0]);
		close(pair[1]);
		goto fail;
	}
	if (k->pid == 0) {
		/* Standard descriptors and its end of the pair are all it keeps. */
		int sock = pair[1] == 3 ? 3 : dup3(pair[1], 3, O_CLOEXEC);

		sys3(SYS_close_range, 4u, ~0u, 0);
		secret_free(k->room);
		free(k);
		keeper_serve(sock, tokens, background);
	}
	close(pair[1]);
	k->sock = pair[0];
	return k;
fail:
	if (k)
		secret_free(k->room);
	free(k);
	return NULL;
}

void keeper_stop(struct keeper *k)
{
	struct pollfd p = { -1, POLLIN, 0 };

	if (!k)
		return;
	close(k->sock);
	p.fd = (int)sys2(SYS_pidfd_open, k->pid, 0);
	if (p.fd < 0 || poll(&p, 1, STOP_MS) != 1)
		kill(k->pid, SIGKILL); /* ours, and not waited for: the number is no other's */
	if (p.fd >= 0)
		close(p.fd);
	while (waitpid(k->pid, NULL, 0) < 0 && errno == EINTR)
		;
	for (size_t i = 0; i < KEEPER_ADDS_MAX; i++)
		keeper_set_release(&k->adds[i].set);
	secret_free(k->room);
	free(k);
}

pid_t keeper_pid(const struct keeper *k)
{
	return k->pid;
}

int keeper_fd(const struct keeper *k)
{
	return k->sock;
}

void keeper_set_release(struct keeper_set *s)
{
	jwk_set_release(&s->keys);
	free(s->token);
	*s = (struct keeper_set){ 0 };
}

/* ---- what comes ---- */

static bool tell(struct keeper *k, const struct keeper_head *h, const void *body, size_t len, int fd)
{
	/* What may be under way at once is bounded, and fits into the socket. */
	if (!k->gone && !keeper_send(k->sock, h, body, len, fd, MSG_DONTWAIT))
		k->gone = true;
	return !k->gone;
}

/* 1: a message is in k->in; 0: none; -1: gone. */
static int take(struct keeper *k)
{
	struct iovec v = { k->in, sizeof *k->in };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	ssize_t n;

	if (k->gone)
		return -1;
	do
		n = recvmsg(k->sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	if (n > 0 && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && keeper_fits(&k->in->head, (size_t)n))
		return 1;
	k->gone = true;
	return -1;
}

static bool get_public(struct jwk *to, const struct keeper_public *from)
{
	if (from->kind > JWK_OKP || from->alg >= AEAD_ALGS || from->kid_len > JWK_KID_MAX)
		return false;
	*to = (struct jwk){ .kind = (enum jwk_kind)from->kind, .has_kid = from->has_kid != 0, .kid_len = from->kid_len, .has_alg = from->has_alg != 0,
		            .alg = (enum aead_alg)from->alg };
	memcpy(to->kid, from->kid, from->kid_len);
	memcpy(to->x, from->x, sizeof to->x);
	return true;
}

/* SAY_KEYS, SAY_OFFER: what is in k->in becomes part of *s. -1: no keeper says that, or there is no memory for it. */
static int take_part(struct keeper *k, struct keeper_set *s)
{
	const struct keeper_head *h = &k->in->head;
	const struct keeper_public *from = (const struct keeper_public *)k->in->body;
	struct keeper_label *label = (struct keeper_label *)k->in->body;
	struct jwk *keys;

	if (h->what == SAY_OFFER) {
		if (h->number != s->keys.count)
			return -1;
		s->set = h->set;
		s->locked = h->flags & KEEPER_LOCKED;
		s->hidden = h->flags & KEEPER_HIDDEN;
		label->text[TEXT_MAX - 1] = '\0';
		s->token = h->count ? strdup(label->text) : NULL;
		return h->count && !s->token ? -1 : 0;
	}
	if (h->count > JWK_KEYS_MAX + 1 - s->keys.count) /* a token's key is one more than a file's */
		return -1;
	keys = realloc(s->keys.keys, (s->keys.count + h->count) * sizeof *keys);
	if (!keys)
		return h->count ? -1 : 0;
	s->keys.keys = keys;
	for (uint32_t i = 0; i < h->count; i++)
		if (!get_public(&keys[s->keys.count++], &from[i]))
			return -1;
	return 0;
}

static void take_err(const struct keeper *k, struct err *err)
{
	struct err e;

	memcpy(&e, k->in->body, sizeof e);
	e.text[sizeof e.text - 1] = '\0';
	err_set(err, e.code > ERR_NONE && e.code <= ERR_SYSTEM ? e.code : ERR_NOKEY, "%s", e.text);
	if (err && err->code == ERR_SYSTEM)
		err->sys_errno = e.sys_errno;
}

/* What is in k->in, about a JWK set. What nobody waits for any more is passed over. */
static void take_add(struct keeper *k)
{
	const struct keeper_head *h = &k->in->head;
	struct question *q = NULL;

	for (size_t i = 0; i < KEEPER_ADDS_MAX; i++)
		if (k->adds[i].state == ASKED && k->adds[i].serial == h->serial)
			q = &k->adds[i];
	if (!q)
		return;
	if (h->what == SAY_REFUSAL && h->count == 1) {
		take_err(k, &q->why);
		q->state = REFUSED;
	} else if ((h->what != SAY_KEYS && h->what != SAY_OFFER) || take_part(k, &q->set)) {
		k->gone = true;
	} else if (h->what == SAY_OFFER) {
		q->state = OFFERED;
	}
}

static bool is_answer(const struct keeper_head *h)
{
	return h->what >= SAY_REMOVED;
}

/* Takes what there is, until the answer to `serial` (0: to none) is in k->in: 1. 0: nothing is left; -1: gone. */
static int take_until(struct keeper *k, uint64_t serial)
{
	int r;

	while ((r = take(k)) > 0) {
		if (!is_answer(&k->in->head)) {
			take_add(k);
			continue;
		}
		if (k->unanswered == 0) {
			k->gone = true;
			return -1;
		}
		k->unanswered--;
		if (serial && k->in->head.serial == serial)
			return 1;
		secret_wipe(k->in, sizeof *k->in); /* too late */
	}
	return r;
}

int keeper_events(struct keeper *k)
{
	return take_until(k, 0) < 0 || k->gone ? -1 : 0;
}

static int ended(struct err *err)
{
	return err_sys(err, EPIPE, "the process that keeps the keys has ended, and they are gone with it");
}

int keeper_token(struct keeper *k, struct keeper_set *s, struct hardening *h, struct err *err)
{
	struct pollfd p = { k->sock, POLLIN, 0 };
	int r = 0;

	*s = (struct keeper_set){ 0 };
	while (r == 0) {
		const struct keeper_head *head = &k->in->head;

		while ((r = take(k)) == 0)
			if (poll(&p, 1, -1) < 0 && errno != EINTR)
				return err_sys(err, errno, "poll");
		if (r < 0) {
			ended(err);
		} else if (head->what == SAY_REFUSAL && head->count == 1) {
			take_err(k, err);
			r = -1;
		} else if (head->what == SAY_READY && head->count == 1) {
			memcpy(h, k->in->body, sizeof *h);
			return 0;
		} else if ((head->what != SAY_KEYS && head->what != SAY_OFFER) || take_part(k, s)) {
			r = ended(err);
		} else {
			r = head->what == SAY_OFFER;
		}
	}
	if (r < 0)
		keeper_set_release(s);
	return r;
}

/* ---- key sets ---- */

int keeper_add(struct keeper *k, int fd, size_t len, struct err *err)
{
	struct keeper_head h = { .what = ASK_ADD, .number = len };
	int place = 0;

	if (keeper_events(k) < 0) {
		ended(err);
		return -2;
	}
	if (k->unanswered) {
		err_set(err, ERR_NOKEY, "the process that keeps the keys hangs in a token: ct-agent has to be started anew if that does not come back");
		return -2;
	}
	while (place < KEEPER_ADDS_MAX && k->adds[place].state != FREE)
		place++;
	if (place == KEEPER_ADDS_MAX)
		return -1;
	h.serial = ++k->last_serial;
	if (!tell(k, &h, NULL, 0, fd)) {
		ended(err);
		return -2;
	}
	k->adds[place] = (struct question){ .state = ASKED, .serial = h.serial };
	return place;
}

int keeper_offer(struct keeper *k, int place, struct keeper_set *s, struct err *err)
{
	struct question *q = &k->adds[place];

	if (q->state == ASKED && !k->gone)
		return 0;
	if (q->state == OFFERED) {
		*s = q->set;
		q->set = (struct keeper_set){ 0 };
		return 1;
	}
	if (q->state == REFUSED) {
		if (err)
			*err = q->why;
	} else {
		ended(err);
	}
	keeper_set_release(&q->set);
	q->state = FREE;
	return -1;
}

void keeper_commit(struct keeper *k, int place, uint64_t set, int64_t expires)
{
	struct keeper_head h = { .what = ASK_COMMIT, .serial = k->adds[place].serial, .set = set, .expires = expires };

	tell(k, &h, NULL, 0, -1);
	k->adds[place].state = FREE;
}

void keeper_drop(struct keeper *k, int place)
{
	struct question *q = &k->adds[place];
	struct keeper_head h = { .what = ASK_DROP, .serial = q->serial };

	if (q->state != REFUSED)
		tell(k, &h, NULL, 0, -1);
	keeper_set_release(&q->set);
	q->state = FREE;
}

/* ---- calls ---- */

/* Sends k->out.head with body bytes behind it, and waits. KEEPER_OK: the answer is in k->in. */
static enum keeper_answer call(struct keeper *k, size_t body, int64_t deadline_ms)
{
	uint64_t serial = ++k->last_serial;
	struct pollfd p = { k->sock, POLLIN, 0 };
	int r;

	k->out.head.serial = serial;
	if (!tell(k, &k->out.head, k->out.body, body, -1))
		return KEEPER_ENDED;
	k->unanswered++;
	while ((r = take_until(k, serial)) == 0) {
		int64_t left = deadline_ms - clock_ms();

		if (left <= 0)
			return KEEPER_LATE;
		poll(&p, 1, (int)left);
	}
	return r > 0 ? KEEPER_OK : KEEPER_ENDED;
}

void keeper_remove(struct keeper *k, uint64_t set)
{
	bool hangs = keeper_events(k) == 0 && k->unanswered > 0;

	k->out.head = (struct keeper_head){ .what = ASK_REMOVE, .set = set };
	call(k, 0, hangs ? 0 : clock_ms() + KEEPER_WAIT_MS);
}

enum keeper_answer keeper_unwrap(struct keeper *k, uint64_t set, size_t key, enum aead_alg alg, const struct crypto_entry *entries, size_t n,
                                 uint8_t *out, int64_t deadline_ms, size_t *which, struct err *err)
{
	struct keeper_wrapped *w = (struct keeper_wrapped *)k->out.body;
	const struct keeper_head *says = &k->in->head;
	enum keeper_answer r;

	if (keeper_events(k) < 0)
		return KEEPER_ENDED;
	if (k->unanswered)
		return KEEPER_BUSY;
	for (size_t i = 0; i < n; i++, w++) {
		memcpy(w->key, entries[i].wrapped_key, sizeof w->key);
		memcpy(w->iv, entries[i].key_iv, sizeof w->iv);
		memcpy(w->tag, entries[i].key_tag, sizeof w->tag);
	}
	k->out.head = (struct keeper_head){ .what = ASK_UNWRAP, .count = (uint32_t)n, .set = set, .key = (uint32_t)key, .alg = alg };
	r = call(k, n * sizeof *w, deadline_ms);
	if (r != KEEPER_OK)
		return r;
	switch (says->what) {
	case SAY_UNWRAPPED:
		if (says->count != n * aead_key_len(alg))
			break;
		memcpy(out, k->in->body, says->count);
		secret_wipe(k->in->body, says->count);
		return KEEPER_OK;
	case SAY_WRONG:
		*which = says->number;
		if (*which >= n)
			break;
		return KEEPER_WRONG;
	case SAY_UNFIT:
		return KEEPER_UNFIT;
	case SAY_GONE:
		return KEEPER_GONE;
	case SAY_FAILURE:
		if (says->count != 1)
			break;
		take_err(k, err);
		return KEEPER_ERROR;
	default:
		break;
	}
	k->gone = true;
	return KEEPER_ENDED;
}
