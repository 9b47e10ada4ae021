/*
 * What is taken from the process that serves, by trying each thing in a process of its own that gave it up: a row that is missing, or that fits too much, is
 * seen by nobody as long as nobody attacks. What a serving agent needs is tried too, since a filter that lets nothing through would pass the rest.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"
#include "check.h"
#include "secret.h"

enum way { FRONT, FRONT_SYSLOG, KEEPER, MODULES };

static pid_t victim;
static int both[2]; /* of a pair */
static int log_socket, other_socket, server; /* the first two could be connected to the third */
static char folder[] = "/tmp/ctcallsXXXXXX", log_path[100], file[100];

static int answer(long r)
{
	return r < 0 ? errno : 0;
}

static int do_nothing(void)
{
	return 0;
}

static int do_serve(void)
{
	char text[100];
	int pair[2], fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof text), link = readlink("/proc/self/exe", text, sizeof text);
	void *p = malloc(20 << 20);

	free(p);
	close(fd);
	fd = memfd_create("question", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return n > 0 && link > 0 && p && fd >= 0 && write(fd, "x", 1) == 1 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0 && pipe2(pair, O_CLOEXEC) == 0 ? 0 : EINVAL;
}

static int do_write_file(void)
{
	return answer(open(file, O_WRONLY));
}

static int do_append(void)
{
	return answer(open(file, O_RDWR | O_APPEND));
}

static int do_create(void)
{
	return answer(open(folder, O_RDWR | O_TMPFILE, 0600));
}

static int do_truncate(void)
{
	return answer(open(file, O_RDONLY | O_TRUNC));
}

static int do_rename(void)
{
	return answer(rename(file, folder));
}

static int do_unlink(void)
{
	return answer(unlink(file));
}

static int do_chmod(void)
{
	return answer(chmod(file, 0666));
}

static int do_list(void)
{
	DIR *d = opendir("/");

	return !d || !readdir(d) ? errno : 0;
}

static int do_inet(void)
{
	return answer(socket(AF_INET, SOCK_STREAM, 0));
}

static int do_unix(void)
{
	return answer(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int do_connect(int fd)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	memcpy(to.sun_path, log_path, sizeof log_path);
	return answer(connect(fd, (const struct sockaddr *)&to, sizeof to));
}

static int do_connect_log(void)
{
	return do_connect(log_socket);
}

static int do_connect_other(void)
{
	return do_connect(other_socket);
}

static int do_fork(void)
{
	pid_t p = fork();

	if (p == 0)
		_exit(0);
	return answer(p);
}

static void *idle(void *p)
{
	return p;
}

static int do_thread(void)
{
	pthread_t t;

	return pthread_create(&t, NULL, idle, NULL);
}

static int do_map_code(void)
{
	return answer(syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static int do_protect_code(void)
{
	static _Alignas(4096) char page[4096];

	return answer(mprotect(page, sizeof page, PROT_READ | PROT_EXEC));
}

static int do_dumpable(void)
{
	return answer(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int do_signal(void)
{
	return answer(kill(getppid(), 0));
}

/* The victim is waited for by nobody, so that its number stays. */
static int do_kill_keeper(void)
{
	return answer(kill(victim, SIGKILL));
}

/* What the keeper does all day. */
static int do_keep(void)
{
	struct iovec v = { file, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	struct secret *s = secret_new_hidden(32), *t = secret_new(32);
	void *p = malloc(20 << 20);
	bool done = s && t && p && sendmsg(both[0], &m, MSG_NOSIGNAL) == 1 && recvmsg(both[1], &m, MSG_DONTWAIT) == 1;

	free(p);
	secret_free(s);
	secret_free(t);
	return done ? 0 : EINVAL;
}

static int do_read_file(void)
{
	return answer(open(file, O_RDONLY));
}

static int do_write_2(void)
{
	return answer(write(2, "", 0));
}

static int do_exec(void)
{
	char *argv[] = { "true", NULL };

	return answer(execv("/bin/true", argv));
}

static int do_ptrace(void)
{
	return answer(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int do_read_other(void)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { file, 1 };

	return answer(process_vm_readv(getppid(), &here, 1, &there, 1, 0));
}

static int do_namespace(void)
{
	return answer(unshare(CLONE_NEWUSER));
}

static int do_clone_namespace(void)
{
	long p = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);

	if (p == 0)
		_exit(0);
	return answer(p);
}

static int do_clone3_namespace(void)
{
	uint64_t args[11] = { CLONE_NEWUSER, 0, 0, 0, SIGCHLD }; /* struct clone_args */
	long p = syscall(SYS_clone3, args, sizeof args);

	if (p == 0)
		_exit(0);
	return answer(p);
}

static int do_mount(void)
{
	return answer(mount("none", "/", "tmpfs", 0, NULL));
}

static int do_keyctl(void)
{
	return answer(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 0));
}

static int do_io_uring(void)
{
	return answer(syscall(SYS_io_uring_setup, 0, NULL));
}

static int do_userfaultfd(void)
{
	return answer(syscall(SYS_userfaultfd, 0));
}

static int do_bpf(void)
{
	return answer(syscall(SYS_bpf, 0, NULL, 0));
}

static int do_int80(void)
{
#ifdef __x86_64__
	long r = 20; /* getpid of 32 bits */

	__asm__ volatile("int $0x80" : "+a"(r) : : "memory");
	return r < 0 ? (int)-r : 0;
#else
	raise(SIGSYS);
	return 0;
#endif
}

/* execve once more; on a kernel without x32 it would be ENOSYS, but who asks first is the filter. */
static int do_x32(void)
{
#ifdef __x86_64__
	return answer(syscall(0x40000000 + 520, NULL, NULL, NULL));
#else
	raise(SIGSYS);
	return 0;
#endif
}

#define DIES (-1)

static const struct {
	int (*act)(void);
	const char *name;
	enum way way;
	int want; /* 0: it works; an errno; DIES: by SIGSYS */
} tries[] = {
	{ do_nothing, "nothing", FRONT, 0 },
	{ do_serve, "serve", FRONT, 0 },
	{ do_write_file, "open for writing", FRONT, EACCES },
	{ do_append, "open for appending", FRONT, EACCES },
	{ do_create, "make a file", FRONT, EACCES },
	{ do_truncate, "truncate", FRONT, EACCES },
	{ do_rename, "rename", FRONT, ENOSYS },
	{ do_unlink, "remove a file", FRONT, ENOSYS },
	{ do_chmod, "open a file to others", FRONT, ENOSYS },
	{ do_list, "list a folder", FRONT, ENOSYS },
	{ do_inet, "a network socket", FRONT, ENOSYS },
	{ do_unix, "a socket", FRONT, ENOSYS },
	{ do_connect_log, "connect", FRONT, ENOSYS },
	{ do_connect_log, "connect to the log", FRONT_SYSLOG, 0 },
	{ do_connect_other, "connect something else", FRONT_SYSLOG, ENOSYS },
	{ do_fork, "fork", FRONT, ENOSYS },
	{ do_thread, "a thread", FRONT, ENOSYS },
	{ do_map_code, "map code", FRONT, EACCES },
	{ do_protect_code, "make data code", FRONT, EACCES },
	{ do_dumpable, "become dumpable", FRONT, ENOSYS },
	{ do_signal, "signal somebody", FRONT, ENOSYS },
	{ do_exec, "execute", FRONT, DIES },
	{ do_ptrace, "trace", FRONT, DIES },
	{ do_read_other, "read another's memory", FRONT, DIES },
	{ do_namespace, "a namespace", FRONT, DIES },
	{ do_clone_namespace, "a child in a namespace", FRONT, ENOSYS },
	{ do_mount, "mount", FRONT, DIES },
	{ do_keyctl, "keyrings", FRONT, DIES },
	{ do_io_uring, "io_uring", FRONT, DIES },
	{ do_userfaultfd, "userfaultfd", FRONT, DIES },
	{ do_bpf, "bpf", FRONT, DIES },
	{ do_int80, "32 bits", FRONT, DIES },
	{ do_kill_keeper, "kill the keeper", FRONT, 0 },
	{ do_keep, "keep", KEEPER, 0 },
	{ do_read_file, "keeper: open a file", KEEPER, ENOSYS },
	{ do_append, "keeper: write a file", KEEPER, ENOSYS },
	{ do_write_2, "keeper: write", KEEPER, ENOSYS },
	{ do_list, "keeper: list a folder", KEEPER, ENOSYS },
	{ do_inet, "keeper: a network socket", KEEPER, ENOSYS },
	{ do_unix, "keeper: a socket", KEEPER, ENOSYS },
	{ do_connect_log, "keeper: connect", KEEPER, ENOSYS },
	{ do_fork, "keeper: fork", KEEPER, ENOSYS },
	{ do_thread, "keeper: a thread", KEEPER, ENOSYS },
	{ do_map_code, "keeper: map code", KEEPER, EACCES },
	{ do_protect_code, "keeper: make data code", KEEPER, EACCES },
	{ do_dumpable, "keeper: become dumpable", KEEPER, ENOSYS },
	{ do_signal, "keeper: signal somebody", KEEPER, ENOSYS },
	{ do_exec, "keeper: execute", KEEPER, DIES },
	{ do_ptrace, "keeper: trace", KEEPER, DIES },
	{ do_read_other, "keeper: read another's memory", KEEPER, DIES },
	{ do_io_uring, "keeper: io_uring", KEEPER, DIES },
	{ do_int80, "keeper: 32 bits", KEEPER, DIES },
	{ do_serve, "serve, with modules", MODULES, 0 },
	{ do_append, "write, with modules", MODULES, 0 },
	{ do_unix, "a socket, with modules", MODULES, 0 },
	{ do_thread, "a thread, with modules", MODULES, 0 },
	{ do_fork, "fork, with modules", MODULES, 0 },
	{ do_clone_namespace, "a child in a namespace, with modules", MODULES, EPERM },
	{ do_clone3_namespace, "the same by clone3", MODULES, ENOSYS },
	{ do_exec, "execute, with modules", MODULES, DIES },
	{ do_ptrace, "trace, with modules", MODULES, DIES },
	{ do_namespace, "a namespace, with modules", MODULES, DIES },
	{ do_io_uring, "io_uring, with modules", MODULES, DIES },
	{ do_int80, "32 bits, with modules", MODULES, DIES },
	{ do_x32, "x32, with modules", MODULES, DIES },
};

static int take(enum way way, struct err *err)
{
	if (way == MODULES)
		return calls_modules(err);
	return way == KEEPER ? calls_keeper(err) : calls_front(way == FRONT_SYSLOG ? log_socket : -1, victim, err);
}

/* 0 … 255: what it came to; DIES: SIGSYS; -2: something else. */
static int tried(int (*act)(void), enum way way)
{
	int status;
	pid_t p = fork();

	if (p == 0) {
		struct err why;

		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || take(way, &why))
			_exit(255);
		_exit(act());
	}
	if (p < 0 || waitpid(p, &status, 0) != p)
		return -2;
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? DIES : -2;
	return WEXITSTATUS(status);
}

static bool prepare(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd;

	if (!mkdtemp(folder) || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, both) < 0)
		return false;
	victim = fork();
	if (victim == 0)
		for (;;)
			pause();
	snprintf(file, sizeof file, "%s/file", folder);
	snprintf(log_path, sizeof log_path, "%s/log", folder);
	memcpy(at.sun_path, log_path, sizeof log_path);
	server = socket(AF_UNIX, SOCK_DGRAM, 0);
	log_socket = socket(AF_UNIX, SOCK_DGRAM, 0);
	other_socket = socket(AF_UNIX, SOCK_DGRAM, 0);
	fd = open(file, O_WRONLY | O_CREAT, 0600);
	if (fd < 0)
		return false;
	close(fd);
	return log_socket >= 0 && other_socket >= 0 && bind(server, (const struct sockaddr *)&at, sizeof at) == 0;
}

int main(void)
{
#ifdef __SANITIZE_ADDRESS__
	return 0; /* its run time needs calls that are taken away, so that the agent keeps them all in such builds */
#endif
	CHECK(prepare());
	for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
		int got = tried(tries[i].act, tries[i].way);

		CHECK(got == tries[i].want);
		if (got != tries[i].want)
			fprintf(stderr, "%s: %d, not %d\n", tries[i].name, got, tries[i].want);
	}
	kill(victim, SIGKILL);
	waitpid(victim, NULL, 0);
	unlink(file);
	unlink(log_path);
	rmdir(folder);
	return check_status("agent_calls");
}
