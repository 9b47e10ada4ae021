/*
 * refuse SYSCALL… -- PROGRAM ARGS: runs PROGRAM under a seccomp filter, as containers have them, that answers these system calls with
 * EPERM. Known: ptrace, userfaultfd.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int number(const char *name)
{
	return strcmp(name, "ptrace") == 0 ? SYS_ptrace : strcmp(name, "userfaultfd") == 0 ? SYS_userfaultfd : -1;
}

static int refuse(int nr)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog p = { sizeof f / sizeof f[0], f };

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p);
}

int main(int argc, char **argv)
{
	int i = 1;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return 99;
	for (; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (number(argv[i]) < 0 || refuse(number(argv[i])) != 0)
			return 99;
	if (i + 1 >= argc)
		return 99;
	execvp(argv[i + 1], argv + i + 1);
	perror(argv[i + 1]);
	return 98;
}
