/*
 * Which of the paths of /proc/PID/cgroup counts, on machines of every kind; the one that the tests run on shows only its own. A wrong one
 * is "/" nearly everywhere, and a rule about it would hold for nobody, or for all.
 */
#include "check.h"
#include "peer.h"

static const struct {
	const char *text, *path; /* NULL: none */
} cases[] = {
	/* unified alone */
	{ "0::/user.slice/user-1000.slice/session-2.scope\n", "/user.slice/user-1000.slice/session-2.scope" },
	{ "0::/\n", "/" },
	{ "0::/a:b::c\n", "/a:b::c" },
	{ "0::/../../other (deleted)\n", "/../../other (deleted)" },
	/* hybrid: both kinds */
	{ "2:cpu,cpuacct:/docker/1\n1:name=systemd:/system.slice/x\n0::/system.slice/x\n", "/system.slice/x" },
	{ "2:memory:/docker/1\n1:name=systemd:/system.slice/x\n0::/\n", "/system.slice/x" },
	{ "9:name=systemd:/\n8:pids:/\n4:memory:/job/7\n3:cpuset:/job/8\n0::/\n", "/job/7" },
	{ "0::/\n1:name=systemd:/\n2:cpu:/\n", "/" },
	/* the old kind alone */
	{ "12:pids:/user.slice\n11:cpuset:/\n1:name=systemd:/user.slice/s\n", "/user.slice/s" },
	{ "12:pids:/\n11:cpuset:/docker/2\n10:name=elogind:/e\n", "/docker/2" },
	{ "2:cpu:/x\n1:name=systemd:/\n", "/x" },
	{ "1:name=systemd:/\n", "/" },
	{ "3:cpu:/", "/" },
	/* nothing that could be meant */
	{ "", NULL },
	{ "\n", NULL },
	{ "0::/a\nrubbish\n", NULL },
	{ "0:/a\n", NULL },
};

int main(void)
{
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[200];
		const char *path;

		snprintf(text, sizeof text, "%s", cases[i].text);
		path = peer_cgroup_path(text);
		CHECK(!path == !cases[i].path);
		CHECK(!path || !cases[i].path || strcmp(path, cases[i].path) == 0);
		if (path && cases[i].path && strcmp(path, cases[i].path) != 0)
			fprintf(stderr, "%zu: %s\n", i, path);
	}
	return check_status("agent_cgroup");
}
