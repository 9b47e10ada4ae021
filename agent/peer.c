#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CGROUP_TEXT_MAX 16384 /* a line a hierarchy; more than that is not believed */

bool peer_of(struct peer *p, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof cred;

	*p = (struct peer){ .pidfd = -1, .sock = fd };
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || len != sizeof cred)
		return false;
	p->uid = cred.uid;
	p->gid = cred.gid;
	p->pid = cred.pid;
	len = sizeof p->pidfd;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &p->pidfd, &len) == 0) /* close-on-exec as every pidfd is */
		return true;
	p->pidfd = -1;
	p->gone = errno != ENOPROTOOPT; /* its number may be somebody else's by now */
	if (!p->gone && p->pid > 0) {
		/* Before Linux 6.5: true from now on, which is better than from the decision on. */
		p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
		p->gone = p->pidfd < 0 && errno == ESRCH;
	}
	return true;
}

void peer_release(struct peer *p)
{
	if (p->pidfd >= 0)
		close(p->pidfd);
	free(p->exe.text);
	free(p->cgroup.text);
	*p = (struct peer){ .pidfd = -1 };
}

/* A line of /proc/PID/status, behind its name, in text. NULL: it cannot be read, or has none. */
#define STATUS_TEXT_MAX 8192

static char *status_line(pid_t pid, const char *name, char text[STATUS_TEXT_MAX])
{
	char proc[40], *line, *save = NULL;
	size_t at = 0, len = strlen(name);
	ssize_t n = -1;
	int fd;

	snprintf(proc, sizeof proc, "/proc/%d/status", pid);
	fd = open(proc, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	while (fd >= 0 && at < STATUS_TEXT_MAX - 1 && (n = read(fd, text + at, STATUS_TEXT_MAX - 1 - at)) > 0)
		at += (size_t)n;
	if (fd >= 0)
		close(fd);
	if (n != 0) /* not all of it */
		return NULL;
	text[at] = '\0';
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (strncmp(line, name, len) == 0 && line[len] == ':')
			return line + len + 1;
	return NULL;
}

/* The second number of a line: the effective one of Uid and Gid. */
static bool second_of(pid_t pid, const char *name, unsigned int *v)
{
	char text[STATUS_TEXT_MAX], *line = status_line(pid, name, text);

	return line && sscanf(line, "%*u %u", v) == 1;
}

int peer_of_process(struct peer *p, pid_t pid, const struct peer *asker, struct err *err)
{
	char text[STATUS_TEXT_MAX], *spaces = asker->pid > 0 ? status_line(asker->pid, "NSpid", text) : NULL;
	unsigned int number_of, more;

	*p = (struct peer){ .pidfd = -1, .sock = -1, .pid = pid };
	if (!spaces || sscanf(spaces, "%u %u", &number_of, &more) != 1)
		return err_sys(err, EINVAL, "who asks counts processes in another pid namespace than the agent");
	p->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (p->pidfd < 0 || !second_of(pid, "Uid", &p->uid) || !second_of(pid, "Gid", &p->gid) || !peer_alive(p))
		return err_sys(err, ESRCH, "process %d", pid);
	return 0;
}

static int groups_of(pid_t pid, gid_t *list, int max)
{
	char text[STATUS_TEXT_MAX], *word, *save = NULL, *line = status_line(pid, "Groups", text);
	int n = 0;

	if (!line)
		return -1;
	for (word = strtok_r(line, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
		if (n == max)
			return -1;
		list[n++] = (gid_t)strtoul(word, NULL, 10);
	}
	return n;
}

int peer_groups(const struct peer *p, gid_t *list, int max)
{
	socklen_t len = (socklen_t)((size_t)max * sizeof *list);

	if (p->sock < 0)
		return groups_of(p->pid, list, max);
	return getsockopt(p->sock, SOL_SOCKET, SO_PEERGROUPS, list, &len) == 0 ? (int)(len / sizeof *list) : -1;
}

enum peer_rights peer_rights(const struct peer *p, bool admitted)
{
	if (p->uid == geteuid() || p->uid == 0)
		return PEER_MAY_ALL;
	return admitted ? PEER_MAY_OPEN : PEER_NOTHING;
}

bool peer_alive(const struct peer *p)
{
	struct pollfd f = { p->pidfd, POLLIN, 0 };

	return !p->gone && (p->pidfd < 0 || poll(&f, 1, 0) == 0);
}

/* What was read counts if the process is there afterwards: so it was there, too, when the pid was looked up. */
static void fact_set(struct peer_fact *f, const struct peer *p, const char *text)
{
	const size_t mark = sizeof PEER_REMOVED - 1;

	f->state = PEER_FACT_UNKNOWN;
	if (!text || text[0] != '/' || strlen(text) >= PATH_MAX || !peer_alive(p))
		return;
	f->text = strdup(text);
	if (!f->text)
		return;
	f->len = strlen(text);
	f->state = f->len > mark && strcmp(text + f->len - mark, PEER_REMOVED) == 0 ? PEER_FACT_REMOVED : PEER_FACT_KNOWN;
}

const struct peer_fact *peer_exe(struct peer *p)
{
	char proc[40], path[PATH_MAX + 1];
	ssize_t n = -1;

	if (p->exe.state != PEER_FACT_UNASKED)
		return &p->exe;
	snprintf(proc, sizeof proc, "/proc/%d/exe", p->pid);
	if (p->pid > 0)
		n = readlink(proc, path, sizeof path - 1);
	path[n < 0 ? 0 : n] = '\0';
	fact_set(&p->exe, p, n < 0 ? NULL : path);
	return &p->exe;
}

/* The descriptor is open on the file that peer_exe() has named. */
static bool is_exe(struct peer *p, int fd)
{
	const struct peer_fact *exe = peer_exe(p);
	char proc[40], path[PATH_MAX + 1];
	ssize_t n;

	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	n = readlink(proc, path, sizeof path);
	return exe->text && n == (ssize_t)exe->len && memcmp(path, exe->text, exe->len) == 0;
}

static bool digest_of(int fd, uint8_t digest[SHA256_LEN])
{
	struct sha256 *sha = sha256_new();
	uint64_t at = 0;
	char part[65536];
	ssize_t n = -1;

	if (sha && sha256_begin(sha))
		while (at <= PEER_EXE_MAX && (n = read(fd, part, sizeof part)) > 0 && sha256_update(sha, part, (size_t)n))
			at += (uint64_t)n;
	bool done = n == 0 && sha256_finish(sha, digest);
	sha256_free(sha);
	return done;
}

const uint8_t *peer_exe_sha256(struct peer *p)
{
	char proc[40];
	struct stat st;
	int fd = -1;

	if (p->exe_digest.state != PEER_DIGEST_UNASKED)
		return p->exe_digest.state == PEER_DIGEST_KNOWN ? p->exe_digest.sha256 : NULL;
	p->exe_digest.state = PEER_DIGEST_UNKNOWN;
	snprintf(proc, sizeof proc, "/proc/%d/exe", p->pid);
	if (p->pid > 0)
		fd = open(proc, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size <= PEER_EXE_MAX && is_exe(p, fd) &&
	    digest_of(fd, p->exe_digest.sha256) && peer_alive(p))
		p->exe_digest.state = PEER_DIGEST_KNOWN;
	close(fd);
	return peer_exe_sha256(p);
}

const char *peer_cgroup_path(char *text)
{
	const char *unified = NULL, *systemd = NULL, *other = NULL;
	char *line, *save = NULL;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;

		if (!path)
			return NULL;
		*path++ = '\0';
		names++;
		if (*names == '\0')
			unified = path;
		else if (strcmp(names, "name=systemd") == 0)
			systemd = path;
		else if (!other || strcmp(other, "/") == 0)
			other = path;
	}
	if (unified && strcmp(unified, "/") != 0)
		return unified;
	if (systemd && strcmp(systemd, "/") != 0)
		return systemd;
	return other ? other : systemd ? systemd : unified;
}

const struct peer_fact *peer_cgroup(struct peer *p)
{
	char proc[40], text[CGROUP_TEXT_MAX];
	size_t at = 0;
	ssize_t n = -1;
	int fd = -1;

	if (p->cgroup.state != PEER_FACT_UNASKED)
		return &p->cgroup;
	snprintf(proc, sizeof proc, "/proc/%d/cgroup", p->pid);
	if (p->pid > 0)
		fd = open(proc, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	while (fd >= 0 && at < sizeof text && (n = read(fd, text + at, sizeof text - at)) > 0)
		at += (size_t)n;
	if (fd >= 0)
		close(fd);
	if (n == 0 && at < sizeof text) {
		text[at] = '\0';
		fact_set(&p->cgroup, p, peer_cgroup_path(text));
	} else {
		fact_set(&p->cgroup, p, NULL);
	}
	return &p->cgroup;
}
