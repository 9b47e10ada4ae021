#include "server.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "conn.h"
#include "engine.h"

#define ACCEPT_BURST 16
#define ACCEPT_PAUSE_MS 100

struct server {
	struct agent *a;
	int listen_fd;
	struct conn conns[SERVER_CONNS_MAX];
	size_t count, count_others;
	size_t held, held_others; /* bytes of blobs */
	uint64_t serial;
	int64_t accept_at_ms; /* no accept before: the system was short of something */
};

static void end(struct server *s, struct conn *c)
{
	s->held -= c->held;
	s->count--;
	if (c->other) {
		s->held_others -= c->held;
		s->count_others--;
	}
	conn_end(c, s->a);
}

/* A blob's share of the budget ends with the blob, or with what was made of it for a decision; not with the connection. */
static void settle(struct server *s, struct conn *c)
{
	if (c->state == CONN_DONE) {
		end(s, c);
	} else if (c->held && c->state != CONN_BLOB && c->state != CONN_DECIDE) {
		s->held -= c->held;
		s->held_others -= c->other ? c->held : 0;
		c->held = 0;
	}
}

static void go(struct server *s, struct conn *c)
{
	conn_go(c, s->a);
	settle(s, c);
}

/* The oldest connection that waits for room; others: look among those of other users too. */
static struct conn *oldest_waiting(struct server *s, bool others)
{
	struct conn *best = NULL;

	for (size_t i = 0; i < SERVER_CONNS_MAX; i++) {
		struct conn *c = &s->conns[i];

		if (c->state == CONN_ROOM && (others || !c->other) && (!best || c->serial < best->serial))
			best = c;
	}
	return best;
}

/* First come, first served, so that big blobs are not overtaken for ever; but other users' limit holds up nobody else. */
static void give_room(struct server *s)
{
	bool others = true;
	struct conn *c;

	while ((c = oldest_waiting(s, others))) {
		size_t want = c->sizes.blob_len;

		if (c->other && want > SERVER_BLOBS_OTHERS_MAX - s->held_others) {
			others = false;
			continue;
		}
		if (want > SERVER_BLOBS_MAX - s->held)
			return;
		c->held = want;
		s->held += want;
		s->held_others += c->other ? want : 0;
		conn_room_granted(c);
		go(s, c);
	}
}

static struct conn *free_slot(struct server *s)
{
	for (size_t i = 0; i < SERVER_CONNS_MAX; i++)
		if (s->conns[i].state == CONN_FREE)
			return &s->conns[i];
	return NULL;
}

/* 0: go on; -1: the listening socket is unusable. */
static int accept_some(struct server *s, struct err *err)
{
	for (int i = 0; i < ACCEPT_BURST && s->count < SERVER_CONNS_MAX; i++) {
		int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct conn *c;

		if (fd < 0) {
			switch (errno) {
			case EINTR:
			case ECONNABORTED: /* the peer has thought better of it */
				continue;
			case EAGAIN:
				return 0;
			case EMFILE:
			case ENFILE:
			case ENOBUFS:
			case ENOMEM: /* comes right when a connection ends; polling on would spin */
				s->accept_at_ms = clock_ms() + ACCEPT_PAUSE_MS;
				return 0;
			default:
				return err_sys(err, errno, "accept");
			}
		}
		c = free_slot(s);
		conn_begin(c, fd, s->a, s->serial++, clock_ms() + SERVER_DEADLINE_MS);
		s->count++;
		s->count_others += c->other;
		if (s->count_others > SERVER_CONNS_OTHERS_MAX && c->other)
			c->state = CONN_DONE;
		go(s, c);
	}
	return 0;
}

/* POLLHUP: both ways are shut, so nobody waits for the answer. One who has only said all that he has to say is no such case. */
static void hung_up(struct server *s, struct conn *c)
{
	agent_log(s->a, "pid %d uid %u: gone before its policy was judged", c->peer.pid, c->peer.uid);
	end(s, c);
}

/* First come, first served. asking: those whose question is with the engine, so that the others find the slots of the answered ones free. */
static void decide(struct server *s, bool asking)
{
	struct conn *c, *last = NULL;

	do {
		c = NULL;
		for (size_t i = 0; i < SERVER_CONNS_MAX; i++) {
			struct conn *x = &s->conns[i];

			if (x->state == CONN_DECIDE && x->request.decision.asking == asking && (!last || x->serial > last->serial) &&
			    (!c || x->serial < c->serial))
				c = x;
		}
		last = c;
		if (c)
			go(s, c);
	} while (c);
}

static void end_overdue(struct server *s, int64_t now)
{
	for (size_t i = 0; i < SERVER_CONNS_MAX; i++) {
		struct conn *c = &s->conns[i];

		if (c->state != CONN_FREE && c->deadline_ms <= now) {
			agent_log(s->a, "pid %d uid %u: no time left, closed", c->peer.pid, c->peer.uid);
			end(s, c);
		}
	}
}

/* Milliseconds until the next thing happens by itself; -1: nothing will. */
static int next_timeout(const struct server *s, int64_t next_expiry)
{
	int64_t now = clock_ms(), next = INT64_MAX, left;

	for (size_t i = 0; i < SERVER_CONNS_MAX; i++) {
		const struct conn *c = &s->conns[i];

		if (c->state != CONN_FREE && c->deadline_ms < next)
			next = c->deadline_ms;
		if (c->state == CONN_DECIDE && now + 20 < next)
			next = now + 20;
	}
	if (s->accept_at_ms > now && s->accept_at_ms < next)
		next = s->accept_at_ms;
	left = next == INT64_MAX ? INT64_MAX : next - now;
	if (next_expiry >= 0 && next_expiry - clock_boot_ms() < left)
		left = next_expiry - clock_boot_ms();
	if (left == INT64_MAX)
		return -1;
	return left < 0 ? 0 : left > 60000 ? 60000 : (int)left + 1;
}

enum { POLL_LISTEN, POLL_SIGNALS, POLL_FOLLOW, POLL_ENGINE, POLL_REMOTE, POLL_CONFIRM, POLL_KEEPER, POLL_CONNS };

static size_t fill(const struct server *s, struct pollfd *p, struct conn **who, struct server *own)
{
	size_t n = POLL_CONNS;
	bool room = s->count < SERVER_CONNS_MAX && clock_ms() >= s->accept_at_ms;

	p[POLL_LISTEN] = (struct pollfd){ room ? s->listen_fd : -1, POLLIN, 0 };
	for (size_t i = 0; i < SERVER_CONNS_MAX; i++) {
		short events = conn_events(&s->conns[i]);

		if (!events && s->conns[i].state != CONN_DECIDE)
			continue;
		who[n] = &own->conns[i];
		p[n++] = (struct pollfd){ s->conns[i].fd, events, 0 };
	}
	return n;
}

/* False: the end. */
static bool signals(struct server *s, int fd)
{
	enum reload_event what = reload_signals(s->a, fd);

	for (size_t i = 0; what == RELOAD_CHANGED && i < SERVER_CONNS_MAX; i++) {
		conn_reloaded(&s->conns[i], s->a);
		settle(s, &s->conns[i]);
	}
	return what != RELOAD_END;
}

static int loop(struct server *s, struct pollfd *p, struct conn **who, struct err *err)
{
	for (;;) {
		int64_t next_expiry = keystore_expire(s->a->keys, clock_boot_ms());
		int64_t next_tick = licences_tick(s->a, clock_boot_ms());
		size_t n = fill(s, p, who, s);

		if (next_tick >= 0 && (next_expiry < 0 || next_tick < next_expiry))
			next_expiry = next_tick;
		if (poll(p, n, next_timeout(s, next_expiry)) < 0) {
			if (errno == EINTR)
				continue;
			return err_sys(err, errno, "poll");
		}
		if (p[POLL_FOLLOW].revents || (p[POLL_SIGNALS].revents && !signals(s, p[POLL_SIGNALS].fd)))
			return 0;
		if (p[POLL_ENGINE].revents && engine_events(s->a->engine) < 0) {
			p[POLL_ENGINE].fd = -1;
			agent_log(s->a, "the process that starts the policy engine has ended: what needs it is refused until the agent is started anew");
		}
		if (p[POLL_REMOTE].revents && engine_events(s->a->remote) < 0) {
			p[POLL_REMOTE].fd = -1;
			agent_log(s->a, "the process that starts the program for remote policies has ended: what needs it is refused until the agent is started anew");
		}
		if (p[POLL_CONFIRM].revents && confirm_events(s->a->confirm) < 0)
			p[POLL_CONFIRM].fd = -1;
		if (p[POLL_KEEPER].revents && keystore_events(s->a->keys, err) < 0)
			return -1;
		for (size_t i = POLL_CONNS; i < n; i++)
			if (p[i].revents && who[i]->state == CONN_DECIDE)
				hung_up(s, who[i]);
		decide(s, true);
		decide(s, false);
		for (size_t i = POLL_CONNS; i < n; i++)
			if (p[i].revents)
				go(s, who[i]);
		if (p[POLL_LISTEN].revents && accept_some(s, err))
			return -1;
		give_room(s);
		end_overdue(s, clock_ms());
	}
}

int server_run(struct agent *a, int listen_fd, int signal_fd, int follow, struct err *err)
{
	struct pollfd p[POLL_CONNS + SERVER_CONNS_MAX];
	struct conn *who[POLL_CONNS + SERVER_CONNS_MAX];
	struct server *s = calloc(1, sizeof *s);
	int r;

	if (!s)
		return err_sys(err, ENOMEM, "the table of connections");
	s->a = a;
	s->listen_fd = listen_fd;
	p[POLL_SIGNALS] = (struct pollfd){ signal_fd, POLLIN, 0 };
	p[POLL_FOLLOW] = (struct pollfd){ follow, POLLIN, 0 };
	p[POLL_ENGINE] = (struct pollfd){ a->engine->launcher.sock, POLLIN, 0 };
	p[POLL_REMOTE] = (struct pollfd){ a->remote->launcher.sock, POLLIN, 0 };
	p[POLL_CONFIRM] = (struct pollfd){ a->confirm->launcher.sock, POLLIN, 0 };
	p[POLL_KEEPER] = (struct pollfd){ keystore_fd(a->keys), POLLIN, 0 };
	r = loop(s, p, who, err);
	for (size_t i = 0; i < SERVER_CONNS_MAX; i++)
		if (s->conns[i].state != CONN_FREE)
			end(s, &s->conns[i]);
	free(s);
	return r;
}
