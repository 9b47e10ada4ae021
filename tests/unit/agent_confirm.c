/*
 * What is remembered of people's answers: a table that one user fills with processes of his would keep everybody from being asked, and a program with more
 * workers than it has room for would lose the answer that it was given.
 */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "confirm.h"

#define OTHER_UID (geteuid() + 1)
#define WORKERS (CONFIRM_KEPT_MAX + 20)

static struct confirm confirm = CONFIRM_NONE;

/* What comes of it when the program has answered; ASKED: it has not in 30 s. */
static enum confirm_state ask(pid_t pid, uid_t uid)
{
	struct peer peer = { .pid = pid, .uid = uid, .pidfd = -1, .sock = -1 };
	struct crypto_info info = { 0 };
	enum confirm_state state = CONFIRM_ASKED;
	char reason[400];
	uint64_t id = 0;

	for (int i = 0; i < 3000 && state == CONFIRM_ASKED; i++) {
		state = confirm_ask(&confirm, &id, 1, &peer, &info, false, reason, sizeof reason);
		if (state == CONFIRM_ASKED)
			usleep(10000);
		confirm_events(&confirm);
	}
	peer_release(&peer);
	return state;
}

/* A process with that many children, which end with it; their pids come through the pipe. */
static pid_t launch(int workers, int to)
{
	pid_t parent = fork(), child;

	if (parent)
		return parent;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; i < workers; i++) {
		child = fork();
		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		if (write(to, &child, sizeof child) != sizeof child)
			_exit(1);
	}
	for (;;)
		pause();
}

int main(void)
{
	int pipes[2], no = 0;
	pid_t first, second, worker;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	confirm_start(&confirm, "/bin/true");
	CHECK(confirm_there(&confirm) == NULL);
	if (pipe(pipes) < 0)
		return 1;
	first = launch(WORKERS, pipes[1]);
	second = launch(0, pipes[1]);
	CHECK(ask(first, OTHER_UID) == CONFIRM_YES);
	for (int i = 0; i < WORKERS; i++) {
		if (read(pipes[0], &worker, sizeof worker) != sizeof worker)
			return 1;
		no += ask(worker, OTHER_UID) != CONFIRM_YES;
	}
	CHECK(no == 0);
	CHECK(confirm.count == CONFIRM_KEPT_OTHERS_MAX);
	CHECK(ask(second, OTHER_UID) == CONFIRM_NO);
	CHECK(ask(getpid(), geteuid()) == CONFIRM_YES);
	kill(first, SIGKILL);
	waitpid(first, NULL, 0);
	for (int i = 0; i < WORKERS; i++) /* ours now */
		waitpid(-1, NULL, 0);
	CHECK(ask(second, OTHER_UID) == CONFIRM_YES); /* those of the dead make room */
	kill(second, SIGKILL);
	waitpid(second, NULL, 0);
	confirm_stop(&confirm);
	return check_status("agent_confirm");
}
