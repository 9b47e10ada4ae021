#include "harden.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <openssl/crypto.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "calls.h"
#include "peer.h"
#include "sandbox.h"
#include "sys.h"

void harden_close_above(int keep)
{
	DIR *d;
	struct dirent *e;

	if (sys3(SYS_close_range, (unsigned int)keep + 1, ~0u, 0) == 0)
		return;
	d = opendir("/proc/self/fd"); /* kernels before 5.9 */
	if (!d)
		return;
	while ((e = readdir(d))) {
		int fd = atoi(e->d_name);

		if (fd > keep && fd != dirfd(d))
			close(fd);
	}
	closedir(d);
}

bool harden_descriptors(int keep)
{
	int fd;

	harden_close_above(keep);
	do
		fd = open("/dev/null", O_RDWR | O_NOCTTY);
	while (fd >= 0 && fd <= 2);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static int missing(bool done)
{
	return done ? 0 : errno;
}

void harden_process(struct hardening *h)
{
	const struct rlimit none = { 0, 0 };

	for (int i = 0; i < HARDEN_STEPS; i++)
		h->missing[i] = EINPROGRESS;
	umask(077);
	h->missing[HARDEN_NO_DUMP] = missing(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
	h->missing[HARDEN_NO_CORE] = missing(setrlimit(RLIMIT_CORE, &none) == 0);
	h->missing[HARDEN_NO_NEW_PRIVS] = missing(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
}

const char *harden_name(enum harden_step s)
{
	static const char *const names[HARDEN_STEPS] = {
		[HARDEN_NO_DUMP] = "no_dump",
		[HARDEN_NO_CORE] = "no_core",
		[HARDEN_NO_NEW_PRIVS] = "no_new_privs",
		[HARDEN_CAPABILITIES] = "capabilities",
		[HARDEN_MEMORY_BOUNDED] = "memory_bounded",
		[HARDEN_PEER_PIDFD] = "peer_pidfd",
		[HARDEN_SECCOMP] = "seccomp",
		[HARDEN_KEEPER_SECCOMP] = "keeper_seccomp",
		[HARDEN_KEEPER_LANDLOCK] = "keeper_landlock",
	};

	return names[s];
}

/* ---- before the first peer ---- */

#define MEMORY_MAX (UINT64_C(4) << 30) /* twice what the blobs of all connections can come to, with what is made of them */

#define KEEP(cap) (1u << (cap))
/* What reading /proc/PID/exe of others takes; a user's executable, or a configuration in his home; locking more than the limit. */
#define KEPT (KEEP(CAP_SYS_PTRACE) | KEEP(CAP_DAC_READ_SEARCH) | KEEP(CAP_IPC_LOCK))
#define KEPT_BY_KEEPER KEEP(CAP_IPC_LOCK)
#define KEPT_WITH_TOKENS (KEEP(CAP_IPC_LOCK) | KEEP(CAP_DAC_OVERRIDE) | KEEP(CAP_DAC_READ_SEARCH)) /* their files may be another user's */

static int drop_capabilities(uint32_t keep)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = { 0 };
	long r = sys2(SYS_capget, &head, data);

	for (int cap = 0; r == 0 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (cap >= 32 || !(keep & 1u << cap))
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* only with CAP_SETPCAP, and nothing is executed any more */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	data[0].permitted &= keep;
	data[0].effective &= keep;
	data[0].inheritable = data[1].permitted = data[1].effective = data[1].inheritable = 0;
	if (r == 0)
		r = sys2(SYS_capset, &head, data);
	return (int)-r;
}

/* A sanitizer's run time has terabytes of address space, and to find leaks traces the process at its end, by what /proc says of it. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZER true
#else
#define SANITIZER false
#endif

static int bound_memory(void)
{
	struct rlimit r;

	if (SANITIZER)
		return EOPNOTSUPP;
	if (getrlimit(RLIMIT_DATA, &r) < 0)
		return errno;
	r.rlim_max = r.rlim_max < MEMORY_MAX ? r.rlim_max : MEMORY_MAX; /* the soft one may be lower than it, and be meant */
	r.rlim_cur = r.rlim_cur < r.rlim_max ? r.rlim_cur : r.rlim_max;
	return missing(setrlimit(RLIMIT_DATA, &r) == 0);
}

/* Any Unix socket has a peer; here it is ourselves. */
static int ask_peer_pidfd(void)
{
	int pair[2], fd = -1, r;
	socklen_t len = sizeof fd;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return errno;
	r = missing(getsockopt(pair[0], SOL_SOCKET, SO_PEERPIDFD, &fd, &len) == 0);
	if (r == 0)
		close(fd);
	close(pair[0]);
	close(pair[1]);
	return r;
}

/* What OpenSSL's configuration names is loaded while code may still be. */
static void load(void)
{
	OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL);
}

void harden_front(struct hardening *h, int syslog, pid_t keeper, const struct hardening *of_keeper)
{
	struct err why;

	load();
	h->missing[HARDEN_PEER_PIDFD] = ask_peer_pidfd();
	h->missing[HARDEN_MEMORY_BOUNDED] = bound_memory();
	h->missing[HARDEN_CAPABILITIES] = drop_capabilities(KEPT);
	h->missing[HARDEN_SECCOMP] = SANITIZER ? EOPNOTSUPP : calls_front(syslog, keeper, &why) ? why.sys_errno : 0;
	h->missing[HARDEN_KEEPER_SECCOMP] = h->missing[HARDEN_KEEPER_LANDLOCK] = 0;
	for (int i = 0; i < HARDEN_STEPS; i++)
		if (!h->missing[i])
			h->missing[i] = of_keeper->missing[i];
}

bool harden_to_null(void)
{
	int fd = open("/dev/null", O_RDWR | O_NOCTTY | O_CLOEXEC);
	bool done = fd >= 0 && dup2(fd, 0) >= 0 && dup2(fd, 1) >= 0 && dup2(fd, 2) >= 0;

	if (fd > 2)
		close(fd);
	return done;
}

static int lock_files(void)
{
	struct err why;
	bool there;

	if (SANITIZER)
		return EOPNOTSUPP;
	if (sandbox_landlock(&there, &why))
		return why.sys_errno;
	return there ? 0 : ENOSYS;
}

void harden_keeper(struct hardening *h, bool tokens)
{
	struct err why;

	harden_process(h); /* a module may have undone what was inherited */
	load();
	h->missing[HARDEN_MEMORY_BOUNDED] = bound_memory();
	h->missing[HARDEN_CAPABILITIES] = drop_capabilities(tokens ? KEPT_WITH_TOKENS : KEPT_BY_KEEPER);
	h->missing[HARDEN_KEEPER_LANDLOCK] = tokens ? EOPNOTSUPP : lock_files();
	h->missing[HARDEN_KEEPER_SECCOMP] = SANITIZER ? EOPNOTSUPP : (tokens ? calls_modules(&why) : calls_keeper(&why)) ? why.sys_errno : 0;
	h->missing[HARDEN_PEER_PIDFD] = h->missing[HARDEN_SECCOMP] = 0;
}
