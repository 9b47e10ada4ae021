# Which programs may decrypt: the lines allow, ciphertext and deny of ct-agent's configuration, with the programs that they are about
# under the real shim. The judges are cmp, the raw file, and judge.py's own view of it.

load helpers

setup_file() {
	local t=$BATS_FILE_TMPDIR n
	export PYTHONPATH=$ROOT/tests T=$t A=$t/a.safetensors B=$t/b.safetensors VIEW=$t/view
	PYEXE=$(python3 -c 'import os; print(os.readlink("/proc/self/exe"))') # python3 itself may be a script, or a link
	export PYEXE
	plain_model "$t/plain.safetensors" 2000000
	for n in a b; do
		"$CT" keygen -q --kid-enc "master $n" --kid-sign "$n/signer" -o "$t/$n.jwk"
		"$CT" encrypt -q --keys "$t/$n.jwk" --chunk-size 65536 "$t/plain.safetensors" "$t/$n.safetensors"
	done
	python3 - "$A" "$t/a.jwk" "$VIEW" <<-'EOF'
		import json, judge, sys
		view, bad = judge.view(open(sys.argv[1], "rb").read(), json.load(open(sys.argv[2])))
		assert not bad
		open(sys.argv[3], "wb").write(view)
	EOF
	mkdir "$t/my programs" "$t/my*programs"
	cp "$(command -v cat)" "$t/my programs/cat"
	cp "$(command -v cat)" "$t/my*programs/cat"
}

setup() {
	PEER=(python3 "$ROOT/tests/peer.py")
	CP=$(readlink -f "$(command -v cp)") CAT="$T/my programs/cat"
	CONF=$BATS_TEST_TMPDIR/conf
	cd "$BATS_TEST_TMPDIR"
}

# What a failed test leaves in the background ends here, too.
teardown() {
	if [ -n "${OTHERS-}" ]; then
		[ ! -S "$OTHERS/s/s" ] || as 12345 "$OTHERS/ct-agent" -k -s "$OTHERS/s/s" || true
		rm -rf "$OTHERS"
	fi
	agent_stop
}

# as UID CMD…
as() {
	setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"
}

# agent_with [LINE…]: an agent with both key sets and that configuration
agent_with() {
	agent_stop
	printf '%s\n' "$@" >"$CONF"
	AGENT_OPTS=(-c "$CONF")
	agent_start "$T/a.jwk" "$T/b.jwk"
}

# asked FILE: what the agent answers python about FILE
asked() {
	run -0 "${PEER[@]}" open "$1"
}

# plain CMD…, raw CMD…: its output is the view of A, or A as it lies there.
plain() {
	shimmed "$@" | cmp - "$VIEW"
}

raw() {
	shimmed "$@" | cmp - "$A"
}

# refused LINE CMD…: the program fails, gets no byte, and our line names that line of the configuration
refused() {
	run ! --separate-stderr shimmed "${@:2}"
	echo "$stderr"
	[ -z "$output" ]
	[[ $stderr == *"ctshim: "*": EKEYREJECTED: line $1 of the agent's configuration"* ]]
}

# A rule with a typing error that were read as something else would hand out plaintext, or nothing.
@test "what is no rule is an error that names its line" {
	local bad
	ln -s "$T/my programs" link
	for bad in 'allow cp' 'allow exe' 'allow exe=' 'allow exe=cp' 'deny exe=""' 'allow uid=' 'allow uid=root' 'allow uid=-1' 'allow uid=4294967295' \
		'allow uid=1 uid=2' 'deny exe=/a exe=/b' 'deny keys=a keys=b' 'deny cgroup=/a cgroup=/b' 'allow keys=' 'allow cgroup=user.slice' 'allow Exe=/a' \
		'Allow exe=/a' 'allow gid=1' 'allow pid=1' 'allow , uid=1' 'deny "exe=/a' 'deny exe=/a"b c' 'deny exe=/a\' 'deny exe=/a#b' 'deny a b c d e f g h i' \
		"deny exe=/$(printf 'x%.0s' {1..1023})" "deny exe=$PWD/link/cat" "deny exe=$PWD/link/*" "deny exe=\"$T\"" "deny \"exe=$T/./my programs/cat\"" \
		'refuse exe=/a' 'keep 7#x' 'keep "7' 'keep 7 deny'; do
		printf 'keep 1\n%s\n' "$bad" >"$CONF"
		run -3 timeout 30 "$BUILD/ct-agent" -f -s "$PWD/s" -c "$CONF"
		says "EBADMSG: $CONF:2: " || { echo "for $bad"; return 1; }
	done
	yes 'deny uid=7' | head -n 257 >"$CONF" || true
	run -3 timeout 30 "$BUILD/ct-agent" -f -s "$PWD/s" -c "$CONF"
	says "$CONF:257: " "(256)"
	yes 'deny uid=7' | head -n 256 >"$CONF" || true
	AGENT_OPTS=(-c "$CONF")
	agent_start
	run -0 "${PEER[@]}" ask '{"v":1,"op":"status"}'
	says '"rules":256'
}

# People begin with a copy of what the README shows.
@test "the example of the README is a configuration" {
	mapfile -t lines < <(sed -n '/^keep  /,/^```/{/^```/d; p}' "$ROOT/README.md")
	agent_with "${lines[@]/\/usr\/bin\/cp/$CP}"
	run -0 "${PEER[@]}" ask '{"v":1,"op":"status"}'
	says '"rules":5'
	[ "$(stat -c %a "$CT_AGENT_SOCK")" = 666 ]
	shimmed cp "$A" copy
	cmp copy "$A"
}

# The order is what people write down; another one opens what they closed.
@test "the first line that fits decides; where none does the file is served" {
	agent_with "deny exe=$CP" "keep 9"
	asked "$A"
	says '"disposition":"serve"' '"keep_s":9'
	agent_with "allow exe=$PYEXE # ours" "deny"
	asked "$A"
	says '"disposition":"serve"'
	refused 2 cat "$A"
	agent_with "deny" "allow exe=$PYEXE"
	asked "$A"
	says '"disposition":"refuse"' '"keep_s":0' 'line 1 of'
	agent_with "" "ciphertext uid=$(id -u)" "deny exe=$PYEXE"
	asked "$A"
	says '"disposition":"ciphertext"' '"keep_s":0' 'line 2 of'
	agent_with "allow"
	asked "$A"
	says '"disposition":"serve"'
	agent_with "deny exe=$PYEXE uid=$(($(id -u) + 1))" "deny uid=$(id -u) exe=$CP" # all conditions must hold
	asked "$A"
	says '"disposition":"serve"'
}

# A path that is cut at its blank, or whose star stops at a slash, is another program's.
@test "globs and quotes: blanks, stars over slashes, a star that is one" {
	local line
	for line in "deny exe=\"$CAT\"" "deny \"exe=$CAT\"" "deny exe=$(sed 's/ /\\ /g' <<<"$CAT")" "deny exe=*cat" "deny exe=${T%/*}/*" "deny exe=*/my?programs/*" \
		"deny exe=\"*/my programs/c[a-b]t\" # \"" "deny exe=*/my\\ programs/cat"; do
		agent_with "$line"
		refused 1 "$CAT" "$A" || { echo "for $line"; return 1; }
		asked "$A"
		says '"disposition":"serve"'
	done
	for line in "deny exe=\"$CAT\"x" "deny exe=*/my\\*programs/cat" "deny exe=*/c" "deny exe=/at" "deny exe=*/CAT"; do
		agent_with "$line"
		plain "$CAT" "$A" || { echo "for $line"; return 1; }
	done
	agent_with "deny exe=*/my\\*programs/cat"
	refused 1 "$T/my*programs/cat" "$A"
}

# What the rules are for: backups hold ciphertext, the loader beside them plaintext. A tool that finds plaintext leaks a model.
@test "cp, tar, rsync copy the ciphertext, byte for byte, and Python reads plaintext" {
	local tool
	need tar rsync
	for tool in cp tar rsync; do
		echo "ciphertext exe=$(readlink -f "$(command -v "$tool")")"
	done >lines
	mapfile -t lines <lines
	agent_with "${lines[@]}"
	shimmed cp "$A" c1
	shimmed cp --reflink=auto --sparse=always "$A" c2
	shimmed cp --reflink=never "$A" c3
	shimmed sh -c 'cp "$1" c4' - "$A"
	echo other >c5
	shimmed cp "$A" c5
	shimmed tar -cf c6.tar -C "$T" a.safetensors
	tar -xOf c6.tar >c6
	shimmed rsync "$A" c7
	head -c 1000000 "$B" >c8
	shimmed rsync --no-whole-file "$A" c8
	head -c 1000000 "$A" >c9
	shimmed rsync --no-whole-file --inplace "$A" c9
	CTSHIM_REQUIRE=1 shimmed cp "$A" c10 # it is encrypted, whoever sees it how
	for tool in c1 c2 c3 c4 c5 c6 c7 c8 c9 c10; do
		cmp "$tool" "$A"
	done
	plain python3 -c 'import sys; sys.stdout.buffer.write(open(sys.argv[1], "rb").read())' "$A"
	plain cat c1
}

# A door of the shim that treats "ciphertext" as a view would give a mixture of both.
@test "a program that gets ciphertext gets it by every way of reading a file" {
	local sum
	sum=$(sha256sum <"$A" | cut -d' ' -f1)
	agent_with "ciphertext"
	run -0 --separate-stderr shimmed python3 "$CLIENTS/stdlib_readers.py" "$A"
	echo "$output"
	[ "$(wc -l <<<"$output")" -ge 30 ]
	[ "$(awk '{ print $2 }' <<<"$output" | sort -u)" = "$sum" ]
	sed '/^way curl/d; /^way dd/d; /^way split/d; /^way busybox/d' "$CLIENTS/tools.sh" >tools.sh # as in serve.bats
	run -0 --separate-stderr shimmed sh tools.sh "$A"
	echo "$output"
	[ "$(wc -l <<<"$output")" -ge 12 ]
	[ "$(awk '{ print $2 }' <<<"$output" | sort -u)" = "$sum" ]
}

# Half a refusal is a copy that looks whole.
@test "a denied cp fails, says why, and leaves no byte" {
	agent_with "deny exe=$CP"
	refused 1 cp "$A" copy
	[[ $stderr == *"refuses the file to $CP (uid $(id -u))"* ]]
	[[ $stderr == *"Key was rejected by service"* ]]
	[ ! -s copy ]
	[[ $(cat "$AGENT_DIR/log") == *"open: refuse, "*" uid $(id -u) $CP: line 1 of"* ]]
	plain cat "$A"
}

# One publisher's rule must not open, or close, another's models.
@test "keys=: by the ids of the keys in the set that opens the file" {
	local id
	for id in '"keys=master a"' 'keys="a/signer"' 'keys=a/*' 'keys=master\ a' 'keys="master [a]"' 'keys=*a/signer'; do
		agent_with "deny $id"
		asked "$A"
		says '"disposition":"refuse"' || { echo "for $id"; return 1; }
		asked "$B"
		says '"disposition":"serve"' || { echo "for $id"; return 1; }
	done
	for id in 'keys=master' 'keys=a' 'keys="Master a"' 'keys="master a "'; do
		agent_with "deny $id"
		asked "$A"
		says '"disposition":"serve"' || { echo "for $id"; return 1; }
	done
	agent_with "ciphertext exe=$CP keys=a/*" "allow keys=a/*" "deny"
	shimmed cp "$A" copy
	cmp copy "$A"
	plain cat "$A"
	refused 3 cat "$B"
	refused 3 cp "$B" copy
}

# Of two sets with equal ids the first need not have the right master key: the rules about the one that has it must be asked, too.
@test "keys=: a set that is tried after another is judged by its own rules" {
	local M=$VECTORS/aes256gcm_v2_c16.safetensors first=$BATS_TEST_TMPDIR/first second=$BATS_TEST_TMPDIR/second line
	python3 - "$VECTORS/keys" "$first" "$second" <<-'EOF'
		import json, sys
		keys, first, second = sys.argv[1:]
		right, other = (json.load(open(f"{keys}/{n}aes256gcm.jwk"))["keys"] for n in ("", "new-"))
		wrong = [dict(k, kid="ek") for k in other if k["kty"] == "oct"]
		json.dump({"keys": wrong + [k for k in right if k["kty"] == "okp"]}, open(first, "w"))
		mark = dict(other[1] if other[1]["kty"] == "okp" else other[0], kid="mark")
		json.dump({"keys": right + [mark]}, open(second, "w"))
	EOF
	for line in "keep 1" "allow keys=mark" "deny keys=mark" "ciphertext keys=mark"; do
		agent_stop
		printf '%s\n' "$line" >"$CONF"
		AGENT_OPTS=(-c "$CONF")
		agent_start "$first" "$second"
		case $line in
		deny*) asked "$M" && says '"disposition":"refuse"' ;;
		cipher*) asked "$M" && says '"disposition":"ciphertext"' ;;
		*) run -0 "${PEER[@]}" open "$M" "$VECTORS/keys/aes256gcm.jwk" && says '"disposition":"serve"' ;;
		esac || { echo "for $line"; return 1; }
	done
}

# A rule about one account that held for another would be worse than none.
@test "uid=: who connected, among those whom allow-uid admits" {
	need setpriv
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, to be two users"
	agent_with "allow-uid 12345" "allow-uid 12346" "deny uid=12345" "ciphertext uid=12346" "allow uid=12347"
	chmod 711 "$AGENT_DIR"
	local d=$AGENT_DIR/x
	mkdir "$d" && cp "$ROOT"/tests/{peer,judge}.py "$A" "$d" && chmod -R a+rX "$d"
	export PYTHONPATH=$d PYTHONDONTWRITEBYTECODE=1
	PEER=(/usr/bin/python3 "$d/peer.py")
	run -0 as 12345 "${PEER[@]}" open "$d/a.safetensors"
	says '"disposition":"refuse"' 'line 3 of' '(uid 12345)'
	run -0 as 12346 "${PEER[@]}" open "$d/a.safetensors"
	says '"disposition":"ciphertext"' 'line 4 of'
	run -0 as 12347 "${PEER[@]}" open "$d/a.safetensors" # allow does not admit
	says '"error":"EKEYREJECTED"' 'does not admit uid 12347'
	asked "$A"
	says '"disposition":"serve"'
}

# The path is looked for in files of two kinds; the wrong line of them is "/" nearly everywhere.
@test "cgroup=: the path that /proc/PID/cgroup shows" {
	local own
	own=$(python3 - <<-'EOF'
		rows = [l.rstrip("\n").split(":", 2) for l in open("/proc/self/cgroup")]
		order = [p for _, c, p in rows if c == ""] + [p for _, c, p in rows if c == "name=systemd"] + [p for _, c, p in rows if c not in ("", "name=systemd")]
		print(next((p for p in order if p != "/"), "/"))
	EOF
	)
	echo "own: $own"
	agent_with "deny cgroup=\"$own\""
	asked "$A"
	says '"disposition":"refuse"' 'line 1 of'
	agent_with "deny cgroup=\"$own/below\"" "deny cgroup=/elsewhere*" "deny cgroup=*?x" "ciphertext cgroup=\"${own%?}*\" exe=$PYEXE"
	asked "$A"
	says '"disposition":"ciphertext"' 'line 4 of'
}

# What is not known must never be plaintext for who may be denied, nor ciphertext for who may be a loader.
@test "an executable that the agent may not ask for: the answer is no where it makes a difference" {
	need setpriv
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, to be two users"
	local d line
	OTHERS=$(mktemp -d /tmp/ctXXXXXX)
	d=$OTHERS
	cp "$BUILD/ct-agent" "$d" && chmod 755 "$d" "$d/ct-agent" && mkdir "$d/s" && chown 12345 "$d/s"
	export CT_AGENT_SOCK=$d/s/s CT_AGENT_UID=12345
	: >answers
	while IFS= read -r line; do
		tr '|' '\n' <<<"${line%%=>*}" >"$d/conf"
		chmod 644 "$d/conf"
		as 12345 "$d/ct-agent" -s "$d/s/s" -c "$d/conf" >/dev/null
		"$CT" add -q "$(key_file "$T/a.jwk")"
		echo "$line: $("${PEER[@]}" open "$A" | tr -d '\n')" >>answers
		as 12345 "$d/ct-agent" -k -s "$d/s/s"
	done <<-'EOF'
		keep 1=>serve
		allow exe=/a=>serve
		deny exe=/a=>refuse
		ciphertext exe=/a=>refuse
		allow exe=/a|deny=>refuse
		allow exe=/a|ciphertext=>refuse
		deny exe=/a|deny=>refuse
		ciphertext exe=/a|ciphertext=>ciphertext
		allow exe=/a|allow uid=0|deny=>serve
		deny uid=1 exe=/a=>serve
		allow uid=0|deny exe=/a=>serve
		deny uid=0|allow exe=/a=>refuse
		deny exe=/a|allow uid=0=>refuse
	EOF
	cat answers
	[ "$(wc -l <answers)" = 13 ]
	while IFS= read -r line; do
		[[ ${line#*: } == *"\"disposition\":\"$(sed 's/.*=>\([a-z]*\):.*/\1/' <<<"$line")\""* ]] || { echo "wrong: $line"; return 1; }
	done <answers
	grep -F 'deny exe=/a=>' answers | grep -F "line 1 of the agent's configuration asks for the program's executable, which the agent cannot find out"
	grep -F 'allow exe=/a|deny=>' answers | grep -F "line 1 of"
}

# On a machine whose /proc hides other users' processes the agent would end, or take what it cannot see for what fits.
@test "hidepid=2: another user's cgroup is unknown, his own is not; engines' leftovers are found all the same" {
	need setpriv
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, to mount a /proc and to be two users"
	local d
	OTHERS=$(mktemp -d /tmp/ctXXXXXX)
	d=$OTHERS
	chmod 755 "$d"
	mkdir "$d/s" "$d/saw"
	printf '# orphan' >orphan.rego
	"$CT" encrypt -q --keys "$T/a.jwk" --policy orphan.rego "$T/plain.safetensors" "$d/orphan.safetensors"
	cp "$A" "$BUILD/ct-agent" "$CT" "$ROOT/tests/standins/engine.py" "$ROOT"/tests/{peer,judge}.py "$d"
	cp "$T/a.jwk" "$d/s/k"
	chmod -R a+rX "$d"
	chown -R 12345 "$d/s" "$d/saw"
	chmod 600 "$d/s/k"
	printf 'allow-uid 12346\ndeny cgroup=/nowhere/at/all\n' >"$d/conf"
	cat >private.sh <<-'EOF'
		set -eu
		d=$1
		as() { setpriv --reuid "$1" --regid "$1" --clear-groups env PYTHONDONTWRITEBYTECODE=1 CT_AGENT_SOCK="$d/s/s" CT_AGENT_UID=12345 "${@:2}"; }
		mount -t proc -o hidepid=2 proc /proc
		if as 12346 test -e "/proc/$$"; then exit 1; fi # what is to be tested is there
		as 12345 "$d/ct-agent" -s "$d/s/s" -c "$d/conf" --policy-engine "exec:/usr/bin/python3 $d/engine.py $d/saw" >/dev/null
		trap 'as 12345 "$d/ct-agent" -k -s "$d/s/s"' EXIT
		as 12345 "$d/ct" add -q "$d/s/k"
		as 12345 "$d/ct" verify "$d/a.safetensors" "$d/orphan.safetensors"
		if kill -0 "$(cat "$d"/saw/*/orphan)"; then exit 1; fi
		as 12346 /usr/bin/python3 "$d/peer.py" open "$d/a.safetensors"
		as 12346 "$d/ct" policy explain --json "$d/a.safetensors" || echo "status $?"
		as 12345 "$d/ct" verify "$d/a.safetensors"
	EOF
	run -0 timeout 120 unshare -m bash private.sh "$d" 3>&-
	says '"disposition":"refuse"' "line 2 of the agent's configuration asks for the program's cgroup, which the agent cannot find out" 'status 1' '"input":{"peer":{"uid":12346,'
	[[ $output != *'"cgroup":'* && ${lines[-1]} == "$d/a.safetensors: ok" ]]
}

# removed: a copy of cat reads $A once its own file is gone; it waits at a pipe until then.
removed() {
	local job rc=0
	rm -f pipe prog
	mkfifo pipe
	cp "$(command -v cat)" prog
	shimmed ./prog pipe "$A" >out 2>err 3>&- &
	job=$!
	exec 7>pipe
	rm prog
	exec 7>&-
	wait "$job" || rc=$?
	cat err
	return "$rc"
}

# The kernel says "PATH (deleted)": a star would take that for a program, and a denied one would slip away under that name.
@test "a program whose file was removed: neither fits nor fails to fit what its path did" {
	local line
	for line in "deny exe=$PWD/prog" "deny exe=$PWD/p*" "ciphertext exe=$PWD/prog" $'allow exe='"$PWD"$'/*\ndeny'; do
		agent_with "$line"
		run ! removed
		says "line 1 of the agent's configuration asks for" "$PWD/prog (deleted) was removed or replaced since it started" || { echo "for $line"; return 1; }
		[ ! -s out ]
	done
	agent_with "deny exe=$CP"
	removed
	cmp out "$VIEW"
	# a name that looks like it
	agent_with "allow exe=\"$PWD/prog\"" "deny"
	cp "$(command -v cat)" "prog (deleted)"
	refused 1 "./prog (deleted)" "$A"
}

# A pid is used again by whoever comes next, who would answer for the one that asked.
@test "a process that has ended is nobody" {
	local conf so=$PWD/old.so old
	need gcc
	gcc -shared -fPIC -D_GNU_SOURCE -Wall -Werror -o "$so" -x c - <<-'EOF'
		#include <dlfcn.h>
		#include <errno.h>
		#include <sys/socket.h>
		int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
		{
			int (*next)(int, int, int, void *, socklen_t *) = (int (*)(int, int, int, void *, socklen_t *))dlsym(RTLD_NEXT, "getsockopt");
			if (name == 77) { /* SO_PEERPIDFD: as before Linux 6.5 */
				errno = ENOPROTOOPT;
				return -1;
			}
			return next(fd, level, name, value, len);
		}
	EOF
	for old in "" "${SANITIZE:+${PRELOAD% *}:}$so"; do
		for conf in "keep 1" "deny exe=/nowhere" "deny cgroup=/nowhere"; do
			ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=$old agent_with "$conf"
			run -0 python3 - "$A" <<-'EOF'
				import os, peer, sys, time
				raw, parent, s = peer.open_frame(sys.argv[1]), os.getpid(), peer.dial()
				s.sendall(raw[:100])
				peer.exchange(peer.frame({"v": 1, "op": "ping"}))  # answered: so ours was accepted
				if os.fork():
				    os._exit(0)
				while os.getppid() == parent:
				    time.sleep(0.01)
				s.sendall(raw[100:])
				got = b""
				while part := s.recv(1 << 16):
				    got += part
				print(got[8:].decode(errors="replace"))
			EOF
			case $conf in
			keep*) says "EKEYREJECTED" "has ended" ;;
			*) says '"disposition":"refuse"' "cannot find out" ;;
			esac || { echo "for $conf ($old)"; return 1; }
		done
	done
}

# The same with the number given to another program, which then stands where /proc is read.
@test "a process that took the number of one that has ended does not answer for it" {
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, to choose a process's number"
	local line other
	other=$(readlink -f "$(command -v sleep)")
	for line in "ciphertext exe=$other" "deny exe=$other" "allow exe=$other" "ciphertext cgroup=*"; do
		agent_with "$line" "deny"
		run timeout 60 python3 - "$A" "$other" <<-'EOF'
			import ctypes, errno, os, peer, signal, struct, sys, time
			libc = ctypes.CDLL(None, use_errno=True)
			raw, peers, s = peer.open_frame(sys.argv[1]), os.getpid(), peer.dial()
			s.sendall(raw[:100])
			peer.exchange(peer.frame({"v": 1, "op": "ping"}))  # answered: so ours was accepted
			if os.fork():
			    os._exit(0)
			number = (ctypes.c_int * 1)(peers)
			args = ctypes.create_string_buffer(struct.pack("<11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(number), 1, 0))
			while (pid := libc.syscall(435, args, 88)) < 0:  # clone3; EEXIST until it has ended and been waited for
			    if ctypes.get_errno() != errno.EEXIST:
			        sys.exit(77)
			    time.sleep(0.01)
			if pid == 0:
			    os.execv(sys.argv[2], ["sleep", "100"])
			assert pid == peers
			while os.readlink(f"/proc/{pid}/exe") != sys.argv[2]:
			    time.sleep(0.01)
			s.sendall(raw[100:])
			got = b""
			while part := s.recv(1 << 16):
			    got += part
			os.kill(pid, signal.SIGKILL)
			os.waitpid(pid, 0)
			print(got[8:].decode(errors="replace"))
		EOF
		[ "$status" != 77 ] || skip_or_fail "no process may choose its number here" || return
		[ "$status" = 0 ]
		case $line in
		deny*) says '"disposition":"refuse"' "line 2 of" ;;
		*) says '"disposition":"refuse"' "line 1 of the agent's configuration asks for" "cannot find out" ;;
		esac || { echo "for $line"; return 1; }
		[[ $output != *"$other"* ]]
	done
}

# A file's own policy is its publisher's word; the machine's rules only narrow it.
@test "a file whose policy says no stays refused, whatever the rules say" {
	agent_with "allow" "keep 1"
	"$CT" add -q "$(key_file aes256gcm.jwk)"
	asked "$VECTORS/policy_allow_TRUE.safetensors"
	says '"disposition":"refuse"' 'no policy engine'
	agent_with "ciphertext"
	"$CT" add -q "$(key_file aes256gcm.jwk)"
	asked "$VECTORS/policy_allow_TRUE.safetensors"
	says '"disposition":"refuse"' 'no policy engine'
}

# ct that took "ciphertext" for success would write an encrypted file and call it decrypted.
@test "ct decrypt and ct verify ask the agent as others do, and say what it says" {
	local ct
	ct=$(readlink -f "$CT")
	agent_with "ciphertext exe=\"$ct\""
	run -3 "$CT" decrypt "$A" out
	says "EKEYREJECTED" "gives ct ciphertext and no keys" "--keys"
	[ ! -e out ]
	run -1 "$CT" verify "$A"
	says "EKEYREJECTED" "gives ct ciphertext"
	"$CT" decrypt -q --keys "$T/a.jwk" "$A" out
	cmp out "$VIEW"
	rm out
	agent_with "deny exe=\"$ct\""
	run -3 "$CT" decrypt "$A" out
	says "EKEYREJECTED" "line 1 of the agent's configuration refuses the file to $ct"
	[ ! -e out ]
	agent_with "deny exe=$CP"
	"$CT" decrypt -q "$A" out
	cmp out "$VIEW"
}

# The operator's only view of what his rules do.
@test "status counts rules, and what they answered" {
	agent_with "ciphertext keys=b/*" "deny exe=$CP"
	asked "$A"
	asked "$B"
	asked "$B"
	run ! shimmed cp "$A" copy
	run -0 "${PEER[@]}" ask '{"v":1,"op":"status"}'
	says '"rules":2' '"opens":{"ciphertext":2,"failed":0,"refused":1,"served":1}'
	run -0 "$CT" status
	says "rules:     2" "1 served, 2 as ciphertext, 1 refused, 0 failed"
}

# A path is whatever a user calls his file: a line of it could look like another entry of the log.
@test "a hostile path is escaped in log and reason" {
	local evil=$PWD/$'x\nct-agent: open: serve\e[31m'
	cp "$(command -v cat)" "$evil"
	agent_with "deny exe=$PWD/*"
	refused 1 "$evil" "$A"
	[[ $stderr == *'/x\x0act-agent: open: serve\x1b[31m (uid'* ]]
	[ "$(grep -c '^ct-agent: open: serve' "$AGENT_DIR/log")" = 0 ]
	grep -F '/x\x0act-agent: open: serve\x1b[31m: line 1' "$AGENT_DIR/log"
}
