#include "errands.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harden.h"

enum what { SOCKET_OWN, SOCKET_OTHERS, SOCKET_END };

static int run(const struct listener *l, uint8_t what, struct err *why)
{
	switch (what) {
	case SOCKET_OWN:
	case SOCKET_OTHERS:
		return listener_admit(l, what == SOCKET_OTHERS, why);
	case SOCKET_END:
		listener_remove(l);
		return 0;
	default:
		return err_sys(why, EINVAL, "that is no errand");
	}
}

static _Noreturn void serve(int sock, const struct listener *l)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

	prctl(PR_SET_NAME, "ct-errands", 0, 0, 0);
	/* Of a terminal, or of who ends a whole group or unit: the other's own end is the one that counts. */
	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
		signal(ends[i], SIG_IGN);
	for (;;) {
		struct err why = { 0 }; /* all of it is sent */
		uint8_t what;
		ssize_t n = recv(sock, &what, sizeof what, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n != sizeof what)
			_exit(0);
		run(l, what, &why);
		send(sock, &why, sizeof why, MSG_NOSIGNAL);
	}
}

int errands_start(struct errands *e, struct err *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(err, errno, "a socket to the process for errands");
	e->pid = fork();
	if (e->pid == 0) {
		/* Standard descriptors and its end of the pair are all it keeps. */
		int sock = pair[1] == 3 ? 3 : dup2(pair[1], 3);

		harden_close_above(3);
		serve(sock, e->listener);
	}
	close(pair[1]);
	if (e->pid < 0) {
		close(pair[0]);
		return err_sys(err, errno, "the process for errands");
	}
	e->sock = pair[0];
	return 0;
}

void errands_stop(struct errands *e)
{
	if (e->sock < 0)
		return;
	close(e->sock);
	e->sock = -1;
	while (waitpid(e->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* 0, or -1 with *err: what it said. */
static int send_for(struct errands *e, uint8_t what, struct err *err)
{
	struct pollfd p = { e->sock, POLLIN, 0 };
	struct err why;

	if (e->sock < 0)
		return run(e->listener, what, err);
	if (send(e->sock, &what, sizeof what, MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof what || poll(&p, 1, ERRANDS_MS) != 1 ||
	    recv(e->sock, &why, sizeof why, MSG_DONTWAIT) != (ssize_t)sizeof why) {
		close(e->sock); /* a late answer would be taken for another's */
		e->sock = -1;
		return run(e->listener, what, err);
	}
	if (why.code == ERR_NONE)
		return 0;
	*err = why;
	return -1;
}

int errands_admit(struct errands *e, bool others, struct err *err)
{
	return send_for(e, others ? SOCKET_OTHERS : SOCKET_OWN, err);
}

void errands_remove(struct errands *e)
{
	struct err why;

	send_for(e, SOCKET_END, &why);
}
