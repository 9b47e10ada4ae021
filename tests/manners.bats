# What programs do to themselves while they read an encrypted file, and who else is in the process: other interposers and allocators, debuggers,
# sandboxes, constructors, cancellation. What a program prints on the plain file, without the shim, is what it must print.

load helpers
load ways

LIBS=(/usr/lib/"$(uname -m)"-linux-gnu /usr/lib64 /usr/lib /usr/local/lib)

setup_file() {
	local t=$BATS_FILE_TMPDIR s=$ROOT/tests/standins i
	export T=$t
	plain_model "$t/plain.safetensors" 6000000
	"$CT" keygen -q -o "$t/keys.jwk"
	ways_start "$t/keys.jwk"
	export M=$WAYS/m.safetensors VIEW=$WAYS/view
	"$CT" encrypt -q --keys "$t/keys.jwk" --chunk-size 100000 "$t/plain.safetensors" "$M"
	"$CT" decrypt -q --keys "$t/keys.jwk" "$M" "$VIEW"
	chmod 644 "$M" "$VIEW"
	need gcc || return
	gcc -shared -fPIC -O1 -o "$t/malloc_forks.so" "$s/malloc_forks.c" -ldl
	gcc -shared -fPIC -O1 -Wl,-z,initfirst -o "$t/watch.so" "$s/watch.c"
	gcc -shared -fPIC -O1 -DNAME='"linked"' -o "$t/liblinked.so" "$s/early.c"
	gcc -shared -fPIC -O1 -DNAME='"preloaded"' -o "$t/preloaded.so" "$s/early.c"
	gcc -O1 -D_GNU_SOURCE -Wl,--no-as-needed -Wl,-rpath,"$t" -o "$t/early" "$ROOT/tests/probes/early.c" "$t/liblinked.so"
	mkdir "$t/libs"
	echo '__thread int local[10] = { 1 };' | gcc -shared -fPIC -o "$t/libs/1.so" -xc -
	for ((i = 2; i <= 60; i++)); do cp "$t/libs/1.so" "$t/libs/$i.so"; done
}

teardown_file() {
	ways_stop
}

# library NAME: its path.
library() {
	local dir
	for dir in "${LIBS[@]}"; do
		[[ -e $dir/$1 ]] && echo "$dir/$1" && return
	done
	skip_or_fail "$1 is not installed" >&2
}

# both LIBRARY: LD_PRELOAD with it in front of the shim, and behind it.
both() {
	printf '%s\n' "$1 $SHIM" "$SHIM $1"
}

# probed PRELOAD MODE [HOW]: manners.c prints on the model what it prints on the plain file, and nothing is said on standard error.
probed() {
	local preload=$1 mode=$2
	shift 2
	"$PROBES/manners" "$mode" "$VIEW" "$VIEW" "$@" >"$BATS_TEST_TMPDIR/want"
	LD_PRELOAD=$preload timeout -k 5 90 "$PROBES/manners" "$mode" "$M" "$VIEW" "$@" \
		>"$BATS_TEST_TMPDIR/got" 2>"$BATS_TEST_TMPDIR/err" || { echo "$preload: status $?"; head "$BATS_TEST_TMPDIR/err"; return 1; }
	diff "$BATS_TEST_TMPDIR/want" "$BATS_TEST_TMPDIR/got"
	diff /dev/null "$BATS_TEST_TMPDIR/err"
}

# way_probed MODE [HOW] WAY: the same in one way.
way_probed() {
	local mode=$1 how=${*: -1}
	shift
	set -- "${@:1:$#-1}"
	as "$how" "$WAYS/bin/manners" "$mode" "$VIEW" "$VIEW" "$@" >"$WAYS/out/$how.want"
	way "$how" "$WAYS/bin/manners" "$mode" "$M" "$VIEW" "$@" >"$WAYS/out/$how.got" 2>"$WAYS/out/$how.err" ||
		{ echo "status $?"; cat "$WAYS/out/$how.err" "$WAYS/out/$how.got"; return 1; }
	diff "$WAYS/out/$how.want" "$WAYS/out/$how.got"
	diff /dev/null "$WAYS/out/$how.err"
}

# ---- who else is in the process ----

# allocator NAME…: each in front of the shim and behind it; Python, cp, and a program whose threads and children allocate while they read.
allocator() {
	local name lib order
	for name; do
		lib=$(library "$name") || return
		while IFS= read -r order; do
			echo "== $order"
			run -0 --separate-stderr env LD_PRELOAD="$order" timeout -k 5 60 "$WAY_PYTHON" -c '
import mmap, sys
data = open(sys.argv[1], "rb").read()
with open(sys.argv[1], "rb") as f:
    assert mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)[:] == data
assert data == open(sys.argv[2], "rb").read()
print(open("/proc/self/maps").read().count(sys.argv[3]) > 0, "right")' "$M" "$VIEW" "$(basename "$(readlink -f "$lib")")"
			[[ $output == "True right" && -z $stderr ]] || { echo "$output / $stderr"; return 1; }
			run -0 --separate-stderr env LD_PRELOAD="$order" timeout -k 5 60 cp "$M" "$BATS_TEST_TMPDIR/copy"
			[[ -z $stderr ]] || return
			cmp "$BATS_TEST_TMPDIR/copy" "$VIEW" || return
			probed "$order" forks || return
		done < <(both "$lib")
	done
}

# A malloc that opens files inside malloc, maps memory by syscall(), or holds locks over fork() meets our hooks there: it recurses or hangs. Not
# with a sanitizer, which is such a malloc itself.
# bats test_tags=plain-build
@test "jemalloc, mimalloc and tcmalloc, in front of the shim and behind it" {
	allocator libjemalloc.so.2 libmimalloc.so.2 libtcmalloc_minimal.so.4 libtcmalloc.so.4
}

# In the child our handler starts threads: they need memory once more libraries with thread-local storage are loaded than before, and wait for
# ever if malloc's handler comes after ours.
# bats test_tags=plain-build
@test "a malloc that holds its lock over fork() is open again when our fork handler runs" {
	local order
	while IFS= read -r order; do
		probed "$order" forks "$T/libs"
		grep -x 'libraries 60' "$BATS_TEST_TMPDIR/got"
	done < <(both "$T/malloc_forks.so")
}

# Two interposers of which one stands before the other's functions: one of them is passed by, or calls itself. libfaketime hooks fstat(), clocks
# and waits.
# bats test_tags=plain-build
@test "libfaketime in front of the shim and behind it: both do their work in one process" {
	need faketime
	local lib order
	for lib in faketime/libfaketime.so.1 faketime/libfaketimeMT.so.1; do
		lib=$(library $lib)
		while IFS= read -r order; do
			run -0 --separate-stderr env FAKETIME="@2031-05-06 12:00:00" LD_PRELOAD="$order" timeout -k 5 60 "$WAY_PYTHON" -c '
import mmap, sys, time
data = open(sys.argv[1], "rb").read()
with open(sys.argv[1], "rb") as f:
    assert mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)[:] == data
assert data == open(sys.argv[2], "rb").read()
print(time.strftime("%Y-%m-%d", time.gmtime(time.time())), "right")' "$M" "$VIEW"
			echo "$order: $output / $stderr"
			[ "$output" = "2031-05-06 right" ]
			[ -z "$stderr" ]
			probed "$order" forks
		done < <(both "$lib")
	done
}

# valgrind runs one thread at a time: whoever waits for a page in the kernel holds all others up, also who would fill it. A branch of ours that
# depends on memory nobody has set would be reported here.
# bats test_tags=plain-build
@test "valgrind: same output, no errors" {
	need valgrind
	"$PROBES/manners" read "$VIEW" "$VIEW" >"$BATS_TEST_TMPDIR/want"
	run -0 --separate-stderr shimmed timeout -k 5 300 valgrind -q --error-exitcode=9 --suppressions="$ROOT/tests/valgrind.supp" \
		"$PROBES/manners" read "$M" "$VIEW"
	echo "$output / $stderr"
	diff "$BATS_TEST_TMPDIR/want" - <<<"$output"
	[[ $stderr != *ctshim* ]]
	CTSHIM_LOG=info run -0 --separate-stderr shimmed timeout -k 5 300 valgrind -q --tool=none "$PROBES/manners" read "$M" "$VIEW"
	[[ $stderr == *"at once"*valgrind* ]]
}

# A breakpoint is in our code too, and a stopped thread of ours must not take the program with it.
# bats test_tags=plain-build
@test "gdb: break, read variables, go on: same output" {
	need gdb
	"$PROBES/manners" exit "$VIEW" "$VIEW" >"$BATS_TEST_TMPDIR/want"
	run -0 --separate-stderr timeout -k 5 120 gdb -batch -nx -ex "set debuginfod enabled off" \
		-ex "set exec-wrapper env LD_PRELOAD=$SHIM" -ex "handle SIGSEGV nostop noprint pass" -ex "set breakpoint pending on" \
		-ex "break pthread_exit" -ex "set args exit $M $VIEW >$BATS_TEST_TMPDIR/got" -ex run -ex up -ex "print probe_len" \
		-ex "print/u probe_want[500000]" -ex delete -ex continue "$PROBES/manners"
	echo "$output / $stderr"
	[[ $output == *"= $(stat -c %s "$VIEW")"* ]]
	[[ $output == *"= $(od -An -tu1 -j500000 -N1 "$VIEW" | tr -d ' ')"* ]]
	[[ $output == *"exited normally"* ]]
	diff "$BATS_TEST_TMPDIR/want" "$BATS_TEST_TMPDIR/got"
}

# Every call is stopped twice, and other threads' wake-ups come late.
# bats test_tags=plain-build
@test "strace -f: same output, and the kernel refuses no memory" {
	need strace
	"$PROBES/manners" read "$VIEW" "$VIEW" >"$BATS_TEST_TMPDIR/want"
	run -0 --separate-stderr timeout -k 5 120 strace -f -qq -o "$BATS_TEST_TMPDIR/trace" -E LD_PRELOAD="$SHIM" "$PROBES/manners" read "$M" "$VIEW"
	diff "$BATS_TEST_TMPDIR/want" - <<<"$output"
	[ -z "$stderr" ]
	grep -q pread64 "$BATS_TEST_TMPDIR/trace"
	run ! grep -e '= -1 EFAULT' "$BATS_TEST_TMPDIR/trace"
}

# ---- before and after main ----

# Static objects of C++ libraries load models; they come before a constructor that is not the first of all, and were handed ciphertext.
@test "constructors, .preinit_array, atexit and destructors read the view, of libraries too" {
	local order
	EARLY_FILE=$VIEW LD_PRELOAD=$T/preloaded.so "$T/early" >"$BATS_TEST_TMPDIR/want"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/want")" = 9 ]
	[ "$(cut -d' ' -f2- "$BATS_TEST_TMPDIR/want" | grep -oE '([0-9a-f]{8} ?){4}$' | sort -u | wc -l)" = 1 ]
	while IFS= read -r order; do
		timeout -k 5 60 env EARLY_FILE="$M" ASAN_OPTIONS="${ASAN_HOST_OPTIONS-}" LD_PRELOAD="${order/$SHIM/$PRELOAD}" "$T/early" \
			>"$BATS_TEST_TMPDIR/got" 2>"$BATS_TEST_TMPDIR/err"
		diff "$BATS_TEST_TMPDIR/want" "$BATS_TEST_TMPDIR/got"
		diff /dev/null "$BATS_TEST_TMPDIR/err"
	done < <([[ -n $SANITIZE ]] || echo "$T/preloaded.so $SHIM"; echo "$SHIM $T/preloaded.so")
}

# Our settings come from the environment, which libc has yet to set up when the first constructor runs.
@test "settings are read though our constructor comes before libc's" {
	CTSHIM_DISABLE=1 shimmed cat "$M" | cmp - "$M"
	CTSHIM_STATS=$BATS_TEST_TMPDIR/stats shimmed cat "$M" | cmp - "$VIEW"
	[ "$(jq .opens "$BATS_TEST_TMPDIR/stats")" = 1 ]
}

# An allocator's first malloc calls our hooks before anything works. Who counts is the allocator itself, and the dynamic linker's own log of
# symbols looked up. Not with a sanitizer: it is the allocator.
# bats test_tags=plain-build
@test "no malloc and no dlsym before the hooks are ready, no malloc in our constructor" {
	EARLY_FILE='' run -0 env LD_BIND_NOW=1 LD_DEBUG=symbols,files LD_DEBUG_OUTPUT="$BATS_TEST_TMPDIR/ld" LD_PRELOAD="$SHIM $T/watch.so" "$PROBES/early"
	[ "${lines[0]}" = "before the constructor: 0 mallocs" ]
	[ "${lines[1]}" = "in it: 0 mallocs" ]
	awk '/calling (pre)?init:/ { n = split($NF, path, "/"); at = path[n] } /transferring control/ { at = "main" } /symbol=/ { found[at]++ }
	     END { print "watch.so", found["watch.so"] + 0; print "libctshim.so", (found["libctshim.so"] > 50) }' "$BATS_TEST_TMPDIR"/ld.* >"$BATS_TEST_TMPDIR/found"
	diff - "$BATS_TEST_TMPDIR/found" <<<$'watch.so 0\nlibctshim.so 1'
	run -0 env EARLY_FILE="$M" LD_PRELOAD="$SHIM $T/watch.so" "$PROBES/early"
	[[ $output == *"in it: "[1-9]*" mallocs"* ]] # it does see ours
}

# ---- what a program does to itself ----

# Descriptors of ours are behind what is mapped: closed by the program, or reused, they would fill pages with zeros or somebody else's bytes.
@test "every descriptor closed while a mapping is partly touched: the rest is right" {
	local how
	for how in closefrom close_range loop raw; do
		each_way way_probed close $how
	done
}

# The process goes on without the thread in which everything began.
@test "main ends by pthread_exit() while others read: right, and status 0" {
	each_way way_probed exit
}

# cancelled WAY: that no pin is left is seen by the agent being asked again, which with "keep 0" it is as soon as a view is not in use.
cancelled() {
	way_probed cancel "$1"
	run -0 way_stat "$1" agent_requests
	[[ $output -ge 2 ]] || { echo "$output requests"; return 1; }
}

# A thread that ends in the middle of a hook leaves a lock, a pin, or half of a claimed offset.
@test "pthread_cancel() acts where a read begins, not in its middle" {
	local agent=$CT_AGENT_SOCK
	echo "keep 0" >"$BATS_TEST_TMPDIR/conf"
	AGENT_OPTS=(-c "$BATS_TEST_TMPDIR/conf")
	agent_start "$T/keys.jwk"
	WAYS_TRIED="root root-nouffd eager" each_way cancelled
	agent_stop
	export CT_AGENT_SOCK=$agent
}

# Programs look at errno after a call that succeeded, though they should not.
@test "errno is kept by every call that reads, maps or copies descriptors" {
	each_way way_probed errno
}

# "Plain" noted of the child's descriptor is ciphertext for the parent that has a view under the same number.
@test "children by vfork() and clone() on the same memory read another file under a view's number" {
	each_way way_probed share
	each_way way_probed share clone
}

# A lock of ours held, or half a stream read, when the program's handler asks for the same.
@test "a handler that reads and touches in the middle of streams, faults and mmap()" {
	each_way way_probed handler
}

# filtered WAY: right bytes or an error, and from descriptors always right bytes; the plain program's calls alone are allowed.
filtered() {
	local when out
	for when in opened read mapped; do
		run -0 way "$1" "$WAYS/bin/filtered" "$when" errno "$M" "$VIEW"
		out=$(grep -v '^ctshim: ' <<<"$output")
		echo "$when: $out"
		[[ $out == *"read right"$'\n'"pread right"$'\n'* ]] || return
		[[ $(grep -cE '^(mapped|mmap)( right| SIGBUS at [0-9]+|: E[A-Z]+)$' <<<"$out") == $([[ $when == mapped ]] && echo 2 || echo 1) ]] || return
		[[ $when != mapped || $1 == *nouffd || $out == *"mapped right"* ]] || return
	done
}

# A sandbox that answers EPERM: a call of ours that failed unnoticed becomes zeros.
# bats test_tags=plain-build
@test "a program that forbids itself all but reading (EPERM): right bytes or an error" {
	run -0 "$PROBES/filtered" mapped errno "$VIEW" "$VIEW"
	[ "$output" = $'mapped right\nread right\npread right\nmmap right' ]
	run -0 "$PROBES/filtered" mapped errno "$VIEW" "$M" # the probe can fail
	[[ $output == *"read wrong"* && $output == *"mmap wrong"* ]]
	each_way filtered
}

# killed WAY: the lists of ARCHITECTURE.md. Without CTSHIM_STATS, which takes calls of its own at the end.
killed() {
	local sock=$WAY_SOCK
	[[ $1 == root* || $1 == eager ]] && sock=$CT_AGENT_SOCK
	quiet() {
		run as "$1" timeout -k 5 60 env CT_AGENT_SOCK="$sock" CTSHIM_MMAP="$([[ $1 == eager ]] && echo eager || echo auto)" \
			LD_PRELOAD="$WAY_SHIM" "$WAYS/bin/filtered" "${@:2:2}" "$M" "$VIEW" "${@:4}"
		echo "$status: $output"
	}
	local first="userfaultfd eventfd2 fcntl clone3 clone rseq set_robust_list prctl ppoll faccessat"
	local reads="rt_sigprocmask madvise clock_gettime" lazy eager
	eager="$reads futex memfd_create ftruncate pwrite64 prlimit64 sched_getaffinity openat"
	case $(way_method "$1") in
	userfaultfd*) lazy="$reads futex mprotect ioctl mincore" ;;
	sigsegv) lazy="$reads futex rt_sigaction memfd_create pwrite64 getpid openat faccessat mprotect mremap" ;;
	*) first='' lazy=$eager ;;
	esac
	# shellcheck disable=SC2086
	{
		quiet "$1" opened kill $reads
		[[ $status == 159 && $output == $'read right\npread right' ]] || return
		quiet "$1" mapped kill $lazy
		[[ $status == 0 && $output == $'mapped right\nread right\npread right\nmmap right' ]] || return
		[[ -z $first ]] || lazy="$lazy $eager mprotect ioctl rt_sigaction mincore getpid $first"
		quiet "$1" opened kill $lazy
		[[ $status == 0 && $output == $'read right\npread right\nmmap right' ]] || return
	}
}

# A sandbox that kills: a call that is not documented ends programs whose authors have allowed what is.
# bats test_tags=plain-build
@test "a program that is killed for other calls reads, if it allows the documented ones" {
	run -0 "$PROBES/filtered" opened kill "$VIEW" "$VIEW"
	each_way killed
}
