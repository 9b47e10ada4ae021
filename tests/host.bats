# Manners inside someone else's process: threads, signals, forks, cores, descriptors; and what CTSHIM_STATS counts.

load helpers

setup_file() {
	local t=$BATS_FILE_TMPDIR
	export T=$t M=$t/m.safetensors VIEW=$t/view
	PYTHON=$(python3 -c 'import sys; print(sys.executable)') # not a script that starts it: each process is counted
	export PYTHON
	plain_model "$t/plain.safetensors" 6000000
	"$CT" keygen -q -o "$t/keys.jwk"
	"$CT" encrypt -q --keys "$t/keys.jwk" --chunk-size 100000 "$t/plain.safetensors" "$M"
	"$CT" encrypt -q --keys "$t/keys.jwk" --format-version 1 "$t/plain.safetensors" "$t/v1.safetensors"
	"$CT" decrypt -q --keys "$t/keys.jwk" "$M" "$VIEW"
	"$CT" decrypt -q --keys "$t/keys.jwk" "$t/v1.safetensors" "$t/v1.view"
	agent_start "$t/keys.jwk"
}

teardown_file() {
	agent_stop
}

# Deadlocks and torn reads come only when everything happens at once: a lock without blocked signals, a fork while one is held, a vfork
# child that closes what the parent reads. Not with a sanitizer: its allocator is not made for forks of threaded programs.
# bats test_tags=plain-build
@test "threads, signal handlers, forks and vforks at once: every byte right, no deadlock" {
	run -0 shimmed timeout -k 5 60 "$PROBES/storm" "$M" "$VIEW" 8
	[[ $output == right,* ]]
	run -0 shimmed timeout -k 5 60 "$PROBES/storm" "$T/v1.safetensors" "$T/v1.view" 5 # one big chunk: verified by pieces
	[[ $output == right,* ]]
}

# A crash report sent to a vendor must not carry the model or its keys. Not with a sanitizer: its shadow makes cores of terabytes.
# bats test_tags=plain-build
@test "a core dump holds neither data keys nor a mapping" {
	need gdb gcore
	shimmed python3 - "$M" "$BATS_TEST_TMPDIR/ready" <<-'EOF' 3>&- &
		import mmap, os, sys, time
		f = open(sys.argv[1], "rb")
		m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
		os.preadv(f.fileno(), [mmap.mmap(-1, 4096)], 500000)
		known = b"in the core: %d" % os.getpid()
		with open(sys.argv[2] + ".new", "w") as r:
		    r.write(str(os.getpid()))
		os.rename(sys.argv[2] + ".new", sys.argv[2])
		time.sleep(60)
	EOF
	local pid i
	for ((i = 0; i < 100; i++)); do [[ -e $BATS_TEST_TMPDIR/ready ]] && break; sleep 0.1; done
	pid=$(cat "$BATS_TEST_TMPDIR/ready") # $! is a shell's
	run gcore -o "$BATS_TEST_TMPDIR/core" "$pid"
	kill "$pid"
	[ -s "$BATS_TEST_TMPDIR/core.$pid" ]
	run -0 env PYTHONPATH="$ROOT/tests" python3 - "$M" "$T/keys.jwk" "$VIEW" "$BATS_TEST_TMPDIR/core.$pid" <<-'EOF'
		import json, judge, struct, sys
		raw, keys = open(sys.argv[1], "rb").read(), json.load(open(sys.argv[2]))
		data = 8 + struct.unpack("<Q", raw[:8])[0]
		view, core = open(sys.argv[3], "rb").read(), open(sys.argv[4], "rb").read()
		assert b"in the core: " + sys.argv[4].rsplit(".", 1)[1].encode() in core
		deks = judge.data_keys(raw, keys)
		assert len(deks) >= 3
		for name, dek in deks.items():
		    assert dek not in core, "data key of " + name
		for at in range(data, len(view) - 64, 50021):
		    assert view[at:at + 64] not in core, at
		print("clean")
	EOF
	[ "$output" = clean ]
}

# Ten shards, opened once each by three libraries, would ask the agent thirty times.
@test "ten opens of a file cost one round trip; another name of it none" {
	cp "$M" "$BATS_TEST_TMPDIR/x.safetensors"
	ln "$BATS_TEST_TMPDIR/x.safetensors" "$BATS_TEST_TMPDIR/y.safetensors"
	CTSHIM_STATS=$BATS_TEST_TMPDIR/stats shimmed "$PYTHON" -c '
import os, sys
d = sys.argv[1]
for i in range(9): open(d + "/x.safetensors", "rb").read(10)
open(d + "/y.safetensors", "rb").read(10)
os.utime(d + "/x.safetensors")
open(d + "/x.safetensors", "rb").read(10)' "$BATS_TEST_TMPDIR"
	run -0 jq -s 'map(.opens) | add' "$BATS_TEST_TMPDIR/stats"
	[ "$output" = 11 ]
	run -0 jq -s 'map(.agent_requests) | add' "$BATS_TEST_TMPDIR/stats"
	[ "$output" = 1 ]
}

# Such a header is sent to the agent before it is parsed: that the agent refuses it, or is not there, is no reason to refuse a plain file.
@test "a plain file whose header spells all four crypto keys is plain, with an agent and without one" {
	local x=$BATS_TEST_TMPDIR/x.safetensors sock
	"$PYTHON" -c '
import json, struct, sys
names = ["__crypto_keys__", "__encryption__", "__policy__", "__signature__"]
h = json.dumps({n: {"dtype": "U8", "shape": [5], "data_offsets": [5 * i, 5 * i + 5]} for i, n in enumerate(names)}).encode()
open(sys.argv[1], "wb").write(struct.pack("<Q", len(h)) + h + bytes(range(20)))' "$x"
	for sock in "$CT_AGENT_SOCK" "$BATS_TEST_TMPDIR/none"; do
		CT_AGENT_SOCK=$sock shimmed "$PYTHON" -c '
import sys
sys.stdout.buffer.write(open(sys.argv[1], "rb").read())' "$x" >"$BATS_TEST_TMPDIR/got" 2>"$BATS_TEST_TMPDIR/err"
		cmp "$BATS_TEST_TMPDIR/got" "$x"
		[ ! -s "$BATS_TEST_TMPDIR/err" ]
	done
}

# "0: only while in use": keys that stay longer than the agent allows.
@test "keep 0: a file that is opened again asks again" {
	echo "keep 0" >"$BATS_TEST_TMPDIR/conf"
	AGENT_OPTS=(-c "$BATS_TEST_TMPDIR/conf")
	agent_start "$T/keys.jwk"
	CTSHIM_STATS=$BATS_TEST_TMPDIR/stats shimmed "$PYTHON" -c '
import sys
for i in range(3): open(sys.argv[1], "rb").read(10)' "$M"
	agent_stop
	run -0 jq -s 'map(.agent_requests) | add' "$BATS_TEST_TMPDIR/stats"
	[ "$output" = 3 ]
}

# A process that ends past its destructors, or becomes another one, would not be counted.
@test "CTSHIM_STATS: a line at exit, _exit, exec and from fork children, each with its own counts" {
	CTSHIM_STATS=$BATS_TEST_TMPDIR/stats shimmed "$PYTHON" -c '
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.pread(fd, 100000, 1000000)
if os.fork() == 0:
    os.pread(fd, 10, 3000000)
    os._exit(0)
os.wait()
os.execv("/bin/sh", ["sh", "-c", "exit 0"])' "$M"
	run -0 jq -s -c 'map([.opens, .agent_requests, .chunks_decrypted > 0, .method]) | sort' "$BATS_TEST_TMPDIR/stats"
	[ "$output" = '[[0,0,false,"none"],[0,0,true,"none"],[1,1,true,"none"]]' ]
}

# tinygrad asks for O_RDWR only to read. Plaintext written through it would destroy the file.
@test "O_RDWR reads the view; writing fails with EBADF and the file stays whole" {
	cp "$M" "$BATS_TEST_TMPDIR/x.safetensors"
	run -0 shimmed python3 - "$BATS_TEST_TMPDIR/x.safetensors" "$VIEW" <<-'EOF'
		import errno, mmap, os, sys
		view = open(sys.argv[2], "rb").read()
		fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
		assert os.pread(fd, len(view), 0) == view
		for write in (lambda: os.write(fd, b"x"), lambda: os.pwrite(fd, b"x", 100), lambda: os.ftruncate(fd, 10)):
		    try:
		        write()
		        sys.exit("written")
		    except OSError as e:
		        assert e.errno in (errno.EBADF, errno.EINVAL), e
		m = mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
		assert m[:] == view
		print("read")
	EOF
	[ "$output" = read ]
	cmp "$M" "$BATS_TEST_TMPDIR/x.safetensors"
}

# fastsafetensors and tinygrad ask for O_DIRECT; unaligned reads and the end of the file must still be right.
@test "O_DIRECT descriptors read the view, aligned or not" {
	run -0 shimmed python3 - "$M" "$VIEW" <<-'EOF'
		import mmap, os, sys
		view = open(sys.argv[2], "rb").read()
		fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
		buf = mmap.mmap(-1, 1 << 20)
		for at in range(0, len(view), 1 << 20):
		    n = os.preadv(fd, [buf], at)
		    assert buf[:n] == view[at:at + (1 << 20)]
		assert os.pread(fd, 100, 12345) == view[12345:12445]
		print("right")
	EOF
	[ "$output" = right ]
}

# A line of ours in a program's own file, which has taken the number 2, is damage.
@test "a program that closed descriptor 2 and reuses it gets no line of ours" {
	run -0 shimmed python3 - "$M" "$BATS_TEST_TMPDIR/own" <<-'EOF'
		import os, sys
		os.close(2)
		assert os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT) == 2
		os.environ["CT_AGENT_SOCK"] = "/nonexistent/s"
		try:
		    open(sys.argv[1], "rb")
		except OSError:
		    print("refused")
	EOF
	[ "$output" = refused ]
	[ -e "$BATS_TEST_TMPDIR/own" ]
	[ ! -s "$BATS_TEST_TMPDIR/own" ]
}

# Weights that were swapped for a shorter or another file while a server runs.
@test "the file changes below an open view: the old one or an error, never wrong bytes" {
	cp "$M" "$BATS_TEST_TMPDIR/x.safetensors"
	run -0 shimmed python3 - "$BATS_TEST_TMPDIR/x.safetensors" "$VIEW" <<-'EOF'
		import os, sys
		path, view = sys.argv[1], open(sys.argv[2], "rb").read()
		fd = os.open(path, os.O_RDONLY)
		assert os.pread(fd, 1000, 5000000) == view[5000000:5001000]
		# replaced by a rename, the agent gone: the old one stays readable
		os.environ["CT_AGENT_SOCK"] = "/nonexistent/s"
		with open(path + ".new", "wb") as f:
		    f.write(b"something else")
		os.link(path, path + ".old")
		os.rename(path + ".new", path)
		assert os.pread(fd, len(view), 0) == view
		# a data byte overwritten in place
		w = os.open(path + ".old", os.O_WRONLY)
		os.pwrite(w, b"\0" * 16, 3000000)
		seen = 0
		for at in range(0, len(view), 10000):
		    try:
		        assert os.pread(fd, 10000, at) == view[at:at + 10000]
		    except (OSError, AssertionError) as e:
		        b = os.pread(fd, 10000, at) if isinstance(e, AssertionError) else b""
		        assert view[at:at + 10000].startswith(b), at
		        seen += 1
		assert 0 < seen < 30, seen
		# cut short in place
		os.ftruncate(w, 2000000)
		try:
		    got = os.pread(fd, 10000, 1995000)
		    assert view[1995000:].startswith(got), "wrong bytes"
		except OSError:
		    pass
		print("right or an error")
	EOF
	echo "$output"
	[[ $output == *"right or an error" ]]
}

# subprocess.run() forks by vfork: the child's dup2() over descriptor 0 made the parent forget that it reads a view.
@test "what a vfork child does to its descriptors is not remembered in the parent" {
	run -0 shimmed "$PYTHON" -c '
import os, subprocess, sys
view = open(sys.argv[1], "rb").read()
assert os.read(0, 1000) == view[:1000]
for _ in range(3):
    subprocess.run(["/bin/true"], stdin=subprocess.DEVNULL, close_fds=True, check=True)
    assert os.pread(0, 5000, 3000000) == view[3000000:3005000]
assert os.read(0, 1000) == view[1000:2000]
print("right")' "$VIEW" <"$M"
	[ "$output" = right ]
}

# The classic idioms for redirecting one's own input; glibc reads it past every hook.
@test "stdin is a view after dup2(), and after close() and open()" {
	run -0 shimmed "$PYTHON" -c '
import ctypes, os, sys
libc, view = ctypes.CDLL(None), open(sys.argv[2], "rb").read()
buf = ctypes.create_string_buffer(5000)
def read_stdin():
    stdin = ctypes.c_void_p.in_dll(libc, "stdin")
    n = libc.fread(buf, 1, 5000, stdin)
    return buf.raw[:n]
fd = os.open(sys.argv[1], os.O_RDONLY)
os.dup2(fd, 0)
assert read_stdin() == view[:5000]
os.close(0)
os.close(fd)
assert os.open(sys.argv[1], os.O_RDONLY) == 0
libc.rewind(ctypes.c_void_p.in_dll(libc, "stdin"))
assert read_stdin() == view[:5000]
print("right")' "$M" "$VIEW" </dev/null
	[ "$output" = right ]
}

# A download that is read while it is written: "plain" must not be remembered of a file that was too short to tell.
@test "a file that was opened while it was being written is served when it is whole" {
	run -0 shimmed "$PYTHON" - "$M" "$VIEW" "$BATS_TEST_TMPDIR/blob" <<-'EOF'
		import os, sys
		os.environ.pop("LD_PRELOAD")
		view = open(sys.argv[2], "rb").read()
		for part in (0, 5, 20, 2000):
		    os.system(f"head -c {part} {sys.argv[1]} >{sys.argv[3]}")
		    fd = os.open(sys.argv[3], os.O_RDONLY)
		    os.read(fd, 10)
		    os.system(f"cat {sys.argv[1]} >{sys.argv[3]}")
		    assert os.pread(fd, len(view), 0) == view, part
		print("right")
	EOF
	[ "$output" = right ]
}

# A frame of some pages is the end of a thread that has only four.
@test "the smallest stack that a thread can have is enough for plain files" {
	echo short >"$BATS_TEST_TMPDIR/short"
	head -c 100000 /dev/zero >"$BATS_TEST_TMPDIR/zeros"
	run -0 shimmed "$PROBES/tight" "$BATS_TEST_TMPDIR/short" "$BATS_TEST_TMPDIR/zeros" /proc/self/maps
	[ "$output" -gt 100006 ]
}

# file → pipe → socket in one thread waits for ever if splice() writes more than the pipe takes.
@test "splice() to a pipe does not block once the pipe is full" {
	run -0 shimmed timeout 20 "$PYTHON" - "$M" "$VIEW" <<-'EOF'
		import os, sys
		view, got = open(sys.argv[2], "rb").read(), b""
		fd = os.open(sys.argv[1], os.O_RDONLY)
		r, w = os.pipe()
		while len(got) < len(view):
		    n = os.splice(fd, w, 1 << 20)
		    assert 0 < n <= 65536
		    while n:
		        b = os.read(r, n)
		        got += b
		        n -= len(b)
		assert got == view
		print("right")
	EOF
	[ "$output" = right ]
}

# A line of ours must not end a program whose log reader is gone, nor a limit on files one that only maps. Not with a sanitizer: it
# writes to standard error itself.
# bats test_tags=plain-build
@test "a closed stderr pipe and a file size limit are survived" {
	CTSHIM_MMAP=eager run -0 shimmed "$PYTHON" - "$M" <<-'EOF'
		import errno, mmap, os, resource, signal, sys
		signal.signal(signal.SIGPIPE, signal.SIG_DFL)
		resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
		fd = os.open(sys.argv[1], os.O_RDONLY)
		try:
		    mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
		    sys.exit("mapped")
		except OSError as e:
		    assert e.errno == errno.ENOMEM, e
		print("survived")
	EOF
	[[ $output == *survived ]]
	run -0 bash -c 'exec 2> >(exec true); sleep 0.5; CT_AGENT_SOCK=/nonexistent/s LD_PRELOAD=$PRELOAD exec "$PYTHON" -c "
import signal, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
try:
    open(sys.argv[1])
except OSError as e:
    print(e.errno)" "$M"'
	[ "$output" = 126 ]
}
