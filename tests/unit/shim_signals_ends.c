/* How a program ends while SIGSEGV and SIGBUS are taken, and what becomes of its signals in the next one: as by the kernel (scenes.h). */
#include <spawn.h>

#include "scenes.h"

static void on_fault_again(int signo)
{
	say("again %d\n", signo);
	if (++calls < 5)
		fault_segv();
}

static void end_default(void) { take(); fault_segv(); }
static void end_default_bus(void) { take(); fault_bus(); }
static void end_raise(void) { take(); raise(SIGSEGV); say("alive\n"); }
static void end_kill(void) { take(); kill(getpid(), SIGBUS); pause(); }
static void end_ignored_fault(void) { take(); signal(SIGSEGV, SIG_IGN); raise(SIGSEGV); say("alive\n"); fault_segv(); }

static void end_once(void)
{
	take();
	install(SIGSEGV, on_info, (int)SA_RESETHAND, set_of(0, 0, 0));
	fault_segv();
}

static void end_in_handler(void)
{
	take();
	signal(SIGSEGV, on_fault_again);
	fault_segv();
}

static void end_nested(void)
{
	struct sigaction a = { .sa_handler = on_fault_again, .sa_flags = SA_NODEFER };
	take();
	sigaction(SIGSEGV, &a, NULL);
	if (sigsetjmp(env, 1) == 0) {
		install(SIGBUS, on_jump, 0, set_of(0, 0, 0));
		raise(SIGBUS);
	}
	calls = 3;
	fault_segv();
	say("not here\n");
}

static void end_blocked(void)
{
	take();
	install(SIGSEGV, on_info, 0, set_of(0, 0, 0));
	sigprocmask(SIG_BLOCK, set_of(SIGSEGV, 0, 0), NULL);
	fault_segv();
}

static void end_pending(void)
{
	take();
	sigprocmask(SIG_BLOCK, set_of(SIGSEGV, 0, 0), NULL);
	raise(SIGSEGV);
	say("alive\n");
	sigprocmask(SIG_UNBLOCK, set_of(SIGSEGV, 0, 0), NULL);
	say("still alive\n");
}

/* As Python's faulthandler: takes itself out, then raises again. */
static struct sigaction before_fatal;

static void on_fatal(int signo)
{
	sigaction(signo, &before_fatal, NULL);
	say("dump\n");
	raise(signo);
	say("not here\n");
}

static void end_faulthandler(void)
{
	struct sigaction a = { .sa_handler = on_fatal, .sa_flags = SA_NODEFER | SA_ONSTACK };
	sigaction(SIGSEGV, &a, &before_fatal);
	take();
	fault_segv();
}

static void end_exec(void)
{
	take();
	sigset_t fill;
	sigfillset(&fill);
	sigprocmask(SIG_SETMASK, &fill, NULL);
	char *argv[] = { (char *)(uintptr_t)"grep", (char *)(uintptr_t)"SigBlk", (char *)(uintptr_t)"/proc/self/status", NULL };
	dup2(out, 1);
	execv("/nonexistent", argv);
	say_mask("failed");
	faulty_touch();
	pid_t pid;
	int status = 0;
	for (int i = 0; i < 2; i++) {
		int r = (i == 0 ? posix_spawn : posix_spawnp)(&pid, "/bin/grep", NULL, NULL, argv, environ);
		waitpid(pid, &status, 0);
		say("spawn %d %x\n", r, (unsigned int)status);
		say_mask("spawned");
		faulty_touch();
	}
	sigprocmask(SIG_SETMASK, set_of(SIGSEGV, 0, 0), NULL);
	raise(SIGSEGV); /* stays where it is while exec fails */
	execv("/nonexistent", argv);
	say_mask("failed");
	faulty_touch();
	say("waits %d\n", sigwaitinfo(set_of(SIGSEGV, 0, 0), NULL));
	execv("/bin/grep", argv);
}

static const struct scene scenes[] = {
	SCENE(end_default), SCENE(end_default_bus), SCENE(end_raise), SCENE(end_kill), SCENE(end_ignored_fault),
	SCENE(end_once), SCENE(end_in_handler), SCENE(end_nested), SCENE(end_blocked), SCENE(end_pending),
	SCENE(end_faulthandler), SCENE(end_exec),
};

int main(int argc, char **argv)
{
	return scenes_main("shim_signals_ends", scenes, sizeof scenes / sizeof *scenes, argc, argv);
}
