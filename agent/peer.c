#include "peer.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

bool peer_of(struct peer *p, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof cred;

	p->pidfd = -1;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || len != sizeof cred)
		return false;
	p->uid = cred.uid;
	p->gid = cred.gid;
	p->pid = cred.pid;
	len = sizeof p->pidfd;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &p->pidfd, &len) < 0) /* close-on-exec as every pidfd is */
		p->pidfd = -1;
	return true;
}

void peer_release(struct peer *p)
{
	if (p->pidfd >= 0)
		close(p->pidfd);
	p->pidfd = -1;
}

enum peer_rights peer_rights(const struct peer *p, const struct config *c)
{
	if (p->uid == geteuid() || p->uid == 0)
		return PEER_MAY_ALL;
	return config_allows(c, p->uid) ? PEER_MAY_OPEN : PEER_NOTHING;
}

bool peer_alive(const struct peer *p)
{
	struct pollfd f = { p->pidfd, POLLIN, 0 };

	return p->pidfd < 0 || poll(&f, 1, 0) == 0;
}
