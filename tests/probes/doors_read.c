/*
 * doors_read FILE HEADER EDGE: every call that reads from a descriptor, by each of its names, in every case that the kernel tells apart.
 * doors_read FILE HEADER EDGE WANT FROM TO: the bytes FROM … TO - 1 of FILE are a damaged chunk; all others must be WANT's, and what a call says
 * of them is judged here, since there is no plain file that behaves so.
 */
#include "doors.h"

#include <aio.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Reads len bytes at `at` into buf, with the descriptor's offset there as well. door: the function. Returns what it returned, and errno. */
typedef long call(const void *door, int fd, unsigned char *buf, size_t len, off_t at);

#define AS(type) ((type)(uintptr_t)door)

static long do_read(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	(void)at;
	return AS(ssize_t (*)(int, void *, size_t))(fd, buf, len);
}

static long do_read_chk(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	(void)at;
	return AS(ssize_t (*)(int, void *, size_t, size_t))(fd, buf, len, len);
}

static long do_pread(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	return AS(ssize_t (*)(int, void *, size_t, off_t))(fd, buf, len, at);
}

static long do_pread_chk(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	return AS(ssize_t (*)(int, void *, size_t, off_t, size_t))(fd, buf, len, at, len);
}

/* The memory in three parts, an empty one among them. */
static int split(struct iovec v[3], unsigned char *buf, size_t len)
{
	v[0] = (struct iovec){ buf, len / 3 };
	v[1] = (struct iovec){ NULL, 0 };
	v[2] = (struct iovec){ buf + len / 3, len - len / 3 };
	return 3;
}

static long do_readv(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	struct iovec v[3];
	(void)at;
	return AS(ssize_t (*)(int, const struct iovec *, int))(fd, v, split(v, buf, len));
}

static long do_preadv(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	struct iovec v[3];
	return AS(ssize_t (*)(int, const struct iovec *, int, off_t))(fd, v, split(v, buf, len), at);
}

static long do_preadv2(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	struct iovec v[3];
	return AS(ssize_t (*)(int, const struct iovec *, int, off_t, int))(fd, v, split(v, buf, len), at, 0);
}

static long do_preadv2_here(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	struct iovec v[3];
	(void)at;
	return AS(ssize_t (*)(int, const struct iovec *, int, off_t, int))(fd, v, split(v, buf, len), -1, 0);
}

#define BY_NUMBER(name, ...) \
	static long name(const void *door, int fd, unsigned char *buf, size_t len, off_t at) \
	{ \
		struct iovec v[3]; \
		int parts = split(v, buf, len); \
		(void)at; \
		(void)parts; \
		return AS(long (*)(long, ...))(__VA_ARGS__); \
	}

BY_NUMBER(nr_read, SYS_read, fd, buf, len)
BY_NUMBER(nr_pread, SYS_pread64, fd, buf, len, at)
BY_NUMBER(nr_readv, SYS_readv, fd, v, parts)
BY_NUMBER(nr_preadv, SYS_preadv, fd, v, parts, at, 0L)
BY_NUMBER(nr_preadv2, SYS_preadv2, fd, v, parts, at, 0L, 0)

/* ---- calls that move bytes to another descriptor: what arrived there is put into buf ---- */

enum to { TO_FILE, TO_PIPE, TO_SOCKET };
typedef long mover(const void *door, int in, off_t *at, int out, size_t len);

/* Until nothing more comes: such calls may be short. Memory that is bad means nothing to them. */
static long move(const void *door, mover *one, enum to kind, int fd, unsigned char *buf, size_t len, off_t *at)
{
	int out[2] = { -1, -1 };
	long total = 0, n = 0;
	if (kind == TO_FILE)
		out[0] = out[1] = doors_sink();
	else if (kind == TO_PIPE ? pipe(out) : socketpair(AF_UNIX, SOCK_STREAM, 0, out))
		doors_die("sink");
	do {
		size_t want = len - (size_t)total;
		if (kind != TO_FILE && want > 16384)
			want = 16384;
		errno = 0;
		n = one(door, fd, at, out[1], want);
		for (long got = 0, r = 0; n > 0 && got < n; got += r, total += r) {
			unsigned char *to = (size_t)total < doors_room - 16384 ? buf + total : buf;
			r = kind == TO_FILE ? pread(out[0], to, (size_t)(n - got), total) : read(out[0], to, (size_t)(n - got));
			if (r <= 0)
				doors_die("reading the sink");
		}
	} while (n > 0 && (size_t)total < len);
	int why = errno;
	close(out[0]);
	close(out[1]);
	errno = why;
	return n < 0 && total == 0 ? -1 : total;
}

static long one_sendfile(const void *door, int in, off_t *at, int out, size_t len)
{
	return AS(ssize_t (*)(int, int, off_t *, size_t))(out, in, at, len);
}

static long one_copy(const void *door, int in, off_t *at, int out, size_t len)
{
	return AS(ssize_t (*)(int, off_t *, int, off_t *, size_t, unsigned int))(in, at, out, NULL, len, 0);
}

static long nr_sendfile(const void *door, int in, off_t *at, int out, size_t len)
{
	return AS(long (*)(long, ...))(SYS_sendfile, out, in, at, len);
}

static long nr_copy(const void *door, int in, off_t *at, int out, size_t len)
{
	return AS(long (*)(long, ...))(SYS_copy_file_range, in, at, out, NULL, len, 0);
}

static long nr_splice(const void *door, int in, off_t *at, int out, size_t len)
{
	return AS(long (*)(long, ...))(SYS_splice, in, at, out, NULL, len, 0);
}

#define MOVES(name, one, kind) \
	static long name##_at(const void *door, int fd, unsigned char *buf, size_t len, off_t at) \
	{ \
		return move(door, one, kind, fd, buf, len, &at); \
	} \
	static long name##_here(const void *door, int fd, unsigned char *buf, size_t len, off_t at) \
	{ \
		(void)at; \
		return move(door, one, kind, fd, buf, len, NULL); \
	}

MOVES(sendfile_file, one_sendfile, TO_FILE)
MOVES(sendfile_socket, one_sendfile, TO_SOCKET)
MOVES(sendfile_pipe, one_sendfile, TO_PIPE)
MOVES(copy_range, one_copy, TO_FILE)
MOVES(splice_pipe, one_copy, TO_PIPE) /* the same parameters */
MOVES(nr_sendfile_file, nr_sendfile, TO_FILE)
MOVES(nr_copy_range, nr_copy, TO_FILE)
MOVES(nr_splice_pipe, nr_splice, TO_PIPE)

/* ---- aio ---- */

static long finish(struct aiocb *cb)
{
	const struct aiocb *list[1] = { cb };
	while (aio_error(cb) == EINPROGRESS)
		(void)!aio_suspend(list, 1, NULL);
	int why = aio_error(cb);
	ssize_t n = aio_return(cb);
	errno = why;
	return n;
}

static long do_aio(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	struct aiocb cb = { .aio_fildes = fd, .aio_buf = buf, .aio_nbytes = len, .aio_offset = at, .aio_sigevent.sigev_notify = SIGEV_NONE };
	return AS(int (*)(struct aiocb *))(&cb) < 0 ? -1 : finish(&cb);
}

/* One of the list is a write to a file, one is nothing. */
static long list(const void *door, int mode, int fd, unsigned char *buf, size_t len, off_t at)
{
	int other = memfd_create("other", 0);
	struct aiocb cb = { .aio_fildes = fd, .aio_buf = buf, .aio_nbytes = len, .aio_offset = at, .aio_lio_opcode = LIO_READ };
	struct aiocb out = { .aio_fildes = other, .aio_buf = "12345", .aio_nbytes = 5, .aio_lio_opcode = LIO_WRITE };
	struct aiocb *all[3] = { &cb, NULL, &out };
	cb.aio_sigevent.sigev_notify = out.aio_sigevent.sigev_notify = SIGEV_NONE;
	int r = AS(int (*)(int, struct aiocb *const *, int, struct sigevent *))(mode, all, 3, NULL);
	if (r < 0 && errno != EIO)
		doors_die("lio_listio");
	int failed = r < 0;
	long written = finish(&out), n = finish(&cb);
	close(other);
	if (written != 5 || (mode == LIO_WAIT && failed != (n < 0)))
		doors_die("lio_listio does not agree with what was done");
	return n;
}

static long do_lio_wait(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	return list(door, LIO_WAIT, fd, buf, len, at);
}

static long do_lio_nowait(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	return list(door, LIO_NOWAIT, fd, buf, len, at);
}

/* The kernel's aio, as libaio calls it. The event must name the block, and leave it as it was. */
static long submit(const void *door, struct iocb *b)
{
	unsigned long context = 0;
	struct iocb *list[1] = { b }, before = *b;
	struct io_event event = { 0 };
	if (syscall(SYS_io_setup, 4, &context) < 0)
		doors_die("io_setup");
	long r = AS(long (*)(long, ...))(SYS_io_submit, context, 1L, list);
	int why = errno;
	if (r == 1 && syscall(SYS_io_getevents, context, 1L, 1L, &event, NULL) != 1)
		doors_die("io_getevents");
	if (r == 1 && (event.data != 77 || event.obj != (uintptr_t)b || memcmp(&before, b, sizeof before) != 0))
		doors_die("io_submit: not the block that was submitted");
	syscall(SYS_io_destroy, context);
	errno = r == 1 ? (int)-event.res : why;
	return r < 0 ? -1 : event.res < 0 ? -1 : (long)event.res;
}

static long nr_submit(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	struct iocb b = { .aio_data = 77, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (uint32_t)fd, .aio_buf = (uintptr_t)buf,
		          .aio_nbytes = len, .aio_offset = at };
	return submit(door, &b);
}

static long nr_submitv(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	struct iovec v[3];
	int parts = split(v, buf, len);
	struct iocb b = { .aio_data = 77, .aio_lio_opcode = IOCB_CMD_PREADV, .aio_fildes = (uint32_t)fd, .aio_buf = (uintptr_t)v,
		          .aio_nbytes = (uint64_t)parts, .aio_offset = at };
	return submit(door, &b);
}

/* ---- mmap ---- */

static long map(const void *door, int flags, int fd, unsigned char *buf, size_t len, off_t at)
{
	off_t page = sysconf(_SC_PAGESIZE), from = at / page * page;
	size_t skip = (size_t)(at - from), there = (size_t)at < doors_size ? doors_size - (size_t)at : 0;
	if (len > there) /* behind the last page is SIGBUS, which lazy_* look at */
		len = there;
	unsigned char *p = AS(void *(*)(void *, size_t, int, int, int, off_t))(NULL, len ? skip + len : 0, PROT_READ, flags, fd, from);
	if (p == MAP_FAILED)
		return -1;
	memcpy(buf, p + skip, len);
	munmap(p, skip + len);
	return (long)len;
}

static long do_map(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	return map(door, MAP_PRIVATE, fd, buf, len, at);
}

static long do_map_shared(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	return map(door, MAP_SHARED | MAP_POPULATE, fd, buf, len, at);
}

static void *nr_map(void *p, size_t len, int prot, int flags, int fd, off_t at)
{
	return (void *)syscall(SYS_mmap, p, len, prot, flags, fd, at);
}

static long nr_mmap(const void *door, int fd, unsigned char *buf, size_t len, off_t at)
{
	(void)door;
	return map((const void *)(uintptr_t)nr_map, MAP_PRIVATE, fd, buf, len, at);
}

/* ---- the table ---- */

#define OFFSET 1u   /* reads at the descriptor's offset, and moves it */
#define NO_MEMORY 2u /* the caller's memory is not given to it */
#define VECTOR 4u   /* takes an array */
#define AT 8u       /* is given an offset */

static const struct door {
	const char *name, *how;
	call *call;
	unsigned int is;
} doors[] = {
	{ "read", "", do_read, OFFSET },
	{ "__read", "", do_read, OFFSET },
	{ "__read_chk", "", do_read_chk, OFFSET },
	{ "pread", "", do_pread, AT },
	{ "pread64", "", do_pread, AT },
	{ "__pread64", "", do_pread, AT },
	{ "__pread_chk", "", do_pread_chk, AT },
	{ "__pread64_chk", "", do_pread_chk, AT },
	{ "readv", "", do_readv, OFFSET | VECTOR },
	{ "preadv", "", do_preadv, VECTOR | AT },
	{ "preadv64", "", do_preadv, VECTOR | AT },
	{ "preadv2", "", do_preadv2, VECTOR | AT },
	{ "preadv64v2", "", do_preadv2, VECTOR | AT },
	{ "preadv2", ",-1", do_preadv2_here, OFFSET | VECTOR },
	{ "preadv64v2", ",-1", do_preadv2_here, OFFSET | VECTOR },
	{ "syscall", ",read", nr_read, OFFSET },
	{ "syscall", ",pread64", nr_pread, AT },
	{ "syscall", ",readv", nr_readv, OFFSET | VECTOR },
	{ "syscall", ",preadv", nr_preadv, VECTOR | AT },
	{ "syscall", ",preadv2", nr_preadv2, VECTOR | AT },
	{ "sendfile", ",file,at", sendfile_file_at, NO_MEMORY | AT },
	{ "sendfile", ",file", sendfile_file_here, OFFSET | NO_MEMORY },
	{ "sendfile", ",socket,at", sendfile_socket_at, NO_MEMORY | AT },
	{ "sendfile", ",pipe", sendfile_pipe_here, OFFSET | NO_MEMORY },
	{ "sendfile64", ",file,at", sendfile_file_at, NO_MEMORY | AT },
	{ "sendfile64", ",socket", sendfile_socket_here, OFFSET | NO_MEMORY },
	{ "sendfile64", ",pipe,at", sendfile_pipe_at, NO_MEMORY | AT },
	{ "syscall", ",sendfile,at", nr_sendfile_file_at, NO_MEMORY | AT },
	{ "syscall", ",sendfile", nr_sendfile_file_here, OFFSET | NO_MEMORY },
	{ "copy_file_range", ",at", copy_range_at, NO_MEMORY | AT },
	{ "copy_file_range", "", copy_range_here, OFFSET | NO_MEMORY },
	{ "syscall", ",copy_file_range,at", nr_copy_range_at, NO_MEMORY | AT },
	{ "syscall", ",copy_file_range", nr_copy_range_here, OFFSET | NO_MEMORY },
	{ "splice", ",at", splice_pipe_at, NO_MEMORY | AT },
	{ "splice", "", splice_pipe_here, OFFSET | NO_MEMORY },
	{ "syscall", ",splice,at", nr_splice_pipe_at, NO_MEMORY | AT },
	{ "syscall", ",splice", nr_splice_pipe_here, OFFSET | NO_MEMORY },
	{ "aio_read", "", do_aio, AT },
	{ "aio_read64", "", do_aio, AT },
	{ "lio_listio", ",wait", do_lio_wait, AT },
	{ "lio_listio64", ",nowait", do_lio_nowait, AT },
	{ "syscall", ",io_submit", nr_submit, AT },
	{ "syscall", ",io_submit,vector", nr_submitv, AT },
	{ "mmap", "", do_map, NO_MEMORY },
	{ "mmap64", "", do_map, NO_MEMORY },
	{ "mmap", ",shared", do_map_shared, NO_MEMORY },
	{ "mmap64", ",shared", do_map_shared, NO_MEMORY },
	{ "syscall", ",mmap", nr_mmap, NO_MEMORY },
};

static void show(const struct door *d, const char *what, long n, const unsigned char *buf, int fd)
{
	char text[64];
	int why = errno;
	off_t pos = lseek(fd, 0, SEEK_CUR);
	errno = why;
	printf("%s%s %s %s @%lld\n", d->name, d->how, what, doors_outcome(text, n, buf), (long long)pos);
}

static void one(const struct door *d, const char *what, int fd, unsigned char *buf, size_t len, off_t at)
{
	const void *door = doors_find(d->name);
	lseek(fd, d->is & OFFSET ? at : 3, SEEK_SET);
	errno = 0;
	long n = d->call(door, fd, buf, len, at);
	show(d, what, n, buf, fd);
}

/* Half of the memory is not there: an error or a part, and what is there is right. */
static void half_bad(const struct door *d, int fd, off_t at)
{
	size_t len = 200;
	static unsigned char want[100];
	unsigned char *buf = doors_buf + doors_room - len / 2;
	memset(buf, 0, len / 2);
	if (pread(fd, want, sizeof want, at) != sizeof want)
		doors_die("pread");
	lseek(fd, d->is & OFFSET ? at : 3, SEEK_SET);
	long n = d->call(doors_find(d->name), fd, buf, len, at);
	bool well = n < 0 ? errno == EFAULT : n <= (long)(len / 2) && memcmp(buf, want, (size_t)n) == 0;
	printf("%s%s half-bad-memory %s\n", d->name, d->how, well ? "an error, or a part" : "WRONG");
}

static long call_vector(const struct door *d, int fd, const struct iovec *iov, int count)
{
	const void *door = doors_find(d->name);
	lseek(fd, 3, SEEK_SET);
	errno = 0;
	if (d->call == do_readv)
		return AS(ssize_t (*)(int, const struct iovec *, int))(fd, iov, count);
	if (d->call == do_preadv)
		return AS(ssize_t (*)(int, const struct iovec *, int, off_t))(fd, iov, count, 5);
	return AS(ssize_t (*)(int, const struct iovec *, int, off_t, int))(fd, iov, count, d->call == do_preadv2 ? 5 : -1, 0);
}

static void vectors(const struct door *d, int fd)
{
	static const struct {
		const char *what;
		bool bad;
		int count;
	} cases[] = { { "bad-array", true, 3 }, { "count=-1", false, -1 }, { "count=0", false, 0 }, { "count=2000", false, 2000 }, { "bad-array,count=0", true, 0 } };
	struct iovec v[3];
	if (strcmp(d->name, "syscall") == 0)
		return;
	split(v, doors_buf, 100);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		long n = call_vector(d, fd, cases[i].bad ? (const struct iovec *)(doors_buf + doors_room) : v, cases[i].count);
		show(d, cases[i].what, n, doors_buf, fd);
	}
	v[0].iov_len = v[2].iov_len = SSIZE_MAX;
	show(d, "lengths-overflow", call_vector(d, fd, v, 3), doors_buf, fd);
}

/* ---- damage ---- */

static void damaged(int fd, const char *want_path, off_t from, off_t to)
{
	const struct {
		const char *name;
		off_t at;
		size_t len;
		long n; /* -1: EIO */
	} cases[] = {
		{ "before", from - 1000, 1000, 1000 },
		{ "into-it", from - 100, 300, 100 },
		{ "over-it", from - 100, (size_t)(to - from) + 300, 100 },
		{ "its-first-byte", from, 1, -1 },
		{ "inside", from + 10, 50, -1 },
		{ "its-last-byte", to - 1, 1, -1 },
		{ "out-of-it", to - 10, 100, -1 },
		{ "behind", to, 1000, 1000 },
	};
	int plain = open(want_path, O_RDONLY);
	unsigned char *want = malloc(doors_size);
	if (!want || pread(plain, want, doors_size, 0) != (ssize_t)doors_size)
		doors_die(want_path);
	for (size_t i = 0; i < sizeof doors / sizeof doors[0]; i++) {
		const struct door *d = &doors[i];
		const void *door = doors_find(d->name);
		if (d->call == do_map || d->call == do_map_shared || d->call == nr_mmap) /* pages: lazy_damage */
			continue;
		for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
			memset(doors_buf, 0x55, doors_room);
			lseek(fd, d->is & OFFSET ? cases[c].at : 3, SEEK_SET);
			errno = 0;
			long n = d->call(door, fd, doors_buf, cases[c].len, cases[c].at);
			bool well = cases[c].n < 0 ? n == -1 && errno == EIO
			                           : n == cases[c].n && memcmp(doors_buf, want + cases[c].at, (size_t)n) == 0;
			off_t moved = d->is & OFFSET && n > 0 ? n : 0, expected = (d->is & OFFSET ? cases[c].at : 3) + moved;
			well &= lseek(fd, 0, SEEK_CUR) == expected;
			for (size_t b = n > 0 ? (size_t)n : 0; b < cases[c].len; b++) /* nothing that is not verified: as it was, zeros, or not plaintext */
				well &= doors_buf[b] == 0x55 || doors_buf[b] == 0 || memcmp(doors_buf + b, want + cases[c].at + b, 8) != 0;
			printf("%s%s %s %s\n", d->name, d->how, cases[c].name, well ? "ok" : "WRONG");
		}
	}
}

int main(int argc, char **argv)
{
	doors_start(argc, argv);
	if (argc == 7) {
		damaged(open(doors_path, O_RDONLY), argv[4], atoll(argv[5]), atoll(argv[6]));
		return 0;
	}
	off_t size = (off_t)doors_size, header = doors_header, edge = doors_edge;
	const struct {
		const char *name;
		off_t at;
		size_t len;
		size_t skew;
	} ranges[] = {
		{ "whole", 0, doors_size, 0 },
		{ "range", size / 3 + 1, 70001, 0 },
		{ "past-the-end", size - 10, 100, 0 },
		{ "at-the-end", size, 10, 0 },
		{ "far-behind", size + 100000, 10, 0 },
		{ "zero-bytes", 5, 0, 0 },
		{ "zero-bytes-at-the-end", size, 0, 0 },
		{ "unaligned", 4097, 123457, 3 },
		{ "at-a-chunks-edge", edge, 1, 0 },
		{ "across-a-chunks-edge", edge - 3, 8, 1 },
		{ "across-header-and-data", header - 5, 12, 0 },
		{ "in-the-header", 1, (size_t)header - 3, 5 },
		{ "first-byte", 0, 1, 0 },
		{ "last-byte", size - 1, 1, 0 },
	};
	int fd = open(doors_path, O_RDONLY), write_only = open(doors_path, O_WRONLY), folder = open("/", O_RDONLY);
	unsigned char *bad = doors_buf + doors_room;
	if (fd < 0 || write_only < 0 || folder < 0)
		doors_die(doors_path);
	for (size_t i = 0; i < sizeof doors / sizeof doors[0]; i++) {
		const struct door *d = &doors[i];
		for (size_t r = 0; r < sizeof ranges / sizeof ranges[0]; r++) {
			memset(doors_buf, 0, doors_room);
			one(d, ranges[r].name, fd, doors_buf + ranges[r].skew, ranges[r].len, ranges[r].at);
		}
		if (!(d->is & NO_MEMORY)) {
			one(d, "bad-memory", fd, bad, 100, 7);
			one(d, "bad-memory,zero-bytes", fd, bad, 0, 7);
			one(d, "bad-memory,at-the-end", fd, bad, 100, size);
			half_bad(d, fd, 7);
		}
		if (d->is & AT)
			one(d, "negative-offset", fd, doors_buf, 10, -5);
		if (d->is & VECTOR)
			vectors(d, fd);
		one(d, "closed", 9999, doors_buf, 10, 7);
		one(d, "write-only", write_only, doors_buf, 10, 7);
		one(d, "folder", folder, doors_buf, 10, 7);
	}
	return 0;
}
