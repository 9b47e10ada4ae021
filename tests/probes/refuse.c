/*
 * refuse [--uid N] [--read-all] CALL… -- CMD…: runs CMD where the kernel answers EPERM to each CALL, as a container's seccomp profile
 * makes it.
 * refuse [--uid N] [CALL…] --can: prints which userfaultfd this process may have: "full", "user" (no faults of the kernel) or "none".
 *
 * CALL is a system call of the table below, or ioctl:REQUEST, one request of userfaultfd's. --uid: becomes that user and group first,
 * without other groups and without capabilities. --read-all: keeps the right to read any file, for interpreters in closed folders.
 * Status 125 if anything here fails; 126, 127 as env(1).
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined __x86_64__
#define ARCH AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define ARCH AUDIT_ARCH_AARCH64
#endif
#ifndef UFFDIO_MOVE /* Linux 6.8 */
#define UFFDIO_MOVE _IOWR(UFFDIO, 5, char[40])
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef USERFAULTFD_IOC_NEW /* Linux 6.1: of /dev/userfaultfd */
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0)
#endif

struct call {
	const char *name;
	unsigned int nr;
	unsigned int request; /* 0: every one */
};

#define IOCTL(name) { "ioctl:" #name, SYS_ioctl, (unsigned int)name }
#define CALL(name) { #name, SYS_##name, 0 }
static const struct call calls[] = {
	CALL(userfaultfd), CALL(ptrace), CALL(io_uring_setup), CALL(memfd_create), CALL(process_vm_readv), CALL(membarrier), CALL(clone3), CALL(memfd_secret),
	CALL(seccomp), CALL(prctl), CALL(prlimit64), CALL(capset), CALL(mlock),
	IOCTL(UFFDIO_API), IOCTL(UFFDIO_REGISTER), IOCTL(UFFDIO_COPY), IOCTL(UFFDIO_MOVE), IOCTL(UFFDIO_WRITEPROTECT),
	IOCTL(USERFAULTFD_IOC_NEW),
};
enum { CALLS = sizeof calls / sizeof *calls };

static void die(const char *what)
{
	fprintf(stderr, "refuse: %s: %s\n", what, strerror(errno));
	exit(125);
}

static const struct call *find(const char *name)
{
	for (size_t i = 0; i < CALLS; i++)
		if (strcmp(calls[i].name, name) == 0)
			return &calls[i];
	fprintf(stderr, "refuse: no call %s in its table\n", name);
	exit(125);
}

static void become(unsigned int id, int read_all)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { 0 };
	if (read_all && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		die("PR_SET_KEEPCAPS");
	if (setgroups(0, NULL) < 0 || setresgid(id, id, id) < 0 || setresuid(id, id, id) < 0)
		die("becoming another user");
	if (read_all)
		caps[0].effective = caps[0].permitted = caps[0].inheritable = 1u << CAP_DAC_READ_SEARCH;
	if (syscall(SYS_capset, &head, caps) < 0)
		die("capset");
	if (read_all && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0) < 0)
		die("PR_CAP_AMBIENT_RAISE");
}

/* Appends "if this call: EPERM". */
static size_t rule(struct sock_filter *f, const struct call *c)
{
	size_t n = 0;
	unsigned char rest = c->request ? 3 : 1;
	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, c->nr, 0, rest);
	if (c->request) {
		unsigned int low = offsetof(struct seccomp_data, args[1]); /* both machines are little-endian */
		f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, low);
		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, c->request, 0, 1);
	}
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	return n;
}

static void refuse(const struct call *const *refused, size_t count)
{
	struct sock_filter f[CALLS * 5 + 4];
	struct sock_fprog prog = { .filter = f };
	size_t n = 0;
	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	for (size_t i = 0; i < count; i++)
		n += rule(f + n, refused[i]);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	prog.len = (unsigned short)n;
	if (geteuid() != 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		die("PR_SET_NO_NEW_PRIVS");
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0 &&
	    (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0))
		die("PR_SET_SECCOMP"); /* root in a container may lack CAP_SYS_ADMIN */
}

static int works(long uffd)
{
	struct uffdio_api api = { .api = UFFD_API };
	if (uffd < 0)
		return 0;
	int r = ioctl((int)uffd, UFFDIO_API, &api);
	close((int)uffd);
	return r == 0;
}

static const char *can(void)
{
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int full = works(syscall(SYS_userfaultfd, O_CLOEXEC)) || (dev >= 0 && works(ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC)));
	if (dev >= 0)
		close(dev);
	if (full)
		return "full";
	return works(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY)) ? "user" : "none";
}

int main(int argc, char **argv)
{
	const struct call *refused[CALLS];
	size_t count = 0;
	long uid = -1;
	int read_all = 0, i;
	for (i = 1; i < argc && strcmp(argv[i], "--") != 0 && strcmp(argv[i], "--can") != 0; i++) {
		if (strcmp(argv[i], "--uid") == 0 && i + 1 < argc)
			uid = atol(argv[++i]);
		else if (strcmp(argv[i], "--read-all") == 0)
			read_all = 1;
		else if (count < CALLS)
			refused[count++] = find(argv[i]);
	}
	if (i == argc || (strcmp(argv[i], "--") == 0 && i + 1 == argc)) {
		fputs("usage: refuse [--uid N] [--read-all] [CALL…] -- CMD… | --can\n", stderr);
		return 125;
	}
	if (uid >= 0)
		become((unsigned int)uid, read_all);
	if (count)
		refuse(refused, count);
	if (strcmp(argv[i], "--can") == 0)
		return puts(can()) < 0;
	execvp(argv[i + 1], argv + i + 1);
	fprintf(stderr, "refuse: %s: %s\n", argv[i + 1], strerror(errno));
	return errno == ENOENT ? 127 : 126;
}
