# A program's own signal handlers, masks and waits beside ours, in every way in which a mapping may be filled.

load helpers
load ways

setup_file() {
	local t=$BATS_FILE_TMPDIR
	"$CT" keygen -q -o "$t/keys.jwk"
	ways_start "$t/keys.jwk"
	export M=$WAYS/m.safetensors VIEW=$WAYS/view
	plain_model "$t/plain.safetensors" 5000000
	"$CT" encrypt -q --keys "$t/keys.jwk" --chunk-size 20011 "$t/plain.safetensors" "$M"
	"$CT" decrypt -q --keys "$t/keys.jwk" "$M" "$VIEW"
	chmod 644 "$M" "$VIEW"
}

teardown_file() {
	ways_stop
}

probed() {
	local room=6144
	[[ -z $SANITIZE ]] || room=262144 # sanitized code fills pages on the stack that it finds
	as "$1" "$WAYS/bin/signals" "$VIEW" "$VIEW" $room >"$WAYS/out/$1.want"
	way "$1" "$WAYS/bin/signals" "$M" "$VIEW" $room >"$WAYS/out/$1.got" || { echo "status $?"; tail -n 3 "$WAYS/out/$1.got"; return 1; }
	diff "$WAYS/out/$1.want" "$WAYS/out/$1.got"
	grep -qx right "$WAYS/out/$1.got"
	[ "$(jq -rs 'map(.method) | unique | join(" ")' "$WAYS/out/$1.stats")" = "$(way_method "$1")" ]
}

# A handler of ours in front of the program's own: null checks that kill instead of being caught, a blocked signal that comes all the same, a
# fault with everything blocked that ends the process.
@test "handlers, masks, small stacks, sigwait and signalfd, ends: as with the plain file" {
	each_way probed
}

# dumped WAY: faulthandler is on before the mapping is made, and is put on after it.
dumped() {
	local when
	for when in before after; do
		run -139 --separate-stderr way "$1" PYTHONPATH= "$WAY_PYTHON" - "$M" "$VIEW" $when <<-'EOF'
			import ctypes, faulthandler, mmap, resource, sys
			resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
			if sys.argv[3] == "before":
			    faulthandler.enable()
			with open(sys.argv[1], "rb") as f:
			    m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
			view = open(sys.argv[2], "rb").read()
			assert m[1000000:1000100] == view[1000000:1000100]
			if sys.argv[3] == "after":
			    faulthandler.enable()
			assert m[:] == view
			print("right", flush=True)
			ctypes.string_at(8)
		EOF
		echo "$output / $stderr"
		[ "$output" = right ] || return
		[[ $stderr == *"Fatal Python error: Segmentation fault"*"File \"<stdin>\", line 13"* ]] || return
	done
}

# People see nothing of a crash but what faulthandler prints; and a handler that takes itself out and raises again must not loop. Not with a
# sanitizer, which has put a handler of its own behind it.
# bats test_tags=plain-build
@test "Python's faulthandler prints its dump, and the process dies of SIGSEGV" {
	each_way dumped
}

# masked WAY: CPython's own signal module, and children that it makes.
masked() {
	run -0 --separate-stderr way "$1" PYTHONPATH= "$WAY_PYTHON" - "$M" "$VIEW" <<-'EOF'
		import mmap, os, signal, subprocess, sys, threading
		view = open(sys.argv[2], "rb").read()
		def fresh():
		    with open(sys.argv[1], "rb") as f:
		        return mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
		m = fresh()
		assert m[10000:10010] == view[10000:10010]
		every = signal.valid_signals()
		def thread(n):
		    signal.pthread_sigmask(signal.SIG_BLOCK, every)
		    assert signal.SIGSEGV in signal.pthread_sigmask(signal.SIG_BLOCK, [])
		    for at in range(n * 1000, len(view) - 8, 50021):
		        assert m[at:at + 8] == view[at:at + 8]
		    right.append(n)
		right = []
		threads = [threading.Thread(target=thread, args=(n,)) for n in range(8)]
		for t in threads: t.start()
		for t in threads: t.join()
		assert len(right) == 8
		old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGSEGV})
		assert old == set(), old
		os.kill(os.getpid(), signal.SIGSEGV)
		assert signal.SIGSEGV in signal.sigpending()
		assert signal.sigwait({signal.SIGSEGV, signal.SIGUSR1}) == signal.SIGSEGV
		assert m[:] == view
		# What a child inherits is the program's mask; a child by vfork changes nothing here.
		for how in ({}, {"preexec_fn": lambda: None}, {"close_fds": False}): # by vfork, by fork, by posix_spawn
		    blocked = subprocess.run(["grep", "SigBlk", "/proc/self/status"], capture_output=True, text=True, check=True, env={}, **how).stdout
		    assert int(blocked.split()[1], 16) == 1 << (signal.SIGSEGV - 1), blocked
		m = fresh()
		signal.pthread_sigmask(signal.SIG_SETMASK, old)
		assert m[:] == view
		print("right")
	EOF
	echo "$output / $stderr"
	[ "$output" = right ]
}

# Programs that keep signals for one thread block all of them in the others: a fault there would be the end.
@test "threads with every signal blocked touch pages; SIGSEGV can be blocked, waited for and inherited" {
	each_way masked
}

# early WAY: the mapping is the first, and a thread has everything blocked already.
early() {
	run -0 --separate-stderr way "$1" PYTHONPATH= CTSHIM_LOG=info "$WAY_PYTHON" - "$M" "$VIEW" <<-'EOF'
		import mmap, signal, sys, threading
		view = open(sys.argv[2], "rb").read()
		begun, go = threading.Event(), threading.Event()
		def thread():
		    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
		    begun.set()
		    go.wait()
		    assert m[:] == view
		    print("right")
		t = threading.Thread(target=thread)
		t.start()
		begun.wait()
		with open(sys.argv[1], "rb") as f:
		    m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
		go.set()
		t.join()
	EOF
	echo "$output / $stderr"
	[ "$output" = right ] || return
	if [ "$(way_method "$1")" = sigsegv ]; then
		[[ $stderr == *"another thread blocks SIGSEGV"* ]] || return
		[ "$(jq -rs 'map(.method) | unique | join(" ")' "$WAYS/out/$1.stats")" = eager ]
	fi
}

# No handler helps a thread that has SIGSEGV blocked already, and nobody else can open it there.
@test "a thread that blocks SIGSEGV before the first mapping: filled at once instead, and the log says why" {
	each_way early
}
