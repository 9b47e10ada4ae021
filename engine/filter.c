#include "filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include "jail.h"
#include "sys.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

#define FIELD(name) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, name))
#define ARG(n) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offsetof(struct seccomp_data, args) + 8 * (n))) /* its low half */
#define IF(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), yes, no)
#define IF_BIT(bits, yes, no) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(bits), yes, no)
#define GIVE(what) BPF_STMT(BPF_RET | BPF_K, (uint32_t)(what))
#define FAIL(error) GIVE(SECCOMP_RET_ERRNO | (error))

#define ALLOW(nr) IF(nr, 0, 1), GIVE(SECCOMP_RET_ALLOW)
#define REFUSE(nr) IF(nr, 0, 1), FAIL(EACCES)
/* Of a call on a descriptor: these two, and EBADF for others (the engine prints to stdout, which is closed). */
#define ON(nr, a, b) IF(nr, 0, 5), ARG(0), IF(a, 1, 0), IF(b, 0, 1), GIVE(SECCOMP_RET_ALLOW), FAIL(EBADF)
/* Memory, but none that can be executed. */
#define NO_EXEC(nr) IF(nr, 0, 4), ARG(2), IF_BIT(PROT_EXEC, 0, 1), GIVE(SECCOMP_RET_KILL_PROCESS), GIVE(SECCOMP_RET_ALLOW)

/* An allow list of exact numbers: x32's, which have a bit more, are in it no more than others. */
int filter_install(struct err *err)
{
	static const struct sock_filter code[] = {
		FIELD(arch), IF(ARCH, 1, 0), GIVE(SECCOMP_RET_KILL_PROCESS),
		FIELD(nr),
		ON(SYS_read, JAIL_INPUT, JAIL_POLICY),
		ON(SYS_write, JAIL_VERDICT, JAIL_WORDS),
		NO_EXEC(SYS_mmap),
		NO_EXEC(SYS_mprotect),
		ALLOW(SYS_munmap), ALLOW(SYS_mremap), ALLOW(SYS_madvise), ALLOW(SYS_brk),
		ALLOW(SYS_futex),
		ALLOW(SYS_clock_gettime), ALLOW(SYS_gettimeofday), /* where the vdso does not answer */
		ALLOW(SYS_getrandom),
		ALLOW(SYS_exit_group),
		ALLOW(SYS_rt_sigreturn), ALLOW(SYS_restart_syscall),
		REFUSE(SYS_openat), REFUSE(SYS_socket), REFUSE(SYS_prctl), REFUSE(SYS_newfstatat), REFUSE(SYS_fstat), REFUSE(SYS_lseek),
		REFUSE(SYS_ioctl), REFUSE(SYS_readlinkat), REFUSE(SYS_sysinfo),
#ifdef SYS_open
		REFUSE(SYS_open), REFUSE(SYS_stat), REFUSE(SYS_readlink), REFUSE(SYS_access),
#endif
		GIVE(SECCOMP_RET_KILL_PROCESS),
	};
	const struct sock_fprog program = { sizeof code / sizeof *code, (struct sock_filter *)code };
	long r = sys3(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);

	return r ? err_sys(err, r < 0 ? (int)-r : EBUSY, "seccomp") : 0;
}
