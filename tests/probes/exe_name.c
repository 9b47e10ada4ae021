/*
 * exe_name PROGRAM: gives itself PROGRAM's name in /proc/PID/exe (PR_SET_MM_MAP, which takes a user namespace of one's own and no more), prints it to stderr, sends
 * what comes from stdin to the socket in CT_AGENT_SOCK, and prints the JSON of the reply. 125: this kernel does not let it.
 */
#include <fcntl.h>
#include <linux/prctl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define PLACES_MAX 16

static struct {
	char *at;
	size_t len;
	int prot;
} places[PLACES_MAX];

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(125);
}

/* The name may not be changed while the file is mapped: each mapping is replaced by a copy of it, in one step, since this code runs there. */
static int unmap_own(void)
{
	char line[5000], own[4096] = "", path[4096], r, w, x;
	unsigned long begin, end;
	int n = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	if (readlink("/proc/self/exe", own, sizeof own - 1) < 0 || !f)
		return -1;
	while (n < PLACES_MAX && fgets(line, sizeof line, f)) {
		if (sscanf(line, "%lx-%lx %c%c%c%*c %*s %*s %*s %4095[^\n]", &begin, &end, &r, &w, &x, path) != 6 || strcmp(path, own) != 0)
			continue;
		places[n].at = (char *)begin;
		places[n].len = end - begin;
		places[n++].prot = (r == 'r' ? PROT_READ : 0) | (w == 'w' ? PROT_WRITE : 0) | (x == 'x' ? PROT_EXEC : 0);
	}
	fclose(f);
	for (int i = 0; i < n; i++) {
		/* by number: cppcheck knows no mapping without a file */
		char *copy = (char *)syscall(SYS_mmap, NULL, places[i].len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (copy == MAP_FAILED)
			return -1;
		memcpy(copy, places[i].at, places[i].len);
		if (mprotect(copy, places[i].len, places[i].prot) < 0 ||
		    mremap(copy, places[i].len, places[i].len, MREMAP_MAYMOVE | MREMAP_FIXED, places[i].at) != places[i].at)
			return -1;
	}
	return 0;
}

/* Field n of /proc/self/stat, as proc(5) counts them. */
static uint64_t field(const char *stat, int n)
{
	const char *p = strrchr(stat, ')') + 2;

	for (int i = 3; i < n; i++)
		p = strchr(p, ' ') + 1;
	return strtoull(p, NULL, 10);
}

static int rename_to(const char *program)
{
	static int fd, exe; /* open as long as it runs */
	char stat[4096] = "";

	fd = open("/proc/self/stat", O_RDONLY);
	exe = open(program, O_RDONLY);

	if (read(fd, stat, sizeof stat - 1) <= 0 || exe < 0)
		return -1;
	struct prctl_mm_map map = {
		.start_code = field(stat, 26), .end_code = field(stat, 27), .start_data = field(stat, 45), .end_data = field(stat, 46),
		.start_brk = field(stat, 47),  .brk = (uintptr_t)sbrk(0),   .start_stack = field(stat, 28), .arg_start = field(stat, 48),
		.arg_end = field(stat, 49),    .env_start = field(stat, 50), .env_end = field(stat, 51),    .exe_fd = (uint32_t)exe,
	};
	return prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0);
}

int main(int argc, char **argv)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	char buf[65536], name[4096] = "";
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	size_t at = 0;
	ssize_t n;

	if (argc != 2 || unmap_own() < 0)
		die("unmap");
	if (rename_to(argv[1]) < 0 || readlink("/proc/self/exe", name, sizeof name - 1) < 0)
		die("PR_SET_MM_MAP");
	fprintf(stderr, "%s\n", name);
	strncpy(to.sun_path, getenv("CT_AGENT_SOCK"), sizeof to.sun_path - 1);
	if (connect(s, (const struct sockaddr *)&to, sizeof to) < 0)
		die("connect");
	while ((n = read(0, buf, sizeof buf)) > 0)
		if (send(s, buf, (size_t)n, MSG_NOSIGNAL) != n)
			die("send");
	while (at < sizeof buf && (n = read(s, buf + at, sizeof buf - at)) > 0)
		at += (size_t)n;
	if (at > 8) {
		uint32_t len = *(const uint32_t *)buf;
		fwrite(buf + 8, 1, len < at - 8 ? len : at - 8, stdout);
	}
	return 0;
}
