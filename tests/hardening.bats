# What ct-agent takes from itself, as root and as an ordinary user: what ct status says of it, and whether that is true for those outside (the kernel's
# /proc, gdb). What is left of system calls is tried by tests/unit/agent_calls.c.

load helpers

setup_file() {
	export PYTHONPATH=$ROOT/tests
}

setup() {
	USERS=(12345)
	if [ "$(id -u)" = 0 ]; then
		need setpriv
		USERS=(0 12345)
	else
		USERS=("$(id -u)")
	fi
	cd "$BATS_TEST_TMPDIR"
}

teardown() {
	other_stop
	agent_stop
}

# as UID CMD…
as() {
	if [ "$1" = "$(id -u)" ]; then
		"${@:2}"
	else
		setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"
	fi
}

# agent_of UID [OPTIONS…]: a private agent of that user; BEFORE=(CMD…) runs it. PID, D: its folder, CT_AGENT_SOCK; WHO: becomes that user.
agent_of() {
	local i
	WHO=()
	[ "$1" = "$(id -u)" ] || WHO=(setpriv --reuid "$1" --regid "$1" --clear-groups)
	D=$(mktemp -d /tmp/ctXXXXXX)
	chmod 755 "$D"
	cp "$BUILD/ct-agent" "$D"
	chmod 755 "$D/ct-agent"
	mkdir "$D/s"
	chown "$1" "$D/s"
	export CT_AGENT_SOCK=$D/s/s CT_AGENT_UID=$1
	"${WHO[@]}" "${BEFORE[@]}" "$D/ct-agent" -f -s "$D/s/s" "${@:2}" >"$D/log" 2>&1 3>&- &
	PID=$!
	for ((i = 0; i < 600; i++)); do
		[ ! -S "$D/s/s" ] || break
		kill -0 "$PID" || break
		sleep 0.05
	done
	cat "$D/log"
	[ "$(said pid)" = "$PID" ]
}

other_stop() {
	local rc=0
	[ -n "${PID-}" ] || return 0
	kill "$PID" || true
	wait "$PID" || rc=$?
	[ "$rc" = 0 ] || cat "$D/log"
	rm -rf "$D"
	unset PID D
	[ "$rc" = 0 ]
}

# said NAME: a member of the reply to status
said() {
	"$CT" status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"
}

# missing: NAME ERRNO, a line each
missing() {
	"$CT" status --json | python3 -c 'import json, sys; [print(k, v) for k, v in json.load(sys.stdin)["hardening"].items() if v is not True]'
}

has_memfd_secret() {
	python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(447, 0) < 0)'
}

# field NAME: of /proc/P/status
field() {
	sed -n "s/^$1:[[:space:]]*//p" "/proc/$P/status"
}

# A step that fails unnoticed leaves less than the documents promise; a step that no document names is worth nothing to who must judge it.
@test "right after the start nothing is missing, but where SECURITY.md says so" {
	local uid name error
	sed -n 's/^| `\([a-z_]*\)` | .* | \(.*\) |$/\1 \2/p' "$ROOT/docs/SECURITY.md" >table
	cat table
	for uid in "${USERS[@]}"; do
		agent_of "$uid"
		"$CT" status --json | python3 -c 'import json, sys; print(*json.load(sys.stdin)["hardening"], sep="\n")' | sort >names
		diff names <(cut -d' ' -f1 table | sort)
		missing >missing
		cat missing
		while read -r name error; do
			case "$name $(sed -n "s/^$name //p" table)" in
			*never) false ;;
			*sanitizers*) [ -n "$SANITIZE" ] && [ "$error" = EOPNOTSUPP ] ;;
			peer_pidfd*"Linux 6.5"*) [ "$error" = ENOPROTOOPT ] && [ "$(printf '6.5\n%s\n' "$(uname -r)" | sort -V | head -n 1)" != 6.5 ] ;;
			keeper_landlock*"5.13"*) [ "$error" = ENOSYS ] && [ ! -e /sys/kernel/security/landlock ] && ! grep -qw landlock /sys/kernel/security/lsm ;;
			memory_hidden*"6.5"*) ! has_memfd_secret || [ "$(ulimit -Hl)" -lt 100 ] ;;
			memory_locked*) [ "$(ulimit -Hl)" -lt 100 ] ;;
			*) false ;;
			esac || { echo "missing: $name: $error (uid $uid)"; return 1; }
		done <missing
		run -0 "$CT" status
		echo "$output"
		[ "$(grep -c '^  missing: ' <<<"$output")" = "$(wc -l <missing)" ]
		[[ $output == *"  hardening: not traceable, no core dumps, no new privileges, few capabilities, "* ]]
		other_stop
	done
}

# What the agent says of itself is what it would say if it were wrong.
@test "the kernel's word on it: filter, privileges, capabilities, limits" {
	local uid caps keeper kept P
	for uid in "${USERS[@]}"; do
		agent_of "$uid"
		keeper=$(said keeper)
		[ "$(readlink "/proc/$keeper/exe")" = "$D/ct-agent" ]
		for P in "$PID" "$keeper"; do
			kept=0x84004 # CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_IPC_LOCK
			[ "$P" = "$PID" ] || kept=0x4000
			cat "/proc/$P/status" "/proc/$P/limits"
			[ "$(field NoNewPrivs)" = 1 ]
			grep -q '^Max core file size *0 *0 ' "/proc/$P/limits"
			[ "$(stat -c %u "/proc/$P/environ")" = 0 ] # not dumpable: root's, whosever the process is
			if [ -z "$SANITIZE" ]; then
				[ "$(field Seccomp)" = 2 ]
				grep -q '^Max data size *4294967296 *4294967296 ' "/proc/$P/limits"
			fi
			for caps in CapInh CapPrm CapEff CapBnd CapAmb; do
				[ "$caps$uid" = CapBnd12345 ] || [ $((16#$(field $caps) & ~kept)) = 0 ] || { echo "$caps"; return 1; }
			done
			[ "$uid" = 0 ] || [ $((16#$(field CapEff))) = 0 ]
		done
		other_stop
	done
}

# Landlock shows nowhere in /proc: what shows is the call.
@test "the process with the keys, and no other, is in a Landlock domain" {
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, to trace the agent"
	[ -z "$SANITIZE" ] || skip "not in builds with sanitizers (SECURITY.md)"
	need strace
	BEFORE=(strace -D -f -qq -e trace=landlock_restrict_self -o "$PWD/trace")
	agent_of 0
	[[ $(missing) != *keeper_landlock* ]] || skip_or_fail "this kernel has no Landlock" || return
	cat trace
	grep -qE "^$(said keeper) +landlock_restrict_self\\([0-9]+, 0\\) += 0" trace
	[ "$(grep -c landlock trace)" = 1 ]
}

# Whoever may trace it, or read its memory, has the keys.
@test "its own user cannot trace it, nor read its memory" {
	local uid=${USERS[-1]} file sleeper i P
	need gdb
	[ "$uid" != 0 ]
	agent_of "$uid"
	(exec "${WHO[@]}" sleep 300) 3>&- &
	sleeper=$!
	for ((i = 0; i < 600; i++)); do
		[ "$(readlink "/proc/$sleeper/exe")" != "$(readlink -f "$(command -v sleep)")" ] || break
		sleep 0.05
	done
	as "$uid" gdb -nx -batch -p "$sleeper" -ex 'print $pc' >gdb.out 2>&1 || true
	cat gdb.out
	grep -q '^\$1 = ' gdb.out || { kill "$sleeper"; skip_or_fail "nobody may trace here" || return; }
	for file in environ maps mem auxv; do
		as "$uid" head -c 1 "/proc/$sleeper/$file" >/dev/null 2>&1 || [ "$file" = mem ] || { kill "$sleeper"; return 1; }
		for P in "$PID" "$(said keeper)"; do
			run ! as "$uid" head -c 1 "/proc/$P/$file"
			[[ $output == *"ermission denied"* ]]
		done
	done
	kill "$sleeper"
	for P in "$PID" "$(said keeper)"; do
		run ! as "$uid" ls "/proc/$P/fd"
		as "$uid" gdb -nx -batch -p "$P" -ex 'print $pc' >gdb.out 2>&1 || true
		cat gdb.out
		grep -q 'ptrace: Operation not permitted' gdb.out
		run ! grep '^\$1 = ' gdb.out
	done
}

# Pages that a dump, swap or another process gets are keys on a disk. Where they are hidden from root there is nothing to see; then keeper.bats says so.
@test "the pages where keys are, if root can see them: locked, in no dump" {
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, to look into its memory"
	local uid
	BEFORE=("$PROBES/refuse" memfd_secret --)
	"$CT" keygen -q -o k.jwk # the bytes of the vectors' keys stand in a table of OpenSSL, too
	for uid in "${USERS[@]}"; do
		agent_of "$uid"
		"$CT" add -q k.jwk
		run python3 - "$(said keeper)" k.jwk <<-'EOF'
			import base64, json, re, sys
			pid, keys = sys.argv[1:]
			k = base64.b64decode([k for k in json.load(open(keys))["keys"] if k["kty"] == "oct"][0]["k"])
			flags, place, seen = {}, None, 0
			for line in open(f"/proc/{pid}/smaps"):
			    if m := re.match(r"(\w+)-(\w+) ", line):
			        place = int(m[1], 16), int(m[2], 16)
			    elif line.startswith("VmFlags:"):
			        flags[place] = line.split()[1:]
			with open(f"/proc/{pid}/mem", "rb", 0) as mem:
			    for (a, b), f in flags.items():
			        if b - a > 1 << 30:
			            continue
			        try:
			            mem.seek(a)
			            has = k in mem.read(b - a)
			        except (OSError, OverflowError):  # hidden from root, or no memory
			            continue
			        if has:
			            seen += 1
			            print(hex(a), *f)
			            assert "dd" in f and "lo" in f, f
			print("seen", seen)
		EOF
		echo "$output"
		[ "$status" = 0 ]
		[[ $output == *"seen 1"* ]]
		other_stop
	done
}

# Capabilities that are taken away by mistake show only where two users meet.
@test "an agent of root knows the executables of other users, and those that only they may read" {
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, to be two users"
	local py sum engine
	plain_model plain.safetensors 1000
	"$CT" keygen -q -o k.jwk
	mkdir saw
	D=$(mktemp -d /tmp/ctXXXXXX)
	chmod 755 "$D"
	mkdir -m 700 "$D/own" && cp "$CT" "$D/own/ct"
	chmod 700 "$D/own/ct"
	sum=$(sha256sum "$D/own/ct" | cut -d' ' -f1)
	"$CT" encrypt -q --keys k.jwk --policy <(printf '# expect\n%s\n' "input['peer']['exe_sha256'] == '$sum'") plain.safetensors "$D/digest.safetensors"
	"$CT" encrypt -q --keys k.jwk plain.safetensors "$D/default.safetensors"
	chmod 644 "$D"/*.safetensors
	chown -R 12345 "$D/own"
	engine="exec:$(python3 -c 'import sys; print(sys.executable)') $ROOT/tests/standins/engine.py $PWD/saw"
	printf 'allow-uid 12345\nallow exe=%s\ndeny\n' "$D/own/ct" >conf
	AGENT_OPTS=(-c "$PWD/conf" --policy-engine "$engine")
	agent_start "$PWD/k.jwk"
	chmod 711 "$AGENT_DIR"
	local dir=$D rc=0
	unset D
	run as 12345 "$dir/own/ct" verify "$dir/digest.safetensors" "$dir/default.safetensors"
	rm -rf "$dir"
	echo "$output"
	[ "$status" = 0 ]
}

# A bound that ends the agent would take everybody's keys away.
@test "without memory it refuses what does not fit, and lives on" {
	[ -z "$SANITIZE" ] || skip "sanitizers need more memory than that, and end where there is none"
	need prlimit
	agent_of "$(id -u)"
	"$CT" add -q "$(key_file aes256gcm.jwk)"
	prlimit --pid "$PID" --data=20000000
	run -0 python3 - "$VECTORS/aes256gcm_v2_c16.safetensors" <<-'EOF'
		import peer, sys
		big = peer.frame({"v": 1, "op": "open", "size": 1 << 30}, bytes(90_000_000))
		print(peer.exchange(big))
		print(peer.exchange(peer.open_frame(sys.argv[1]))[0]["disposition"])
	EOF
	echo "$output"
	[ "${lines[0]}" = None ]
	[ "${lines[1]}" = serve ]
}

# In a container that forbids one of the steps the agent must say so, and serve.
@test "each step that fails is said with its errno, and it serves all the same" {
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, for the filter that refuses"
	local step refused=(seccomp prlimit64 capset) steps=(seccomp keeper_seccomp memory_bounded no_core)
	[ -z "$SANITIZE" ] || { refused=(capset) steps=(); } # whose run time does not start without limits
	BEFORE=("$PROBES/refuse" "${refused[@]}" --)
	agent_of 0
	missing >missing
	cat missing
	for step in capabilities "${steps[@]}"; do
		grep -qx "$step EPERM" missing
	done
	"$CT" add -q "$(key_file aes256gcm.jwk)"
	"$CT" decrypt -q "$VECTORS/aes256gcm_v2_c16.safetensors" out
	run -0 "$CT" status
	[[ $output == *"  missing:   few capabilities (EPERM)"* ]]
	[[ $output != *"hardening:"*"few capabilities, "* ]]
	other_stop
	BEFORE=("$PROBES/refuse" prctl mlock memfd_secret --)
	agent_of 0
	"$CT" add -q "$(key_file aes256gcm.jwk)"
	missing >missing
	cat missing
	grep -qx 'no_dump EPERM' missing
	grep -qx 'no_new_privs EPERM' missing
	grep -qx 'memory_locked ENOMEM' missing
	grep -qx 'memory_hidden EOPNOTSUPP' missing
	run -0 "$CT" status
	[[ $output == *"  missing:   keys in locked memory (ENOMEM: "* ]]
	"$CT" decrypt -q --force "$VECTORS/aes256gcm_v2_c16.safetensors" out
}

# The process that may still touch the socket's file: gone with its agent, and nothing but reloads and the file's end depends on it.
@test "errands: the process ends with its agent, however that ends; without it the agent serves, and says what it cannot" {
	local i errands
	need pgrep
	echo 'keep 1' >conf
	agent_of "$(id -u)" -c "$PWD/conf"
	errands=$(pgrep -x -P "$PID" ct-errands)
	kill -0 "$errands"
	echo 'allow-uid 12345' >>conf
	kill -HUP "$PID"
	for ((i = 0; i < 600; i++)); do
		[ "$(stat -c %a "$CT_AGENT_SOCK")" != 666 ] || break
		sleep 0.05
	done
	[ "$(stat -c %a "$CT_AGENT_SOCK")" = 666 ]
	kill -9 "$PID"
	for ((i = 0; i < 600; i++)); do
		[ -d "/proc/$errands" ] || break
		sleep 0.05
	done
	[ ! -d "/proc/$errands" ]
	wait "$PID" || true
	rm -rf "$D"
	echo 'keep 1' >conf
	agent_of "$(id -u)" -c "$PWD/conf"
	errands=$(pgrep -x -P "$PID" ct-errands)
	kill -9 "$errands"
	"$CT" status
	echo 'allow-uid 12345' >>conf
	kill -HUP "$PID"
	for ((i = 0; i < 600; i++)); do
		! grep -q '^ct-agent: reload: ' "$D/log" || break
		sleep 0.05
	done
	grep '^ct-agent: reload: ' "$D/log"
	if [ -z "$SANITIZE" ]; then
		grep -q 'reload: the configuration of before stays in force: .*Function not implemented' "$D/log"
		[ "$(stat -c %a "$CT_AGENT_SOCK")" = 600 ]
	fi
	"$CT" status
}
