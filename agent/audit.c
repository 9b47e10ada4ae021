#include "audit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "policy.h"
#include "sha256.h"
#include "text.h"
#include "trusted.h"

#define PRIORITY "<86>" /* authpriv.info */

static bool connect_syslog(int fd)
{
	const struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };

	return connect(fd, (const struct sockaddr *)&to, sizeof to) == 0;
}

static int open_syslog(struct err *err)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect_syslog(fd))
		return fd;
	err_sys(err, errno, "--audit syslog: /dev/log");
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Who owns the file could change it, and read it. */
static int open_file(const char *path, struct err *err)
{
	int fd;

	if (path[0] != '/')
		return err_set(err, ERR_FORMAT, "--audit takes stderr, syslog or the absolute path of a file");
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, errno, "--audit %s", TEXT(path, strlen(path)));
	if (trusted_fd(fd, path, 022, err) == 0)
		return fd;
	close(fd);
	return -1;
}

int audit_open(struct audit *a, const char *where, bool required, struct err *err)
{
	*a = (struct audit){ .required = required, .syslog = strcmp(where, "syslog") == 0, .is_stderr = strcmp(where, "stderr") == 0 };
	if (a->syslog)
		a->fd = open_syslog(err);
	else if (a->is_stderr)
		a->fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	else
		a->fd = open_file(where, err);
	return a->fd < 0 ? -1 : 0;
}

void audit_close(struct audit *a)
{
	if (a->fd >= 0)
		close(a->fd);
	*a = (struct audit)AUDIT_NONE;
}

/* ---- lines ---- */

static void put_text(struct buf *b, const char *name, const char *s, size_t len)
{
	buf_put_name(b, name);
	text_json(b, s, len);
}

static void put_number(struct buf *b, const char *name, uint64_t v)
{
	buf_put_name(b, name);
	buf_put_u64(b, v);
}

static void put_digest(struct buf *b, const char *name, const uint8_t digest[SHA256_LEN])
{
	buf_put_name(b, name);
	buf_putc(b, '"');
	buf_put_hex(b, digest, SHA256_LEN);
	buf_putc(b, '"');
}

static void begin(struct buf *b, const char *event)
{
	struct timespec now;
	struct tm t;
	char text[48];
	size_t at;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &t);
	at = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &t);
	snprintf(text + at, sizeof text - at, ".%03ldZ", now.tv_nsec / 1000000);
	buf_puts(b, "{\"time\":\"");
	buf_puts(b, text);
	buf_puts(b, "\",\"event\":\"");
	buf_puts(b, event);
	buf_putc(b, '"');
}

static void put_peer(struct buf *b, const struct peer *p)
{
	put_number(b, "uid", p->uid);
	put_number(b, "gid", p->gid);
	put_number(b, "pid", (uint64_t)(p->pid > 0 ? p->pid : 0));
}

static void put_file(struct buf *b, const struct input_file *f)
{
	struct sha256 *sha = sha256_new();
	uint8_t digest[SHA256_LEN];
	const struct crypto_info *c = f->info;
	const struct str *licence = header_meta_get(f->header, "__licence__");

	put_digest(b, "file_sha256", f->sha256);
	if (c->sign.has_kid)
		put_text(b, "signer_kid", c->sign.kid.p, c->sign.kid.len);
	if (c->enc.has_kid)
		put_text(b, "key_kid", c->enc.kid.p, c->enc.kid.len);
	if (licence)
		put_text(b, "licence", licence->p, licence->len);
	if (sha && sha256_of(sha, c->local.p, c->local.len, digest))
		put_digest(b, "policy_sha256", digest);
	if (!policy_is_default(c->remote))
		buf_puts(b, ",\"remote_policy\":true");
	sha256_free(sha);
}

static bool send_line(const struct audit *a, const struct buf *b)
{
	ssize_t n = send(a->fd, b->data, b->len, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN && connect_syslog(a->fd)) /* the daemon was started anew */
		n = send(a->fd, b->data, b->len, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n == (ssize_t)b->len;
}

/* Never waits for who reads: a pipe that poll() finds writable has room for PIPE_BUF bytes. */
static ssize_t write_some(const struct audit *a, const char *data, size_t len)
{
	struct pollfd p = { a->fd, POLLOUT, 0 };
	ssize_t n;

	if (poll(&p, 1, 0) != 1)
		return -1;
	do
		n = write(a->fd, data, a->is_stderr && len > PIPE_BUF ? PIPE_BUF : len);
	while (n < 0 && errno == EINTR);
	return n;
}

/* A line that was cut short must not spoil the next one. */
static bool write_whole(struct audit *a, const struct buf *b)
{
	size_t at = 0;
	ssize_t n;

	if (a->cut && write_some(a, "\n", 1) != 1)
		return false;
	a->cut = false;
	while (at < b->len && (n = write_some(a, b->data + at, b->len - at)) > 0)
		at += (size_t)n;
	a->cut = at > 0 && at < b->len;
	return at == b->len;
}

static bool write_line(struct audit *a, struct buf *b)
{
	buf_puts(b, a->syslog ? "}" : "}\n");
	bool done = !b->failed && (a->syslog ? send_line(a, b) : write_whole(a, b));
	a->lost += !done;
	buf_release(b);
	return done;
}

bool audit_decision(struct audit *a, const char *event, struct peer *peer, const struct input_file *file, uint64_t set, const char *verdict,
                    const char *reason)
{
	struct buf b = BUF_INIT;
	const struct peer_fact *exe, *cgroup;

	if (a->fd < 0)
		return true;
	exe = peer_exe(peer);
	cgroup = peer_cgroup(peer);
	if (a->syslog)
		buf_puts(&b, PRIORITY "ct-agent: ");
	begin(&b, event);
	put_text(&b, "verdict", verdict, strlen(verdict));
	put_text(&b, "reason", reason, strlen(reason));
	put_peer(&b, peer);
	if (exe->text)
		put_text(&b, "exe", exe->text, exe->len);
	if (cgroup->text)
		put_text(&b, "cgroup", cgroup->text, cgroup->len);
	if (set)
		put_number(&b, "set", set);
	if (file)
		put_file(&b, file);
	return write_line(a, &b) || !a->required;
}

bool audit_act(struct audit *a, const struct peer *peer, const char *what, uint64_t set)
{
	struct buf b = BUF_INIT;

	if (a->fd < 0)
		return true;
	if (a->syslog)
		buf_puts(&b, PRIORITY "ct-agent: ");
	begin(&b, what);
	put_peer(&b, peer);
	if (set)
		put_number(&b, "set", set);
	return write_line(a, &b);
}

bool audit_reload(struct audit *a, uid_t uid, pid_t pid, bool done, const char *reason)
{
	struct buf b = BUF_INIT;

	if (a->fd < 0)
		return true;
	if (a->syslog)
		buf_puts(&b, PRIORITY "ct-agent: ");
	begin(&b, "reload");
	put_text(&b, "verdict", done ? "done" : "failed", strlen(done ? "done" : "failed"));
	put_text(&b, "reason", reason, strlen(reason));
	put_number(&b, "uid", uid);
	put_number(&b, "pid", (uint64_t)(pid > 0 ? pid : 0));
	return write_line(a, &b);
}

bool audit_licence(struct audit *a, const char *id, uint64_t set, const char *state, const char *until, uint64_t days_left, const char *opens)
{
	struct buf b = BUF_INIT;

	if (a->fd < 0)
		return true;
	if (a->syslog)
		buf_puts(&b, PRIORITY "ct-agent: ");
	begin(&b, "licence");
	put_text(&b, "licence", id, strlen(id));
	put_number(&b, "set", set);
	put_text(&b, "state", state, strlen(state));
	put_text(&b, "until", until, strlen(until));
	put_number(&b, "days_left", days_left);
	put_text(&b, "opens", opens, strlen(opens));
	return write_line(a, &b);
}
