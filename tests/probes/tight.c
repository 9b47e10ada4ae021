/*
 * tight FILE…: opens, reads and closes each FILE in a thread with the smallest stack there is. Prints the bytes read.
 */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static char **files;

static void *work(void *arg)
{
	static long long sum;
	(void)arg;
	for (char **f = files; *f; f++) {
		static char buf[4096];
		int fd = open(*f, O_RDONLY);
		ssize_t n;
		while ((n = read(fd, buf, sizeof buf)) > 0)
			sum += n;
		close(fd);
	}
	return &sum;
}

int main(int argc, char **argv)
{
	pthread_attr_t attr;
	pthread_t t;
	void *sum;
	(void)argc;
	files = argv + 1;
	pthread_attr_init(&attr);
	if (pthread_attr_setstacksize(&attr, (size_t)sysconf(_SC_THREAD_STACK_MIN)) || pthread_create(&t, &attr, work, NULL))
		return 2;
	pthread_join(t, &sum);
	printf("%lld\n", *(long long *)sum);
	return 0;
}
