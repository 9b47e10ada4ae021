/*
 * main: the shim's constructor and destructor.
 *
 * Nothing here starts a thread or keeps a descriptor. After the destructor the hooks go on working: other destructors read too.
 */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "config.h"
#include "heap.h"
#include "real.h"
#include "stats.h"
#include "streams.h"
#include "sys.h"
#include "views.h"

/* Tells `ct run` that this process is covered: one datagram to the abstract socket that CTSHIM_HELLO names ("@name"). */
static void say_hello(void)
{
	const char *name = secure_getenv("CTSHIM_HELLO");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	if (!name || name[0] != '@' || strlen(name) >= sizeof to.sun_path)
		return;
	memcpy(to.sun_path + 1, name + 1, strlen(name) - 1);
	long fd = sys3(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	sys6(SYS_sendto, fd, "hello 1", 7, MSG_NOSIGNAL, &to, offsetof(struct sockaddr_un, sun_path) + strlen(name));
	sys_close((int)fd);
}

static void fork_child(void)
{
	heap_fork_child();
	views_fork_child();
	stats_start();
}

__attribute__((constructor)) static void start(void)
{
	int saved = errno;
	config_read();
	real_resolve();
	if (!config.off) {
		views_start();
		heap_install();
		pthread_atfork(NULL, NULL, fork_child);
		stats_start();
		if (at_quick_exit(stats_write) != 0)
			config_log(LOG_WARN, "CTSHIM_STATS: no line at quick_exit()");
	}
	__atomic_store_n(&real_ready, true, __ATOMIC_RELEASE);
	if (!config.off) {
		streams_stdin();
		say_hello();
	}
	errno = saved;
}

__attribute__((destructor)) static void end(void)
{
	stats_write();
}
