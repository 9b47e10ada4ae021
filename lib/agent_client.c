#include "agent_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "clock.h"
#include "json.h"
#include "sys.h"
#include "text.h"

#define FD_HIGH 512 /* out of the way of hosts that close or reuse low numbers */
#define RETRY_MS 50
#define EARLY_MS 250 /* for sending what is asked early: an agent that does not read is met again, and waited for, in its time */
#define OPEN_JSON 80 /* bytes that an open's JSON takes at most */
#define PERSON_RETRY_MS 250 /* the agent has kept us waiting already */

#define PATH_TEXT(addr) TEXT((addr)->path, strlen((addr)->path))

static uid_t own_uid(void)
{
	return (uid_t)sys0(SYS_geteuid);
}

/* --- the connection --- */

/* A connected descriptor, or -errno. */
static int dial(const struct agent_addr *addr)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd, high;
	long r;

	memcpy(sun.sun_path, addr->path, sizeof sun.sun_path);
	fd = (int)sys3(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	high = (int)sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, FD_HIGH);
	if (high >= 0) {
		sys_close(fd);
		fd = high;
	}
	do
		r = sys3(SYS_connect, fd, &sun, sizeof sun);
	while (r == -EINTR);
	if (r < 0) {
		sys_close(fd);
		return (int)r;
	}
	return fd;
}

static int64_t timeout_ms(const struct agent_addr *addr)
{
	return addr->timeout_ms ? addr->timeout_ms : AGENT_TIMEOUT_MS;
}

static int no_agent(const struct agent_addr *addr, int errnum, struct err *err)
{
	const char *what = strerrordesc_np(errnum);

	switch (errnum) {
	case ENOENT:
		return err_set(err, ERR_NOKEY, "no agent at %s: start ct-agent, then: ct add KEYS", PATH_TEXT(addr));
	case ECONNREFUSED:
		return err_set(err, ERR_NOKEY, "no agent at %s any more: start ct-agent, then: ct add KEYS", PATH_TEXT(addr));
	case EACCES:
		return err_set(err, ERR_NOKEY, "the agent's socket %s is closed to uid %u: allow-uid %u in its configuration admits it",
		               PATH_TEXT(addr), own_uid(), own_uid());
	case EAGAIN:
		return err_set(err, ERR_NOKEY, "the agent at %s is too busy", PATH_TEXT(addr));
	default:
		return err_set(err, ERR_NOKEY, "no connection to the agent at %s: %s", PATH_TEXT(addr), what ? what : "unknown error");
	}
}

static int check_peer(const struct agent_addr *addr, int fd, pid_t *pid, struct err *err)
{
	struct ucred peer = { 0 };
	socklen_t len = sizeof peer;
	long r = sys5(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);

	if (r < 0 || len != sizeof peer)
		return err_set(err, ERR_NOKEY, "%s: the kernel does not say who the agent is", PATH_TEXT(addr));
	if (peer.uid != own_uid() && peer.uid != 0 && (addr->trust == (uid_t)-1 || peer.uid != addr->trust))
		return err_set(err, ERR_NOKEY, "the agent at %s runs as uid %u and is not believed: CT_AGENT_UID=%u if it should be",
		               PATH_TEXT(addr), peer.uid, peer.uid);
	*pid = peer.pid;
	return 0;
}

int agent_connect(const struct agent_addr *addr, pid_t *pid, struct err *err)
{
	int64_t start = clock_ms(), wait = (int64_t)addr->wait_s * 1000;
	int64_t busy = wait > timeout_ms(addr) ? wait : timeout_ms(addr);
	int fd;

	for (;;) {
		int64_t limit = 0;

		fd = dial(addr);
		if (fd >= 0)
			break;
		if (fd == -ENOENT || fd == -ECONNREFUSED)
			limit = wait;
		else if (fd == -EAGAIN) /* its backlog is full */
			limit = busy;
		if (clock_ms() - start >= limit)
			return no_agent(addr, -fd, err);
		clock_pause(RETRY_MS);
	}
	if (check_peer(addr, fd, pid, err)) {
		sys_close(fd);
		return -1;
	}
	return fd;
}

/* --- the exchange --- */

struct exchange {
	int fd;
	int64_t deadline;
};

/* 0, or -ETIMEDOUT, -errno. */
static long wait_for(const struct exchange *x, short events)
{
	for (;;) {
		struct pollfd p = { x->fd, events, 0 };
		int64_t left = x->deadline - clock_ms();
		struct timespec t = { left / 1000, left % 1000 * 1000000 };
		long r;

		if (left <= 0)
			return -ETIMEDOUT;
		r = sys5(SYS_ppoll, &p, 1, &t, 0, 0);
		if (r > 0)
			return 0;
		if (r < 0 && r != -EINTR)
			return r;
	}
}

static long send_all(const struct exchange *x, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		long r = sys6(SYS_sendto, x->fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0);

		if (r > 0) {
			p += r;
			len -= (size_t)r;
		} else if (r == -EAGAIN) {
			r = wait_for(x, POLLOUT);
			if (r < 0)
				return r;
		} else if (r != -EINTR) {
			return r;
		}
	}
	return 0;
}

static long recv_all(const struct exchange *x, void *data, size_t len)
{
	uint8_t *p = data;

	while (len) {
		long r = sys6(SYS_recvfrom, x->fd, p, len, MSG_DONTWAIT, 0, 0);

		if (r > 0) {
			p += r;
			len -= (size_t)r;
		} else if (r == 0) {
			return -ECONNRESET;
		} else if (r == -EAGAIN) {
			r = wait_for(x, POLLIN);
			if (r < 0)
				return r;
		} else if (r != -EINTR) {
			return r;
		}
	}
	return 0;
}

static int broken(const struct agent_addr *addr, long r, struct err *err)
{
	const char *what = strerrordesc_np((int)-r);

	if (r == -ETIMEDOUT)
		return err_set(err, ERR_NOKEY, "the agent at %s did not answer within %d s: ct status", PATH_TEXT(addr),
		               (int)(timeout_ms(addr) / 1000));
	if (r == -ECONNRESET || r == -EPIPE)
		return err_set(err, ERR_NOKEY, "the agent at %s closed the connection without an answer: ct status", PATH_TEXT(addr));
	return err_set(err, ERR_NOKEY, "no answer from the agent at %s: %s", PATH_TEXT(addr), what ? what : "unknown error");
}

static int malformed(const struct agent_addr *addr, struct err *err)
{
	return err_set(err, ERR_NOKEY, "the agent at %s sent a malformed reply: are its version and ours the same?", PATH_TEXT(addr));
}

/* --- the reply's JSON --- */

enum { HAS_V, HAS_OK, HAS_ERROR, HAS_REASON, HAS_DISPOSITION, HAS_KEEP, HAS_SETS, FIELDS };

struct fields {
	unsigned int seen; /* a bit a field */
	bool ok;
	char error[32], disposition[16];
	char reason[400];
	enum wire_disposition what;
	uint64_t keep_s, sets;
};

/* An agent's line made harmless. It comes escaped already, so backslashes stay as they are. */
static void clean_line(char *dst, size_t cap, const char *src, size_t len)
{
	size_t at = 0;

	dst[0] = '\0';
	while (len && at + 1 < cap) {
		const char *slash = memchr(src, '\\', len);
		size_t part = slash ? (size_t)(slash - src) : len;

		text_escape(dst + at, cap - at, src, part);
		at += strlen(dst + at);
		src += part;
		len -= part;
		if (slash && at + 1 < cap) {
			dst[at++] = '\\';
			dst[at] = '\0';
			src++;
			len--;
		}
	}
}

static bool put_name(const struct json *j, int tok, char *dst, size_t cap)
{
	size_t raw;

	if (json_type(j, tok) != JSON_STRING)
		return false;
	json_raw(j, tok, &raw);
	if (raw >= cap)
		return false;
	dst[json_unescape(j, tok, dst)] = '\0';
	return true;
}

static bool put_reason(const struct json *j, int tok, struct fields *f)
{
	char text[1024];
	size_t raw;

	if (json_type(j, tok) != JSON_STRING)
		return false;
	json_raw(j, tok, &raw);
	if (raw <= sizeof text)
		clean_line(f->reason, sizeof f->reason, text, json_unescape(j, tok, text));
	else
		snprintf(f->reason, sizeof f->reason, "the agent's reason is too long to show");
	return true;
}

static bool put_field(struct fields *f, unsigned int n, const struct json *j, int tok)
{
	enum json_type type = json_type(j, tok);
	uint64_t v;

	switch (n) {
	case HAS_V:
		return json_u64(j, tok, &v) && v == WIRE_VERSION;
	case HAS_OK:
		f->ok = type == JSON_TRUE;
		return type == JSON_TRUE || type == JSON_FALSE;
	case HAS_ERROR:
		return put_name(j, tok, f->error, sizeof f->error);
	case HAS_REASON:
		return put_reason(j, tok, f);
	case HAS_DISPOSITION:
		return put_name(j, tok, f->disposition, sizeof f->disposition) && wire_disposition_parse(f->disposition, &f->what) == 0;
	case HAS_KEEP:
		return json_u64(j, tok, &f->keep_s) && f->keep_s <= UINT32_MAX;
	case HAS_SETS:
		return json_u64(j, tok, &f->sets);
	default:
		return false;
	}
}

/* False if the reply is not one of ours. */
static bool parse_fields(struct fields *f, const char *text, size_t len)
{
	static const char *const names[FIELDS] = { "v", "ok", "error", "reason", "disposition", "keep_s", "sets" };
	struct json_member m;
	struct json j;
	int r;

	memset(f, 0, sizeof *f);
	json_begin(&j, text, len);
	while ((r = json_next(&j, &m, NULL)) > 0) {
		unsigned int n = 0;

		while (n < FIELDS && !json_is(&j, m.key, names[n]))
			n++;
		if (n == FIELDS)
			continue;
		if (f->seen & 1u << n || !put_field(f, n, &j, m.value)) {
			r = -1;
			break;
		}
		f->seen |= 1u << n;
	}
	json_release(&j);
	return r == 0 && f->seen & 1u << HAS_V && f->seen & 1u << HAS_OK && (f->ok || f->seen & 1u << HAS_ERROR);
}

static int agent_error(const struct fields *f, struct err *err)
{
	const char *reason = f->reason[0] ? f->reason : "the agent gives no reason";
	enum err_code code = err_code_by_name(f->error);

	if (code == ERR_REJECTED || code == ERR_FORMAT)
		return err_set(err, code, "%s", reason);
	for (int e = 1; e < 4096 && code != ERR_NOKEY; e++) {
		const char *name = strerrorname_np(e);

		if (name && strcmp(name, f->error) == 0 && e != EPROTO) {
			err_set(err, ERR_SYSTEM, "%s", reason);
			if (err)
				err->sys_errno = e;
			return -1;
		}
	}
	return err_set(err, ERR_NOKEY, "%s", reason);
}

static int read_reply(const struct agent_addr *addr, const struct exchange *x, struct agent_reply *reply, struct fields *f,
                      struct err *err)
{
	uint8_t head[WIRE_HEAD];
	struct wire_head h;
	long r;

	r = recv_all(x, head, sizeof head);
	if (r < 0)
		return broken(addr, r, err);
	if (wire_head_get(&h, head, NULL))
		return malformed(addr, err);
	if (!buf_reserve(&reply->json, h.json_len + 1))
		return err_sys(err, ENOMEM, "the agent's reply");
	reply->blob = secret_new(h.blob_len);
	if (!reply->blob)
		return err_sys(err, ENOMEM, "the agent's reply");
	r = recv_all(x, reply->json.data, h.json_len);
	if (r == 0)
		r = recv_all(x, reply->blob->data, h.blob_len);
	if (r < 0)
		return broken(addr, r, err);
	reply->json.len = h.json_len;
	reply->json.data[h.json_len] = '\0';
	if (!parse_fields(f, reply->json.data, reply->json.len))
		return malformed(addr, err);
	reply->disposition = f->seen & 1u << HAS_DISPOSITION ? f->what : WIRE_REFUSE;
	reply->keep_s = (unsigned int)f->keep_s;
	memcpy(reply->reason, f->reason, sizeof reply->reason);
	return f->ok ? 0 : agent_error(f, err);
}

static long send_request(const struct exchange *x, const char *json, const void *blob, size_t blob_len)
{
	size_t json_len = strlen(json);
	uint8_t head[WIRE_HEAD];

	wire_head_put(head, (uint32_t)json_len, (uint32_t)blob_len);
	long r = send_all(x, head, sizeof head);
	if (r == 0)
		r = send_all(x, json, json_len);
	if (r == 0)
		r = send_all(x, blob, blob_len);
	/* An agent that turns us away answers and closes before it has read everything. */
	return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

static bool fits(const char *json, size_t blob_len)
{
	size_t len = strlen(json);

	return len > 0 && len <= WIRE_JSON_MAX && blob_len <= WIRE_BLOB_MAX;
}

/* Connects and sends. 0, and *pid; -1: there is no connection. */
static int ask(const struct agent_addr *addr, const char *json, const void *blob, size_t blob_len, struct exchange *x, pid_t *pid, struct err *err)
{
	if (!fits(json, blob_len))
		return err_set(err, ERR_FORMAT, "too much for one request to the agent");
	x->fd = agent_connect(addr, pid, err);
	if (x->fd < 0)
		return -1;
	x->deadline = clock_ms() + timeout_ms(addr);
	long r = send_request(x, json, blob, blob_len);
	if (r == 0)
		return 0;
	sys_close(x->fd);
	return broken(addr, r, err);
}

/* The reply to what ask() sent; ends the connection. */
static int answer(const struct agent_addr *addr, struct exchange *x, pid_t pid, struct agent_reply *reply, struct fields *f, struct err *err)
{
	*reply = (struct agent_reply){ .disposition = WIRE_REFUSE, .json = BUF_INIT, .pid = pid };
	int ret = read_reply(addr, x, reply, f, err);
	sys_close(x->fd);
	if (ret)
		agent_reply_release(reply);
	return ret;
}

static int exchange(const struct agent_addr *addr, const char *json, const void *blob, size_t blob_len, struct agent_reply *reply,
                    struct fields *f, struct err *err)
{
	struct exchange x;
	pid_t pid;

	return ask(addr, json, blob, blob_len, &x, &pid, err) ? -1 : answer(addr, &x, pid, reply, f, err);
}

int agent_exchange(const struct agent_addr *addr, const char *json, const void *blob, size_t blob_len, struct agent_reply *reply,
                   struct err *err)
{
	struct fields f;

	return exchange(addr, json, blob, blob_len, reply, &f, err);
}

void agent_reply_release(struct agent_reply *r)
{
	buf_release(&r->json);
	secret_free(r->blob);
	r->blob = NULL;
}

/* It was started, and nobody has given it a key yet. */
static bool without_keys(const struct agent_addr *addr)
{
	struct agent_reply reply;
	struct fields f;

	if (exchange(addr, "{\"v\":1,\"op\":\"status\"}", NULL, 0, &reply, &f, NULL))
		return false;
	agent_reply_release(&reply);
	return f.seen & 1u << HAS_SETS && f.sets == 0;
}

static void put_open(char json[OPEN_JSON], uint64_t size)
{
	snprintf(json, OPEN_JSON, "{\"v\":%d,\"op\":\"open\",\"size\":%llu}", WIRE_VERSION, (unsigned long long)size);
}

void agent_open_begin(struct agent_open *o, const struct agent_addr *addr, const uint8_t *raw, size_t len, uint64_t size)
{
	struct exchange x = { dial(addr), clock_ms() + EARLY_MS };
	char json[OPEN_JSON];

	o->fd = -1;
	if (x.fd < 0)
		return;
	put_open(json, size);
	if (check_peer(addr, x.fd, &o->pid, NULL) == 0 && fits(json, len) && send_request(&x, json, raw, len) == 0)
		o->fd = x.fd;
	else
		sys_close(x.fd);
}

void agent_open_drop(struct agent_open *o)
{
	if (o->fd >= 0)
		sys_close(o->fd);
	o->fd = -1;
}

/* The exchange that was begun, if one was, or a whole one. */
static int go_on(const struct agent_addr *addr, const char *json, const uint8_t *raw, size_t len, struct agent_open *begun, struct agent_reply *reply,
                 struct fields *f, struct err *why)
{
	struct exchange x = { begun ? begun->fd : -1, clock_ms() + timeout_ms(addr) };

	if (x.fd < 0)
		return exchange(addr, json, raw, len, reply, f, why);
	begun->fd = -1;
	return answer(addr, &x, begun->pid, reply, f, why);
}

/* One exchange, or as many as it takes: while a person is asked, and while the agent that we wait for has no keys. */
static int exchange_open(const struct agent_addr *addr, const char *json, const uint8_t *raw, size_t len, struct agent_open *begun,
                         struct agent_reply *reply, struct fields *f, struct err *why)
{
	int64_t asked_until = clock_ms() + AGENT_PERSON_MS, keys_until = clock_ms() + (int64_t)addr->wait_s * 1000;
	bool empty, last = false;

	while (go_on(addr, json, raw, len, begun, reply, f, why)) {
		if (why->code == ERR_SYSTEM && why->sys_errno == EAGAIN && clock_ms() < asked_until) {
			clock_pause(PERSON_RETRY_MS);
			continue;
		}
		if (why->code != ERR_NOKEY || clock_ms() >= keys_until || last)
			return -1;
		empty = without_keys(addr);
		last = !empty; /* they may have come since */
		if (empty)
			clock_pause(PERSON_RETRY_MS);
	}
	return 0;
}

int agent_open(const struct agent_addr *addr, const uint8_t *raw, size_t len, uint64_t size, struct agent_open *begun, struct agent_reply *reply,
               struct err *err)
{
	struct err why = { 0 };
	char json[OPEN_JSON];
	struct fields f;
	int r;

	put_open(json, size);
	if (exchange_open(addr, json, raw, len, begun, reply, &f, &why)) {
		/* An application knows ENOKEY, EKEYREJECTED and EBADMSG: an agent in trouble is an agent that has no key. */
		if (why.code == ERR_SYSTEM && why.sys_errno != ENOMEM)
			return err_set(err, ERR_NOKEY, "%s", why.text);
		if (err)
			*err = why;
		return -1;
	}
	if (!(f.seen & 1u << HAS_DISPOSITION))
		r = malformed(addr, err);
	else if (f.what == WIRE_REFUSE)
		r = err_set(err, ERR_REJECTED, "%s", f.reason[0] ? f.reason : "the agent refuses the file");
	else
		r = 0;
	if (r)
		agent_reply_release(reply);
	return r;
}
