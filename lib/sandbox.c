#include "sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>

#include "sys.h"

/* ---- system calls ---- */

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

#define FIELD(name) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, name))
#define ARG(n) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offsetof(struct seccomp_data, args) + 8 * (n))) /* its low half */
#define IF(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), yes, no)
#define GIVE(what) BPF_STMT(BPF_RET | BPF_K, (uint32_t)(what))

/* x32 has every call once more, under numbers that no row has: where others are allowed, they are not. */
#define X32_BIT 0x40000000u

#define HEAD_LEN 6
#define ROW_LEN 6 /* instructions, at most */

static size_t put_row(struct sock_filter *code, const struct sandbox_row *r)
{
	const struct sock_filter plain[] = { IF(r->nr, 0, 1), GIVE(r->answer) };
	const struct sock_filter with_arg[] = { IF(r->nr, 0, 5),       ARG(r->arg),     BPF_STMT(BPF_ALU | BPF_AND | BPF_K, r->mask),
		                                IF(r->value, 0, 1),    GIVE(r->answer), FIELD(nr) };
	size_t n = r->mask ? ROW_LEN : 2;

	for (size_t i = 0; i < n; i++)
		code[i] = r->mask ? with_arg[i] : plain[i];
	return n;
}

int sandbox_calls(const struct sandbox_row *rows, size_t count, uint32_t otherwise, struct err *err)
{
	struct sock_filter code[HEAD_LEN + ROW_LEN * SANDBOX_ROWS_MAX + 1] = {
		FIELD(arch), IF(ARCH, 1, 0), GIVE(SECCOMP_RET_KILL_PROCESS), FIELD(nr),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1), GIVE(otherwise == SECCOMP_RET_ALLOW ? SECCOMP_RET_KILL_PROCESS : otherwise),
	};
	const struct sock_filter last = GIVE(otherwise);
	struct sock_fprog program = { HEAD_LEN, code };
	long r;

	if (count > SANDBOX_ROWS_MAX)
		return err_sys(err, E2BIG, "seccomp");
	for (size_t i = 0; i < count; i++)
		program.len = (unsigned short)(program.len + put_row(code + program.len, &rows[i]));
	code[program.len++] = last;
	r = sys3(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
	return r ? err_sys(err, r < 0 ? (int)-r : EBUSY, "seccomp") : 0;
}

/* ---- Landlock ---- */

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self 446
#endif
#define LANDLOCK_VERSION 1u

/* The kernel's structure, as far as ABI 7 has it; older kernels take a shorter one. */
struct ruleset {
	uint64_t fs, net, scoped;
};

int sandbox_landlock(bool *there, struct err *err)
{
	long abi = sys3(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION);
	struct ruleset all = { .fs = (1u << 13) - 1 };
	size_t size = abi >= 6 ? sizeof all : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
	long fd, r;

	*there = abi > 0;
	if (abi == -ENOSYS || abi == -EOPNOTSUPP)
		return 0;
	if (abi <= 0)
		return err_sys(err, (int)-abi, "Landlock");
	all.fs |= abi >= 2 ? 1u << 13 : 0; /* moving between folders */
	all.fs |= abi >= 3 ? 1u << 14 : 0; /* truncate */
	all.fs |= abi >= 5 ? 1u << 15 : 0; /* ioctl of devices */
	all.net = 3;                       /* TCP: bind, connect */
	all.scoped = 3;                    /* abstract sockets, signals to those outside */
	fd = sys3(SYS_landlock_create_ruleset, &all, size, 0);
	if (fd < 0)
		return err_sys(err, (int)-fd, "Landlock");
	r = sys2(SYS_landlock_restrict_self, fd, 0);
	sys_close((int)fd);
	return r < 0 ? err_sys(err, (int)-r, "Landlock") : 0;
}
