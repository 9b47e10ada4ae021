# ct doctor: a finding a line, true, with a remedy, and never a wait without end.

load helpers

setup_file() {
	export T=$BATS_FILE_TMPDIR
	need gcc jq
	"$CT" keygen -q -o "$T/keys.jwk"
	cat >"$T/p.c" <<-'EOF'
		#include <fcntl.h>
		#include <unistd.h>
		int main(void)
		{
			close(open("ran", O_CREAT | O_WRONLY, 0600));
			return 7;
		}
	EOF
	gcc -pie -fPIE -o "$T/dynamic" "$T/p.c"
	gcc -static -o "$T/static" "$T/p.c"
	gcc -Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1 -o "$T/musl" "$T/p.c"
	# A shim that says and does what the test wants: FAKE_REPORT is sent, by another process if FAKE_CHILD is set; then FAKE_END.
	cat >"$T/fake.c" <<-'EOF'
		#include <signal.h>
		#include <stddef.h>
		#include <stdio.h>
		#include <stdlib.h>
		#include <string.h>
		#include <sys/socket.h>
		#include <sys/un.h>
		#include <sys/wait.h>
		#include <unistd.h>
		static void send_report(const char *name, const char *text)
		{
			struct sockaddr_un to = { .sun_family = AF_UNIX };
			memcpy(to.sun_path + 1, name + 1, strlen(name) - 1);
			sendto(socket(AF_UNIX, SOCK_DGRAM, 0), text, strlen(text), 0, (struct sockaddr *)&to,
			       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name)));
		}
		__attribute__((constructor)) static void start(void)
		{
			const char *name = getenv("CTSHIM_DOCTOR"), *text = getenv("FAKE_REPORT"), *end = getenv("FAKE_END"), *file = getenv("FAKE_PID");
			if (!name)
				return;
			FILE *f = file ? fopen(file, "w") : NULL;
			if (f) {
				fprintf(f, "%d\n", (int)getpid());
				fclose(f);
			}
			if (text && getenv("FAKE_CHILD")) {
				pid_t pid = fork();
				if (pid == 0) {
					send_report(name, text);
					_exit(0);
				}
				waitpid(pid, NULL, 0);
			} else if (text) {
				send_report(name, text);
			}
			if (end && strcmp(end, "hang") == 0)
				for (;;)
					pause();
			if (end && strcmp(end, "flood") == 0)
				for (;;)
					fputs("a line that nobody wants\n", stderr);
			if (end && strcmp(end, "crash") == 0)
				raise(SIGKILL);
			if (end && strcmp(end, "fail") == 0) {
				fputs("it is \033[31mred\n", stderr);
				_exit(9);
			}
		}
	EOF
	mkdir "$T/fake" # what a user's machine has: ct and the shim in a folder
	cp "$BUILD/ct" "$BUILD/ct-agent" "$T/fake/"
	gcc -shared -fPIC -o "$T/fake/libctshim.so" "$T/fake.c"
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	DIR= # for sockets
	# with sanitizers: their run time must be in the programs as well
	WITH=(LD_LIBRARY_PATH="$BUILD")
	[[ -z $SANITIZE ]] || WITH+=(LD_PRELOAD="${PRELOAD% *}" ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0)
	VERSION=$("$CT" --version | head -n 1)
	VERSION=${VERSION#ct }
}

teardown() {
	[[ -z $DIR ]] || rm -rf "$DIR"
	[[ -z ${SERVER-} ]] || { kill "$SERVER" && wait "$SERVER"; } || true
	agent_stop
}

# doctor ARGS: its findings are in ./json afterwards, and $status is its own.
doctor() {
	status=0
	env "${WITH[@]}" "$CT" doctor --json "$@" >json || status=$?
	cat json
	[ "$(jq -r .ok json)" = "$([ "$status" = 0 ] && echo true || echo false)" ]
	[ "$status" = "$(jq '[.findings[] | select(.status == "fail")] | length | if . > 0 then 1 else 0 end' json)" ]
}

# fake [VAR=VALUE…]: the same with the fake shim
fake() {
	WITH+=("$@")
	CT=$T/fake/ct doctor
}

# report METHOD [WHY]: what a shim of our version says
report() {
	jq -cn --arg v "$VERSION" --arg m "$1" --arg w "${2-}" '{version: $v, path: "/x/libctshim.so", openssl: "OpenSSL 9", method: $m, why: $w}'
}

# finding NAME STATUS [TEXT…]: it is there once, has that status, and text and remedy contain each TEXT. STATUS none: it is not there.
finding() {
	local found text
	found=$(jq -r --arg n "$1" '.findings[] | select(.name == $n) | .status + " " + .text + ": " + (.remedy // "")' json)
	echo "$1: $found"
	if [ "$2" = none ]; then
		[ -z "$found" ]
		return
	fi
	[ "$(wc -l <<<"$found")" = 1 ]
	[[ $found == "$2 "* ]] || return
	for text in "${@:3}"; do
		[[ $found == *"$text"* ]] || return
	done
}

# root_needed WHY: in the test itself
root_needed() {
	need setpriv
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, $1"
}

# somebody: DIR, with what an ordinary user needs of ours; NOBODY=(…) runs a command as one.
somebody() {
	DIR=$(mktemp -d /tmp/ctXXXXXX)
	chmod 755 "$DIR"
	cp "$CT" "$SHIM" "$DIR/"
	NOBODY=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	CT=$DIR/ct
}

# Who reads only the last line, or only the status, must not be told that all is well when it is not, nor the other way round.
@test "all is well: status 0, a line a finding, and the figures are those of others" {
	agent_start "$T/keys.jwk" "$T/keys.jwk"
	doctor
	[ "$status" = 0 ]
	finding shim ok "$SHIM, version $VERSION"
	openssl=$(grep -aom1 'OpenSSL [0-9][0-9.]* [0-9]* [A-Z][a-z]* 20[0-9]*' "$SHIM")
	if [[ $openssl == "OpenSSL 3.0."* ]] && grep -qE '^flags.* avx512vl .* vaes .*vpclmulqdq' /proc/cpuinfo; then
		finding openssl warn "$openssl; AES-256-GCM: " "scripts/openssl" # a later one has code for this processor
	else
		finding openssl ok "$openssl; AES-256-GCM: " "GB/s a core"
	fi
	finding preload ok "same file"
	finding agent ok "process $AGENT_PID at $CT_AGENT_SOCK"
	finding keys ok "1 key set"
	finding ptrace ok
	finding nofile ok "$(prlimit --nofile --noheadings --output SOFT | tr -d ' ')"
	finding settings none
	finding program none
	run -0 --separate-stderr env "${WITH[@]}" "$CT" doctor
	[ -z "$stderr" ]
	[ "${#lines[@]}" = "$(jq '.findings | length' json)" ]
	for line in "${lines[@]}"; do
		[[ $line =~ ^(ok|warn)\ +[a-z_]+\ +[^\ ] ]]
	done
	run -0 env "${WITH[@]}" "$CT" doctor -q
	run ! grep -vE '^(warn |$)' <<<"$output" # a line may be missing, too
	run -3 sh -c 'exec "$0" doctor >/dev/full' "$CT"
	agent_stop
	run -1 env "${WITH[@]}" "$CT" doctor -q
	[[ $output == *"fail  agent "* ]]
}

# The commonest trouble, each with another remedy.
@test "agent: absent, gone, without keys, locked, stopped, of another version" {
	doctor
	[ "$status" = 1 ]
	finding agent fail "no agent at /nonexistent/ct-agent.sock" "start ct-agent"
	finding keys none
	CT_AGENT_WAIT=600 run -1 timeout 60 env "${WITH[@]}" "$CT" doctor # 124 if it waited
	unset CT_AGENT_SOCK
	XDG_RUNTIME_DIR=$PWD HOME=$PWD CT_AGENT_WAIT=600 run timeout 60 env "${WITH[@]}" "$CT" doctor
	[ "$status" -lt 2 ] # there may be one for the whole system
	agent_start
	doctor
	[ "$status" = 1 ]
	finding agent ok
	finding keys fail "no keys" "ct add"
	"$CT" add -q "$T/keys.jwk"
	"$CT" lock -q <<<secret
	doctor
	[ "$status" = 1 ]
	finding keys fail locked "ct unlock"
	"$CT" unlock -q <<<secret
	doctor
	[ "$status" = 0 ]
	kill -STOP "$AGENT_PID"
	doctor
	kill -CONT "$AGENT_PID"
	[ "$status" = 1 ]
	finding agent fail "did not answer within 3 s"
	kill -9 "$AGENT_PID"
	wait "$AGENT_PID" || true
	unset AGENT_PID
	DIR=$AGENT_DIR
	doctor
	finding agent fail "no agent at $CT_AGENT_SOCK any more"
}

# serve REPLY [PREFIX…]: an agent that answers everything with that JSON; sets SERVER, CT_AGENT_SOCK
serve() {
	DIR=$(mktemp -d /tmp/ctXXXXXX)
	chmod 777 "$DIR"
	export CT_AGENT_SOCK=$DIR/s
	cat >"$DIR/serve.py" <<-'EOF'
		import os, socket, struct, sys
		s = socket.socket(socket.AF_UNIX)
		s.bind(sys.argv[1] + ".new")
		s.listen()
		os.chmod(sys.argv[1] + ".new", 0o777)
		os.rename(sys.argv[1] + ".new", sys.argv[1])
		while True:
		    c = s.accept()[0]
		    try:
		        c.recv(1000)
		        r = sys.argv[2].encode()
		        c.sendall(struct.pack("<II", len(r), 0) + r)
		    except OSError:
		        pass
		    c.close()
	EOF
	"${@:2}" /usr/bin/python3 "$DIR/serve.py" "$CT_AGENT_SOCK" "$1" 3>&- &
	SERVER=$!
	for ((i = 0; i < 200; i++)); do
		[[ -S $CT_AGENT_SOCK ]] && return
		sleep 0.05
	done
	return 1
}

# After an update the old agent goes on; keys in swap outlive everything.
@test "agent: another version, keys that can reach swap" {
	serve '{"v":1,"ok":true,"version":"0.0.\u001b9","sets":3,"locked":false,"hardening":{"memory_locked":false}}'
	doctor
	[ "$status" = 0 ]
	finding agent warn 'version 0.0.\x1b9' "ct is $VERSION" "ct-agent -k"
	finding keys warn "3 key sets" swap "ulimit -l"
}

# A socket of somebody else's would be called the agent.
@test "agent: one of another user is not believed" {
	root_needed "to be two users"
	[ -x /usr/bin/python3 ] || skip_or_fail "no /usr/bin/python3"
	serve '{"v":1,"ok":true,"sets":3,"locked":false}' setpriv --reuid 65534 --regid 65534 --clear-groups
	doctor
	[ "$status" = 1 ]
	finding agent fail "uid 65534" "not believed"
	CT_AGENT_UID=65534 doctor
	finding agent warn "process $SERVER"
}

# Each of them leaves LD_PRELOAD without effect, and the loader goes on with a line at most.
@test "shim: missing, cut, rubbish, mute, refused by the loader, of another version" {
	mkdir bin
	cp "$BUILD/ct" bin/
	CT=$PWD/bin/ct
	[ -e /usr/local/lib/libctshim.so ] || {
		doctor
		[ "$status" = 1 ]
		finding shim fail "neither beside ct nor in" "make install"
		finding method none
		finding preload none
	}
	echo rubbish >bin/libctshim.so
	doctor
	finding shim fail "not a shared object" "make install"
	head -c 100000 "$SHIM" >bin/libctshim.so
	doctor
	[ "$status" = 1 ]
	finding shim fail "cut short" "make install"
	gcc -shared -fPIC -o bin/libctshim.so -x c /dev/null
	doctor
	finding shim fail "ran without it" "make install"
	cp "$T/dynamic" bin/libctshim.so
	doctor
	finding shim fail "$PWD/bin/libctshim.so" "cannot be preloaded"
	rm bin/libctshim.so
	mkdir lib
	cp "$SHIM" lib/
	doctor
	finding shim ok "$PWD/lib/libctshim.so"
	FAKE_REPORT='{"version":"0.0.9","path":"","openssl":"","method":"eager","why":""}' fake
	[ "$status" = 1 ]
	finding shim fail "version 0.0.9" "ct is $VERSION"
}

# A doctor that hangs is no help, one that believes anybody is worse.
@test "shim: one that hangs, floods, crashes, fails, talks rubbish, or lets another process speak" {
	export FAKE_PID=$PWD/pid
	fake FAKE_END=hang
	finding shim fail "did neither report nor end within 3 s"
	run ! kill -0 "$(<pid)"
	fake FAKE_END=hang FAKE_REPORT="$(report eager)"
	finding shim fail "did not end within 3 s"
	run ! kill -0 "$(<pid)"
	fake FAKE_END=flood FAKE_REPORT="$(report eager)"
	finding shim fail "within 3 s"
	run ! kill -0 "$(<pid)"
	fake FAKE_END=crash FAKE_REPORT="$(report eager)"
	finding shim fail "was ended by Killed"
	fake FAKE_END=fail FAKE_REPORT="$(report eager)"
	finding shim fail "status 9" 'it is \x1b[31mred'
	for text in '{' '{}' '{"version":7}' 'hello 1' "$(report eager) x" "$(head -c 5000 /dev/zero | tr '\0' x)"; do
		fake FAKE_END= FAKE_REPORT="$text"
		finding shim fail "cannot be understood"
		finding method none
	done
	fake FAKE_END= FAKE_CHILD=1 FAKE_REPORT="$(report userfaultfd)"
	finding shim fail "ran without it"
}

# The name alone, as everybody writes it, may be another library than the one that ct run takes, or none.
@test "preload: what LD_PRELOAD=libctshim.so finds" {
	[ -e /usr/local/lib/libctshim.so ] || {
		WITH+=(LD_LIBRARY_PATH=)
		doctor
		finding preload warn "not found" "LD_PRELOAD=$SHIM"
	}
	mkdir other
	cp "$SHIM" other/
	WITH+=(LD_LIBRARY_PATH="$PWD/other")
	doctor
	finding preload warn "$PWD/other/libctshim.so" "another file"
}

# What a user is told about the price of a mapping, and what to ask the administrator for.
@test "method: each is said with its price and its remedy" {
	fake FAKE_REPORT="$(report userfaultfd)"
	finding method ok userfaultfd
	finding map_count none
	fake FAKE_REPORT="$(report userfaultfd-user 'userfaultfd: EPERM (vm.unprivileged_userfaultfd=0)')"
	finding method warn EFAULT "EPERM (vm.unprivileged_userfaultfd=0)" "sysctl vm.unprivileged_userfaultfd=1" CAP_SYS_PTRACE
	finding map_count none
	fake FAKE_REPORT="$(report sigsegv "$(printf 'userfaultfd: \033[31m')")"
	finding method warn "signal handler" 'userfaultfd: \x1b[31m' seccomp
	if [ "$(</proc/sys/vm/max_map_count)" -ge 65530 ]; then
		finding map_count ok "$(</proc/sys/vm/max_map_count)"
	else
		finding map_count warn "$(</proc/sys/vm/max_map_count)"
	fi
	fake FAKE_REPORT="$(report eager)"
	finding method warn whole seccomp
	CTSHIM_MMAP=eager fake FAKE_REPORT="$(report eager)"
	finding method ok "as CTSHIM_MMAP asks"
	CTSHIM_MMAP=eager fake FAKE_REPORT="$(report sigsegv)" # an older shim that does not heed it
	finding method warn "signal handler"
	fake FAKE_REPORT="$(report sorcery)"
	finding method warn sorcery "make install"
	[ "$(jq '[.findings[] | select(.status == "fail") | .name] == ["agent"]' json)" = true ]
}

# The findings above are of a shim that was told what to say.
@test "method: the shim's own answer, asked for eager and with userfaultfd refused" {
	doctor
	run -0 jq -r '.findings[] | select(.name == "method") | .text' json
	[[ $output =~ ^(userfaultfd|userfaultfd-user|sigsegv|eager): ]]
	CTSHIM_MMAP=eager doctor
	finding method ok "eager, as CTSHIM_MMAP asks"
	WITH+=("$PROBES/refuse" userfaultfd ioctl:USERFAULTFD_IOC_NEW --)
	doctor
	run -0 jq -r '.findings[] | select(.name == "method") | .text' json
	[[ $output == sigsegv:* ]]
}

# CUDA programs would need the memory that lazy mappings save.
@test "gpu: an installed driver matters where the kernel cannot fault pages in" {
	mkdir cuda
	: >cuda/libcuda.so.1
	WITH+=(LD_LIBRARY_PATH="$PWD/cuda")
	fake FAKE_REPORT="$(report userfaultfd)"
	finding gpu ok "$PWD/cuda/libcuda.so.1"
	for m in userfaultfd-user sigsegv eager; do
		fake FAKE_REPORT="$(report "$m")"
		finding gpu warn "$PWD/cuda/libcuda.so.1" whole seccomp
	done
}

# Somebody's limits are found by their symptoms otherwise: ENOMEM, EMFILE, keys in swap.
@test "limits: open files, file sizes" {
	(ulimit -n 100 && doctor; finding nofile warn "only 100" "ulimit -n")
	ulimit -f 10
	fake FAKE_REPORT="$(report eager)"
	finding fsize warn "10.0 KiB" ENOMEM "ulimit -f"
	fake FAKE_REPORT="$(report userfaultfd)"
	finding fsize ok "10.0 KiB"
	ulimit -f 0
	CT=$T/fake/ct run -1 env "${WITH[@]}" FAKE_REPORT="$(report eager)" "$T/fake/ct" doctor # nothing is written to files
	[[ $output == *"fsize "*"0 bytes"* ]]
}

# As above; root is above this limit, so an ordinary user asks.
@test "limits: locked memory, as an ordinary user" {
	root_needed "to become somebody else"
	somebody
	with=("${WITH[@]}")
	WITH=("${with[@]}" prlimit --memlock=0 "${NOBODY[@]}")
	doctor
	finding memlock warn "0 bytes" swap "ulimit -l"
	finding shim ok "$DIR/libctshim.so"
	finding ptrace ok
	WITH=("${with[@]}" prlimit --memlock=1048576 "${NOBODY[@]}")
	doctor
	finding memlock ok "1.0 MiB"
	doctor "$T/static" # a folder that is closed to this user
	finding program fail
}

# A limit that is not seen leaves the doctor's figures worthless in a container.
@test "memory: the least limit of the cgroup, version 1 and 2" {
	need unshare mount
	unshare -m true || skip_or_fail "mount namespaces are not allowed here"
	cat >sys <<-'EOF'
		mount -t tmpfs none /sys/fs/cgroup || exit 77
		mkdir /sys/fs/cgroup/memory
		eval "$1"
		shift
		exec "$@"
	EOF
	WITH+=(unshare -m sh sys)
	grep -q :memory: /proc/self/cgroup && v1=memory.limit_in_bytes || v1=
	with=("${WITH[@]}")
	if [ "$v1" ]; then
		WITH=("${with[@]}" "cd /sys/fs/cgroup/memory; echo 1073741824 >$v1; echo 3145728 >memory.usage_in_bytes")
		doctor
		finding memory ok "1.0 GiB" "3.0 MiB are in use"
		WITH=("${with[@]}" "echo 9223372036854771712 >/sys/fs/cgroup/memory/$v1")
		doctor
		finding memory none
		group=$(sed -n 's/.*:memory://p' /proc/self/cgroup)
		WITH=("${with[@]}" "cd /sys/fs/cgroup/memory; echo 1073741824 >$v1; mkdir -p .$group; echo 2147483648 >.$group/$v1")
		doctor
		finding memory ok "1.0 GiB"
		WITH=("${with[@]}" "cd /sys/fs/cgroup/memory; echo 3221225472 >$v1; mkdir -p .$group; echo 2147483648 >.$group/$v1")
		doctor
		finding memory ok "$([ "$group" = / ] && echo 3.0 || echo 2.0) GiB"
	fi
	if grep -q ^0:: /proc/self/cgroup; then
		WITH=("${with[@]}" "cd /sys/fs/cgroup; echo 1073741824 >memory.max; echo 3145728 >memory.current")
		doctor
		finding memory ok "1.0 GiB" "3.0 MiB are in use"
		WITH=("${with[@]}" "echo max >/sys/fs/cgroup/memory.max")
		doctor
		finding memory none
	fi
}

# ct run would refuse everything, and nobody would know beforehand.
@test "ptrace: refused, as in some containers" {
	WITH+=("$PROBES/refuse" ptrace --)
	doctor
	finding ptrace warn "Operation not permitted" seccomp
	finding shim ok
}

# A shell's profile that switches the shim off makes ciphertext of models, silently.
@test "settings: CTSHIM_DISABLE is said, and does not disturb the trial; the trial writes to none of the user's files" {
	CTSHIM_DISABLE=1 CTSHIM_STATS=$PWD/stats CTSHIM_LOG=debug CTSHIM_LOG_FILE=$PWD/log doctor
	finding settings warn CTSHIM_DISABLE
	finding shim ok
	[ ! -e stats ]
	[ ! -e log ]
}

# The same answers as ct run, which does not start it; the doctor starts nothing either.
@test "program: what the shim cannot be loaded into, and why" {
	need readelf
	agent_start "$T/keys.jwk"
	doctor "$T/dynamic"
	[ "$status" = 0 ]
	finding program ok "$T/dynamic"
	readelf -lW "$T/dynamic" | grep -q INTERP
	run ! grep -q INTERP <<<"$(readelf -lW "$T/static")"
	doctor "$T/static"
	[ "$status" = 1 ]
	finding program fail "$T/static is statically linked" "dynamically linked build"
	[ "$(jq -r '.findings[] | select(.name == "program") | .remedy' json)" = "use a dynamically linked build, or ct decrypt the model for it" ]
	doctor "$T/musl"
	finding program fail ld-musl-x86_64.so.1
	cp "$T/dynamic" setuid && chmod u+s setuid
	doctor ./setuid
	finding program fail set-user-ID
	cp "$T/dynamic" bits32 && printf '\1' | dd of=bits32 bs=1 seek=4 conv=notrunc 2>/dev/null
	doctor ./bits32
	finding program fail 32-bit
	printf '#!%s\n' "$T/static" >script
	printf '#!/usr/bin/env sh\ntouch ran\n' >good
	chmod +x script good
	doctor ./script
	finding program fail "is run by $T/static"
	doctor ./good
	[ "$status" = 0 ]
	finding program ok ./good
	PATH=$PATH:$T doctor static
	finding program fail "$T/static"
	doctor no-such-program
	[ "$status" = 1 ]
	finding program fail "no such program"
	: >notexec
	doctor ./notexec
	finding program fail "not executable"
	printf '\177ELF' >"$(printf 'n\033')" && chmod +x "$(printf 'n\033')"
	doctor "./$(printf 'n\033')"
	finding program fail './n\x1b' damaged
	[ ! -e ran ]
}

# As above.
@test "program: file capabilities" {
	command -v setcap >/dev/null || PATH=$PATH:/sbin:/usr/sbin
	need setcap
	cp "$T/dynamic" capable
	setcap cap_net_raw+ep capable || skip_or_fail "this file system or user cannot set capabilities"
	doctor ./capable
	finding program fail capabilities
	[ "$status" = 1 ]
}
