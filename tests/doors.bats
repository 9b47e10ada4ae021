# Every door of libc: a program must not be able to tell that a file is encrypted, whichever way it takes. The judge is the same program on
# the plain file (the view that judge.py makes), without the shim.

load helpers

setup_file() {
	local t=$BATS_FILE_TMPDIR
	export T=$t M=$t/m.safetensors VIEW=$t/view.safetensors CHUNK=65536
	plain_model "$t/plain" 3000000
	"$CT" keygen -q -o "$t/keys.jwk"
	"$CT" encrypt -q --keys "$t/keys.jwk" --chunk-size "$CHUNK" "$t/plain" "$M"
	PYTHONPATH=$ROOT/tests python3 - "$M" "$t/keys.jwk" "$VIEW" <<-'EOF2'
		import json, judge, sys
		view, bad = judge.view(open(sys.argv[1], "rb").read(), json.load(open(sys.argv[2])))
		assert not bad
		open(sys.argv[3], "wb").write(view)
	EOF2
	export HEADER=$(($(od -An -tu8 -N8 "$M") + 8))
	export EDGE=$((HEADER + 10 * CHUNK)) # of the first tensor, which starts with the data
	python3 - "$M" "$t/damaged.safetensors" $((EDGE + 77)) <<-'EOF2'
		import sys
		b = bytearray(open(sys.argv[1], "rb").read())
		b[int(sys.argv[3])] ^= 1
		open(sys.argv[2], "wb").write(b)
	EOF2
	SHM_PLAIN=$(mktemp /dev/shm/doorsXXXXXX) SHM_ENCRYPTED=$(mktemp /dev/shm/doorsXXXXXX)
	export SHM_PLAIN SHM_ENCRYPTED
	cp "$VIEW" "$SHM_PLAIN"
	cp "$M" "$SHM_ENCRYPTED"
	agent_start "$t/keys.jwk"
}

teardown_file() {
	rm -f "$SHM_PLAIN" "$SHM_ENCRYPTED"
	agent_stop
}

# as_plain PROBE: what PROBE says of the encrypted file under the shim is what it says of the plain one without. Each file is its standard input.
as_plain() {
	DOORS_SHM=/${SHM_PLAIN##*/} "$PROBES/$1" "$VIEW" "$HEADER" "$EDGE" <"$VIEW" >"$BATS_TEST_TMPDIR/want"
	DOORS_SHM=/${SHM_ENCRYPTED##*/} shimmed "$PROBES/$1" "$M" "$HEADER" "$EDGE" <"$M" >"$BATS_TEST_TMPDIR/got" 2>"$BATS_TEST_TMPDIR/said" || { cat "$BATS_TEST_TMPDIR/said"; return 1; }
	[ "$(wc -l <"$BATS_TEST_TMPDIR/want")" -ge "$2" ]
	diff "$BATS_TEST_TMPDIR/want" "$BATS_TEST_TMPDIR/got"
	cat "$BATS_TEST_TMPDIR/said"
}

# as_damaged PROBE: one chunk is damaged; PROBE judges with the plain file beside it.
as_damaged() {
	run -0 --separate-stderr shimmed "$PROBES/$1" "$T/damaged.safetensors" "$HEADER" "$EDGE" "$VIEW" "$EDGE" $((EDGE + CHUNK))
	[ "${#lines[@]}" -ge "$2" ]
	run ! grep -v ' ok$' <<<"$output"
	[ "$(grep -c '^ctshim: .*: EIO: ' <<<"$stderr")" = 1 ]
}

# A call that reads ciphertext, or tells by an errno, a count or an offset that something stands between.
@test "calls that read from a descriptor: each name × whole, ranges, ends, bad memory, edges, wrong descriptors" {
	as_plain doors_read 900
}

# A descriptor that came another way than by open() would read as it lies.
@test "ways to a descriptor: each name × flags; duplicates, handles, /proc, other processes, exec, fork; what is closed is forgotten" {
	as_plain doors_open 130
}

# libc's stdio makes its system calls past every hook.
@test "streams: each way to one × modes; each way to read × buffers; freopen keeps its stream, stdin, popen, seeking" {
	as_plain doors_stream 290
}

# What was not verified must not be handed out, what was must be; an end too early would be silence about damage.
@test "a damaged chunk, by every call that reads" {
	as_damaged doors_read 340
	as_damaged doors_stream 12
}

# C++ opens by libc and reads by descriptor; std::cin stands on a stream that nobody opened.
@test "C++: ifstream, cin, wide streams" {
	need g++
	g++ -O1 -o "$BATS_TEST_TMPDIR/streams" "$ROOT/tests/probes/streams.cc"
	run -0 "$BATS_TEST_TMPDIR/streams" "$VIEW" <"$VIEW"
	want=$output
	[ "${#lines[@]}" = 6 ]
	run -0 --separate-stderr shimmed "$BATS_TEST_TMPDIR/streams" "$M" <"$M"
	[ "$output" = "$want" ]
	[ -z "$stderr" ]
}

# A completion that nobody is told of is a program that waits for ever.
@test "POSIX aio tells by signal and by thread, for single reads and lists, also of failures" {
	run -0 "$PROBES/aio_tells" "$VIEW" "$EDGE"
	want=$output
	run -0 --separate-stderr shimmed "$PROBES/aio_tells" "$M" "$EDGE"
	[ "$output" = "$want" ]
	[ -z "$stderr" ]
	run -0 --separate-stderr shimmed "$PROBES/aio_tells" "$T/damaged.safetensors" "$EDGE"
	[ "$output" = "$(sed 's/: [0-9]* [0-9a-f]*$/: EIO/' <<<"$want")" ]
}

# Who looks the functions up in libc itself, by its name, would be past every hook: Python's ctypes, and libraries with a scope of their own. Not with a
# sanitizer, which forbids RTLD_DEEPBIND.
# bats test_tags=plain-build
@test "ctypes on libc.so.6, and libraries opened with RTLD_DEEPBIND, bound at once and lazily" {
	local how
	for how in lazy now; do
		gcc -shared -fPIC -O1 -Wl,-z,$how -Wl,-z,relro -o "$BATS_TEST_TMPDIR/$how.so" "$ROOT/tests/standins/plugin.c"
	done
	run -0 --separate-stderr shimmed python3 - "$M" "$VIEW" "$BATS_TEST_TMPDIR"/{lazy,now}.so <<-'EOF2'
		import ctypes, os, sys
		path, want = sys.argv[1].encode(), open(sys.argv[2], "rb").read(5000)
		size, buf = ctypes.c_size_t(5000), ctypes.create_string_buffer(5000)
		for name in "libc.so.6", None:
		    libc = ctypes.CDLL(name)
		    libc.mmap.restype = libc.fopen.restype = ctypes.c_void_p
		    fd = libc.open(path, 0)
		    for f in "read", "__read":
		        libc.lseek(fd, ctypes.c_long(0), 0)
		        assert getattr(libc, f)(fd, buf, size) == 5000 and buf.raw == want, f
		    for f in "pread", "pread64", "__pread64":
		        buf.raw = bytes(5000)
		        assert getattr(libc, f)(fd, buf, size, ctypes.c_long(0)) == 5000 and buf.raw == want, f
		    assert ctypes.string_at(libc.mmap(None, size, 1, 2, fd, ctypes.c_long(0)), 5000) == want
		    assert libc.fread(buf, ctypes.c_size_t(1), size, ctypes.c_void_p(libc.fopen(path, b"r"))) == 5000 and buf.raw == want
		    assert libc.syscall(ctypes.c_long(17), fd, buf, size, ctypes.c_long(0)) == 5000 and buf.raw == want
		for lib in sys.argv[3:]:
		    plugin = ctypes.CDLL(lib, mode=os.RTLD_DEEPBIND | (os.RTLD_LAZY if "lazy" in lib else os.RTLD_NOW))
		    plugin.plugin_read.restype = ctypes.c_long
		    out = [ctypes.create_string_buffer(5000) for _ in range(4)]
		    n = plugin.plugin_read(path, (ctypes.c_void_p * 4)(*map(ctypes.addressof, out)), size)
		    assert n == 20000 and [b.raw == want for b in out] == [True] * 4, (lib, n, [b.raw == want for b in out])
		print("right")
	EOF2
	[ "$output" = right ]
	[ -z "$stderr" ]
}

# Half of the functions ours, half libc's: our mmap() and libc's munmap(), and the shim fills memory that is somebody else's by then.
# bats test_tags=plain-build
@test "asked of libc itself, every function with a hook is the hook; other libraries' functions and missing ones are not" {
	run -0 --separate-stderr shimmed python3 - "$ROOT/tests/exports.txt" <<-'EOF2'
		import ctypes, sys
		libc, shim, missing = ctypes.CDLL("libc.so.6"), [], 0
		for line in open("/proc/self/maps"):
		    if line.rstrip().endswith("libctshim.so"):
		        shim.append([int(x, 16) for x in line.split()[0].split("-")])
		ours = lambda f: any(a <= ctypes.cast(f, ctypes.c_void_p).value < b for a, b in shim)
		names = [n for n in open(sys.argv[1]).read().split() if n not in ("dlsym", "dlopen") and not n.startswith(("cuMem", "io_uring"))]
		for n in names:
		    if not hasattr(libc, n):
		        missing += 1
		    elif not ours(getattr(libc, n)):
		        print("not ours:", n)
		assert len(names) > 130 and missing < 5, (len(names), missing)
		assert not ours(libc.strlen) and not hasattr(libc, "no_such_function") and not hasattr(ctypes.CDLL("libm.so.6"), "pread2")
		print("all")
	EOF2
	[ "$output" = all ]
}

# Another thread's dlsym() in the middle of a dlopen() saw a library that was not relocated yet, or made us miss it.
# bats test_tags=plain-build
@test "libraries opened with RTLD_DEEPBIND while other threads look up symbols" {
	local i
	for i in {1..20}; do
		sed "s/plugin_read/plugin_read_$i/" "$ROOT/tests/standins/plugin.c" | gcc -xc -shared -fPIC -O2 -D_FORTIFY_SOURCE=2 -o "$BATS_TEST_TMPDIR/p$i.so" -
	done
	for _ in 1 2 3; do
		run -0 --separate-stderr shimmed timeout -k 5 60 python3 - "$M" "$VIEW" "$BATS_TEST_TMPDIR" <<-'EOF2'
			import ctypes, os, sys, threading
			path, want = sys.argv[1].encode(), open(sys.argv[2], "rb").read(5000)
			libc, end = ctypes.CDLL("libc.so.6"), False
			dlsym = ctypes.CDLL(None).dlsym
			def look():
			    while not end:
			        dlsym(ctypes.c_void_p(libc._handle), b"strlen")
			threads = [threading.Thread(target=look) for _ in range(3)]
			[t.start() for t in threads]
			for i in range(1, 21):
			    plugin = ctypes.CDLL(f"{sys.argv[3]}/p{i}.so", mode=os.RTLD_DEEPBIND | os.RTLD_LAZY)
			    f = plugin[f"plugin_read_{i}"]
			    f.restype = ctypes.c_long
			    out = [ctypes.create_string_buffer(5000) for _ in range(4)]
			    assert f(path, (ctypes.c_void_p * 4)(*map(ctypes.addressof, out)), ctypes.c_size_t(5000)) == 20000
			    assert all(b.raw == want for b in out), i
			end = True
			[t.join() for t in threads]
			print("right")
		EOF2
		[ "$output" = right ]
	done
}

# What the kernel reads through a ring is ciphertext, which a loader takes for weights without a word.
@test "io_uring is refused, by number and through liburing; with CTSHIM_DISABLE=1 it is there" {
	local c=$BATS_TEST_TMPDIR/ring
	gcc -xc -o "$c" - -l:liburing.so.2 <<-'EOF2'
		#include <stdio.h>
		#include <string.h>
		#include <sys/syscall.h>
		#include <unistd.h>
		int io_uring_queue_init(unsigned, void *, unsigned);
		int io_uring_queue_init_params(unsigned, void *, void *);
		int main(void)
		{
			static char ring[4096], params[4096];
			printf("%d ", syscall(SYS_io_uring_setup, 4, params) < 0);
			memset(params, 0, sizeof params);
			printf("%d %d\n", io_uring_queue_init(4, ring, 0), io_uring_queue_init_params(4, ring, params));
			return 0;
		}
	EOF2
	run -0 "$c"
	want=$output
	run -0 env CTSHIM_DISABLE=1 LD_PRELOAD="$PRELOAD" ASAN_OPTIONS="${ASAN_HOST_OPTIONS-}" "$c"
	[ "$output" = "$want" ]
	run -0 shimmed "$c"
	[ "$output" = "1 -38 -38" ]
	[ "$want" != "$output" ] || skip_or_fail "there is no io_uring on this machine"
}

# A function of libc that reads files and that nobody thought of.
@test "every function of libc that is handed a descriptor, a path or a stream is hooked, or listed with a reason" {
	need gcc nm dpkg
	python3 "$ROOT/tests/doors_libc.py" >"$BATS_TEST_TMPDIR/libc"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/libc")" -gt 450 ]
	python3 - "$BATS_TEST_TMPDIR/libc" "$ROOT/tests/exports.txt" "$ROOT/tests/doors.txt" <<-'EOF2'
		import fnmatch, sys
		names, hooked = (set(open(f).read().split()) for f in sys.argv[1:3])
		listed, both = set(), []
		for line in open(sys.argv[3]):
		    if not line.strip() or line.startswith("#"):
		        continue
		    patterns, reason = line.rstrip().split(": ", 1)
		    assert reason
		    for p in patterns.split():
		        found = set(fnmatch.filter(names, p)) if "*" in p else {p}
		        if "*" not in p and p in hooked:
		            both.append(p)
		        listed |= found - hooked
		print("neither hooked nor listed:", *sorted(names - hooked - listed))
		print("hooked and listed:", *both)
		sys.exit(bool(names - hooked - listed or both))
	EOF2
}

# A hook whose name no test calls.
@test "each hooked function that reads, or makes a descriptor, is in the tables above" {
	local p
	for p in doors_read doors_open doors_stream; do
		"$PROBES/$p" "$VIEW" "$HEADER" "$EDGE" <"$VIEW"
	done | sed 's/[ ,].*//' | sort -u >"$BATS_TEST_TMPDIR/called"
	python3 "$ROOT/tests/doors_libc.py" | comm -12 - <(LC_ALL=C sort "$ROOT/tests/exports.txt") >"$BATS_TEST_TMPDIR/hooked"
	# written, sent, signals, exec, dlopen: not for reading; their own tests are lazy.bats, signals.bats, host.bats. ioctl: FICLONE, in serve.bats.
	grep -vE '^(_*p?writev?(64)?(v2)?|pwritev2|_*send(to|msg|mmsg)?|_*recv(from)?(_chk)?|vmsplice|signalfd|_*ppoll(_chk)?|pselect|epoll_.*|f?exec.*|posix_spawnp?|dlsym|dlopen|ioctl)$' \
		"$BATS_TEST_TMPDIR/hooked" >"$BATS_TEST_TMPDIR/doors"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/doors")" -ge 45 ]
	run -0 comm -23 "$BATS_TEST_TMPDIR/doors" "$BATS_TEST_TMPDIR/called"
	echo "in no table: $output"
	[ -z "$output" ]
}
