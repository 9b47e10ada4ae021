/*
 * io_uring. What a program reads through a ring the kernel reads for it: ciphertext, and a loader takes that for weights. The shim refuses rings
 * that are asked for through libc; who makes the system call inline (a liburing linked in) is refused here, by a filter that the program's children
 * inherit. It falls back, as under an older kernel.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "run.h"

#define X32 0x40000000u /* the other system calls of x86-64 have this bit */

static bool refused(void)
{
	return syscall(SYS_io_uring_setup, 0, NULL) < 0 && (errno == ENOSYS || errno == EPERM);
}

/* SPEC_ALLOW: before Linux 5.16 a filter slows its program down by measures against side channels, which a filter on a number has no use for. */
static bool install(const struct sock_fprog *filter)
{
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, filter) == 0 ||
	       syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, filter) == 0;
}

int run_refuse_rings(struct err *err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~X32),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1), /* the same number on every machine */
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { sizeof code / sizeof code[0], code };

	if (refused())
		return 0;
	if (!install(&filter) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		install(&filter);
	if (refused())
		return 0;
	return err_sys(err, errno == EFAULT || errno == EINVAL ? EACCES : errno,
	               "io_uring cannot be kept from it, and what it reads so would be ciphertext; if it does not, use ct run --io-uring");
}
