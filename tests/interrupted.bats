# ct when it is killed, when the disk is full, when its input changes under it: the old file stands or the new one, never a part, and the
# next run clears up. Moments are chosen by a library that takes the place of C library functions, not by sleeping.

load helpers
load moments

setup() {
	cd "$BATS_TEST_TMPDIR"
	"$CT" keygen -q -o keys.jwk
}

teardown() {
	[ ! -s pid ] || kill -9 "$(cat pid)" 2>/dev/null || true # who still lives has failed
	[ ! -d full ] || umount full 2>/dev/null || true
	agent_stop
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
	touch d/.notes.ct-backup d/.x.ct-tmp-abcde d/.x.ct-tmp-abcde- d/x.ct-tmp-abcdef d/..ct-tmp-abcdef d/.x.ct-tmp-abcdefg d/.locked.ct-tmp-abcdef
	mkdir d/.folder.ct-tmp-abcdef
	mkfifo d/.fifo.ct-tmp-abcdef
	ln -s x d/.link.ct-tmp-abcdef
	if [ "$(id -u)" = 0 ]; then
		touch d/.other.ct-tmp-abcdef
		chown 65534 d/.other.ct-tmp-abcdef
	fi
	before=$(ls -A d | grep -vxF "${dead#d/}
${alive#d/}")
	exec {lock}<d/.locked.ct-tmp-abcdef
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
	run -3 "$CT" keygen -o d/.mine.ct-tmp-abcdef
	[[ $output == *"EINVAL: has a name that ct gives to temporary files"* ]]
	# Removed even by a run that then has nothing to write, and without a word if that is asked for.
	exec {lock}<&-
	run -3 "$CT" keygen -q -o d/k.jwk
	[[ $output == *EEXIST* && $output != *removed* ]]
	[ ! -e d/.locked.ct-tmp-abcdef ]
}

# A read-only file's half copy is read-only as well: it would lie there for ever.
@test "what a killed run left is removed even if it cannot be written" {
	local ordinary=()
	if [ "$(id -u)" = 0 ]; then
		need setpriv
		ordinary=(setpriv --bounding-set=-dac_override)
	fi
	moments
	plain_model plain.safetensors 1000
	"$CT" keygen -q -o new.jwk
	"$CT" encrypt -q --keys keys.jwk plain.safetensors m
	chmod 444 m
	AT=1 ONLY=fsync with moment run -137 "$CT" rewrap --keys keys.jwk --new-keys new.jwk m
	[ "$(stat -c %a "$(left)")" = 444 ]
	run -0 "${ordinary[@]}" "$CT" rewrap --keys keys.jwk --new-keys new.jwk m
	[[ $output == *"removed: a run that was killed left it"* ]]
	[ -z "$(left)" ]
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
			return system("rm .k.jwk.ct-tmp-??????") ? -1 : ret;
		}
	C
	SWEEPS=1 with race run -0 "$CT" keygen -q -o k.jwk
	grep -q '[.]k[.]jwk[.]ct-tmp-......: removed' said
	python3 -m json.tool k.jwk >whole
	rm k.jwk
	with race run -0 "$CT" keygen -q -o k.jwk
	python3 -m json.tool k.jwk >whole
	[ -z "$(left)" ]
	# Nor is it dead at the other end, just before it takes its final name.
	moments
	rm k.jwk other.jwk
	AT=1 ONLY=renameat2 DO='"$CT" keygen -q -o other.jwk' with moment run -0 "$CT" keygen -q -o k.jwk
	[ -e other.jwk ]
	python3 -m json.tool k.jwk >whole
}

# holds FILE PLAIN: FILE is PLAIN encrypted, or PLAIN's view.
holds() {
	python3 - "$ROOT/tests" "$@" <<-'PY'
		import json, sys
		sys.path.insert(0, sys.argv[1])
		import judge
		got, plain = (open(p, "rb").read() for p in sys.argv[2:])
		if b'"__encryption__"' in got[:100000]:
		    got, bad = judge.view(got, json.load(open("keys.jwk")))
		    assert not bad
		(n, _, meta, tensors), (m, _, pmeta, ptensors) = judge.split(got), judge.split(plain)
		assert meta == pmeta and tensors == ptensors and got[8 + n:] == plain[8 + m:]
	PY
}

# killed CMD OLD WANT IN: ct CMD --keys keys.jwk IN out is killed at many moments, with OLD there before (none: nothing). out is OLD or WANT,
# whole, after each; no run leaves more than the one before it left; and the last one, to the end, leaves nothing.
killed() {
	local cmd=$1 old=$2 want=$3 in=$4 total at force=() seen=0
	[ "$old" = none ] || force=(--force)
	COUNT=$PWD/count with moment "$CT" "$cmd" -q "${force[@]}" --keys keys.jwk "$in" out
	total=$(cat count)
	echo "$cmd: $total calls"
	# Beyond the total: to remove what the run before left takes calls as well.
	for at in $(shuf -i 1-"$total" -n 25) $(seq $((total - 6)) $((total + 4))) timer{1..10}; do
		rm -f out
		[ "$old" = none ] || cp "$old" out
		if [[ $at == timer* ]]; then
			timeout -s KILL "0.0$(shuf -i 10-99 -n 1)" "$CT" "$cmd" -q "${force[@]}" --keys keys.jwk "$in" out 3>&- || true
		else
			AT=$at with moment "$CT" "$cmd" -q "${force[@]}" --keys keys.jwk "$in" out 3>&- || true
		fi
		[ "$(left | wc -l)" -le 1 ]
		if [ "$old" = none ]; then
			[ ! -e out ] || holds out "$want"
		else
			cmp -s out "$old" || holds out "$want"
		fi
		[ -z "$(left)" ] || seen=$((seen + 1))
	done
	[ "$seen" -gt 10 ]
	"$CT" "$cmd" -q --force --keys keys.jwk "$in" out
	holds out "$want"
	[ -z "$(left)" ]
	rm out
}

# A part of a model under its final name is what users load, and the old file would be gone.
@test "kill -9 at any moment: the old file or the new one, whole, and the next run clears up" {
	moments
	plain_model plain.safetensors 4000000
	plain_model other.safetensors 3000
	"$CT" encrypt -q --keys keys.jwk --chunk-size 64K plain.safetensors e.safetensors
	"$CT" encrypt -q --keys keys.jwk other.safetensors old.safetensors
	killed encrypt none plain.safetensors plain.safetensors
	killed encrypt old.safetensors plain.safetensors plain.safetensors
	killed decrypt none plain.safetensors e.safetensors
	killed decrypt other.safetensors plain.safetensors e.safetensors
}

# The only copy of a key would be gone.
@test "kill -9 of ct keygen at any moment: the old set or the new one" {
	moments
	cp keys.jwk old.jwk
	COUNT=$PWD/count with moment "$CT" keygen -q -o new.jwk --reader reader.jwk
	seen=0
	for at in $(seq $(($(cat count) + 6))); do
		for force in "" --force; do
			rm -f k.jwk
			[ -z "$force" ] || cp old.jwk k.jwk
			AT=$at with moment "$CT" keygen -q --force -o k.jwk --reader reader.jwk 3>&- || true
			[ "$(left | wc -l)" -le 2 ]
			[ -z "$(left)" ] || seen=$((seen + 1))
			[ -n "$force" ] || [ ! -e k.jwk ] || python3 -m json.tool k.jwk >whole
			[ -z "$force" ] || cmp -s k.jwk old.jwk || python3 -m json.tool k.jwk >whole
		done
	done
	[ "$seen" -gt 3 ]
	"$CT" keygen -q --force -o k.jwk
	[ -z "$(left)" ]
}

# The disk would stay full of half a model, under its final name perhaps, and the old one would be gone.
@test "a full disk: ENOSPC, nothing is left, the old file stands, and a folder is gone on with" {
	[ "$(id -u)" = 0 ] || skip_or_fail "only root mounts a disk to fill" || return
	mkdir full in
	mount -t tmpfs -o size=1m none full || skip_or_fail "no right to mount" || return
	plain_model plain.safetensors 3000000
	plain_model small.safetensors 300000
	"$CT" encrypt -q --keys keys.jwk plain.safetensors e.safetensors
	cp small.safetensors full/old
	for force in "" --force; do
		for cmd in "encrypt plain.safetensors" "decrypt e.safetensors"; do
			out=full/${force:+old}
			[ -n "$force" ] || out=full/new
			# shellcheck disable=SC2086 # words
			run -3 "$CT" ${cmd% *} $force --keys keys.jwk "${cmd#* }" "$out"
			[[ $output == "ct: ${cmd#* }: ENOSPC: the output $out cannot be written whole: No space left on device" ]]
			cmp full/old small.safetensors
			[ "$(ls -A full)" = old ]
		done
	done
	rm full/old
	cp small.safetensors in/a.safetensors
	cp plain.safetensors in/b.safetensors
	run -3 "$CT" encrypt --keys keys.jwk in full
	[[ $output == "ct: in/b.safetensors: ENOSPC: the output full/b.safetensors "* ]]
	[ "$(ls -A full)" = a.safetensors ]
	holds full/a.safetensors in/a.safetensors
	head -c 3000000 /dev/zero >in/a.other
	rm full/a.safetensors
	run -3 "$CT" encrypt --keys keys.jwk in full
	[[ $output == "ct: in/a.other: ENOSPC: its copy cannot be written whole: No space left on device" ]]
	[ -z "$(ls -A full)" ]
	mount -o remount,size=20m full
	run -0 "$CT" encrypt --keys keys.jwk in full
	[ "$output" = "ct: full: 2 models encrypted, 1 other file copied" ]
	holds full/b.safetensors in/b.safetensors
	umount full
}

# changed CMD IN HOW [NAME=VALUE…]: the shell command HOW changes the input while ct CMD reads it: an error, no output, the old one untouched.
changed() {
	local cmd=$1 in=$2 how=$3 total force
	shift 3
	rm -f out
	cp -p "$in" kept.input
	COUNT=$PWD/count ONLY=pwrite with moment "$CT" "$cmd" -q -j1 --keys keys.jwk "$in" out
	total=$(cat count)
	echo "$total pieces"
	[ "$total" -gt 4 ]
	for force in "" --force; do
		rm -f out
		[ -z "$force" ] || echo old >out
		cp -p kept.input "$in"
		# shellcheck disable=SC2086 # nothing or a word
		AT=$((total / 2)) ONLY=pwrite DO=$how with moment run -3 env "$@" "$CT" "$cmd" -j1 $force --keys keys.jwk "$in" out
		echo "$cmd, $how: $output"
		[[ $output == "ct: $in: E"* ]]
		[ -z "$force" ] || [ "$(cat out)" = old ]
		[ -n "$force" ] || [ ! -e out ]
		[ -z "$(left)" ]
	done
	cp -p kept.input "$in"
}

# Half of one state of the model and half of another would be encrypted and signed as one.
@test "an input that is changed, cut short or replaced while it is read: an error and no output" {
	moments
	plain_model plain.safetensors 10000000
	"$CT" encrypt -q --keys keys.jwk --chunk-size 64K plain.safetensors e.safetensors
	plain_model other.safetensors 10000000
	touch -d '2020-01-02 03:04:05' plain.safetensors e.safetensors
	for in in plain.safetensors e.safetensors; do
		cmd=encrypt
		[ $in = plain.safetensors ] || cmd=decrypt
		changed $cmd $in "truncate -s 5000 $in"
		changed $cmd $in "truncate -s 5000000 $in"
		changed $cmd $in "cp other.safetensors new; mv new $in"
		changed $cmd $in "printf x | dd of=$in bs=1 seek=3000 conv=notrunc status=none" # what was read already
		changed $cmd $in "printf x | dd of=$in bs=1 seek=9999000 conv=notrunc status=none"
		# by a program that hides it, as some that synchronize do
		changed $cmd $in "printf x | dd of=$in bs=1 seek=3000 conv=notrunc status=none; touch -d '2020-01-02 03:04:05' $in"
	done
	[[ $output == "ct: e.safetensors: EBUSY: was changed while it was read: try again when nobody writes it" ]]
	# Where the file system's clock has whole seconds: a change in the second in which the file was made.
	python3 -c 'import time; time.sleep(1 - time.time() % 1)'
	touch plain.safetensors
	rm out
	AT=30 ONLY=pwrite DO="printf x | dd of=plain.safetensors bs=1 seek=3000 conv=notrunc status=none" COARSE=1 \
		with moment run -3 "$CT" encrypt -j1 --keys keys.jwk plain.safetensors out
	[[ $output == *EBUSY* ]]
	[ ! -e out ]
}

# The same by stores to memory: the kernel sets a file's time only when such a store makes a clean page dirty.
@test "an input that is changed through a mapping while it is read: an error and no output" {
	[ "$(stat -f -c %T .)" != tmpfs ] || skip_or_fail "tmpfs does not tell of stores" || return
	moments
	plain_model plain.safetensors 10000000
	mkfifo go went
	cat >store.py <<-'PY'
		import mmap
		with open("plain.safetensors", "r+b") as f:
		    m = mmap.mmap(f.fileno(), 0)
		    m[3000] ^= 1  # dirty from now on
		    open("ready", "w").close()
		    while open("go").read():
		        m[3000] ^= 1
		        open("went", "w").close()
	PY
	python3 store.py 3>&- &
	echo $! >pid
	until [ -e ready ]; do sleep 0.02; done
	for at in 2 30; do
		AT=$at ONLY=pwrite DO="echo >go; cat went" with moment run -3 "$CT" encrypt -j1 --keys keys.jwk plain.safetensors out
		[[ $output == *"EBUSY: was changed while it was read"* ]]
		[ ! -e out ]
		[ -z "$(left)" ]
	done
}

# Files beside the models are copied under the same promise.
@test "a folder: a file that is changed while it is copied ends the run without its copy" {
	moments
	mkdir in
	head -c 3000000 /dev/urandom >in/a
	plain_model in/m.safetensors 1000
	for how in "truncate -s 5000 in/a" "printf x >>in/a" "printf x | dd of=in/a bs=1 conv=notrunc status=none" "cp keys.jwk new; mv new in/a"; do
		head -c 3000000 /dev/urandom >in/a
		AT=2 ONLY=write DO=$how with moment run -3 "$CT" encrypt --keys keys.jwk in out
		[[ $output == "ct: in/a: EBUSY: was changed while it was read"* ]]
		[ -z "$(ls -A out)" ]
	done
	head -c 3000000 /dev/urandom >in/a
	run -0 "$CT" encrypt --keys keys.jwk in out
	cmp in/a out/a
	# Nor is an output taken for complete if its input was changed while the two were compared: from where its first byte was.
	busy=0
	for at in {1..4}; do
		cp -p in/a a
		AT=$at ONLY=memcmp DO="printf x | dd of=in/a bs=1 conv=notrunc status=none" with moment run "$CT" encrypt --keys keys.jwk in out
		echo "$at: $output"
		[[ $output != "ct: in/a: EBUSY: was changed while it was read"* ]] || busy=$((busy + 1))
		cp -p a in/a
	done
	[ "$busy" -ge 3 ]
}

# A download that ends in the moment after the look would be copied in the clear, weights and all.
@test "a folder: what becomes a model after it was looked at is not copied in the clear" {
	moments
	mkdir in
	plain_model in/a.safetensors 1000
	plain_model other 1000
	: >in/blob
	AT=2 ONLY=fdatasync DO="cat other >in/blob" with moment run -3 "$CT" encrypt --keys keys.jwk in out
	[[ $output == "ct: in/blob: EBUSY: became a model meanwhile"* ]]
	[ ! -e out/blob ]
	run -0 "$CT" encrypt --keys keys.jwk in out
	run -0 "$CT" verify --keys keys.jwk out/a.safetensors out/blob
}

# What is brought to disk at the end takes minutes for a large model: what came to stand there meanwhile would be lost.
@test "ct rewrap: a file that is replaced at the last moment stands" {
	moments
	"$CT" keygen -q -o new.jwk
	plain_model plain.safetensors 1000
	"$CT" encrypt -q --keys keys.jwk plain.safetensors m
	AT=1 ONLY=fsync DO="echo theirs >new; mv new m" with moment run -3 "$CT" rewrap --keys keys.jwk --new-keys new.jwk m
	[[ $output == "ct: m: EBUSY: was changed while it was read"* ]]
	[ "$(cat m)" = theirs ]
	[ -z "$(left)" ]
}

# Readers would get a master key that nobody can encrypt with, and that no other set has.
@test "ct keygen: a set that cannot take its name leaves no part of it behind" {
	moments
	AT=1 ONLY=renameat2 DO="echo theirs >k.jwk" with moment run -3 "$CT" keygen -o k.jwk --reader r2.jwk --verifier v.jwk
	[[ $output == "ct: k.jwk: EEXIST"* ]]
	[ "$(cat k.jwk)" = theirs ]
	[ ! -e r2.jwk ] && [ ! -e v.jwk ]
	# The other way round the parts can be made from what is there.
	AT=2 ONLY=renameat2 DO="echo theirs >r.jwk" with moment run -3 "$CT" keygen -q -o k2.jwk --reader r.jwk
	[[ $output == "ct: r.jwk: EEXIST"* ]]
	run -0 "$CT" keygen -q --from k2.jwk --reader r2.jwk
}
