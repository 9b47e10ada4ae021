/*
 * probe.h: what the lazy_* probes share. Each takes FILE and REFERENCE, a plain copy of what FILE must read as, and prints lines
 * "NAME OUTCOME". The same program on the plain file, without the shim, is the judge: its lines must be the same.
 */
#ifndef PROBE_H
#define PROBE_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROBE __attribute__((unused)) static

static const char *probe_path;
static int probe_fd = -1;
static size_t probe_len, probe_page;
static unsigned char *probe_want; /* probe_len bytes, then zeros to the end of the page */

static _Thread_local sigjmp_buf probe_back;
static _Thread_local volatile sig_atomic_t probe_armed;
static _Thread_local volatile int probe_code;
static _Thread_local void *volatile probe_addr;

PROBE void probe_fault(int sig, siginfo_t *info, void *context)
{
	static const char text[] = "a fault where none may be\n";
	(void)context;
	probe_code = info->si_code;
	probe_addr = info->si_addr;
	if (probe_armed)
		siglongjmp(probe_back, sig);
	if (write(2, text, sizeof text - 1) < 0)
		_exit(4);
	_exit(3);
}

__attribute__((noreturn)) PROBE void probe_die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(2);
}

/* One line, out at once: children print too. */
__attribute__((format(printf, 2, 3))) PROBE void line(const char *name, const char *format, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	printf("%s %s\n", name, text);
	fflush(stdout);
}

PROBE const char *err_name(int e)
{
	const char *name = strerrorname_np(e);
	return name ? name : "?";
}

PROBE void read_whole(const char *path, unsigned char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		probe_die(path);
	for (size_t at = 0; at < len;) {
		ssize_t n = pread(fd, buf + at, len - at, (off_t)at);
		if (n <= 0)
			probe_die(path);
		at += (size_t)n;
	}
	close(fd);
}

PROBE void catch_faults(void)
{
	struct sigaction sa = { .sa_sigaction = probe_fault, .sa_flags = SA_SIGINFO };
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

PROBE void probe_open(const char *path, const char *reference)
{
	struct stat st;
	probe_page = (size_t)sysconf(_SC_PAGESIZE);
	probe_path = path;
	probe_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (probe_fd < 0 || fstat(probe_fd, &st) < 0)
		probe_die(path);
	probe_len = (size_t)st.st_size;
	probe_want = calloc(1, probe_len + probe_page);
	if (!probe_want)
		probe_die("calloc");
	if (reference)
		read_whole(reference, probe_want, probe_len);
	catch_faults();
}

PROBE size_t whole_pages(size_t len)
{
	return (len + probe_page - 1) / probe_page * probe_page;
}

PROBE unsigned char *map_part(int prot, int flags, size_t off, size_t len)
{
	unsigned char *p = mmap(NULL, len, prot, flags, probe_fd, (off_t)off);
	if (p == MAP_FAILED)
		probe_die("mmap");
	return p;
}

PROBE unsigned char *map_whole(int prot, int flags)
{
	return map_part(prot, flags, 0, probe_len);
}

/* Is [p, p + n) the file's bytes from off on? "right", or "wrong at N", "SIGBUS at N", "SIGSEGV at N" (N in the file). A text lives for seven
 * more calls in its thread. */
PROBE const char *verdict(const unsigned char *p, size_t off, size_t n)
{
	static _Thread_local char texts[8][80];
	static _Thread_local unsigned int turn;
	char *text = texts[turn++ % 8];
	volatile size_t at = 0;
	int sig = sigsetjmp(probe_back, 1);
	probe_armed = sig == 0;
	if (sig) {
		long long where = (long long)((uintptr_t)probe_addr - (uintptr_t)p) + (long long)off;
		snprintf(text, sizeof texts[0], "%s at %lld", sig == SIGBUS ? "SIGBUS" : "SIGSEGV", where);
		return text;
	}
	if (memcmp(p, probe_want + off, n) != 0) {
		while (((const volatile unsigned char *)p)[at] == probe_want[off + at])
			at++;
		snprintf(text, sizeof texts[0], "wrong at %zu", off + at);
	} else {
		strcpy(text, "right");
	}
	probe_armed = 0;
	return text;
}

/* The signal that reading (or, store: writing back) the byte raises, 0: none. */
PROBE int touch(volatile unsigned char *p, int store)
{
	int sig = sigsetjmp(probe_back, 1);
	probe_armed = sig == 0;
	if (sig)
		return sig;
	unsigned char c = 0;
	if (!store)
		c = *p;
	else
		*p = 0x5a;
	__asm__ volatile("" : : "r"(c));
	probe_armed = 0;
	return 0;
}

PROBE const char *sig_name(int sig)
{
	return sig == 0 ? "right" : sig == SIGBUS ? "SIGBUS" : sig == SIGSEGV ? "SIGSEGV" : "?";
}

#endif
