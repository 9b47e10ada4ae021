/* aio_tells FILE OFFSET: how POSIX aio tells that it is done. A line each: how: bytes and a digest, or the errno. */
#include "doors.h"

#include <aio.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#define LEN 3000

static sem_t told;
static volatile sig_atomic_t code, value, masked;

static void by_signal(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	(void)context;
	code = info->si_code;
	value = info->si_value.sival_int;
	sem_post(&told);
}

static void by_thread(union sigval v)
{
	sigset_t mask;
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	masked = sigismember(&mask, SIGUSR2);
	value = v.sival_int;
	sem_post(&told);
}

static void show(const char *how, struct aiocb *cb)
{
	char text[64];
	while (sem_wait(&told) < 0)
		;
	int why = aio_error(cb);
	ssize_t n = aio_return(cb);
	errno = why;
	doors_outcome(text, n, (const void *)(uintptr_t)cb->aio_buf);
	for (char *c = text; *c; c++)
		if (*c == ':')
			*c = ' ';
	printf("%s code %d value %d masked %d: %s\n", how, code, value, masked, text);
	code = value = masked = 0;
}

int main(int argc, char **argv)
{
	static unsigned char buf[2][LEN];
	struct sigaction act = { .sa_sigaction = by_signal, .sa_flags = SA_SIGINFO };
	sigset_t all;
	if (argc != 3)
		doors_die("usage: FILE OFFSET");
	int fd = open(argv[1], O_RDONLY);
	sem_init(&told, 0, 0);
	sigaction(SIGUSR1, &act, NULL);
	struct aiocb cb = { .aio_fildes = fd, .aio_buf = buf[0], .aio_nbytes = LEN, .aio_offset = atoll(argv[2]) + 5, .aio_lio_opcode = LIO_READ };
	cb.aio_sigevent = (struct sigevent){ .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 11 };
	if (aio_read(&cb) < 0)
		doors_die("aio_read");
	show("aio_read,signal", &cb);
	cb.aio_sigevent = (struct sigevent){ .sigev_notify = SIGEV_THREAD, .sigev_notify_function = by_thread, .sigev_value.sival_int = 12 };
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL); /* the thread that is told has a mask of its own */
	if (aio_read(&cb) < 0)
		doors_die("aio_read");
	show("aio_read,thread", &cb);
	pthread_sigmask(SIG_UNBLOCK, &all, NULL);

	/* A list says once that all is done; here nothing but reads is in it. */
	struct aiocb other = cb;
	struct aiocb *list[2] = { &cb, &other };
	other.aio_buf = buf[1];
	other.aio_offset += 100;
	cb.aio_sigevent.sigev_notify = other.aio_sigevent.sigev_notify = SIGEV_NONE;
	struct sigevent done = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 13 };
	if (lio_listio(LIO_NOWAIT, list, 2, &done) < 0)
		doors_die("lio_listio");
	show("lio_listio,signal", &cb);
	sem_post(&told);
	show("lio_listio,signal,second", &other);
	done = (struct sigevent){ .sigev_notify = SIGEV_THREAD, .sigev_notify_function = by_thread, .sigev_value.sival_int = 14 };
	if (lio_listio(LIO_NOWAIT, list, 2, &done) < 0)
		doors_die("lio_listio");
	show("lio_listio,thread", &cb);
	return 0;
}
