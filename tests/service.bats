# ct-agent as a service: SIGHUP, systemd's socket and messages (by tests/standins/manager.py; systemd-analyze, systemd-socket-activate), and what programs
# notice of an agent that is started anew.

load helpers

setup_file() {
	export PYTHONPATH=$ROOT/tests M=$VECTORS/aes256gcm_v2_c16.safetensors KEYS=$VECTORS/keys/aes256gcm.jwk
}

setup() {
	PEER=(python3 "$ROOT/tests/peer.py")
	MANAGER=(python3 "$ROOT/tests/standins/manager.py")
	JOBS=()
	cd "$BATS_TEST_TMPDIR"
}

teardown() {
	local j
	for j in "${JOBS[@]}"; do
		kill "$j" 2>/dev/null || true
	done
	[ -z "${DIR-}" ] || { "$BUILD/ct-agent" -k -s "$DIR/s" 2>/dev/null || true; rm -rf "$DIR"; }
	agent_stop
}

ask() {
	"${PEER[@]}" ask "$@"
}

until_() { # until_ CMD…: within 30 s it is true
	local i
	for ((i = 0; i < 300; i++)); do
		"$@" && return
		sleep 0.1
	done
	echo "never: $*"
	return 1
}

# conf LINE…: the configuration
conf() {
	printf '%s\n' "$@" >conf
}

reloads() { # how often the log says so, with that word
	grep -c "ct-agent: reload: $1" "$AGENT_DIR/log"
}

# hup WORD: SIGHUP, and the log has one more "reload: WORD"
hup() {
	local before
	before=$(reloads "$1" || true)
	kill -HUP "$AGENT_PID"
	until_ more_reloads "$1" "$before"
}

more_reloads() {
	[ "$(reloads "$1")" -gt "$2" ]
}

# with OPTIONS…: an agent with ./conf and the keys of M
with() {
	AGENT_OPTS=(-c conf --audit "$PWD/audit" "$@")
	agent_start
	ask '{"v":1,"op":"add"}' "$KEYS"
}

# --- SIGHUP ---

# A rule that is changed in a hurry must hold from now on, without the keys being lost.
@test "SIGHUP: rules, keep, allow-uid, attributes are the new ones; keys stay; the audit says who" {
	conf 'keep 7'
	with
	run -0 "${PEER[@]}" open "$M" "$KEYS"
	says '"keep_s":7'
	conf 'keep 9' 'allow-uid 12345' 'attribute site lab'
	hup "done"
	run -0 "${PEER[@]}" open "$M" "$KEYS"
	says '"keep_s":9'
	[ "$(stat -c %a "$CT_AGENT_SOCK")" = 666 ]
	run -0 "$CT" policy explain --json "$M"
	[ "$(jq -r .input.attributes.site <<<"$output")" = lab ]
	conf 'deny'
	hup "done"
	run -0 "${PEER[@]}" open "$M"
	says '"disposition":"refuse"' 'line 1'
	[ "$(stat -c %a "$CT_AGENT_SOCK")" = 600 ]
	run -0 "$CT" policy explain --json "$M" || true
	rm conf
	hup 'the configuration of before stays in force: '
	run -0 "${PEER[@]}" open "$M"
	says '"disposition":"refuse"'
	run -0 jq -c 'select(.event == "reload") | [.verdict, .uid, .pid > 0, (.reason | test("No such file"))]' audit
	[ "$output" = "[\"done\",$(id -u),true,false]
[\"done\",$(id -u),true,false]
[\"failed\",$(id -u),true,true]" ]
}

# Half of a configuration is none that anybody wrote.
@test "SIGHUP: a fault anywhere leaves all of the old one in force, and the line says where" {
	conf 'keep 7' 'deny exe=/nobody'
	with
	local bad
	mkfifo fifo
	for bad in 'keep x' 'allow cp' "policy $PWD/none" "policy $BASH" 'token pkcs11:token=a;object=b?module-path=/x.so verify=/y'; do
		conf 'keep 8' 'deny' "$bad"
		hup 'the configuration of before stays in force: '
		run -0 tail -n 1 "$AGENT_DIR/log"
		says "reload: the configuration of before stays in force: "
		run -0 "${PEER[@]}" open "$M" "$KEYS"
		says '"keep_s":7'
	done
	says '"keep_s":7'
	grep -q 'stays in force: .*/conf:3: keep takes' "$AGENT_DIR/log"
	grep -q 'stays in force: token lines cannot change' "$AGENT_DIR/log"
	printf 'package model\nallow = true\n' >p.rego
	conf "policy $PWD/p.rego"
	hup 'the configuration of before stays in force: '
	grep -q 'stays in force: .*takes a --policy-engine' "$AGENT_DIR/log"
	conf 'keep 8'
	chmod 666 conf
	hup 'the configuration of before stays in force: '
	grep -q 'chmod go-w' "$AGENT_DIR/log"
	rm conf
	mv fifo conf
	hup 'the configuration of before stays in force: '
	run -0 "${PEER[@]}" open "$M" "$KEYS"
	says '"keep_s":7'
	run -0 ask '{"v":1,"op":"status"}'
	says '"rules":1'
}

# The old policy's yes would open the file after its owner had closed it; freed text would be worse.
@test "SIGHUP: what is with the engine is judged anew, by the new configuration" {
	local n job
	mkdir saw
	printf '# wait\n' >old.rego
	printf '# false\n' >new.rego
	for n in 1 2 3 4 5; do # on a machine that is so slow that the engine's 2 s are over before the signal came
		rm -f saw/waiting saw/go
		conf "policy $PWD/old.rego" 'environment old'
		with --policy-engine "exec:$(python3 -c 'import sys; print(sys.executable)') $ROOT/tests/standins/engine.py $PWD/saw"
		"${PEER[@]}" open "$M" >out 3>&- &
		job=$!
		until_ test -e saw/waiting
		conf "policy $PWD/new.rego" 'environment new'
		hup "done"
		touch saw/go
		wait "$job"
		agent_stop
		grep -q 'no verdict within' out || break
	done
	run -0 cat out
	says '"disposition":"refuse"' "the operator's policy says no"
	run -0 jq -r .environment saw/*/input.json
	says old new
}

# A hangup used to end it: whoever closes his terminal, or runs logrotate's habitual kill -HUP, must find what the text says.
@test "SIGHUP without a configuration changes nothing; the end of its terminal ends an agent in the foreground, but for nohup" {
	agent_start "$KEYS"
	kill -HUP "$AGENT_PID"
	run -0 "${PEER[@]}" open "$M" "$KEYS"
	agent_stop
	run -0 python3 - "$BUILD/ct-agent" "$PWD" <<-'EOT'
		import os, pty, signal, subprocess, sys, time
		def alive(pid):
		    return os.waitpid(pid, os.WNOHANG) == (0, 0)
		def until(what):
		    for _ in range(300):
		        if what(): return True
		        time.sleep(0.1)
		    return False
		agent, folder = sys.argv[1:]
		for ignored in (False, True):
		    sock = f"{folder}/s{ignored:d}"
		    pid, master = pty.fork()
		    if pid == 0:
		        if ignored: signal.signal(signal.SIGHUP, signal.SIG_IGN)
		        os.execv(agent, [agent, "-f", "-s", sock])
		    assert until(lambda: os.path.exists(sock) and b"stop it" in os.read(master, 4096))
		    os.kill(pid, signal.SIGHUP)
		    time.sleep(0.5)
		    assert alive(pid), "a signal that was only a signal"
		    os.close(master)
		    if ignored:
		        time.sleep(0.5)
		        assert alive(pid), "nohup"
		        os.kill(pid, signal.SIGTERM)
		        os.waitpid(pid, 0)
		    else:
		        assert until(lambda: not alive(pid)), "the terminal has gone"
		    assert not os.path.exists(sock)
	EOT
}

# --- systemd ---

# managed OPTIONS… -- CMD…: manager.py in the background, in DIR (short: a socket's path is in it); sets JOB
managed() {
	DIR=$(mktemp -d /tmp/ctXXXXXX)
	export CT_AGENT_SOCK=$DIR/s
	"${MANAGER[@]}" "$DIR" "$@" >log 2>&1 3>&- &
	JOB=$!
	JOBS+=("$JOB")
}

told() { # told WORD N: N messages begin with it
	[ "$(grep -c "^[0-9]* $1" "$DIR/told" 2>/dev/null)" = "$2" ]
}

pid_of_agent() {
	ask '{"v":1,"op":"status"}' | jq .pid
}

# What systemd is not told it gives up after 90 s; what it is told by another process it does not believe.
@test "systemd: the socket that it passes is served; ready, reloading, stopping are told; the socket stays, and serves the next" {
	conf 'keep 7'
	managed -- "$BUILD/ct-agent" -f -c "$PWD/conf"
	touch "$DIR/again"
	local agent
	until_ test -S "$DIR/s"
	agent=$(pid_of_agent)
	until_ told READY=1 1
	ask '{"v":1,"op":"add"}' "$KEYS"
	run -0 "${PEER[@]}" open "$M" "$KEYS"
	says '"keep_s":7'
	[ ! -e "$DIR/s.lock" ]
	run -0 "$CT" status
	says "agent $agent at $DIR/s" # whom ct-agent -k would signal: never the one who bound the socket
	conf 'keep 8'
	kill -HUP "$agent"
	until_ told READY=1 2
	run -0 sed -n 2p "$DIR/told"
	[[ $output =~ ^$agent\ RELOADING=1\ MONOTONIC_USEC=([0-9]+)$ ]]
	[ "${BASH_REMATCH[1]}" -le "$(python3 -c 'import time; print(time.monotonic_ns() // 1000)')" ]
	[ "${BASH_REMATCH[1]}" -gt "$(python3 -c 'import time; print(time.monotonic_ns() // 1000 - 60000000)')" ]
	kill "$agent"
	until_ told STOPPING=1 1
	until_ test ! -e "/proc/$agent"
	[ -S "$DIR/s" ]
	run -0 "${PEER[@]}" open "$M" # starts the next
	says '"error":"ENOKEY"'
	[ "$(pid_of_agent)" != "$agent" ]
	run ! grep -v "^$agent " <(head -n 4 "$DIR/told")
	rm "$DIR/again"
	run -0 "$BUILD/ct-agent" -k
	wait "$JOB"
	[ -S "$DIR/s" ]
}

# Distributions differ in the address; an abstract one has no NUL at its end, a path has.
@test "systemd: messages to an abstract address; what the agent starts is told nothing of all this" {
	printf '#!/bin/sh\nenv >"%s/env"\nexit 0\n' "$PWD" >askpass
	chmod +x askpass
	CT_ASKPASS=$PWD/askpass managed --notify "@ct-test-$$" -- "$BUILD/ct-agent" -f
	until_ told READY=1 1
	"$CT" add -q -c "$(key_file "$KEYS")"
	run -0 "${PEER[@]}" open "$M" "$KEYS"
	grep -q SSH_ASKPASS_PROMPT env
	run ! grep -E '^(LISTEN_|NOTIFY_)' env
	run -0 "$BUILD/ct-agent" -k
	wait "$JOB"
	told STOPPING=1 1
}

# A descriptor that is something else would be served as if it were ours, or make the agent spin.
@test "systemd: what is no listening stream socket of a path is refused, what is for another process is left" {
	local o
	for o in '--type dgram' '--type tcp' '--type bound' '--fds 2'; do
		# shellcheck disable=SC2086
		managed $o -- "$BUILD/ct-agent" -f
		run wait_status "$JOB"
		run -0 cat log
		[[ $output == "ct-agent: EKEYREJECTED: the socket that was passed on "* || $output == "ct-agent: EBADMSG: LISTEN_FDS: one socket "* ]]
		rm -rf "$DIR"
	done
	managed -- "$BUILD/ct-agent" -f -s "$PWD/own"
	until_ grep -q 'are two' log
	rm -rf "$DIR"
	managed --pid 1 -- "$BUILD/ct-agent" -f -s "$PWD/own"
	until_ test -S own
	CT_AGENT_SOCK=$PWD/own run -0 ask '{"v":1,"op":"ping"}'
	until_ sockets_of "$(CT_AGENT_SOCK=$PWD/own pid_of_agent)" 4 # its own, to keeper and errands, to NOTIFY_SOCKET
	run -0 "$BUILD/ct-agent" -k -s "$PWD/own"
	rm -rf "$DIR"
	run -3 env NOTIFY_SOCKET=relative "$BUILD/ct-agent" -f -s "$PWD/own"
	says "NOTIFY_SOCKET"
}

sockets_of() { # sockets_of PID N: it has that many, once it has closed the connection that asked for its pid
	[ "$(find "/proc/$1/fd" -lname 'socket:*' | wc -l)" = "$2" ]
}

wait_status() {
	until_ test ! -e "/proc/$1"
}

# Our stand-in and our code could agree on something that systemd does not do.
@test "systemd: systemd-socket-activate starts it; systemd-analyze finds nothing wrong with the units" {
	need systemd-socket-activate systemd-analyze
	DIR=$(mktemp -d /tmp/ctXXXXXX)
	export CT_AGENT_SOCK=$DIR/s
	systemd-socket-activate -l "$DIR/s" "$BUILD/ct-agent" -f >log 2>&1 3>&- &
	JOBS+=($!)
	until_ test -S "$DIR/s"
	"$CT" add -q "$(key_file "$KEYS")"
	run -0 "${PEER[@]}" open "$M" "$KEYS"
	[ "$(pid_of_agent)" = "${JOBS[0]}" ]
	run -0 "$BUILD/ct-agent" -k
	wait "${JOBS[0]}"
	mkdir -p p run
	make -s -C "$ROOT" BUILD="$BUILD" SANITIZE="$SANITIZE" DESTDIR="$PWD/p" PREFIX=/usr install
	sed -i "s|=/usr/bin/|=$PWD/p/usr/bin/|" p/usr/lib/systemd/*/ct-agent.service
	local kind
	for kind in system user; do
		XDG_RUNTIME_DIR=$PWD/run SYSTEMD_UNIT_PATH=$PWD/p/usr/lib/systemd/$kind: run -0 systemd-analyze --"$kind" verify \
			"$PWD/p/usr/lib/systemd/$kind/ct-agent.service" "$PWD/p/usr/lib/systemd/$kind/ct-agent.socket"
		[ -z "$output" ]
	done
	grep -q "^ExecStart=$PWD/p/usr/bin/ct-agent -f" p/usr/lib/systemd/user/ct-agent.service
	test -e p/usr/lib/systemd/system/ct-agent.service.d/system.conf
}

# A filter that is too narrow takes from the agent what it would take from itself, and ends every policy engine: seen in ct status at best.
@test "systemd: the unit's filter has all system calls that agent and policy engine make" {
	need systemd-analyze strace
	AGENT_VIA=(strace -D -f -qq -o "$PWD/trace")
	AGENT_OPTS=(--policy-engine "exec:$BUILD/ct-policy-rego --librego $BUILD/standins/librego.so" --audit "$PWD/audit")
	agent_start "$KEYS"
	printf 'package model\ndo := `nothing`\n' >p.rego
	"$CT" keygen -q -o k.jwk
	plain_model plain.safetensors
	"$CT" encrypt -q --keys k.jwk --policy p.rego plain.safetensors asks.safetensors
	"$CT" add -q k.jwk
	run -0 "$CT" verify asks.safetensors
	run -0 "${PEER[@]}" open "$M" "$KEYS"
	run -0 "$CT" status --json
	agent_stop
	python3 - "$ROOT/systemd/ct-agent.service" <<-'EOF'
		import re, subprocess, sys
		def members(name):
		    if not name.startswith("@"):
		        return {name}
		    out = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
		    words = [w.strip() for w in out.splitlines()[1:]]
		    return set().union(*(members(w) for w in words if w and not w.startswith("#")))
		names = re.search(r"^SystemCallFilter=(.*)$", open(sys.argv[1]).read(), re.M)[1].split()
		allowed = set().union(*map(members, ["@default", *names]))
		made = set(re.findall(r"^\d+ +(\w+)\(", open("trace").read(), re.M))
		print(sorted(made))
		assert {"landlock_restrict_self", "seccomp", "execve"} <= made
		assert made <= allowed, made - allowed
	EOF
}

# --- an agent that is started anew ---

models() { # a and b, encrypted; view: what programs see
	plain_model plain.safetensors 8000000
	"$CT" keygen -q -o k.jwk
	local n
	for n in a b c; do
		"$CT" encrypt -q --keys k.jwk --chunk-size 65536 plain.safetensors "$n.safetensors"
	done
	"$CT" decrypt -q --keys k.jwk a.safetensors view
}

refused_more_than() { # refused_more_than N: opens, in the agent's log
	[ "$(grep -c 'open: ENOKEY to pid' "$AGENT_DIR/log")" -gt "$1" ]
}

# again: the agent ends, and another starts at the same place without keys
again() {
	local dir=$AGENT_DIR
	kill "$AGENT_PID"
	wait "$AGENT_PID"
	"$BUILD/ct-agent" -f -s "$CT_AGENT_SOCK" >>"$dir/log" 2>&1 3>&- &
	AGENT_PID=$!
	until_ test -S "$CT_AGENT_SOCK"
}

# A server that dies of an update of its agent is one that nobody updates.
@test "restart: files that are open, mappings, forks go on without an agent and with the next; new opens ask that" {
	models
	agent_start "$PWD/k.jwk"
	cat >host.py <<-'EOT'
		import errno, hashlib, mmap, os, sys
		view = open("view", "rb").read()
		def step(name):
		    print(name, flush=True)
		    assert sys.stdin.readline().strip() == name
		f = open("a.safetensors", "rb")
		m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
		half = len(view) // 2
		assert f.read(1000) == view[:1000] and m[:1000] == view[:1000]
		step("gone")
		assert f.read() == view[1000:] and m[half:half + 500000] == view[half:half + 500000]
		if os.fork() == 0:
		    os._exit(0 if m[:] == view and os.pread(f.fileno(), 5000, half) == view[half:half + 5000] else 1)
		assert os.wait()[1] == 0
		assert open("a.safetensors", "rb").read() == view # a view that is there asks nobody
		try:
		    open("b.safetensors", "rb").read()
		    sys.exit("an open without an agent")
		except OSError as e:
		    assert e.errno == errno.ENOKEY, e
		step("back")
		assert m[:] == view
		assert open("b.safetensors", "rb").read() == view
		step("end")
	EOT
	mkfifo to
	shimmed python3 host.py <to >from 2>err 3>&- &
	JOBS+=($!)
	exec 7>to
	until_ grep -q gone from
	local dir=$AGENT_DIR
	kill "$AGENT_PID"
	wait "$AGENT_PID"
	echo gone >&7
	until_ grep -q back from
	"$BUILD/ct-agent" -f -s "$CT_AGENT_SOCK" >>"$dir/log" 2>&1 3>&- 7>&- &
	AGENT_PID=$!
	until_ test -S "$CT_AGENT_SOCK"
	"$CT" add -q k.jwk
	echo back >&7
	until_ grep -q end from
	echo end >&7
	exec 7>&-
	wait "${JOBS[0]}"
	run -0 ask '{"v":1,"op":"status"}'
	says '"served":1'
}

# The agent is up before its keys are: a program that opens between the two must not fail where it was told to wait.
@test "restart: with CT_AGENT_WAIT an open waits for the agent and for its first keys; without, it does not" {
	models
	agent_start "$PWD/k.jwk"
	again
	run -1 shimmed cat a.safetensors
	says "ENOKEY: the agent has no keys"
	kill "$AGENT_PID"
	wait "$AGENT_PID"
	CT_AGENT_WAIT=60 shimmed cat a.safetensors >out 2>err 3>&- &
	JOBS+=($!)
	local job=$!
	sleep 0.5
	"$BUILD/ct-agent" -f -s "$CT_AGENT_SOCK" >>"$AGENT_DIR/log" 2>&1 3>&- &
	AGENT_PID=$!
	until_ refused_more_than 1
	kill -0 "$job"
	"$CT" add -q k.jwk
	wait "$job"
	cmp out view
	# keys that are for other files are no reason to wait
	"$CT" remove -q --all
	"$CT" add -q "$(key_file "$KEYS")"
	local start=$SECONDS
	CT_AGENT_WAIT=60 run -1 shimmed cat a.safetensors
	says ENOKEY
	[ $((SECONDS - start)) -lt 50 ]
}
