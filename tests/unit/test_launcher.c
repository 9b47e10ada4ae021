/*
 * launcher: a run ends when nobody can read what it writes any more, and not because what it reads has been written to its end. A question that was given
 * up would keep its place until its time is over; or a program with a pipe for its input would be killed.
 */
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "launcher.h"

#define LONG_MS 3600000

static struct launcher_end run(char *const *argv, int in, int out, int close_when_started)
{
	struct launcher_end end = { 0 };
	struct launcher l;
	struct err why;

	CHECK(launcher_start(&l, argv, NULL, LONG_MS, &why) == 0);
	CHECK(launcher_run(&l, 7, NULL, (int[]){ in, out }, 2, &why) == 0);
	close(in);
	close(out);
	if (close_when_started >= 0)
		close(close_when_started);
	struct pollfd p = { l.sock, POLLIN, 0 };
	CHECK(poll(&p, 1, 60000) == 1);
	CHECK(launcher_ended(&l, &end) == 1);
	CHECK(end.job == 7 && !end.late);
	launcher_stop(&l);
	return end;
}

int main(void)
{
	char *sleeps[] = { "/bin/sleep", "3600", NULL }, *reads[] = { "/bin/sh", "-c", "cat >&2; sleep 0.1", NULL };
	int in[2], out[2];

	CHECK(pipe(in) == 0 && pipe(out) == 0);
	struct launcher_end end = run(sleeps, in[0], out[1], out[0]);
	CHECK(WIFSIGNALED(end.status) && end.words_len == 0);
	close(in[1]);

	CHECK(pipe(in) == 0 && pipe(out) == 0);
	CHECK(write(in[1], "word\n", 5) == 5);
	close(in[1]);
	end = run(reads, in[0], out[1], -1);
	CHECK(end.status == 0 && end.words_len == 4);
	close(out[0]);
	return check_status("launcher");
}
