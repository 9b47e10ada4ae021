#include "filter.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "jail.h"
#include "sandbox.h"

#define REFUSE(nr) SANDBOX_FAIL(nr, EACCES)
/* Of a call on a descriptor: these two, and EBADF for others (the engine prints to stdout, which is closed). */
#define ON(nr, a, b) SANDBOX_ALLOW_IF(nr, 0, ~0u, a), SANDBOX_ALLOW_IF(nr, 0, ~0u, b), SANDBOX_FAIL(nr, EBADF)
/* Memory, but none that can be executed. */
#define NO_EXEC(nr) SANDBOX_ALLOW_IF(nr, 2, PROT_EXEC, 0)

int filter_install(struct err *err)
{
	static const struct sandbox_row rows[] = {
		ON(SYS_read, JAIL_INPUT, JAIL_POLICY),
		ON(SYS_write, JAIL_VERDICT, JAIL_WORDS),
		NO_EXEC(SYS_mmap),
		NO_EXEC(SYS_mprotect),
		SANDBOX_ALLOW(SYS_munmap), SANDBOX_ALLOW(SYS_mremap), SANDBOX_ALLOW(SYS_madvise), SANDBOX_ALLOW(SYS_brk),
		SANDBOX_ALLOW(SYS_futex),
		SANDBOX_ALLOW(SYS_clock_gettime), SANDBOX_ALLOW(SYS_gettimeofday), /* where the vdso does not answer */
		SANDBOX_ALLOW(SYS_getrandom),
		SANDBOX_ALLOW(SYS_exit_group),
		SANDBOX_ALLOW(SYS_rt_sigreturn), SANDBOX_ALLOW(SYS_restart_syscall),
		REFUSE(SYS_openat), REFUSE(SYS_socket), REFUSE(SYS_prctl), REFUSE(SYS_newfstatat), REFUSE(SYS_fstat), REFUSE(SYS_lseek),
		REFUSE(SYS_ioctl), REFUSE(SYS_readlinkat), REFUSE(SYS_sysinfo),
#ifdef SYS_open
		REFUSE(SYS_open), REFUSE(SYS_stat), REFUSE(SYS_readlink), REFUSE(SYS_access),
#endif
	};

	return sandbox_calls(rows, sizeof rows / sizeof *rows, SECCOMP_RET_KILL_PROCESS, err);
}
