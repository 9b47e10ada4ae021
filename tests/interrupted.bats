# ct when it is killed, when the disk is full, when its input changes under it: the old file stands or the new one, never a part, and the
# next run clears up. Moments are chosen by a library that takes the place of C library functions, not by sleeping.

load helpers

setup() {
	cd "$BATS_TEST_TMPDIR"
	"$CT" keygen -q -o keys.jwk
}

teardown() {
	[ ! -s pid ] || kill -9 "$(cat pid)" 2>/dev/null || true # who still lives has failed
	agent_stop
}

# left [FOLDER]: the temporary files that lie there, in all folders.
left() {
	find "${1:-.}" -name '.*.ct-??????'
}

# A dead run's half file, plain weights perhaps, would lie there for ever; or one that is being written would be pulled away.
@test "the next run removes what a killed one left, and nothing else" {
	preload ended <<-'C'
		#include <signal.h>
		#include <stdlib.h>
		int fsync(int fd) /* all is written, and nothing has its final name */
		{
			static int once;
			(void)fd;
			return once++ ? 0 : raise(atoi(getenv("SIG")));
		}
	C
	mkdir d
	SIG=19 with ended sh -c 'echo $$ >pid; exec "$@"' sh "$CT" keygen -q -o d/alive.jwk 3>&- & # stops itself
	job=$!
	until [ -s pid ]; do sleep 0.02; done
	pid=$(cat pid)
	until grep -q '^State:.*stopped' "/proc/$pid/status"; do sleep 0.02; done
	alive=$(left d)
	SIG=9 with ended run -137 "$CT" keygen -q -o d/k.jwk
	dead=$(left d | grep -v alive)
	[ -s "$dead" ]
	# Not removed: names that are only alike, what is no regular file, what is locked, what is another user's.
	touch d/.x.ct-abcde d/.x.ct-abcde- d/x.ct-abcdef d/..ct-abcdef d/.x.ct-abcdefg d/.locked.ct-abcdef
	mkdir d/.folder.ct-abcdef
	mkfifo d/.fifo.ct-abcdef
	ln -s x d/.link.ct-abcdef
	if [ "$(id -u)" = 0 ]; then
		touch d/.other.ct-abcdef
		chown 65534 d/.other.ct-abcdef
	fi
	before=$(ls -A d | grep -vxF "${dead#d/}
${alive#d/}")
	exec {lock}<d/.locked.ct-abcdef
	flock -x "$lock"
	run -0 "$CT" keygen -o d/k.jwk
	[[ $output == *"ct: ${dead#d/}: removed: a run that was killed left it"* ]]
	[ "$(grep -c removed <<<"$output")" = 1 ]
	kill -CONT "$pid"
	wait "$job"
	python3 -m json.tool d/alive.jwk >whole
	[ ! -e "$alive" ]
	[ "$(ls -A d)" = "$(printf '%s\n' "$before" alive.jwk k.jwk | LC_ALL=C sort)" ]
	# No output may have such a name: the next run would remove it.
	run -3 "$CT" keygen -o d/.mine.ct-abcdef
	[[ $output == *"EINVAL: has a name that ct gives to temporary files"* ]]
	# Removed even by a run that then has nothing to write, and without a word if that is asked for.
	exec {lock}<&-
	run -3 "$CT" keygen -q -o d/k.jwk
	[[ $output == *EEXIST* && $output != *removed* ]]
	[ ! -e d/.locked.ct-abcdef ]
}

# Between the file's creation and its lock another run could take it for dead: the output would be lost at the very end.
@test "a temporary file that another run sweeps before it is locked is made anew" {
	preload race <<-'C'
		#include <fcntl.h>
		#include <stdio.h>
		#include <stdlib.h>
		#include <sys/file.h>
		#include <sys/syscall.h>
		#include <unistd.h>
		int flock(int fd, int how)
		{
			static int once, other;
			char path[64];
			if (once++)
				return (int)syscall(SYS_flock, fd, how);
			if (getenv("SWEEPS"))
				return system("unset LD_PRELOAD; \"$CT\" keygen -o other.jwk 2>said") ? -1 : (int)syscall(SYS_flock, fd, how);
			/* the other one has the lock, and has not removed the file yet */
			snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
			other = open(path, O_RDWR | O_CLOEXEC);
			if (syscall(SYS_flock, other, LOCK_EX))
				abort();
			int ret = (int)syscall(SYS_flock, fd, how);
			return system("rm .k.jwk.ct-??????") ? -1 : ret;
		}
	C
	SWEEPS=1 with race run -0 "$CT" keygen -q -o k.jwk
	grep -q '[.]k[.]jwk[.]ct-......: removed' said
	python3 -m json.tool k.jwk >whole
	rm k.jwk
	with race run -0 "$CT" keygen -q -o k.jwk
	python3 -m json.tool k.jwk >whole
	[ -z "$(left)" ]
}
