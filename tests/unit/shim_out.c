/*
 * out, hooks_out: every call that hands memory to the kernel, with memory that the kernel cannot fault in. lazy's functions are played by
 * a small model: pages are inaccessible until they are filled, little may be filled at once, and it can be given back at the worst
 * moment. The judge is the kernel: the same call on plain memory, and what arrived at the other end.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"
#include "lazy.h"
#include "sys.h"

#undef fread_unlocked
#undef fwrite_unlocked

#define PAGE 4096u
#define PAGES 256u
#define SIZE (PAGE * PAGES)
#define AT_ONCE (16u * PAGE)
#define HELD (2u * 16u) /* pages */

extern size_t __fread_chk(void *, size_t, size_t, size_t, FILE *);
extern size_t __fread_unlocked_chk(void *, size_t, size_t, size_t, FILE *);
extern ssize_t __recv_chk(int, void *, size_t, size_t, int);
extern ssize_t __recvfrom_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);

/* ---- the model ---- */

static unsigned char *memory; /* SIZE bytes, lazily filled */
static unsigned char plain[SIZE];
static enum { EMPTY, FILLED, WRITTEN } state[PAGES];
static unsigned int filled, most, fills, steal, steal_half; /* pages; calls after which all, half of it is given back again */
static unsigned int oldest;

static void give_back(unsigned int page)
{
	CHECK(madvise(memory + page * PAGE, PAGE, MADV_DONTNEED) == 0 && mprotect(memory + page * PAGE, PAGE, PROT_NONE) == 0);
	state[page] = EMPTY;
	filled--;
}

static bool overlap(const void *p, size_t len, size_t *from, size_t *to)
{
	uintptr_t a = (uintptr_t)p, b = a + len < a ? UINTPTR_MAX : a + len, base = (uintptr_t)memory;
	if (!memory || len == 0 || b <= base || a >= base + SIZE)
		return false;
	*from = (a < base ? 0 : a - base) / PAGE;
	*to = ((b > base + SIZE ? SIZE : b - base) + PAGE - 1) / PAGE;
	return true;
}

void lazy_fill_for_kernel(const void *p, size_t len, bool for_write)
{
	size_t from, to;
	int saved = errno;
	if (!overlap(p, len, &from, &to))
		return;
	for (size_t i = from; i < to; i++) {
		if (state[i] == EMPTY) {
			while (filled >= HELD && !for_write) {
				while (state[oldest % PAGES] != FILLED)
					oldest++;
				give_back(oldest % PAGES);
			}
			CHECK(mprotect(memory + i * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
			memcpy(memory + i * PAGE, plain + i * PAGE, PAGE);
			fills++;
			if (++filled > most)
				most = filled;
		}
		if (state[i] != WRITTEN)
			state[i] = for_write ? WRITTEN : FILLED;
	}
	if (!for_write && (steal > 0 || steal_half > 0)) {
		for (size_t i = steal > 0 ? from : (from + to) / 2; i < to; i++)
			if (state[i] == FILLED)
				give_back((unsigned int)i);
		*(steal > 0 ? &steal : &steal_half) -= 1;
	}
	errno = saved;
}

bool lazy_is(const void *p, size_t len)
{
	size_t from, to;
	return overlap(p, len, &from, &to);
}

size_t lazy_at_once(void)
{
	return AT_ONCE;
}

/* The process's own accesses are served. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	unsigned int keep = steal, keep_half = steal_half;
	(void)context;
	if (!lazy_is(info->si_addr, 1)) {
		signal(sig, SIG_DFL);
		return;
	}
	steal = steal_half = 0;
	lazy_fill_for_kernel(info->si_addr, 1, false);
	steal = keep;
	steal_half = keep_half;
}

static void empty_all(void)
{
	for (unsigned int i = 0; i < PAGES; i++)
		if (state[i] != EMPTY)
			give_back(i);
	filled = most = fills = 0;
}

/* ---- the calls ---- */

static struct iovec *split(const void *p, size_t len, int *count)
{
	static struct iovec iov[8];
	size_t third = len / 3;
	char *at = (char *)p;
	iov[0] = (struct iovec){ at, third };
	iov[1] = (struct iovec){ NULL, 0 };
	iov[2] = (struct iovec){ at + third, 1 < len ? 1 : 0 };
	iov[3] = (struct iovec){ at + third + iov[2].iov_len, len - third - iov[2].iov_len };
	*count = 4;
	return iov;
}

#define VECTOR \
	int n; \
	struct iovec *iov = split(p, len, &n)

static ssize_t by_write(int fd, const void *p, size_t len) { return write(fd, p, len); }
static ssize_t by_sys_write(int fd, const void *p, size_t len) { return syscall(SYS_write, fd, p, len); }
static ssize_t by_pwrite(int fd, const void *p, size_t len) { return pwrite(fd, p, len, 0); }
static ssize_t by_sys_pwrite(int fd, const void *p, size_t len) { return syscall(SYS_pwrite64, fd, p, len, 0L); }
static ssize_t by_writev(int fd, const void *p, size_t len) { VECTOR; return writev(fd, iov, n); }
static ssize_t by_sys_writev(int fd, const void *p, size_t len) { VECTOR; return syscall(SYS_writev, fd, iov, n); }
static ssize_t by_pwritev(int fd, const void *p, size_t len) { VECTOR; return pwritev(fd, iov, n, 0); }
static ssize_t by_sys_pwritev(int fd, const void *p, size_t len) { VECTOR; return syscall(SYS_pwritev, fd, iov, n, 0L, 0L); }
static ssize_t by_pwritev2(int fd, const void *p, size_t len) { VECTOR; return pwritev2(fd, iov, n, 0, 0); }
static ssize_t by_pwritev2_here(int fd, const void *p, size_t len) { VECTOR; return pwritev2(fd, iov, n, -1, 0); }
static ssize_t by_sys_pwritev2(int fd, const void *p, size_t len) { VECTOR; return syscall(SYS_pwritev2, fd, iov, n, 0L, 0L, 0); }
static ssize_t by_send(int fd, const void *p, size_t len) { return send(fd, p, len, 0); }
static ssize_t by_sendto(int fd, const void *p, size_t len) { return sendto(fd, p, len, 0, NULL, 0); }
static ssize_t by_sys_sendto(int fd, const void *p, size_t len) { return syscall(SYS_sendto, fd, p, len, 0, NULL, 0); }

/* A pipe takes so many pieces at once: short counts are the rule. */
static ssize_t by_vmsplice_of(int fd, const void *p, size_t len, bool sys)
{
	size_t done = 0;
	while (done < len) {
		int n;
		struct iovec *iov = split((const char *)p + done, len - done, &n);
		ssize_t r = sys ? syscall(SYS_vmsplice, fd, iov, (size_t)n, 0) : vmsplice(fd, iov, (size_t)n, 0);
		if (r <= 0)
			return -1;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

static ssize_t by_vmsplice(int fd, const void *p, size_t len) { return by_vmsplice_of(fd, p, len, false); }
static ssize_t by_sys_vmsplice(int fd, const void *p, size_t len) { return by_vmsplice_of(fd, p, len, true); }

static ssize_t by_sendmsg(int fd, const void *p, size_t len)
{
	VECTOR;
	return sendmsg(fd, &(struct msghdr){ .msg_iov = iov, .msg_iovlen = (size_t)n }, 0);
}

static ssize_t by_sys_sendmsg(int fd, const void *p, size_t len)
{
	VECTOR;
	return syscall(SYS_sendmsg, fd, &(struct msghdr){ .msg_iov = iov, .msg_iovlen = (size_t)n }, 0);
}

static ssize_t by_sendmmsg(int fd, const void *p, size_t len)
{
	VECTOR;
	struct mmsghdr m = { .msg_hdr = { .msg_iov = iov, .msg_iovlen = (size_t)n } };
	int r = sendmmsg(fd, &m, 1, 0);
	return r < 0 ? -1 : (ssize_t)m.msg_len;
}

static ssize_t by_sys_sendmmsg(int fd, const void *p, size_t len)
{
	VECTOR;
	struct mmsghdr m = { .msg_hdr = { .msg_iov = iov, .msg_iovlen = (size_t)n } };
	long r = syscall(SYS_sendmmsg, fd, &m, 1, 0);
	return r < 0 ? -1 : (ssize_t)m.msg_len;
}

static ssize_t by_stdio(int fd, const void *p, size_t len, size_t size, bool unlocked)
{
	FILE *fp = fdopen(dup(fd), "w");
	size_t n = (unlocked ? fwrite_unlocked : fwrite)(p, size, len / size, fp);
	CHECK(ferror(fp) == 0 && fclose(fp) == 0);
	return (ssize_t)(n * size);
}

static ssize_t by_fwrite(int fd, const void *p, size_t len) { return by_stdio(fd, p, len, 1, false); }
static ssize_t by_fwrite_items(int fd, const void *p, size_t len) { return by_stdio(fd, p, len, len % 7 == 0 ? 7 : len, false); }
static ssize_t by_fwrite_unlocked(int fd, const void *p, size_t len) { return by_stdio(fd, p, len, 1, true); }

#define FILES 1u   /* what it can write to */
#define STREAMS 2u /* pipes */
#define SOCKETS 4u
#define PIPES 8u
#define WHOLE 16u /* never in pieces */

static const struct out_kind {
	const char *name;
	ssize_t (*call)(int fd, const void *p, size_t len);
	unsigned int to;
} out_kinds[] = {
	{ "write", by_write, FILES | STREAMS | SOCKETS },
	{ "SYS_write", by_sys_write, FILES | STREAMS | SOCKETS },
	{ "pwrite", by_pwrite, FILES },
	{ "SYS_pwrite64", by_sys_pwrite, FILES },
	{ "writev", by_writev, FILES | STREAMS | SOCKETS },
	{ "SYS_writev", by_sys_writev, FILES | STREAMS | SOCKETS },
	{ "pwritev", by_pwritev, FILES },
	{ "SYS_pwritev", by_sys_pwritev, FILES },
	{ "pwritev2", by_pwritev2, FILES },
	{ "pwritev2 at -1", by_pwritev2_here, FILES | STREAMS },
	{ "SYS_pwritev2", by_sys_pwritev2, FILES },
	{ "send", by_send, SOCKETS },
	{ "sendto", by_sendto, SOCKETS },
	{ "SYS_sendto", by_sys_sendto, SOCKETS },
	{ "sendmsg", by_sendmsg, SOCKETS },
	{ "SYS_sendmsg", by_sys_sendmsg, SOCKETS },
	{ "sendmmsg", by_sendmmsg, SOCKETS | WHOLE },
	{ "SYS_sendmmsg", by_sys_sendmmsg, SOCKETS | WHOLE },
	{ "vmsplice", by_vmsplice, PIPES },
	{ "SYS_vmsplice", by_sys_vmsplice, PIPES },
	{ "fwrite", by_fwrite, FILES | STREAMS | SOCKETS },
	{ "fwrite of items", by_fwrite_items, FILES | STREAMS },
	{ "fwrite_unlocked", by_fwrite_unlocked, FILES | STREAMS },
};

/* ---- what arrives ---- */

static unsigned char arrived[2 * SIZE];

struct reader {
	int fd;
	size_t len;
};

static void *reading(void *arg)
{
	struct reader *r = arg;
	ssize_t n;
	while (r->len < sizeof arrived && (n = sys3(SYS_read, r->fd, arrived + r->len, sizeof arrived - r->len)) > 0)
		r->len += (size_t)n;
	return NULL;
}

static int temporary(void)
{
	int fd = (int)sys2(SYS_memfd_create, "sink", 0);
	CHECK(fd >= 0);
	return fd;
}

/* One call, to one kind of sink. */
static void one(const struct out_kind *k, unsigned int to, size_t at, size_t len)
{
	int fds[2] = { -1, -1 };
	struct reader r = { -1, 0 };
	pthread_t t;
	if (to == FILES)
		fds[1] = temporary();
	else
		CHECK((to == SOCKETS ? socketpair(AF_UNIX, SOCK_STREAM, 0, fds) : pipe(fds)) == 0);
	r.fd = fds[0];
	if (to != FILES)
		CHECK(pthread_create(&t, NULL, reading, &r) == 0);
	errno = 77;
	ssize_t n = k->call(fds[1], memory + at, len);
	CHECK(n == (ssize_t)len && errno == 77);
	if (to == FILES) {
		r.len = (size_t)sys4(SYS_pread64, fds[1], arrived, sizeof arrived, 0);
		close(fds[1]);
	} else {
		close(fds[1]);
		pthread_join(t, NULL);
		close(fds[0]);
	}
	CHECK(r.len == len && memcmp(arrived, plain + at, len) == 0);
	if (n != (ssize_t)len || r.len != len)
		fprintf(stderr, "%s to %u: %zu bytes: returned %zd (errno %d), %zu arrived\n", k->name, to, len, n, errno, r.len);
}

static void all_out(void)
{
	static const struct {
		size_t at, len;
	} ranges[] = { { 0, 10 }, { PAGE - 5, 10 }, { 3 * PAGE + 11, AT_ONCE }, { 100, 5 * AT_ONCE + 7 }, { 0, SIZE } };
	for (size_t i = 0; i < sizeof out_kinds / sizeof *out_kinds; i++) {
		const struct out_kind *k = &out_kinds[i];
		for (unsigned int to = FILES; to <= PIPES; to *= 2) {
			if (!(k->to & to))
				continue;
			for (size_t j = 0; j < sizeof ranges / sizeof *ranges; j++) {
				size_t at = ranges[j].at, len = ranges[j].len, pages = (at + len + PAGE - 1) / PAGE - at / PAGE;
				if ((k->to & WHOLE) && len > HELD * PAGE)
					continue;
				empty_all();
				one(k, to, at, len);
				CHECK(most <= HELD);
				/* pages where pieces meet may come twice */
				CHECK(fills >= pages && (to == PIPES || fills <= pages + len / AT_ONCE + 8));
				empty_all();
				steal = 3;
				one(k, to, at, len);
				steal = 0;
				if (to == FILES) { /* the kernel gets as far as the middle */
					empty_all();
					steal_half = 3;
					one(k, to, at, len);
					steal_half = 0;
				}
			}
		}
	}
}

/* ---- what is special ---- */

static volatile int minus_one = -1; /* volatile: what the compiler would warn of */
static void *volatile bad = (void *)8;

static void refused(void)
{
	int fd = temporary(), ends[2];
	struct iovec one_iov = { memory, PAGE }, long_iov[2] = { { memory, SSIZE_MAX }, { memory, SSIZE_MAX } };
	empty_all();
	errno = 0;
	CHECK(write(minus_one, memory, 100) == -1 && errno == EBADF);
	CHECK(write(minus_one, memory, SIZE) == -1 && errno == EBADF);
	CHECK(write(fd, bad, 10) == -1 && errno == EFAULT);
	CHECK(write(fd, NULL, 0) == 0);
	CHECK(writev(fd, &one_iov, minus_one) == -1 && errno == EINVAL);
	CHECK(writev(fd, long_iov, 2) == -1 && (errno == EINVAL || errno == EFAULT));
	CHECK(pwritev2(fd, &one_iov, 1, 0, 1 << 30) == -1 && errno == EOPNOTSUPP);
	CHECK(pwrite(fd, memory, 10, -5) == -1 && errno == EINVAL);
	CHECK(sendmsg(fd, NULL, 0) == -1 && (errno == EFAULT || errno == ENOTSOCK));
	CHECK(send(fd, memory, SIZE, 0) == -1 && errno == ENOTSOCK);
	close(fd);
	steal = INT_MAX; /* a page that cannot be right: an end to it after some tries */
	fd = temporary();
	CHECK(write(fd, memory, SIZE) == -1 && errno == EFAULT);
	FILE *fp = fdopen(fd, "w");
	CHECK(fwrite(memory, 1, SIZE, fp) < SIZE && ferror(fp));
	fclose(fp);
	steal = 0;
	/* a pipe that takes no more: what it took is the answer */
	CHECK(pipe2(ends, O_NONBLOCK) == 0);
	errno = 77;
	ssize_t n = write(ends[1], memory, SIZE);
	CHECK(n > 0 && n < (ssize_t)SIZE && errno == 77);
	CHECK(write(ends[1], memory, SIZE) == -1 && errno == EAGAIN);
	CHECK(read(ends[0], arrived, SIZE) == n && memcmp(arrived, plain, (size_t)n) == 0);
	close(ends[0]);
	close(ends[1]);
}

/* A message is a message, and descriptors go along once. */
static void messages(void)
{
	int ends[2], size = 4 * SIZE, got = 0;
	size_t len = AT_ONCE + AT_ONCE / 2;
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0);
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	empty_all();
	CHECK(send(ends[0], memory, len, MSG_DONTWAIT) == (ssize_t)len);
	CHECK(write(ends[0], memory, len) == (ssize_t)len);
	CHECK(sys6(SYS_recvfrom, ends[1], arrived, sizeof arrived, 0, NULL, NULL) == (long)len && memcmp(arrived, plain, len) == 0);
	CHECK(sys6(SYS_recvfrom, ends[1], arrived, sizeof arrived, 0, NULL, NULL) == (long)len && memcmp(arrived, plain, len) == 0);
	close(ends[0]);
	close(ends[1]);

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .head = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) } };
	memcpy(CMSG_DATA(&control.head), &ends[0], sizeof(int));
	struct iovec iov = { memory, 3 * AT_ONCE };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.room };
	empty_all();
	CHECK(sendmsg(ends[0], &m, MSG_DONTWAIT) == (ssize_t)iov.iov_len);
	for (size_t done = 0; done < iov.iov_len;) {
		struct iovec to = { arrived + done, sizeof arrived - done };
		struct msghdr in = { .msg_iov = &to, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.room };
		long r = sys3(SYS_recvmsg, ends[1], &in, 0);
		CHECK(r > 0);
		done += r > 0 ? (size_t)r : iov.iov_len;
		got += in.msg_controllen > 0;
	}
	CHECK(got == 1 && memcmp(arrived, plain, iov.iov_len) == 0);
	close(ends[0]);
	close(ends[1]);
}

/* ---- into memory ---- */

static int source(void)
{
	int fd = temporary();
	CHECK(sys4(SYS_pwrite64, fd, plain + PAGE, SIZE - PAGE, 0) == SIZE - PAGE);
	return fd;
}

static FILE *source_stream(void)
{
	return fdopen(source(), "r");
}

static int source_socket(size_t len)
{
	int ends[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	CHECK(sys3(SYS_write, ends[1], plain + PAGE, len) == (long)len);
	close(ends[1]);
	return ends[0];
}

static int source_pipe(size_t len)
{
	int ends[2];
	CHECK(pipe(ends) == 0);
	CHECK(sys3(SYS_write, ends[1], plain + PAGE, len) == (long)len);
	close(ends[1]);
	return ends[0];
}

#define INTO(open, stmt) \
	do { \
		empty_all(); \
		errno = 77; \
		unsigned char *p = memory + 5 * PAGE - 9; \
		const size_t len = 3 * PAGE; \
		open; \
		ssize_t n = (ssize_t)(stmt); \
		CHECK(n == (ssize_t)len && errno == 77); \
		CHECK(memcmp(p, plain + PAGE, len) == 0); \
		CHECK(memcmp(memory + 4 * PAGE, plain + 4 * PAGE, PAGE - 9) == 0); /* the rest of the pages stays */ \
		CHECK(fills == 4); \
		for (int page = 4; page <= 7; page++) \
			CHECK(state[page] == WRITTEN); \
	} while (0)

static void all_in(void)
{
	struct iovec v = { memory + 5 * PAGE - 9, 3 * PAGE };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	struct mmsghdr mm = { .msg_hdr = m };
#define FD(open, call) INTO(int fd = open, (call)); 
	FD(source(), read(fd, p, len))
	FD(source(), pread(fd, p, len, 0))
	FD(source(), readv(fd, &v, 1))
	FD(source(), preadv(fd, &v, 1, 0))
	FD(source(), preadv2(fd, &v, 1, 0, 0))
	FD(source(), syscall(SYS_read, fd, p, len))
	FD(source(), syscall(SYS_preadv, fd, &v, 1, 0L, 0L))
	FD(source_socket(len), recv(fd, p, len, 0))
	FD(source_socket(len), __recv_chk(fd, p, len, len, 0))
	FD(source_socket(len), recvfrom(fd, p, len, 0, NULL, NULL))
	FD(source_socket(len), __recvfrom_chk(fd, p, len, len, 0, NULL, NULL))
	FD(source_socket(len), syscall(SYS_recvfrom, fd, p, len, 0, NULL, NULL))
	FD(source_socket(len), recvmsg(fd, &m, 0))
	FD(source_socket(len), syscall(SYS_recvmsg, fd, &m, 0))
	FD(source_socket(len), recvmmsg(fd, &mm, 1, 0, NULL) == 1 ? (ssize_t)mm.msg_len : -1)
	FD(source_socket(len), syscall(SYS_recvmmsg, fd, &mm, 1, 0, NULL) == 1 ? (ssize_t)mm.msg_len : -1)
	FD(source_pipe(len), vmsplice(fd, &v, 1, 0))
#undef FD
#define STREAM(call) INTO(FILE *fp = source_stream(), (call)); 
	STREAM(fread(p, 1, len, fp))
	STREAM(fread(p, len, 1, fp) * len)
	STREAM(fread_unlocked(p, 1, len, fp))
	STREAM(__fread_chk(p, len, 1, len, fp))
	STREAM(__fread_unlocked_chk(p, len, 1, len, fp))
#undef STREAM
	struct iovec mine = { plain + PAGE, v.iov_len };
	INTO((void)0, process_vm_readv(getpid(), &v, 1, &mine, 1, 0));
	INTO((void)0, syscall(SYS_process_vm_readv, getpid(), &v, 1L, &mine, 1L, 0L));

	empty_all();
	CHECK(getrandom(memory, PAGE, 0) == PAGE && state[0] == WRITTEN);
	CHECK(syscall(SYS_getrandom, memory + PAGE, PAGE, 0) == PAGE && state[1] == WRITTEN);
	empty_all();
	struct iovec there = { arrived, v.iov_len };
	memset(arrived, 0, v.iov_len);
	CHECK(process_vm_writev(getpid(), &v, 1, &there, 1, 0) == (ssize_t)v.iov_len && state[5] == FILLED);
	CHECK(memcmp(arrived, v.iov_base, v.iov_len) == 0);
	CHECK(read(minus_one, memory, (size_t)minus_one) == -1 && errno == EBADF);
}

/* The memory is filled at need only: else all this would cost every program. */
static void nothing_lazy(void)
{
	int fd = temporary();
	lazy_unserved = false;
	empty_all();
	CHECK(write(fd, memory, 10) == -1 && errno == EFAULT);
	CHECK(read(fd, memory, 10) == 0);
	CHECK(fills == 0);
	lazy_unserved = true;
	fills = 0;
	CHECK(write(fd, plain, SIZE) == SIZE && pread(fd, arrived, SIZE, 0) == SIZE && fills == 0);
	close(fd);
}

int main(void)
{
	for (size_t i = 0; i < SIZE; i++)
		plain[i] = (unsigned char)(i * 2654435761u >> 13);
	memory = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, minus_one, 0);
	CHECK(memory != MAP_FAILED);
	struct sigaction act = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
	CHECK(sigaction(SIGSEGV, &act, NULL) == 0);
	lazy_unserved = true;
	all_out();
	refused();
	messages();
	all_in();
	nothing_lazy();
	return check_status("shim_out");
}
