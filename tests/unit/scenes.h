/*
 * scenes: with SIGSEGV and SIGBUS taken a program must see what it sees without. Each scene is played twice, in children of its own, once on the
 * kernel alone and once with both taken and pages that fault in between. What it says, and how it ends, must be the same.
 */
#ifndef CT_TEST_SCENES_H
#define CT_TEST_SCENES_H

#include <setjmp.h>
#include <stdarg.h>
#include <ucontext.h>

#include "check.h"
#include "faulty.h"

static bool taking; /* the second time */
static int out;

static inline void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static inline void say(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vdprintf(out, fmt, ap);
	va_end(ap);
}

static inline bool bus_fault(int signo, const siginfo_t *info, const void *ucontext)
{
	(void)ucontext;
	return signo != SIGBUS || info->si_code <= 0;
}

static inline void take(void)
{
	const char *why = "";
	if (taking && (signals_take(SIGSEGV, faulty_fault, &why) != 0 || signals_take(SIGBUS, bus_fault, &why) != 0 ||
	               !signals_held(SIGSEGV) || !signals_held(SIGBUS)))
		say("not taken: %s\n", why);
	faulty_touch();
}

static inline uint64_t bits(const sigset_t *set)
{
	uint64_t b;
	memcpy(&b, set, sizeof b);
	return b;
}

static inline void say_mask(const char *what)
{
	sigset_t now;
	sigprocmask(SIG_BLOCK, NULL, &now);
	say("%s %016llx\n", what, (unsigned long long)bits(&now));
}

static inline const sigset_t *set_of(int a, int b, int c)
{
	static sigset_t set;
	sigemptyset(&set);
	if (a)
		sigaddset(&set, a);
	if (b)
		sigaddset(&set, b);
	if (c)
		sigaddset(&set, c);
	return &set;
}

static inline void say_info(const char *what, int signo, const siginfo_t *info)
{
	say("%s: signal %d %d, code %d, errno %d", what, signo, info->si_signo, info->si_code, info->si_errno);
	if (info->si_code > 0)
		say(", at %p\n", info->si_addr);
	else
		say(", from us %d, value %d\n", info->si_pid == getpid(), info->si_value.sival_int);
}

static volatile int *volatile nowhere = (volatile int *)16; /* NOLINT */
static unsigned char *volatile no_file;

static inline void fault_segv(void)
{
	*nowhere = 1;
}

static inline void fault_bus(void)
{
	no_file[8] = 1;
}

/* ---- handlers of the program ---- */

static sigjmp_buf env;
static volatile sig_atomic_t calls;

static inline void on_info(int signo, siginfo_t *info, void *ucontext)
{
	ucontext_t *uc = ucontext;
	calls++;
	say_info("handler", signo, info);
	say_mask("  mask");
	say("  frame %016llx\n", (unsigned long long)bits(&uc->uc_sigmask));
	faulty_touch();
}

static inline void on_plain(int signo)
{
	calls++;
	say("plain handler: %d\n", signo);
	say_mask("  mask");
	faulty_touch();
}

static inline void on_jump(int signo, siginfo_t *info, void *ucontext)
{
	on_info(signo, info, ucontext);
	siglongjmp(env, 1);
}

static inline void install(int signo, void (*f)(int, siginfo_t *, void *), int flags, const sigset_t *mask)
{
	struct sigaction a = { .sa_sigaction = f, .sa_flags = flags | SA_SIGINFO };
	a.sa_mask = *mask;
	sigaction(signo, &a, NULL);
}

/* ---- playing ---- */

#define SCENE(f) { #f, f }
struct scene {
	const char *name;
	void (*play)(void);
};

static void play(const struct scene *scene, bool taken, char *text, size_t room)
{
	int p[2], status;
	if (pipe(p) != 0)
		return;
	pid_t pid = fork();
	if (pid == 0) {
		faulty_child();
		close(p[0]);
		out = p[1];
		taking = taken;
		faulty_make(!taken);
		scene->play();
		say("faults of ours %d, wrong %lu\n", !taken || faulty_faults > 0, faulty_wrong);
		_exit(0);
	}
	close(p[1]);
	size_t len = 0;
	ssize_t n;
	while ((n = read(p[0], text + len, room - len - 64)) > 0)
		len += (size_t)n;
	close(p[0]);
	while (waitpid(pid, &status, 0) < 0)
		;
	snprintf(text + len, room - len, "status %x\n", (unsigned int)status);
}

/* The name of a scene as argument: that one alone, and what it says. */
static int scenes_main(const char *name, const struct scene *scenes, size_t count, int argc, char **argv)
{
	static char plain[65536], taken[65536];
	const int own[] = { SIGSEGV, SIGBUS };
	alarm(120);
	for (int i = 0; i < 2; i++)
		signal(own[i], SIG_DFL); /* a sanitizer's run time has put its own there */
	no_file = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memfd_create("empty", MFD_CLOEXEC), 0);
	for (size_t i = 0; i < count; i++) {
		if (argc > 1 && strcmp(argv[1], scenes[i].name) != 0)
			continue;
		play(&scenes[i], false, plain, sizeof plain);
		play(&scenes[i], true, taken, sizeof taken);
		CHECK(strcmp(plain, taken) == 0);
		if (strcmp(plain, taken) != 0)
			fprintf(stderr, "%s\n--- by the kernel:\n%s--- taken:\n%s\n", scenes[i].name, plain, taken);
		else if (argc > 1)
			printf("%s", plain);
	}
	return check_status(name);
}

#endif
