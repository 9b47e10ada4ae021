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
#include "sys.h"

static void close_above(int keep)
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

bool harden_descriptors(void)
{
	int fd;

	close_above(2);
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
		[HARDEN_NO_DUMP] = "no_dump",       [HARDEN_NO_CORE] = "no_core",
		[HARDEN_NO_NEW_PRIVS] = "no_new_privs", [HARDEN_CAPABILITIES] = "capabilities",
		[HARDEN_SECCOMP] = "seccomp",       [HARDEN_MEMORY_BOUNDED] = "memory_bounded",
		[HARDEN_PEER_PIDFD] = "peer_pidfd",
	};

	return names[s];
}

/* ---- before the first peer ---- */

#define MEMORY_MAX (UINT64_C(4) << 30) /* twice what the blobs of all connections can come to, with what is made of them */

/* What reading /proc/PID/exe of others takes; a user's executable, or a configuration in his home; locking more than the limit. */
#define KEPT (1u << CAP_SYS_PTRACE | 1u << CAP_DAC_READ_SEARCH | 1u << CAP_IPC_LOCK)
#define KEPT_FOR_MODULES (1u << CAP_DAC_OVERRIDE) /* their files may be another user's */

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

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
/* Their run time has terabytes of address space, and traces the process at its end to find leaks. */
static int bound_memory(void)
{
	return ENOTSUP;
}

static int take_calls(bool modules, int syslog)
{
	(void)modules;
	(void)syslog;
	return ENOTSUP;
}
#else
static int bound_memory(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_DATA, &r) < 0)
		return errno;
	r.rlim_max = r.rlim_max < MEMORY_MAX ? r.rlim_max : MEMORY_MAX; /* the soft one may be lower than it, and be meant */
	r.rlim_cur = r.rlim_cur < r.rlim_max ? r.rlim_cur : r.rlim_max;
	return missing(setrlimit(RLIMIT_DATA, &r) == 0);
}

static int take_calls(bool modules, int syslog)
{
	struct err why;

	return (modules ? calls_modules(&why) : calls_front(syslog, &why)) ? why.sys_errno : 0;
}
#endif

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

void harden_front(struct hardening *h, bool modules, int syslog)
{
	/* What its configuration names is loaded while code may still be. */
	OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL);
	h->missing[HARDEN_PEER_PIDFD] = ask_peer_pidfd();
	h->missing[HARDEN_MEMORY_BOUNDED] = bound_memory();
	h->missing[HARDEN_CAPABILITIES] = drop_capabilities(modules ? KEPT | KEPT_FOR_MODULES : KEPT);
	h->missing[HARDEN_SECCOMP] = take_calls(modules, syslog);
}
