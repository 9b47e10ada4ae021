/* Where the agent's socket is: the part of agent_client.h that looks at folders and variables, not at connections. */
#include "agent_client.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "clock.h"
#include "sys.h"
#include "text.h"

#define RETRY_MS 50
#define WAIT_MAX_S 86400u
#define SOCK_NAME "ct-agent.sock"

#define PATH_TEXT(addr) TEXT((addr)->path, strlen((addr)->path))

static uid_t own_uid(void)
{
	return (uid_t)sys0(SYS_geteuid);
}

static bool parse_number(const char *text, uint64_t max, uint64_t *v)
{
	uint64_t n = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		n = n * 10 + (uint64_t)(*text - '0');
		if (n > max)
			return false;
	}
	*v = n;
	return true;
}

static bool put_path(char path[108], const char *folder, const char *name)
{
	int n = snprintf(path, 108, "%s%s%s", folder, *name ? "/" : "", name);

	return n > 0 && n < 108;
}

static bool look(const char *path, struct stat *st)
{
	return sys4(SYS_newfstatat, AT_FDCWD, path, st, 0) == 0;
}

static bool own_private_folder(const char *path)
{
	struct stat st;

	return look(path, &st) && S_ISDIR(st.st_mode) && st.st_uid == own_uid() && !(st.st_mode & 077);
}

/* The folder of the session: $XDG_RUNTIME_DIR or /run/user/EUID. */
static bool session_folder(char path[108], const char *(*get)(const char *name))
{
	const char *xdg = get("XDG_RUNTIME_DIR");
	char own[32];

	if (xdg && xdg[0] == '/')
		return put_path(path, xdg, "");
	snprintf(own, sizeof own, "/run/user/%u", own_uid());
	return put_path(path, own, "");
}

static bool home_folder(char path[108], const char *(*get)(const char *name))
{
	const char *home = get("HOME");

	return home && home[0] == '/' && put_path(path, home, ".ct");
}

static bool is_socket(const char *path)
{
	struct stat st;

	return look(path, &st) && S_ISSOCK(st.st_mode);
}

/* Leaves in addr->path the first place where a socket is; if there is none, the first place that could have one. */
static bool find_once(struct agent_addr *addr, const char *(*get)(const char *name))
{
	char folder[108], first[108] = "";

	if (session_folder(folder, get) && put_path(addr->path, folder, SOCK_NAME)) {
		if (is_socket(addr->path))
			return true;
		memcpy(first, addr->path, sizeof first);
	}
	if (home_folder(folder, get) && own_private_folder(folder) && put_path(addr->path, folder, "agent.sock")) {
		if (is_socket(addr->path))
			return true;
		if (!first[0])
			memcpy(first, addr->path, sizeof first);
	}
	put_path(addr->path, "/run", SOCK_NAME);
	if (is_socket(addr->path))
		return true;
	if (first[0])
		memcpy(addr->path, first, sizeof first);
	return false;
}

/* CT_AGENT_UID and CT_AGENT_WAIT. */
static int addr_options(struct agent_addr *addr, const char *(*get)(const char *name), struct err *err)
{
	const char *uid = get("CT_AGENT_UID"), *wait = get("CT_AGENT_WAIT");
	uint64_t v;

	memset(addr, 0, sizeof *addr);
	addr->trust = (uid_t)-1;
	if (uid && *uid) {
		if (!parse_number(uid, UINT32_MAX - 1, &v))
			return err_set(err, ERR_NOKEY, "CT_AGENT_UID is not a user's number: \"%s\"", TEXT(uid, strlen(uid)));
		addr->trust = (uid_t)v;
	}
	if (wait && *wait) {
		if (!parse_number(wait, WAIT_MAX_S, &v))
			return err_set(err, ERR_NOKEY, "CT_AGENT_WAIT is not a number of seconds up to %u: \"%s\"", WAIT_MAX_S,
			               TEXT(wait, strlen(wait)));
		addr->wait_s = (unsigned int)v;
	}
	return 0;
}

static int take_path(struct agent_addr *addr, const char *path, struct err *err)
{
	if (!put_path(addr->path, path, ""))
		return err_set(err, ERR_NOKEY, "CT_AGENT_SOCK is longer than the 107 bytes that a socket's path may have: \"%s\"",
		               TEXT(path, strlen(path)));
	return 0;
}

bool agent_addr_look(struct agent_addr *addr, const char *(*get)(const char *name))
{
	const char *sock = get("CT_AGENT_SOCK");

	if (addr_options(addr, get, NULL))
		return false;
	return sock && *sock ? take_path(addr, sock, NULL) == 0 : find_once(addr, get);
}

int agent_addr_find(struct agent_addr *addr, const char *(*get)(const char *name), struct err *err)
{
	const char *sock = get("CT_AGENT_SOCK");
	int64_t until;

	if (addr_options(addr, get, err))
		return -1;
	if (sock && *sock)
		return take_path(addr, sock, err);
	until = clock_ms() + (int64_t)addr->wait_s * 1000;
	while (!find_once(addr, get)) {
		if (clock_ms() >= until)
			return err_set(err, ERR_NOKEY, "no agent: start ct-agent, then: ct add KEYS (looked for %s and the other default places)",
			               PATH_TEXT(addr));
		clock_pause(RETRY_MS);
	}
	return 0;
}

int agent_addr_bind(struct agent_addr *addr, const char *(*get)(const char *name), struct err *err)
{
	const char *sock = get("CT_AGENT_SOCK");
	char folder[108];
	struct stat st;

	if (addr_options(addr, get, err))
		return -1;
	if (sock && *sock)
		return take_path(addr, sock, err);
	if (session_folder(folder, get) && look(folder, &st) && S_ISDIR(st.st_mode) && put_path(addr->path, folder, SOCK_NAME))
		return 0;
	if (own_uid() == 0) {
		put_path(addr->path, "/run", SOCK_NAME);
		return 0;
	}
	if (!home_folder(folder, get) || !put_path(addr->path, folder, "agent.sock"))
		return err_set(err, ERR_NOKEY, "no place for the socket: neither XDG_RUNTIME_DIR nor a usable HOME: name one with -s SOCK");
	sys3(SYS_mkdirat, AT_FDCWD, folder, 0700);
	if (!own_private_folder(folder))
		return err_set(err, ERR_NOKEY, "%s is not a folder of yours that is closed to others: chmod 700 it, or name a socket with -s SOCK",
		               TEXT(folder, strlen(folder)));
	return 0;
}
