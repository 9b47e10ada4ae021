#include "harden.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

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

void harden_process(struct hardening *h)
{
	const struct rlimit none = { 0, 0 };

	umask(077);
	h->no_dump = prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
	h->no_core = setrlimit(RLIMIT_CORE, &none) == 0;
	h->no_new_privs = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

bool harden_to_null(void)
{
	int fd = open("/dev/null", O_RDWR | O_NOCTTY | O_CLOEXEC);
	bool done = fd >= 0 && dup2(fd, 0) >= 0 && dup2(fd, 1) >= 0 && dup2(fd, 2) >= 0;

	if (fd > 2)
		close(fd);
	return done;
}

void harden_keeper(struct hardening *h, bool tokens)
{
	(void)tokens;
	harden_process(h); /* a module may have undone what was inherited */
}
