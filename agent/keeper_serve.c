/* The keeper's own process. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "keeper_sets.h"
#include "sys.h"
#include "tokens.h"

/* A JWK set on its way in. */
struct add {
	enum { FREE, READING, WHOLE, OFFERED } state;
	uint64_t serial;
	int fd;              /* -1 unless READING */
	int64_t deadline_ms; /* clock_ms() */
	struct secret *text; /* READING, WHOLE */
	size_t have;
	struct jwk_set keys; /* OFFERED, with the number of the same set, or 0 */
	uint64_t same;
};

struct keeper_process {
	int sock;
	struct keeper_sets sets;
	struct add adds[KEEPER_ADDS_MAX];
	struct keeper_message in;
	struct secret *out; /* data keys */
};

/* ---- what it says ---- */

static bool say(struct keeper_process *p, const struct keeper_head *h, const void *body, size_t len)
{
	return keeper_send(p->sock, h, body, len, -1, 0);
}

static bool say_err(struct keeper_process *p, enum keeper_what what, uint64_t serial, const struct err *err)
{
	struct keeper_head h = { .what = what, .count = 1, .serial = serial };

	return say(p, &h, err, sizeof *err);
}

static void put_public(struct keeper_public *to, const struct jwk *k)
{
	memset(to, 0, sizeof *to); /* nothing that lay there before goes out with it */
	to->kind = (uint8_t)k->kind;
	to->has_kid = k->has_kid;
	to->has_alg = k->has_alg;
	to->alg = (uint8_t)k->alg;
	to->kid_len = (uint32_t)k->kid_len;
	memcpy(to->kid, k->kid, k->kid_len);
	memcpy(to->x, k->x, sizeof k->x);
}

/* What others may know of a set. t: NULL, or what has its master key. */
static bool say_set(struct keeper_process *p, uint64_t serial, uint64_t set, const struct jwk_set *keys, const struct token *t)
{
	struct keeper_public some[KEEPER_PUBLIC_MAX];
	struct keeper_label label = { "" };
	struct keeper_head h = { .what = SAY_KEYS, .serial = serial };

	for (size_t i = 0; i < keys->count; i += h.count) {
		h.count = (uint32_t)(keys->count - i < KEEPER_PUBLIC_MAX ? keys->count - i : KEEPER_PUBLIC_MAX);
		for (size_t k = 0; k < h.count; k++)
			put_public(&some[k], &keys->keys[i + k]);
		if (!say(p, &h, some, h.count * sizeof *some))
			return false;
	}
	if (t)
		snprintf(label.text, sizeof label.text, "%s", token_label(t));
	h = (struct keeper_head){ .what = SAY_OFFER, .count = t ? 1 : 0, .serial = serial, .set = set, .number = keys->count,
		                  .flags = keeper_sets_flags(keys) };
	return say(p, &h, &label, h.count * sizeof label);
}

/* ---- adding ---- */

static void end_add(struct add *a)
{
	if (a->fd >= 0)
		close(a->fd);
	secret_free(a->text);
	jwk_set_release(&a->keys);
	*a = (struct add){ .fd = -1 };
}

static bool refuse(struct keeper_process *p, struct add *a, const struct err *why)
{
	bool said = say_err(p, SAY_REFUSAL, a->serial, why);

	end_add(a);
	return said;
}

static bool refuse_sys(struct keeper_process *p, struct add *a, int errnum, const char *what)
{
	struct err why = { 0 };

	err_sys(&why, errnum, "%s", what);
	return refuse(p, a, &why);
}

static struct add *find_add(struct keeper_process *p, uint64_t serial)
{
	for (size_t i = 0; i < KEEPER_ADDS_MAX; i++)
		if (p->adds[i].state != FREE && p->adds[i].serial == serial)
			return &p->adds[i];
	return NULL;
}

/* Owns fd. false: the front asks for what it may not. */
static bool begin_add(struct keeper_process *p, const struct keeper_head *h, int fd)
{
	struct add *a = NULL;

	for (size_t i = 0; i < KEEPER_ADDS_MAX; i++)
		if (p->adds[i].state == FREE)
			a = &p->adds[i];
	if (!a || fd < 0 || h->serial == 0 || find_add(p, h->serial) || h->number == 0 || h->number > JWK_FILE_MAX) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	*a = (struct add){ READING, h->serial, fd, clock_ms() + KEEPER_ADD_MS, secret_new_hidden(h->number), 0, { NULL, 0 }, 0 };
	return a->text || refuse_sys(p, a, ENOMEM, "a key set");
}

/* More of the text; never waits, whatever kind of descriptor it is. */
static bool read_add(struct keeper_process *p, struct add *a)
{
	for (;;) {
		ssize_t n = recv(a->fd, a->text->data + a->have, a->text->len - a->have, MSG_DONTWAIT);

		if (n == 0)
			return refuse_sys(p, a, ENODATA, "the key set was cut short");
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK || refuse_sys(p, a, errno, "reading the key set");
		a->have += (size_t)n;
		if (a->have < a->text->len)
			continue;
		close(a->fd);
		a->fd = -1;
		a->state = WHOLE;
		return true;
	}
}

static bool offer(struct keeper_process *p, struct add *a)
{
	struct err why = { 0 }; /* zeroed: all of it is sent */

	if (jwk_set_parse(&a->keys, (const char *)a->text->data, a->text->len, &why))
		return refuse(p, a, &why);
	secret_free(a->text);
	a->text = NULL;
	keeper_sets_strip(&a->keys);
	a->same = keeper_sets_same(&p->sets, &a->keys);
	a->state = OFFERED;
	return say_set(p, a->serial, a->same, &a->keys, NULL);
}

/* One at a time: whether a set is there already is known when those before it are kept or dropped. */
static bool offer_next(struct keeper_process *p)
{
	struct add *next = NULL;

	for (size_t i = 0; i < KEEPER_ADDS_MAX; i++) {
		struct add *a = &p->adds[i];

		if (a->state == OFFERED)
			return true;
		if (a->state == WHOLE && (!next || a->serial < next->serial))
			next = a;
	}
	return !next || offer(p, next);
}

static bool commit(struct keeper_process *p, const struct keeper_head *h)
{
	struct add *a = find_add(p, h->serial);
	struct kept *there = keeper_sets_find(&p->sets, h->set);

	if (!a || a->state != OFFERED || h->set == 0 || (there && h->set != a->same))
		return false;
	if (there) {
		there->expires = h->expires;
	} else {
		if (!keeper_sets_put(&p->sets, h->set, &a->keys, NULL, h->expires))
			return false;
		a->keys = (struct jwk_set){ NULL, 0 };
	}
	end_add(a);
	return true;
}

/* ---- what it is asked ---- */

static bool unwrap(struct keeper_process *p, const struct keeper_head *h)
{
	struct keeper_head says = { .serial = h->serial };
	struct err why = { 0 };
	size_t which = 0;
	bool said;

	says.what = keeper_sets_unwrap(&p->sets, h, (const struct keeper_wrapped *)p->in.body, p->out->data, &which, &why);
	if (says.what == SAY_FAILURE)
		return say_err(p, SAY_FAILURE, h->serial, &why);
	says.number = which;
	if (says.what == SAY_UNWRAPPED)
		says.count = h->count * (uint32_t)aead_key_len((enum aead_alg)h->alg);
	said = say(p, &says, p->out->data, says.count);
	secret_wipe(p->out->data, p->out->len);
	return said;
}

/* Owns fd. false: that is no message of a front, or there is none any more. */
static bool answer(struct keeper_process *p, int fd)
{
	const struct keeper_head *h = &p->in.head;
	struct keeper_head removed = { .what = SAY_REMOVED, .serial = h->serial };
	struct add *a;

	keeper_sets_expire(&p->sets, clock_boot_ms());
	if (h->what == ASK_ADD)
		return begin_add(p, h, fd);
	if (fd >= 0) {
		close(fd);
		return false;
	}
	switch (h->what) {
	case ASK_DROP:
		a = find_add(p, h->serial);
		if (a)
			end_add(a);
		return true;
	case ASK_COMMIT:
		return commit(p, h);
	case ASK_REMOVE:
		keeper_sets_remove(&p->sets, h->set);
		return say(p, &removed, NULL, 0);
	case ASK_UNWRAP:
		return unwrap(p, h);
	default:
		return false;
	}
}

/* 1: a message, with *fd or -1; 0: none; -1: the front has gone, or sends what none does. */
static int take(struct keeper_process *p, int *fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec v = { &p->in, sizeof p->in };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control,
		            .msg_controllen = CMSG_LEN(sizeof(int)) }; /* of one: the padding has room for another. MSG_CTRUNC: there were more */
	ssize_t n = recvmsg(p->sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c;

	*fd = -1;
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return 0;
	if (n <= 0)
		return -1;
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof *fd);
	if (!(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && keeper_fits(&p->in.head, (size_t)n))
		return 1;
	if (*fd >= 0)
		close(*fd);
	return -1;
}

/* ---- the loop ---- */

static int timeout(const struct keeper_process *p, int64_t next_expiry)
{
	int64_t left = INT64_MAX;

	if (next_expiry >= 0)
		left = next_expiry - clock_boot_ms();
	for (size_t i = 0; i < KEEPER_ADDS_MAX; i++)
		if (p->adds[i].state == READING && p->adds[i].deadline_ms - clock_ms() < left)
			left = p->adds[i].deadline_ms - clock_ms();
	if (left == INT64_MAX)
		return -1;
	return left < 0 ? 0 : left > 60000 ? 60000 : (int)left + 1; /* poll()'s clock stands still while the machine sleeps */
}

static bool go_on_reading(struct keeper_process *p, struct add *a, bool readable)
{
	if (readable && !read_add(p, a))
		return false;
	if (a->state == READING && a->deadline_ms <= clock_ms())
		return refuse_sys(p, a, ETIMEDOUT, "the key set did not come");
	return true;
}

/* Returns when the front has gone, or is none. */
static void loop(struct keeper_process *p)
{
	struct pollfd fds[1 + KEEPER_ADDS_MAX];
	int fd, r;

	for (;;) {
		int64_t next = keeper_sets_expire(&p->sets, clock_boot_ms());

		fds[0] = (struct pollfd){ p->sock, POLLIN, 0 };
		for (size_t i = 0; i < KEEPER_ADDS_MAX; i++)
			fds[1 + i] = (struct pollfd){ p->adds[i].state == READING ? p->adds[i].fd : -1, POLLIN, 0 };
		if (poll(fds, 1 + KEEPER_ADDS_MAX, timeout(p, next)) < 0 && errno != EINTR)
			return;
		for (size_t i = 0; i < KEEPER_ADDS_MAX; i++) /* before messages, which change what is where */
			if (p->adds[i].state == READING && !go_on_reading(p, &p->adds[i], fds[1 + i].revents != 0))
				return;
		while ((r = take(p, &fd)) > 0)
			if (!answer(p, fd))
				return;
		if (r < 0 || !offer_next(p))
			return;
	}
}

/* ---- from the fork on ---- */

/* Says which sets the tokens make, and that it is ready; or the error. */
static bool begin(struct keeper_process *p, const struct tokens *tokens, bool background)
{
	struct keeper_head ready = { .what = SAY_READY, .count = 1 };
	struct hardening h;
	struct err why = { 0 };

	p->out = secret_new_hidden((size_t)KEEPER_BATCH * AEAD_KEY_MAX);
	if (!p->out || (background && (chdir("/") < 0 || !harden_to_null()))) {
		err_sys(&why, errno, "the process that keeps the keys");
		say_err(p, SAY_REFUSAL, 0, &why);
		return false;
	}
	if (tokens_open(tokens, &p->sets, &why)) {
		say_err(p, SAY_REFUSAL, 0, &why);
		return false;
	}
	memset(&h, 0, sizeof h);
	harden_keeper(&h, tokens->count > 0);
	for (size_t i = 0; i < p->sets.count; i++)
		if (!say_set(p, 0, p->sets.all[i].id, &p->sets.all[i].keys, p->sets.all[i].token))
			return false;
	return say(p, &ready, &h, sizeof h);
}

_Noreturn void keeper_serve(int sock, const struct tokens *tokens, bool background)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct keeper_process *p = calloc(1, sizeof *p);

	prctl(PR_SET_NAME, "ct-keeper", 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* its socket ends it, unless it hangs in a token */
	/* Of a terminal, or of who ends a whole group or unit: the front's own end is the one that counts. */
	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
		signal(ends[i], SIG_IGN);
	if (!p)
		_exit(1);
	p->sock = sock;
	for (size_t i = 0; i < KEEPER_ADDS_MAX; i++)
		p->adds[i].fd = -1;
	if (begin(p, tokens, background))
		loop(p);
	for (size_t i = 0; i < KEEPER_ADDS_MAX; i++)
		end_add(&p->adds[i]);
	keeper_sets_remove(&p->sets, 0);
	secret_free(p->out);
	secret_wipe(p, sizeof *p);
	free(p);
	exit(0);
}
