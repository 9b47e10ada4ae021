#include "conn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The reply is complete: from now on it is only written. */
static void start_reply(struct conn *c, struct agent *a)
{
	size_t blob = c->reply.blob ? c->reply.blob->len : 0;

	free(c->json);
	free(c->raw);
	secret_free(c->secret);
	c->json = NULL;
	c->raw = NULL;
	c->secret = NULL;
	request_release(&c->request, a);
	if (!c->reply.json.len || c->reply.json.failed || c->reply.json.len > WIRE_JSON_MAX || blob > WIRE_BLOB_MAX) {
		c->state = CONN_DONE;
		return;
	}
	wire_head_put(c->reply_head, (uint32_t)c->reply.json.len, (uint32_t)blob);
	c->at = 0;
	c->state = CONN_WRITE;
}

void conn_begin(struct conn *c, int fd, struct agent *a, uint64_t serial, int64_t deadline_ms)
{
	enum peer_rights rights = PEER_NOTHING;
	bool known;

	memset(c, 0, sizeof *c);
	c->fd = fd;
	c->serial = serial;
	c->deadline_ms = deadline_ms;
	c->state = CONN_HEAD;
	known = peer_of(&c->peer, fd);
	if (known)
		rights = peer_rights(&c->peer, config_allows(a->config, c->peer.uid));
	c->other = rights != PEER_MAY_ALL;
	if (!known) {
		c->state = CONN_DONE;
	} else if (rights == PEER_NOTHING) {
		agent_log(a, "refused: pid %d uid %u is not admitted", c->peer.pid, c->peer.uid);
		reply_error(&c->reply, EKEYREJECTED, "the agent of uid %u does not admit uid %u: allow-uid %u in its configuration would",
		            geteuid(), c->peer.uid, c->peer.uid);
		start_reply(c, a);
	}
}

/* 1: all `len` bytes of the part are there; 0: not yet. A peer that has gone makes the connection DONE. */
static int take(struct conn *c, void *part, size_t len)
{
	while (c->at < len) {
		ssize_t n = recv(c->fd, (uint8_t *)part + c->at, len - c->at, MSG_DONTWAIT);

		if (n > 0) {
			c->at += (size_t)n;
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else {
			if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
				c->state = CONN_DONE;
			return 0;
		}
	}
	c->at = 0;
	return 1;
}

static void go_head(struct conn *c, struct agent *a)
{
	struct err why;

	if (!take(c, c->head, sizeof c->head))
		return;
	if (wire_head_get(&c->sizes, c->head, &why)) {
		reply_error(&c->reply, EINVAL, "%s", why.text);
		start_reply(c, a);
		return;
	}
	c->json = malloc(c->sizes.json_len);
	c->state = c->json ? CONN_JSON : CONN_DONE;
}

static void go_json(struct conn *c, struct agent *a)
{
	if (!take(c, c->json, c->sizes.json_len))
		return;
	int r = request_parse(&c->request, &c->peer, c->json, c->sizes.json_len, c->sizes.blob_len, &c->reply);

	c->request.deadline_ms = c->deadline_ms;
	if (r)
		start_reply(c, a);
	else if (!request_blob_stays(&c->request))
		c->state = CONN_ROOM;
	else if (request_take(&c->request, a, &c->peer, NULL, c->sizes.blob_len, NULL, &c->reply))
		start_reply(c, a);
	else
		c->state = CONN_DECIDE;
}

bool conn_room_granted(struct conn *c)
{
	if (request_blob_is_secret(&c->request)) {
		c->secret = secret_new(c->sizes.blob_len);
		c->state = c->secret ? CONN_BLOB : CONN_DONE;
	} else {
		c->raw = malloc(c->sizes.blob_len + 1u);
		c->state = c->raw ? CONN_BLOB : CONN_DONE;
	}
	return c->state == CONN_BLOB;
}

static void go_blob(struct conn *c, struct agent *a)
{
	int r;

	if (!take(c, c->secret ? c->secret->data : c->raw, c->sizes.blob_len))
		return;
	r = request_take(&c->request, a, &c->peer, c->raw, c->sizes.blob_len, c->secret, &c->reply);
	free(c->raw);
	c->raw = NULL;
	secret_free(c->secret);
	c->secret = NULL;
	if (r)
		start_reply(c, a);
	else
		c->state = CONN_DECIDE;
}

static void go_write(struct conn *c)
{
	struct {
		const void *p;
		size_t len;
	} parts[3] = {
		{ c->reply_head, sizeof c->reply_head },
		{ c->reply.json.data, c->reply.json.len },
		{ c->reply.blob ? c->reply.blob->data : NULL, c->reply.blob ? c->reply.blob->len : 0 },
	};

	for (;;) {
		struct iovec v[3];
		struct msghdr m = { .msg_iov = v };
		size_t skip = c->at;
		ssize_t n;

		for (int i = 0; i < 3; i++) {
			size_t cut = skip < parts[i].len ? skip : parts[i].len;

			skip -= cut;
			if (cut == parts[i].len)
				continue;
			v[m.msg_iovlen].iov_base = (uint8_t *)parts[i].p + cut;
			v[m.msg_iovlen++].iov_len = parts[i].len - cut;
		}
		if (!m.msg_iovlen) {
			c->state = CONN_DONE;
			return;
		}
		n = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			c->at += (size_t)n;
		} else if (errno != EINTR) {
			if (errno != EAGAIN && errno != EWOULDBLOCK)
				c->state = CONN_DONE;
			return;
		}
	}
}

void conn_go(struct conn *c, struct agent *a)
{
	enum conn_state before;

	do {
		before = c->state;
		switch (c->state) {
		case CONN_HEAD:
			go_head(c, a);
			break;
		case CONN_JSON:
			go_json(c, a);
			break;
		case CONN_BLOB:
			go_blob(c, a);
			break;
		case CONN_DECIDE:
			if (request_work(&c->request, a, &c->peer, &c->reply) == DECISION_READY)
				start_reply(c, a);
			break;
		case CONN_WRITE:
			go_write(c);
			break;
		default:
			return;
		}
	} while (c->state != before);
}

void conn_reloaded(struct conn *c, struct agent *a)
{
	if (c->state == CONN_FREE || c->state == CONN_WRITE || c->state == CONN_DONE)
		return;
	if (peer_rights(&c->peer, config_allows(a->config, c->peer.uid)) == PEER_NOTHING)
		c->state = CONN_DONE;
	else if (c->state == CONN_DECIDE)
		request_reloaded(&c->request);
}

short conn_events(const struct conn *c)
{
	switch (c->state) {
	case CONN_HEAD:
	case CONN_JSON:
	case CONN_BLOB:
		return POLLIN;
	case CONN_WRITE:
		return POLLOUT;
	default:
		return 0;
	}
}

void conn_end(struct conn *c, struct agent *a)
{
	free(c->json);
	free(c->raw);
	secret_free(c->secret);
	request_release(&c->request, a);
	reply_release(&c->reply);
	peer_release(&c->peer);
	close(c->fd);
	memset(c, 0, sizeof *c);
}
