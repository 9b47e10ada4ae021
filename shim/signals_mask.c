#include "signals_mask.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <time.h>

#include "sys.h"

#define MARKER SIGSTKFLT /* open while a stand-in stands for its signal */
#define NEIGHBOUR 62     /* guessed from: blocked with the stand-ins by whoever blocks all */

#define SCANS 25
#define SCAN_PAUSE_NS 2000000

_Atomic uint64_t signals_mask_taken_bits;

int signals_mask_stand_in(int signo)
{
	return signo == SIGSEGV ? SIGNALS_FOR_SEGV : signo == SIGBUS ? SIGNALS_FOR_BUS : 0;
}

int signals_mask_stands_for(int signo)
{
	return signo == SIGNALS_FOR_SEGV ? SIGSEGV : signo == SIGNALS_FOR_BUS ? SIGBUS : 0;
}

static uint64_t stand_ins(uint64_t signals)
{
	return ((signals & SIGNALS_BIT(SIGSEGV)) ? SIGNALS_BIT(SIGNALS_FOR_SEGV) : 0) |
	       ((signals & SIGNALS_BIT(SIGBUS)) ? SIGNALS_BIT(SIGNALS_FOR_BUS) : 0);
}

uint64_t signals_mask_special(uint64_t taken)
{
	return taken ? taken | stand_ins(taken) | SIGNALS_BIT(MARKER) : 0;
}

uint64_t signals_mask_to_kernel(uint64_t application, uint64_t taken)
{
	uint64_t blocked = application & taken;
	if (blocked)
		return (application & ~signals_mask_special(taken)) | stand_ins(blocked);
	return (application & stand_ins(taken)) ? application | SIGNALS_BIT(MARKER) : application;
}

uint64_t signals_mask_to_application(uint64_t kernel, uint64_t taken)
{
	uint64_t own = stand_ins(taken), blocked = 0;
	if ((kernel & SIGNALS_BIT(MARKER)) || !(kernel & own))
		return kernel;
	if (kernel & own & SIGNALS_BIT(SIGNALS_FOR_SEGV))
		blocked |= SIGNALS_BIT(SIGSEGV);
	if (kernel & own & SIGNALS_BIT(SIGNALS_FOR_BUS))
		blocked |= SIGNALS_BIT(SIGBUS);
	kernel = (kernel & ~own) | blocked;
	return (kernel & SIGNALS_BIT(NEIGHBOUR)) ? kernel | own | SIGNALS_BIT(MARKER) : kernel;
}

void signals_mask_adopt(uint64_t old)
{
	uint64_t taken = signals_mask_taken(), mask = 0;
	if (old == taken)
		return;
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, 0, &mask, sizeof mask);
	uint64_t now = signals_mask_to_kernel(signals_mask_to_application(mask, old), taken);
	if (now != mask)
		sys4(SYS_rt_sigprocmask, SIG_SETMASK, &now, 0, sizeof now);
}

void signals_mask_bare(void)
{
	uint64_t taken = signals_mask_taken(), mask = 0, pending = 0;
	if (!taken)
		return;
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, 0, &mask, sizeof mask);
	uint64_t now = signals_mask_to_application(mask, taken);
	if (now == mask)
		return;
	sys2(SYS_rt_sigpending, &pending, sizeof pending);
	now |= pending & mask;
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &now, 0, sizeof now);
}

/* ---- the other threads ---- */

struct entry { /* struct linux_dirent64 */
	uint64_t ino;
	int64_t off;
	unsigned short len;
	unsigned char type;
	char name[];
};

static bool hex(const char *s, uint64_t *value)
{
	*value = 0;
	for (int i = 0; i < 16; i++) {
		unsigned int c = (unsigned char)s[i];
		unsigned int digit = c - '0' < 10 ? c - '0' : c - 'a' < 6 ? c - 'a' + 10 : 16;
		if (digit > 15)
			return false;
		*value = *value << 4 | digit;
	}
	return true;
}

/* 1: it blocks signo; 0: no, or it has ended; or -errno. */
static long blocks(int dir, const char *tid, int signo)
{
	static const char key[] = "\nSigBlk:\t", ours[] = "Name:\tctshim\n";
	char path[32], text[4096];
	uint64_t mask, own = SIGNALS_BIT(signals_mask_stand_in(signo));
	size_t n = strlen(tid);
	if (n > 20)
		return 0;
	memcpy(path, tid, n);
	memcpy(path + n, "/status", sizeof "/status");
	long fd = sys4(SYS_openat, dir, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd == -ENOENT || fd == -ESRCH)
		return 0;
	if (fd < 0)
		return fd;
	long r = sys3(SYS_read, fd, text, sizeof text - 1);
	sys_close((int)fd);
	if (r == -ESRCH)
		return 0;
	if (r < 0)
		return r;
	text[r] = '\0';
	if (strncmp(text, ours, sizeof ours - 1) == 0)
		return 0;
	const char *at = strstr(text, key);
	if (!at || !hex(at + sizeof key - 1, &mask))
		return -EIO;
	return (mask & SIGNALS_BIT(signo)) || ((mask & own) && !(mask & SIGNALS_BIT(MARKER)));
}

static bool is_number(const char *s, long value)
{
	long n = 0;
	for (; *s >= '0' && *s <= '9'; s++)
		n = n * 10 + (*s - '0');
	return n == value;
}

static long scan_once(int signo)
{
	char buf[2048] __attribute__((aligned(8)));
	long self = sys0(SYS_gettid), found = 0, n;
	long dir = sys4(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (dir < 0)
		return dir;
	while (found == 0 && (n = sys3(SYS_getdents64, dir, buf, sizeof buf)) != 0) {
		if (n < 0)
			found = n;
		for (long at = 0; at < n && found == 0;) {
			const struct entry *e = (const struct entry *)(const void *)(buf + at);
			at += e->len;
			if (e->name[0] != '.' && !is_number(e->name, self))
				found = blocks((int)dir, e->name, signo);
		}
	}
	sys_close((int)dir);
	return found;
}

long signals_mask_scan(int signo, const char **why)
{
	const struct timespec pause = { .tv_nsec = SCAN_PAUSE_NS };
	if (__libc_single_threaded)
		return 0;
	for (int i = 0; i < SCANS; i++) {
		long r = scan_once(signo);
		if (r < 0)
			*why = "the other threads' signal masks cannot be read from /proc/self/task";
		if (r <= 0)
			return r;
		sys2(SYS_nanosleep, &pause, 0);
	}
	*why = signo == SIGSEGV ? "another thread blocks SIGSEGV" : "another thread blocks SIGBUS";
	return -EBUSY;
}
