/*
 * A program that has come to a limit of its own reads on in memory that it mapped before: lazy_limits FILE REFERENCE NAME. Of FILE more than
 * 32 MiB are needed.
 *
 *   grow          mremap() to far more than was mapped first
 *   write-only    PROT_WRITE alone, which can be read, too
 *   descriptors   none is left
 *   address-space none is left
 *   pieces        of memory none is left; stores to every other page
 *   threads       a child may make none
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "probe.h"

#define FIRST ((size_t)4 << 20)
#define PART ((size_t)1 << 20)

/* Other pages than what was read ahead of the first touch. */
static void part(const char *name, const unsigned char *p)
{
	line(name, "%s", verdict(p + 8 * PART, 8 * PART, 2 * PART));
}

static void grow(void)
{
	size_t len = probe_len / probe_page * probe_page;
	unsigned char *p = map_part(PROT_READ, MAP_PRIVATE, 0, FIRST);
	line("before", "%s", verdict(p, 0, FIRST));
	p = mremap(p, FIRST, len, MREMAP_MAYMOVE);
	if (p == MAP_FAILED)
		probe_die("mremap");
	line("grown", "%s", verdict(p, 0, len));
}

static void write_only(void)
{
	unsigned char *p = map_part(PROT_WRITE, MAP_PRIVATE, 0, FIRST);
	line("read", "%s", verdict(p, 0, PART));
	p[5] = probe_want[5] = 1;
	p[2 * PART] = probe_want[2 * PART] = 2;
	line("written", "%s", verdict(p, 0, FIRST));
}

/* Bytes of address space, from the kernel. */
static rlim_t space(void)
{
	unsigned long pages;
	FILE *f = fopen("/proc/self/statm", "re");
	if (!f || fscanf(f, "%lu", &pages) != 1)
		probe_die("/proc/self/statm");
	fclose(f);
	return pages * probe_page + PART;
}

static rlim_t descriptors(void)
{
	return 3;
}

static void limited(int what, const char *name, rlim_t (*now)(void))
{
	struct rlimit limit;
	unsigned char *p = map_whole(PROT_READ, MAP_PRIVATE);
	if (getrlimit(what, &limit) < 0)
		probe_die("getrlimit");
	limit.rlim_cur = now();
	if (setrlimit(what, &limit) < 0)
		probe_die("setrlimit");
	part(name, p);
}

static void pieces(void)
{
	unsigned char *p = map_whole(PROT_READ | PROT_WRITE, MAP_PRIVATE);
	line("before", "%s", verdict(p, 0, FIRST));
	size_t len = (size_t)1 << 30;
	/* cppcheck-suppress invalidFunctionArg ; -1 is what anonymous memory wants */
	char *many = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (many == MAP_FAILED)
		probe_die("mmap");
	size_t at = 0;
	while (at < len && mprotect(many + at, probe_page, PROT_READ) == 0)
		at += 2 * probe_page;
	for (size_t i = 0; i < FIRST; i += 2 * probe_page)
		p[i] = probe_want[i] = (unsigned char)(i / probe_page / 2);
	munmap(many, len);
	line("pieces", at < len ? "none left" : "too many");
	line("written", "%s", verdict(p, 0, FIRST));
}

static void refuse_threads(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof filter / sizeof *filter, filter };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		probe_die("seccomp");
}

static void threads(void)
{
	int status;
	unsigned char *p = map_whole(PROT_READ, MAP_PRIVATE);
	line("before", "%s", verdict(p, 0, probe_page));
	refuse_threads();
	pid_t child = fork();
	if (child < 0)
		probe_die("fork");
	if (child == 0) {
		part("child", p);
		_exit(0);
	}
	waitpid(child, &status, 0);
	line("status", "%d", status);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	const char *name = argv[3];
	probe_open(argv[1], argv[2]);
	if (strcmp(name, "grow") == 0)
		grow();
	else if (strcmp(name, "write-only") == 0)
		write_only();
	else if (strcmp(name, "descriptors") == 0)
		limited(RLIMIT_NOFILE, name, descriptors);
	else if (strcmp(name, "address-space") == 0)
		limited(RLIMIT_AS, name, space);
	else if (strcmp(name, "pieces") == 0)
		pieces();
	else if (strcmp(name, "threads") == 0)
		threads();
	else
		return 2;
	return 0;
}
