/*
 * usage OUTPUT CMD ARGS: runs it with its output in that file, prints "SECONDS CPU PEAK" (bytes), ends with its status.
 *
 * A small program of its own, since the kernel counts the memory of who started a program into the peak of what was started.
 */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

int main(int argc, char **argv)
{
	struct rusage u;
	int status;
	if (argc < 3)
		return 2;
	double start = bench_now();
	pid_t pid = fork();
	if (pid == 0) {
		int out = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (out < 0 || dup2(out, 1) < 0)
			bench_fail(argv[1]);
		execvp(argv[2], argv + 2);
		bench_fail(argv[2]);
	}
	if (pid < 0 || wait4(pid, &status, 0, &u) < 0)
		bench_fail("fork");
	double took = bench_now() - start;
	printf("%.9f %.6f %ld\n", took, (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6,
	       u.ru_maxrss * 1024);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}
