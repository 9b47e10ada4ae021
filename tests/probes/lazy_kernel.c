/*
 * lazy_kernel FILE REFERENCE FOLDER: memory of FILE's mappings, never touched before, handed to the kernel, which reads it (write, send,
 * vmsplice …) or writes to it (read, recv …). FOLDER takes scratch files.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "probe.h"

#define ITEMS(a) (sizeof(a) / sizeof *(a))

struct range {
	size_t off, len;
};

struct kind {
	const char *name;
	int prot, flags;
};

static const struct kind kinds[] = {
	{ "private", PROT_READ, MAP_PRIVATE },
	{ "shared", PROT_READ, MAP_SHARED },
	{ "writable", PROT_READ | PROT_WRITE, MAP_PRIVATE },
};

static struct range ranges[5];
static const char *folder;

/* ---- the kernel reads ---- */

enum sink { FILE_SINK, PIPE_SINK, UNIX_SINK, TCP_SINK, DIRECT_SINK };

typedef ssize_t (*out_call)(int fd, const unsigned char *p, size_t n, off_t at);

static ssize_t do_write(int fd, const unsigned char *p, size_t n, off_t at)
{
	(void)at;
	return write(fd, p, n);
}

static ssize_t do_pwrite(int fd, const unsigned char *p, size_t n, off_t at)
{
	return pwrite(fd, p, n, at);
}

/* Three pieces, the middle one of one byte. */
static int split(struct iovec *v, const unsigned char *p, size_t n)
{
	size_t a = n / 3;
	v[0] = (struct iovec){ (void *)p, a };
	v[1] = (struct iovec){ (void *)(p + a), n > a ? 1 : 0 };
	v[2] = (struct iovec){ (void *)(p + a + v[1].iov_len), n - a - v[1].iov_len };
	return 3;
}

static ssize_t do_writev(int fd, const unsigned char *p, size_t n, off_t at)
{
	struct iovec v[3];
	(void)at;
	return writev(fd, v, split(v, p, n));
}

static ssize_t do_pwritev(int fd, const unsigned char *p, size_t n, off_t at)
{
	struct iovec v[3];
	return pwritev(fd, v, split(v, p, n), at);
}

static ssize_t do_pwritev2(int fd, const unsigned char *p, size_t n, off_t at)
{
	struct iovec v[3];
	return pwritev2(fd, v, split(v, p, n), at, 0);
}

static ssize_t do_syscall_write(int fd, const unsigned char *p, size_t n, off_t at)
{
	(void)at;
	return syscall(SYS_write, fd, p, n);
}

static ssize_t do_syscall_pwrite(int fd, const unsigned char *p, size_t n, off_t at)
{
	return syscall(SYS_pwrite64, fd, p, n, at);
}

static ssize_t do_fwrite(int fd, const unsigned char *p, size_t n, off_t at)
{
	FILE *f = fdopen(dup(fd), "w");
	(void)at;
	if (!f)
		return -1;
	size_t done = fwrite(p, 1, n, f);
	int err = errno;
	if (fclose(f) != 0 || done != n) {
		errno = err;
		return -1;
	}
	return (ssize_t)n;
}

static ssize_t do_vmsplice(int fd, const unsigned char *p, size_t n, off_t at)
{
	struct iovec v = { (void *)p, n };
	(void)at;
	return vmsplice(fd, &v, 1, 0);
}

static ssize_t do_send(int fd, const unsigned char *p, size_t n, off_t at)
{
	(void)at;
	return send(fd, p, n, MSG_NOSIGNAL);
}

static ssize_t do_sendto(int fd, const unsigned char *p, size_t n, off_t at)
{
	(void)at;
	return sendto(fd, p, n, MSG_NOSIGNAL, NULL, 0);
}

static ssize_t do_sendmsg(int fd, const unsigned char *p, size_t n, off_t at)
{
	struct iovec v[3];
	struct msghdr m = { .msg_iov = v, .msg_iovlen = (size_t)split(v, p, n) };
	(void)at;
	return sendmsg(fd, &m, MSG_NOSIGNAL);
}

static ssize_t do_sendmmsg(int fd, const unsigned char *p, size_t n, off_t at)
{
	struct iovec v[3];
	struct mmsghdr m = { .msg_hdr = { .msg_iov = v, .msg_iovlen = (size_t)split(v, p, n) } };
	(void)at;
	return sendmmsg(fd, &m, 1, MSG_NOSIGNAL) == 1 ? (ssize_t)m.msg_len : -1;
}

static const struct out {
	const char *name;
	enum sink sink;
	out_call call;
} outs[] = {
	{ "write.file", FILE_SINK, do_write },	     { "pwrite.file", FILE_SINK, do_pwrite },
	{ "writev.file", FILE_SINK, do_writev },     { "pwritev.file", FILE_SINK, do_pwritev },
	{ "pwritev2.file", FILE_SINK, do_pwritev2 }, { "syscall-write.file", FILE_SINK, do_syscall_write },
	{ "syscall-pwrite.file", FILE_SINK, do_syscall_pwrite },
	{ "fwrite.file", FILE_SINK, do_fwrite },     { "pwrite.direct", DIRECT_SINK, do_pwrite },
	{ "write.pipe", PIPE_SINK, do_write },	     { "writev.pipe", PIPE_SINK, do_writev },
	{ "vmsplice.pipe", PIPE_SINK, do_vmsplice }, { "write.unix", UNIX_SINK, do_write },
	{ "send.unix", UNIX_SINK, do_send },	     { "sendto.unix", UNIX_SINK, do_sendto },
	{ "sendmsg.unix", UNIX_SINK, do_sendmsg },   { "sendmmsg.unix", UNIX_SINK, do_sendmmsg },
	{ "send.tcp", TCP_SINK, do_send },	     { "sendmsg.tcp", TCP_SINK, do_sendmsg },
	{ "writev.tcp", TCP_SINK, do_writev },
};

static int scratch_file(int flags)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/scratch.%d", folder, getpid());
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | flags, 0600);
	unlink(path);
	return fd;
}

static void tcp_pair(int fd[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fd[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(l, (struct sockaddr *)&a, sizeof a) < 0 || listen(l, 1) < 0 || getsockname(l, (struct sockaddr *)&a, &len) < 0 ||
	    connect(fd[1], (struct sockaddr *)&a, sizeof a) < 0 || (fd[0] = accept(l, NULL, NULL)) < 0)
		probe_die("a TCP connection on the loopback");
	close(l);
}

struct drain {
	int fd;
	unsigned char *buf;
	size_t len, got;
};

static void *drain(void *arg)
{
	struct drain *d = arg;
	ssize_t n;
	while (d->got < d->len && (n = read(d->fd, d->buf + d->got, d->len - d->got)) > 0)
		d->got += (size_t)n;
	return NULL;
}

/* fd[0] to read from, fd[1] to write to. false: this machine has no such thing (O_DIRECT on tmpfs). */
static int make_sink(enum sink sink, int fd[2])
{
	switch (sink) {
	case PIPE_SINK: return pipe2(fd, O_CLOEXEC) == 0;
	case UNIX_SINK: return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0;
	case TCP_SINK: tcp_pair(fd); return 1;
	default: fd[0] = fd[1] = scratch_file(sink == DIRECT_SINK ? O_DIRECT : 0); return fd[0] >= 0;
	}
}

static int push(const struct out *o, int fd, const unsigned char *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t r = o->call(fd, p + at, n - at, (off_t)at);
		if (r <= 0)
			return r < 0 ? errno : EPIPE;
		at += (size_t)r;
	}
	return 0;
}

/* What came out at the other end, or the errno of the call. */
static const char *emit(const struct out *o, const struct kind *k, struct range r)
{
	int fd[2];
	pthread_t thread;
	int stream = o->sink != FILE_SINK && o->sink != DIRECT_SINK;
	if (o->sink == DIRECT_SINK) {
		r.off = (r.off + probe_page - 1) / probe_page * probe_page;
		r.len = r.len / probe_page * probe_page;
		if (r.off + r.len > probe_len)
			return "right";
	}
	if (!make_sink(o->sink, fd))
		return err_name(errno);
	unsigned char *map = map_whole(k->prot, k->flags);
	struct drain d = { .fd = fd[0], .buf = aligned_alloc(probe_page, whole_pages(r.len + 1)), .len = r.len };
	if (stream)
		pthread_create(&thread, NULL, drain, &d);
	int err = push(o, fd[1], map + r.off, r.len);
	if (stream) {
		if (err) {
			shutdown(fd[1], SHUT_RDWR);
			close(fd[1]);
		}
		pthread_join(thread, NULL);
	} else {
		lseek(fd[0], 0, SEEK_SET);
		drain(&d);
	}
	const char *says = err ? err_name(err) : d.got != r.len ? "short" : verdict(d.buf, r.off, r.len);
	if (!err && stream)
		close(fd[1]);
	close(fd[0]);
	munmap(map, probe_len);
	free(d.buf);
	return says;
}

/* ---- the kernel writes ---- */

typedef ssize_t (*in_call)(int fd, unsigned char *p, size_t n);

static ssize_t in_read(int fd, unsigned char *p, size_t n)
{
	return read(fd, p, n);
}

static ssize_t in_pread(int fd, unsigned char *p, size_t n)
{
	return pread(fd, p, n, lseek(fd, 0, SEEK_CUR));
}

static ssize_t in_readv(int fd, unsigned char *p, size_t n)
{
	struct iovec v[3];
	return readv(fd, v, split(v, p, n));
}

static ssize_t in_preadv2(int fd, unsigned char *p, size_t n)
{
	struct iovec v[3];
	return preadv2(fd, v, split(v, p, n), lseek(fd, 0, SEEK_CUR), 0);
}

static ssize_t in_syscall(int fd, unsigned char *p, size_t n)
{
	return syscall(SYS_read, fd, p, n);
}

static ssize_t in_fread(int fd, unsigned char *p, size_t n)
{
	FILE *f = fdopen(dup(fd), "r");
	if (!f)
		return -1;
	size_t done = fread(p, 1, n, f);
	int err = errno;
	fclose(f);
	errno = err;
	return done == n ? (ssize_t)n : -1;
}

static ssize_t in_recv(int fd, unsigned char *p, size_t n)
{
	return recv(fd, p, n, MSG_WAITALL);
}

static ssize_t in_recvfrom(int fd, unsigned char *p, size_t n)
{
	return recvfrom(fd, p, n, 0, NULL, NULL);
}

static ssize_t in_recvmsg(int fd, unsigned char *p, size_t n)
{
	struct iovec v[3];
	struct msghdr m = { .msg_iov = v, .msg_iovlen = (size_t)split(v, p, n) };
	return recvmsg(fd, &m, 0);
}

static const struct in {
	const char *name;
	enum sink source;
	in_call call;
} ins[] = {
	{ "read.file", FILE_SINK, in_read },	 { "pread.file", FILE_SINK, in_pread },
	{ "readv.file", FILE_SINK, in_readv },	 { "preadv2.file", FILE_SINK, in_preadv2 },
	{ "fread.file", FILE_SINK, in_fread },	 { "syscall-read.file", FILE_SINK, in_syscall },
	{ "read.pipe", PIPE_SINK, in_read },	 { "read.unix", UNIX_SINK, in_read },
	{ "recv.unix", UNIX_SINK, in_recv },	 { "recvfrom.unix", UNIX_SINK, in_recvfrom },
	{ "recvmsg.unix", UNIX_SINK, in_recvmsg }, { "recv.tcp", TCP_SINK, in_recv },
};

struct feed {
	int fd;
	const unsigned char *buf;
	size_t len;
};

static void *feed(void *arg)
{
	struct feed *f = arg;
	for (size_t at = 0; at < f->len;) {
		ssize_t n = write(f->fd, f->buf + at, f->len - at);
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	return NULL;
}

static int pull(const struct in *o, int fd, unsigned char *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		off_t pos = (off_t)at;
		if (o->source == FILE_SINK)
			lseek(fd, pos, SEEK_SET);
		ssize_t r = o->call(fd, p + at, n - at);
		if (r <= 0)
			return r < 0 ? errno : EPIPE;
		at += (size_t)r;
	}
	return 0;
}

/* [off, off + len) of the map is new, everything beside it as in the file, and another mapping knows nothing of it. */
static const char *check_written(const unsigned char *map, const unsigned char *news, struct range r)
{
	size_t end = r.off + r.len;
	if (memcmp(map + r.off, news, r.len) != 0)
		return "not what was read";
	const char *says = verdict(map, 0, r.off);
	if (strcmp(says, "right") == 0)
		says = verdict(map + end, end, probe_len - end);
	if (strcmp(says, "right") != 0)
		return says;
	unsigned char *other = map_whole(PROT_READ, MAP_SHARED);
	says = verdict(other, 0, probe_len);
	munmap(other, probe_len);
	return says;
}

static const char *absorb(const struct in *o, struct range r)
{
	int fd[2];
	pthread_t thread;
	unsigned char *news = malloc(r.len);
	struct feed f = { .buf = news, .len = r.len };
	for (size_t i = 0; i < r.len; i++)
		news[i] = (unsigned char)(i * 7 + r.len);
	if (!make_sink(o->source, fd))
		return err_name(errno);
	f.fd = fd[1];
	if (o->source == FILE_SINK)
		feed(&f);
	else
		pthread_create(&thread, NULL, feed, &f);
	unsigned char *map = map_whole(PROT_READ | PROT_WRITE, MAP_PRIVATE);
	int err = pull(o, fd[0], map + r.off, r.len);
	if (o->source != FILE_SINK) {
		close(fd[0]); /* ends a feeder that waits */
		pthread_join(thread, NULL);
	}
	const char *says = err ? err_name(err) : check_written(map, news, r);
	munmap(map, probe_len);
	close(fd[1]);
	free(news);
	return says;
}

/* The view's own bytes, by pread() into its own mapping. */
static const char *from_itself(struct range r)
{
	unsigned char *map = map_whole(PROT_READ | PROT_WRITE, MAP_PRIVATE);
	const char *says = "right";
	size_t from = probe_len - r.off - r.len;
	for (size_t at = 0; at < r.len;) {
		ssize_t n = pread(probe_fd, map + r.off + at, r.len - at, (off_t)(from + at));
		if (n <= 0) {
			says = n < 0 ? err_name(errno) : "end";
			break;
		}
		at += (size_t)n;
	}
	if (strcmp(says, "right") == 0)
		says = check_written(map, probe_want + from, r);
	munmap(map, probe_len);
	return says;
}

/* ---- */

static void say(const char *name, const char *kind, const char *const *says)
{
	char text[200];
	snprintf(text, sizeof text, "%s.%s", name, kind);
	for (size_t i = 0; i < ITEMS(ranges); i++)
		if (strcmp(says[i], "right") != 0) {
			line(text, "%s from %zu, %zu bytes", says[i], ranges[i].off, ranges[i].len);
			return;
		}
	line(text, "right");
}

/* Memory that ends where the file's last page ends: the call stops there, or fails. */
static void past_the_end(const struct kind *k)
{
	int fd = scratch_file(0);
	unsigned char *map = map_part(k->prot, k->flags, 0, probe_len + 4 * probe_page);
	size_t end = whole_pages(probe_len);
	char name[64];
	ssize_t n = write(fd, map + end - 2 * probe_page, 4 * probe_page);
	snprintf(name, sizeof name, "past-the-end.%s", k->name);
	line(name, "%zd %s", n, n < 0 ? err_name(errno) : "written");
	n = write(fd, map + end, probe_page);
	line(name, "%zd %s", n, n < 0 ? err_name(errno) : "written");
	munmap(map, probe_len + 4 * probe_page);
	close(fd);
}

int main(int argc, char **argv)
{
	const char *says[ITEMS(ranges)];
	if (argc != 4)
		return 2;
	probe_open(argv[1], argv[2]);
	folder = argv[3];
	signal(SIGPIPE, SIG_IGN);
	ranges[0] = (struct range){ 3 * probe_page + 17, 1 };
	ranges[1] = (struct range){ probe_len / 2 + 11, 300001 };
	ranges[2] = (struct range){ probe_len - 777, 777 };
	ranges[3] = (struct range){ 64 * probe_page, 256 * probe_page };
	ranges[4] = (struct range){ 0, probe_len };
	for (size_t o = 0; o < ITEMS(outs); o++)
		for (size_t k = 0; k < ITEMS(kinds); k++) {
			for (size_t i = 0; i < ITEMS(ranges); i++)
				says[i] = strdup(emit(&outs[o], &kinds[k], ranges[i]));
			say(outs[o].name, kinds[k].name, says);
		}
	for (size_t o = 0; o < ITEMS(ins); o++) {
		for (size_t i = 0; i < ITEMS(ranges); i++)
			says[i] = strdup(absorb(&ins[o], ranges[i]));
		say(ins[o].name, "writable", says);
	}
	for (size_t i = 0; i < ITEMS(ranges); i++)
		says[i] = strdup(from_itself(ranges[i]));
	say("pread.itself", "writable", says);
	for (size_t k = 0; k < ITEMS(kinds); k++)
		past_the_end(&kinds[k]);
	return 0;
}
