/*
 * lazy_foreign FILE REFERENCE: another process reads (and writes) memory of FILE's mappings that has been filled, that has not, and
 * across both. Then the owner reads it all: a foreign reader must not have left a wrong page behind.
 *
 * lazy_foreign FILE REFERENCE wait READY: maps FILE privately and shared, touches nothing, writes "PID ADDRESS ADDRESS" into READY, waits
 * for a byte on standard input and then compares everything.
 */
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "probe.h"

struct place {
	const char *name;
	size_t off, len;
};

/* The owner: its two mappings' address goes to the parent, which says when to go on. */
static void owner(int to_parent, int from_parent, int prot, int flags, size_t filled)
{
	char c = 'x';
	unsigned char *map = map_whole(prot, flags);
	if (strcmp(verdict(map, 0, filled), "right") != 0)
		c = 'w';
	if (write(to_parent, &map, sizeof map) < 0 || write(to_parent, &c, 1) < 0 || read(from_parent, &c, 1) < 0)
		_exit(9);
	if (c == 'p' && memcmp(map + probe_len / 4, "0123456789abcdef", 16) == 0) /* poked */
		memcpy(map + probe_len / 4, probe_want + probe_len / 4, 16);
	const char *says = verdict(map, 0, probe_len);
	_exit(strcmp(says, "right") == 0 ? 0 : (fprintf(stderr, "owner: %s\n", says), 1));
}

static const char *foreign(ssize_t n, const unsigned char *got, const struct place *at)
{
	static char text[64];
	if (n < 0)
		return err_name(errno);
	if (memcmp(got, probe_want + at->off, (size_t)n) != 0)
		return "wrong";
	if ((size_t)n == at->len)
		return "right";
	snprintf(text, sizeof text, "right-but-short");
	return text;
}

static void by_vm_readv(pid_t pid, const unsigned char *map, const struct place *at, const char *kind, unsigned char *got)
{
	struct iovec local = { got, at->len }, remote = { (void *)(map + at->off), at->len };
	char name[64];
	snprintf(name, sizeof name, "vm_readv.%s.%s", at->name, kind);
	memset(got, 0xee, at->len);
	ssize_t n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
	line(name, "%s", foreign(n, got, at));
}

static void by_mem(pid_t pid, const unsigned char *map, const struct place *at, const char *kind, unsigned char *got)
{
	char name[64];
	snprintf(name, sizeof name, "/proc/%d/mem", pid);
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	snprintf(name, sizeof name, "proc-mem.%s.%s", at->name, kind);
	memset(got, 0xee, at->len);
	ssize_t n = pread(fd, got, at->len, (off_t)(uintptr_t)(map + at->off));
	line(name, "%s", foreign(n, got, at));
	close(fd);
}

static void by_peek(pid_t pid, const unsigned char *map, const struct place *at, const char *kind)
{
	char name[64];
	int status;
	struct place word = { at->name, at->off, sizeof(long) };
	snprintf(name, sizeof name, "ptrace.%s.%s", at->name, kind);
	if (ptrace(PTRACE_ATTACH, pid, NULL, NULL) < 0 || waitpid(pid, &status, __WALL) < 0) {
		line(name, "not attached: %s", err_name(errno));
		return;
	}
	errno = 0;
	long got = ptrace(PTRACE_PEEKDATA, pid, map + at->off, NULL);
	line(name, "%s", foreign(errno ? -1 : (ssize_t)sizeof got, (unsigned char *)&got, &word));
	ptrace(PTRACE_DETACH, pid, NULL, NULL);
}

/* Bytes into a page that was not filled: the bytes beside them must be the file's. */
static char poke(pid_t pid, const unsigned char *map, const char *kind)
{
	char name[64], text[] = "0123456789abcdef";
	struct iovec local = { text, 16 }, remote = { (void *)(map + probe_len / 4), 16 };
	snprintf(name, sizeof name, "vm_writev.unfilled.%s", kind);
	ssize_t n = process_vm_writev(pid, &local, 1, &remote, 1, 0);
	line(name, "%s", n == 16 ? "written" : n < 0 ? err_name(errno) : "short");
	return n == 16 ? 'p' : 'x';
}

static void run(const char *kind, int prot, int flags)
{
	size_t filled = 24 * probe_page, n = 30 * probe_page;
	const struct place places[] = {
		{ "filled", 2 * probe_page + 5, 20 * probe_page },
		{ "border", filled - 3 * probe_page, n },
		{ "unfilled", probe_len / 2 + 3, n },
		{ "unfilled-end", probe_len - 100, 100 },
	};
	/* Each way gets an owner of its own, so that no read finds what an earlier one has filled. */
	for (int way = 0; way < 4; way++) {
		int up[2], down[2], status;
		char c, name[64];
		unsigned char *map, *got = malloc(n);
		if (pipe(up) < 0 || pipe(down) < 0)
			probe_die("pipe");
		pid_t pid = fork();
		if (pid == 0)
			owner(up[1], down[0], prot, flags, filled);
		if (read(up[0], &map, sizeof map) != sizeof map || read(up[0], &c, 1) != 1)
			probe_die("the owner");
		if (c == 'w')
			line("owner", "saw wrong bytes before anybody else looked");
		c = 'x';
		for (size_t i = 0; i < sizeof places / sizeof *places; i++)
			if (way == 0)
				by_vm_readv(pid, map, &places[i], kind, got);
			else if (way == 1)
				by_mem(pid, map, &places[i], kind, got);
			else if (way == 2)
				by_peek(pid, map, &places[i], kind);
		if (way == 3 && (prot & PROT_WRITE))
			c = poke(pid, map, kind);
		if (write(down[1], &c, 1) != 1 || waitpid(pid, &status, 0) != pid)
			probe_die("the owner");
		snprintf(name, sizeof name, "owner-afterwards.%d.%s", way, kind);
		line(name, status == 0 ? "right" : "status %d", status);
		free(got);
		close(up[0]), close(up[1]), close(down[0]), close(down[1]);
	}
}

static int wait_for_reader(const char *ready)
{
	char c, name[4096];
	unsigned char *a = map_whole(PROT_READ | PROT_WRITE, MAP_PRIVATE), *b = map_whole(PROT_READ, MAP_SHARED);
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0); /* where Yama is */
	snprintf(name, sizeof name, "%s.new", ready);
	FILE *f = fopen(name, "w");
	if (!f)
		probe_die(name);
	fprintf(f, "%d %#lx %#lx\n", getpid(), (unsigned long)a, (unsigned long)b);
	if (fclose(f) || rename(name, ready) < 0 || read(0, &c, 1) < 0)
		probe_die(name);
	line("private", "%s", verdict(a, 0, probe_len));
	line("shared", "%s", verdict(b, 0, probe_len));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	probe_open(argv[1], argv[2]);
	if (argc > 4)
		return wait_for_reader(argv[4]);
	run("private", PROT_READ, MAP_PRIVATE);
	run("shared", PROT_READ, MAP_SHARED);
	run("writable", PROT_READ | PROT_WRITE, MAP_PRIVATE);
	return 0;
}
