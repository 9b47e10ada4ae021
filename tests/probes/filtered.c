/*
 * filtered WHEN ACTION FILE REFERENCE [CALL…]: a program that allows itself nothing but what reading takes, by a seccomp filter of its own.
 *
 *   WHEN     opened: after it has opened FILE; read: and read a byte of it; mapped: and mapped it, and touched a page
 *   ACTION   errno: EPERM for other calls; kill: the process ends by SIGSYS
 *   CALL     allowed besides those that a plain file needs (below)
 *
 * Prints "NAME right", "NAME wrong", "NAME: ERRNO" or "NAME SIGBUS at N", by write(2) alone.
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "probe.h"

#if defined __x86_64__
#define ARCH AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define ARCH AUDIT_ARCH_AARCH64
#endif

struct call {
	const char *name;
	unsigned int nr;
};

#define CALL(name) { #name, SYS_##name }
static const struct call plain[] = {
	CALL(read), CALL(pread64), CALL(write), CALL(lseek), CALL(fstat), CALL(mmap), CALL(munmap), CALL(close), CALL(rt_sigreturn), CALL(exit),
	CALL(exit_group),
};
static const struct call more[] = {
	CALL(rt_sigprocmask), CALL(madvise), CALL(futex), CALL(mprotect), CALL(rt_sigaction), CALL(memfd_create), CALL(ftruncate), CALL(prlimit64),
	CALL(fcntl), CALL(sched_getaffinity), CALL(getpid), CALL(clock_gettime), CALL(mincore), CALL(userfaultfd), CALL(ioctl), CALL(eventfd2),
	CALL(clone3), CALL(clone), CALL(openat), CALL(mremap),
	CALL(rseq), CALL(set_robust_list), CALL(prctl), CALL(pwrite64), CALL(ppoll), CALL(faccessat),
};
enum { PLAIN = sizeof plain / sizeof *plain, MORE = sizeof more / sizeof *more, MOST = PLAIN + MORE };

static void restrict_to(const struct call **calls, size_t count, unsigned int otherwise)
{
	struct sock_filter f[2 * MOST + 8];
	struct sock_fprog prog = { .filter = f };
	size_t n = 0;
	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < count; i++) {
		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i]->nr, 0, 1);
		f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise);
	prog.len = (unsigned short)n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0)
		probe_die("seccomp");
}

static unsigned char buf[8 << 20];

/* What an answer of "EPERM" is in memory: SIGBUS. */
static void say_map(const char *name, const unsigned char *p, int kills)
{
	char text[100];
	/* verdict() takes a call that a program which is killed for it would not make */
	const char *is = kills ? memcmp(p, probe_want, probe_len) ? "wrong" : "right" : verdict(p, 0, probe_len);
	int n = snprintf(text, sizeof text, "%s %s\n", name, is);
	if (write(1, text, (size_t)n) != n)
		_exit(3);
}

static void say(const char *name, int failed, int right)
{
	char text[100];
	int n = failed ? snprintf(text, sizeof text, "%s: %s\n", name, strerrorname_np(errno)) :
	                 snprintf(text, sizeof text, "%s %s\n", name, right ? "right" : "wrong");
	if (write(1, text, (size_t)n) != n)
		_exit(3);
}

static void reads(int kills)
{
	ssize_t n;
	size_t at;
	for (at = 0; (n = read(probe_fd, buf + at, 100003)) > 0; at += (size_t)n)
		;
	say("read", n < 0, at == probe_len && memcmp(buf, probe_want, probe_len) == 0);
	memset(buf, 0, probe_len);
	for (at = 0; (n = pread(probe_fd, buf + at, 70001, (off_t)at)) > 0; at += (size_t)n)
		;
	say("pread", n < 0, at == probe_len && memcmp(buf, probe_want, probe_len) == 0);
	unsigned char *p = mmap(NULL, probe_len, PROT_READ, MAP_SHARED, probe_fd, 0);
	if (p == MAP_FAILED) {
		say("mmap", 1, 0);
		return;
	}
	say_map("mmap", p, kills);
	munmap(p, probe_len);
}

int main(int argc, char **argv)
{
	const struct call *calls[MOST];
	size_t count = 0;
	unsigned char *p = MAP_FAILED;
	if (argc < 5)
		return 2;
	probe_open(argv[3], argv[4]);
	if (probe_len > sizeof buf)
		return 2;
	for (; count < PLAIN; count++)
		calls[count] = &plain[count];
	for (size_t k = 0; k < MORE; k++)
		for (int i = 5; i < argc; i++)
			if (strcmp(argv[i], more[k].name) == 0) {
				calls[count++] = &more[k];
				break;
			}
	if (strcmp(argv[1], "opened") != 0 && pread(probe_fd, buf, 1, 5000) != 1)
		probe_die("pread");
	if (strcmp(argv[1], "mapped") == 0) {
		p = map_whole(PROT_READ, MAP_SHARED);
		if (*p != *probe_want)
			return 1;
	}
	int kills = strcmp(argv[2], "kill") == 0;
	restrict_to(calls, count, kills ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | EPERM);
	if (p != MAP_FAILED)
		say_map("mapped", p, kills);
	reads(kills);
	_exit(0);
}
