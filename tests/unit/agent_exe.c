/*
 * peer_exe_sha256(): the digest of what peer_exe() has named, or none. A process that executes a trusted program between the two would show its own path
 * beside the trusted program's digest, or the other way round; nothing from outside can hold the agent at that point.
 */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "peer.h"

/* Waits until the process's executable is that of name (or, `not`, another one). */
static void until(pid_t pid, const char *own, int not)
{
	char proc[40], path[PATH_MAX];

	snprintf(proc, sizeof proc, "/proc/%d/exe", pid);
	for (int i = 0; i < 30000; i++) {
		ssize_t n = readlink(proc, path, sizeof path - 1);
		path[n > 0 ? n : 0] = '\0';
		if (n > 0 && (strcmp(path, own) != 0) == not)
			return;
		usleep(1000);
	}
}

int main(void)
{
	char own[PATH_MAX] = "", go = 1;
	int pipes[2];

	CHECK(readlink("/proc/self/exe", own, sizeof own - 1) > 0);
	CHECK(pipe(pipes) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		if (read(pipes[0], &go, 1) == 1)
			execlp("sleep", "sleep", "1000", (char *)NULL);
		_exit(1);
	}
	struct peer before = { .pid = pid, .pidfd = -1 }, between = { .pid = pid, .pidfd = -1 }, after = { .pid = pid, .pidfd = -1 };
	until(pid, own, 0);
	const uint8_t *mine = peer_exe_sha256(&before);
	CHECK(mine != NULL);
	CHECK(peer_exe(&between)->state == PEER_FACT_KNOWN && strcmp(between.exe.text, own) == 0);
	CHECK(write(pipes[1], &go, 1) == 1);
	until(pid, own, 1);
	CHECK(peer_exe_sha256(&between) == NULL);
	const uint8_t *others = peer_exe_sha256(&after);
	CHECK(others != NULL && mine != NULL && memcmp(mine, others, SHA256_LEN) != 0);
	CHECK(strcmp(peer_exe(&after)->text, own) != 0);
	struct peer ended = { .pid = pid, .pidfd = -1 }; /* another has its number now */
	CHECK(peer_exe(&ended)->state == PEER_FACT_KNOWN);
	ended.gone = true;
	CHECK(peer_exe_sha256(&ended) == NULL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	struct peer gone = { .pid = pid, .pidfd = -1 };
	CHECK(peer_exe_sha256(&gone) == NULL);
	peer_release(&before);
	peer_release(&between);
	peer_release(&after);
	peer_release(&ended);
	peer_release(&gone);
	return check_status("agent_exe");
}
