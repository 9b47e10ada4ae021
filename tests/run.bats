# ct run: a program runs under the shim or not at all, and nothing stays behind. `ran` is the file that a program makes which
# must not have run.

load helpers

setup_file() {
	export T=$BATS_FILE_TMPDIR
	need gcc
	plain_model "$T/plain.safetensors" 300000
	"$CT" keygen -q -o "$T/keys.jwk"
	"$CT" encrypt -q --keys "$T/keys.jwk" --chunk-size 4096 "$T/plain.safetensors" "$T/m.safetensors"
	"$CT" decrypt -q --keys "$T/keys.jwk" "$T/m.safetensors" "$T/view"
	cat >"$T/p.c" <<-'EOF'
		#include <fcntl.h>
		#include <stdlib.h>
		#include <unistd.h>
		int main(int argc, char **argv)
		{
			char buf[65536];
			ssize_t n;
			close(open("ran", O_CREAT | O_WRONLY, 0600));
			int fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;
			while (fd >= 0 && (n = read(fd, buf, sizeof buf)) > 0)
				if (write(1, buf, (size_t)n) != n)
					return 1;
			return 7;
		}
	EOF
	gcc -pie -fPIE -o "$T/pie" "$T/p.c"
	gcc -no-pie -o "$T/nopie" "$T/p.c"
	gcc -static -o "$T/static" "$T/p.c"
	gcc -static-pie -fPIE -o "$T/staticpie" "$T/p.c"
	gcc -Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1 -o "$T/musl" "$T/p.c"
	# what a user's machine has: ct, ct-agent and the shim in a folder, for the tests that break the shim
	gcc -shared -fPIC -o "$T/mute.so" -x c /dev/null
	cat >"$T/parrot.c" <<-'EOF'
		#include <stddef.h>
		#include <stdlib.h>
		#include <string.h>
		#include <sys/socket.h>
		#include <sys/un.h>
		#include <sys/wait.h>
		#include <unistd.h>
		__attribute__((constructor)) static void hello(void)
		{
			const char *name = getenv("CTSHIM_HELLO");
			struct sockaddr_un to = { .sun_family = AF_UNIX };
			pid_t pid = name ? fork() : -1;
			if (pid == 0) {
				memcpy(to.sun_path + 1, name + 1, strlen(name) - 1);
				_exit(sendto(socket(AF_UNIX, SOCK_DGRAM, 0), "hello 1", 7, 0, (struct sockaddr *)&to,
				             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))) != 7);
			}
			waitpid(pid, NULL, 0);
		}
	EOF
	gcc -shared -fPIC -o "$T/parrot.so" "$T/parrot.c"
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	XDG_RUNTIME_DIR=$(mktemp -d /tmp/ctXXXXXX) # a short one, where nobody else's runs are
	export XDG_RUNTIME_DIR
	# with sanitizers: their run time must be in the programs as well
	WITH=()
	[[ -z $SANITIZE ]] || WITH=(LD_PRELOAD="${PRELOAD% *}" ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0)
}

teardown() {
	rm -rf "$XDG_RUNTIME_DIR"
	agent_stop
}

# ctrun ARGS, ours PROGRAM ARGS
ctrun() {
	env "${WITH[@]}" "$CT" run "$@"
}

ours() {
	ctrun --keys "$T/keys.jwk" -- "$@"
}

# nothing_left: no folder of a run, with what an agent would have in it.
nothing_left() {
	[ -z "$(ls -A "$XDG_RUNTIME_DIR")" ]
}

# refused WHAT…: status 125, one line with WHAT, and the program did not run.
refused() {
	local w
	echo "$output"
	[ "$status" = 125 ]
	[ "${#lines[@]}" = 1 ]
	for w; do [[ $output == *"$w"* ]]; done
	[ ! -e ran ]
}

# The one-line way of the main job.
@test "a program sees plaintext, with no other setting" {
	ours sha256sum <"$T/m.safetensors" >sum
	[ "$(cut -d' ' -f1 sum)" = "$(sha256sum <"$T/view" | cut -d' ' -f1)" ]
	run -7 ours "$T/pie" "$T/m.safetensors"
	ours "$T/nopie" "$T/m.safetensors" >out || [ $? = 7 ]
	cmp out "$T/view"
	cat >s.py <<-'EOF'
		#!/usr/bin/env python3
		import sys, threading
		got = []
		def read():
		    got.append(open(sys.argv[1], "rb").read())
		threads = [threading.Thread(target=read) for _ in range(16)]
		[t.start() for t in threads]
		[t.join() for t in threads]
		assert all(g == open(sys.argv[2], "rb").read() for g in got) and len(got) == 16
		print("same")
	EOF
	chmod +x s.py
	run -0 ours ./s.py "$T/m.safetensors" "$T/view"
	[ "$output" = same ]
	nothing_left
}

# A caller takes the status for the program's.
@test "exit status: the program's own, 128 + n, 126, 127, 125" {
	run -0 ours true
	run -1 ours false
	run -42 ours sh -c 'exit 42'
	run -143 ours sh -c 'kill -TERM $$'
	run -137 ours sh -c 'kill -KILL $$'
	run -127 ours no-such-program
	[ "${lines[0]}" = "ct: no-such-program: ENOENT: there is no such program" ]
	run -127 ours ./no-such-program
	: >notexec
	run -126 ours ./notexec
	printf '#!/no/such/interpreter\n' >script
	chmod +x script
	run -127 ours ./script
	run -125 "$CT" run
	run -125 "$CT" run --no-such-option true
	run -125 "$CT" run --keys /no/such/file true
	[[ $output == "ct: /no/such/file: ENOENT"* ]]
	run -0 "$CT" run --help
	nothing_left
}

# Ciphertext would be read as weights, silently: the reason for ct run.
@test "what the shim cannot be loaded into is refused: static, other C library, setuid, 32 bit" {
	run ours "$T/static"
	refused "$T/static: ENOEXEC" static
	run ours "$T/staticpie"
	refused static
	run ours "$T/musl"
	refused ld-musl-x86_64.so.1
	cp "$T/pie" setuid && chmod u+s setuid
	run ours ./setuid
	refused EPERM set-user-ID
	cp "$T/pie" setgid && chmod g+s setgid
	run ours ./setgid
	refused set-group-ID
	cp "$T/pie" bits32 && printf '\1' | dd of=bits32 bs=1 seek=4 conv=notrunc 2>/dev/null
	run ours ./bits32
	refused 32-bit
	cp "$T/pie" arm && printf '\xf3' | dd of=arm bs=1 seek=18 conv=notrunc 2>/dev/null
	run ours ./arm
	refused "kind of processor"
	nothing_left
}

# As above.
@test "a program with file capabilities is refused" {
	command -v setcap >/dev/null || PATH=$PATH:/sbin:/usr/sbin
	need setcap
	cp "$T/pie" capable
	setcap cap_net_raw+ep capable || skip "this file system or user cannot set capabilities"
	run ours ./capable
	refused EPERM capabilities
}

# The script is harmless, what runs it is not.
@test "scripts: what runs them is looked at, through env as well" {
	printf '#!%s\n' "$T/static" >a
	printf '#!/usr/bin/env static\n' >b
	printf '#!/usr/bin/env -S X=1 static -x\n' >c
	printf '#! ./a\n' >d
	chmod +x a b c d
	for s in a b c d; do
		PATH=$PATH:$T run ours "./$s"
		refused "is run by" static
	done
	printf 'touch hashless\nexit 5\n' >e
	chmod +x e
	run -5 ours ./e
	[ -e hashless ]
}

# glibc goes on without a preload that it cannot load: only the hello tells.
@test "a shim that is missing, cut, not a shim, or mute: the program never starts" {
	mkdir bin
	cp "$BUILD/ct" "$BUILD/ct-agent" bin/
	CT=$PWD/bin/ct
	[ -e /usr/local/lib/libctshim.so ] || {
		run ours "$T/pie"
		refused ENOENT "make install"
	}
	echo rubbish >bin/libctshim.so
	run ours "$T/pie"
	refused ENOEXEC "make install"
	head -c 100000 "$SHIM" >bin/libctshim.so
	run ours "$T/pie"
	refused ENOEXEC "cut short"
	cp "$T/mute.so" bin/libctshim.so
	run ours "$T/pie"
	refused ELIBACC "without the shim"
	run ours "$T/nopie"
	refused ELIBACC
	cp "$T/parrot.so" bin/libctshim.so # another process than the program itself says hello
	run ours "$T/pie"
	refused ELIBACC
	cp "$T/pie" bin/libctshim.so # loadable, but ld.so refuses it as a preload, with a line of its own
	run ours "$T/pie"
	[ "$status" = 125 ]
	[ ! -e ran ]
	rm bin/libctshim.so
	mkdir lib && cp "$SHIM" lib/
	run -7 ours "$T/pie"
	[ -e ran ]
	nothing_left
}

# A setting of the caller's shell would switch the shim off, or take another's place.
@test "CTSHIM_DISABLE does not count; an existing LD_PRELOAD stays, behind the shim" {
	CTSHIM_DISABLE=1 ours sha256sum "$T/m.safetensors" >sum
	[ "$(cut -d' ' -f1 sum)" = "$(sha256sum <"$T/view" | cut -d' ' -f1)" ]
	WITH+=(LD_PRELOAD="${PRELOAD% *}:$T/mute.so")
	[[ -n $SANITIZE ]] || WITH=(LD_PRELOAD="$T/mute.so")
	run -0 --separate-stderr ctrun --keys "$T/keys.jwk" sh -c 'echo "$LD_PRELOAD"'
	[ "$output" = "$SHIM:${WITH[-1]#LD_PRELOAD=}" ]
}

# A program that was let through when ptrace was not there to hold it.
@test "where ptrace is not permitted nothing runs, and the line says what to do" {
	ASAN_OPTIONS=detect_leaks=0 run "$PROBES/refuse" ptrace -- "$CT" run --keys "$T/keys.jwk" "$T/pie"
	refused EPERM ptrace "LD_PRELOAD"
	nothing_left
}

# What the kernel reads through a ring is ciphertext, and a loader that makes its system calls inline (runai's, by default) takes it for weights.
@test "io_uring is kept from the program and from what it starts, also inline; --io-uring leaves it" {
	need setpriv
	cat >ring.c <<-'EOF'
		#include <errno.h>
		#include <stdio.h>
		int main(void)
		{
			static char params[4096];
		#if defined(__x86_64__)
			long r;
			__asm__ volatile("syscall" : "=a"(r) : "a"(425L), "D"(4L), "S"(params) : "rcx", "r11", "memory");
		#else
			register long nr __asm__("x8") = 425, r __asm__("x0") = 4;
			register char *p __asm__("x1") = params;
			__asm__ volatile("svc 0" : "+r"(r) : "r"(nr), "r"(p) : "memory");
		#endif
			puts(r >= 0 ? "a ring" : r == -ENOSYS ? "none" : "an error");
			return 0;
		}
	EOF
	gcc -o ring ring.c
	[ "$(./ring)" = "a ring" ] || skip_or_fail "there is no io_uring on this machine"
	run -0 ours ./ring
	[ "$output" = none ]
	run -0 ours sh -c './ring; grep NoNewPrivs /proc/self/status'
	[ "$output" = $'none\nNoNewPrivs:\t0' ] # root needs it not
	WITH+=(setpriv --bounding-set=-sys_admin)
	run -0 ours sh -c './ring; grep NoNewPrivs /proc/self/status'
	[ "$output" = $'none\nNoNewPrivs:\t1' ]
	run -0 ours python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$T/m.safetensors"
	[ "$output" = "$(sha256sum <"$T/view" | cut -d' ' -f1)" ]
	run -0 ctrun --keys "$T/keys.jwk" --io-uring ./ring
	[ "$output" = "a ring" ]
}

# Ctrl-C would kill the agent under the program, reach it twice, or leave an agent with keys behind.
@test "signals: handed on once, Ctrl-C comes from the terminal, and everything is gone at the end" {
	cat >signals.py <<-'EOF'
		import glob, os, pty, random, signal, subprocess, sys, time
		ct, keys = sys.argv[1:]
		cmd = [ct, "run", "--keys", keys, "--"]
		count = '''
		import signal, sys, time
		n = [0]
		def handler(*_): n[0] += 1
		for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1): signal.signal(s, handler)
		print("ready", flush=True)
		until = time.time() + 1
		while time.time() < until: time.sleep(0.02)
		sys.exit(40 + n[0])
		'''.replace("\n\t\t", "\n")
		def left():
		    env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
		    ps = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, env=env).stdout
		    return [p for p in ps.splitlines() if os.environ["XDG_RUNTIME_DIR"] in p]
		pid, fd = pty.fork()
		if pid == 0:
		    os.execv(ct, cmd + ["./count", ct])
		out = b""
		while b"ready" not in out:
		    out += os.read(fd, 100)
		for _ in range(10):
		    os.write(fd, b"\x03")
		    time.sleep(0.1)
		os.write(fd, b"\n")
		try:
		    while part := os.read(fd, 100):
		        out += part
		except OSError:
		    pass
		assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, out
		assert b"10 signals" in out and b"key sets:  1" in out, out
		for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
		    p = subprocess.Popen(cmd + [sys.executable, "-c", count], stdout=subprocess.PIPE)
		    p.stdout.readline()
		    p.send_signal(sig)
		    assert p.wait() == 41, (sig, p.returncode)
		for _ in range(30):  # at any moment: while the agent starts, while the program is held
		    p = subprocess.Popen(cmd + ["sleep", "20"])
		    time.sleep(random.random() * 0.06)
		    p.terminate()
		    assert p.wait(15) in (143, -15), p.returncode
		assert not left(), left()
	EOF
	# counts SIGINTs until a line comes; then asks whether the agent is still there
	cat >count.c <<-'EOF'
		#include <signal.h>
		#include <stdio.h>
		#include <unistd.h>
		static volatile sig_atomic_t n;
		static void count(int sig) { n += sig == SIGINT; }
		int main(int argc, char **argv)
		{
			char c;
			struct sigaction a = { .sa_handler = count, .sa_flags = SA_RESTART };
			sigaction(SIGINT, &a, NULL);
			puts("ready");
			fflush(stdout);
			while (read(0, &c, 1) == 1 && c != '\n')
				;
			printf("%d signals\n", (int)n);
			fflush(stdout);
			execl(argv[argc - 1], "ct", "status", NULL);
			return 1;
		}
	EOF
	gcc -o count count.c
	env "${WITH[@]}" python3 signals.py "$CT" "$T/keys.jwk"
	nothing_left
}

# An agent with the keys would live on after a kill -9.
# Likewise a log of it: nothing but the folder may stay.
@test "if ct run is killed, its agent goes too" {
	env "${WITH[@]}" "$CT" run --keys "$T/keys.jwk" -- sh -c '"$0" status --json >status; sleep 3' "$CT" 3>&- &
	ct=$!
	for _ in $(seq 100); do
		[ -s status ] && break
		sleep 0.05
	done
	pid=$(python3 -c 'import json; print(json.load(open("status"))["pid"])')
	kill -0 "$pid"
	kill -KILL "$ct"
	for _ in $(seq 100); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	run ! kill -0 "$pid"
	[ -z "$(find "$XDG_RUNTIME_DIR" ! -type d)" ]
}

# Whoever cannot start the agent would have to guess why.
@test "an agent that does not start: its last line is told" {
	mkdir bin
	cp "$BUILD/ct" "$SHIM" bin/
	printf '#!/bin/sh\necho a first line\necho >&2 "why it cannot go on"\nexit 1\n' >bin/ct-agent
	chmod +x bin/ct-agent
	CT=$PWD/bin/ct run ours "$T/pie"
	refused ENOKEY "ended at its start: why it cannot go on"
	nothing_left
	CT=$PWD/bin/ct
	for closed in '<&-' '>&-' '<&- >&-'; do
		run env "${WITH[@]}" sh -c "exec \"\$@\" $closed" sh "$CT" run --keys "$T/keys.jwk" -- "$T/pie"
		refused ENOKEY "why it cannot go on"
	done
}

# The program would start and only then find out that nobody has its keys.
@test "no agent: 125 before the program starts; --agent and the default one are used" {
	run ctrun "$T/pie"
	refused ENOKEY "no agent"
	run ctrun --agent /no/such/socket "$T/pie"
	refused "/no/such/socket"
	run -125 "$CT" run --agent x --keys y "$T/pie"
	agent_start "$T/keys.jwk"
	run -0 ctrun sha256sum "$T/m.safetensors"
	[ "${output%% *}" = "$(sha256sum <"$T/view" | cut -d' ' -f1)" ]
	socket=$CT_AGENT_SOCK
	CT_AGENT_SOCK=/nonexistent/s run -0 ctrun --agent "$socket" sha256sum "$T/m.safetensors"
	[ "${output%% *}" = "$(sha256sum <"$T/view" | cut -d' ' -f1)" ]
}

# The shim's settings and preload in the agent would be a way into the process that holds the master key.
@test "the private agent gets none of the program's preload and settings" {
	cat >spy.c <<-'EOF'
		#include <stdio.h>
		#include <string.h>
		#include <stdlib.h>
		__attribute__((constructor)) static void spy(void)
		{
			char exe[200] = "", *log = getenv("SPY");
			FILE *f = fopen("/proc/self/comm", "r");
			if (f && fgets(exe, sizeof exe, f) && strstr(exe, "ct-agent") && log)
				fclose(fopen(log, "w"));
		}
	EOF
	gcc -shared -fPIC -o spy.so spy.c
	preload=${SANITIZE:+${PRELOAD% *}:}$PWD/spy.so
	WITH+=(SPY="$PWD/spied" LD_PRELOAD="$preload")
	run -0 ctrun --keys "$T/keys.jwk" true
	[ ! -e spied ]
	run env "${WITH[@]}" "$BUILD/ct-agent" --help
	[ -e spied ] # the spy itself works
}
