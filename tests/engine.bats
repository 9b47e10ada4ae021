# Policies that the agent has judged by an engine behind docs/POLICY.md's interface (tests/standins/engine.py does what a policy tells it to), the
# operator's own policy.

load helpers
load engine

setup() {
	engine_setup
	ENGINE+=" one two"
}

alone() { # nobody of the engine's is there any more
	! pgrep -f "$PWD/saw" && local f
	for f in saw/*/orphan; do
		[ ! -e "$f" ] || ! kill -0 "$(cat "$f")" 2>/dev/null || return 1
	done
}

# A yes would be no yes, or a no a yes; or what the engine prints beside its verdict would count.
@test "true opens, everything else does not: false, undefined, two verdicts, stdout, status, signal, nothing, a flood" {
	local w
	with
	for w in true false undefined twice newline stdout nothing status dies floods late; do
		model "$w" "# $w"
	done
	run -0 "$CT" verify true.safetensors
	run -1 "$CT" verify false.safetensors
	[[ $output == *"EKEYREJECTED: its policy says no: "* ]]
	run -1 "$CT" verify undefined.safetensors
	[[ $output == *"EKEYREJECTED: "*undefined* ]]
	for w in twice newline stdout nothing status dies floods late; do
		run -1 "$CT" verify "$w.safetensors"
		[[ $output == "$w.safetensors: EKEYREJECTED: its policy cannot be judged: the policy engine "* ]]
		[ "${#lines[@]}" = 1 ]
	done
	alone
	run -0 "$CT" verify default.safetensors true.safetensors
}

# Whoever writes a policy would write to others' terminals and logs, forge a line of them, or speak as the agent; or nobody learns why a policy fails.
@test "what an engine says on stderr: its first line, escaped, quoted, cut; to its last word, from whoever ends how" {
	with --audit "$PWD/audit"
	local failed='w.safetensors: EKEYREJECTED: its policy cannot be judged: the policy engine failed with status 4'
	said() { # WORDS LITERAL: what ct says behind `saying`, for what is written to stderr
		rm -f w.safetensors
		model w "# words $2"
		run -1 "$CT" verify w.safetensors
		[ "$output" = "$failed, saying \"$1\"" ] || { printf '%s\n' "$output"; return 1; }
	}
	said 'it is wrong' 'b"it is wrong\nline 2\n"'
	said 'no line end' 'b"\n\nno line end"'
	said "a 'no', saying 'yes'" "b'a \"no\", saying \"yes\"'"
	said '\x1b[31m\x0d\u{202e}\xff\x00\\\\e' 'b"\x1b[31m\r\xe2\x80\xae\xff\x00\\\\e"'
	rm w.safetensors
	model w "# words b\"$(printf 'x%.0s' {1..5000})\""
	run -1 "$CT" verify w.safetensors
	[[ $output == "$failed, saying \"xxx"*'xxx..."' ]]
	[ "${#output}" -lt 450 ]
	rm w.safetensors
	model w '# words b""'
	run -1 "$CT" verify w.safetensors
	[ "$output" = "$failed: the policy is none that it understands, or it cannot run" ]
	model h "# holds"
	run -1 "$CT" verify h.safetensors
	[[ $output == *'status 1, saying "held"' ]]
	alone
	rm w.safetensors
	model w '# words b"why\x1b\n"'
	run -1 "$CT" verify w.safetensors
	run -1 "$CT" policy explain w.safetensors
	[[ $output == *'cannot be judged: the policy engine failed with status 4, saying "why\x1b"'$'\n'* ]]
	echo '{}' >input.json
	run -3 "$CT" policy test --policy-engine "$ENGINE" --input input.json w.safetensors
	[[ $output == *': the policy engine failed with status 4, saying "why\x1b"' ]]
	grep -F 'status 4, saying "why\x1b"' "$AGENT_DIR/log"
	run -0 tail -n 1 audit
	python3 -c 'import json, sys; assert json.loads(sys.argv[1])["reason"].endswith("saying \"why\\x1b\"")' "$output"
	run ! grep -aP '[\x00-\x09\x0b-\x1f\x7f]' audit "$AGENT_DIR/log"
}

# An engine that is told to say much would be late for its verdict, or fill something.
@test "an engine that shouts is heard to its end, and its verdict counts" {
	with
	model shouts "# shouts"
	run -0 "$CT" verify shouts.safetensors
	alone
}

# An engine that quotes the operator's policy, or names his files, would show them to everybody who may open files.
@test "what an engine says is for the agent's user and root: others get the reason without, log and audit have it" {
	[ "$(id -u)" = 0 ] || skip_or_fail "takes two users: root"
	need setpriv
	echo 'allow-uid 12345' >conf
	chmod 600 conf
	with -c "$PWD/conf" --audit "$PWD/audit"
	model w '# words b"/opt/secret"'
	mkdir "$AGENT_DIR/x"
	cp "$CT" w.safetensors "$AGENT_DIR/x"
	chmod -R go+rX "$AGENT_DIR"
	run -1 "$AGENT_DIR/x/ct" verify "$AGENT_DIR/x/w.safetensors"
	[[ $output == *', saying "/opt/secret"' ]]
	for how in verify "policy explain --json"; do
		# shellcheck disable=SC2086 # words
		run -1 setpriv --reuid 12345 --regid 12345 --clear-groups "$AGENT_DIR/x/ct" $how "$AGENT_DIR/x/w.safetensors"
		[[ $output == *'cannot be judged: the policy engine failed with status 4'* && $output != *secret* && $output != *saying* ]]
	done
	grep -c '"uid":12345.*' audit | grep -qx 2
	run ! grep -v secret <<<"$(grep '"uid":12345' audit)"
	grep 'uid 12345.*: its policy cannot be judged: .*secret' "$AGENT_DIR/log"
}

# A runaway would hold a processor for ever; what it started in another session would stay on the machine.
@test "a policy that never ends is refused, and nothing of a run is left, not in other sessions either" {
	local w
	with
	for w in loop orphan forks; do
		model "$w" "# $w"
	done
	run -1 "$CT" verify loop.safetensors
	[[ $output == *"EKEYREJECTED: "*"no verdict within 2 s"* ]]
	run -0 "$CT" verify orphan.safetensors forks.safetensors
	ls saw/*/orphan
	alone
}

# A policy as long as a header may be would be copied for each question, beyond what the agent holds of others' bytes.
@test "a policy of more than 1 MiB is not asked about, one of 1 MiB is" {
	local n
	with
	model true "# true"
	for n in 1048576 1048577; do
		python3 - "$ROOT/tests" "$n" <<-'EOF'
			import base64, json, struct, sys
			sys.path.insert(0, sys.argv[1])
			import judge
			raw = open("true.safetensors", "rb").read()
			n, _, meta, tensors = judge.split(raw)
			meta["__policy__"] = judge.text({"local": "# true\n".ljust(int(sys.argv[2])), "remote": judge.DEFAULT_POLICY})
			key = [k for k in json.load(open("k.jwk"))["keys"] if k["kty"] == "okp"][0]
			meta["__signature__"] = base64.b64encode(judge.ed25519_sign(base64.b64decode(key["d"]), judge.signed_bytes(meta, tensors))).decode()
			head = judge.canonical(meta, tensors, ())
			head += b" " * (-len(head) % 8)
			open(f"{sys.argv[2]}.safetensors", "wb").write(struct.pack("<Q", len(head)) + head + raw[8 + n:])
		EOF
	done
	run -0 "$CT" verify 1048576.safetensors
	run -1 "$CT" verify 1048577.safetensors
	[[ $output == *"EKEYREJECTED: its policy cannot be judged: it is longer than 1048576 bytes" ]]
}

# One slow policy would be everybody's outage.
@test "others are served while an engine thinks, more of them than it has slots; all get their answer" {
	local i pids=()
	with
	model wait "# wait"
	for i in 1 2 3 4 5 6 7 8 9 10 11; do
		"$CT" verify wait.safetensors >"out.$i" 3>&- &
		pids+=($!)
	done
	for ((i = 0; i < 500; i++)); do
		[ ! -e saw/waiting ] || break
		sleep 0.02
	done
	[ -e saw/waiting ]
	run -0 "$CT" verify default.safetensors
	kill -0 "${pids[@]}"
	touch saw/go
	for i in "${!pids[@]}"; do
		wait "${pids[i]}" || grep 'no verdict' "out.$((i + 1))" # a slow machine: the 2 s are the engine's
	done
	alone
}

# waiting_for N: until that many questions are with the engine.
waiting_for() {
	local i
	for ((i = 0; i < 1500; i++)); do
		[ "$(find saw -name facts.json | wc -l)" -lt "$1" ] || return 0
		sleep 0.02
	done
	return 1
}

# Who locks the agent would see it hand out keys afterwards.
@test "a locked agent serves nobody, not those either whose policy is with the engine" {
	with
	model wait "# wait"
	"$CT" verify wait.safetensors >out 2>&1 &
	local pid=$! rc=0
	waiting_for 1
	echo secret | setsid "$CT" lock
	touch saw/go
	wait "$pid" || rc=$?
	[ "$rc" = 1 ]
	grep "ENOKEY: .*locked" out
	echo secret | setsid "$CT" unlock
	run -0 "$CT" verify wait.safetensors default.safetensors
}

# systemctl stop signals every process of a unit: the agent would end with a failure, and every policy that is being judged with it.
@test "signals that are meant for the agent do not end the process that starts engines" {
	local sig launcher
	with
	launcher=$(pgrep -x -P "$AGENT_PID" ct-launcher)
	model true "# true"
	for sig in TERM HUP INT QUIT; do
		kill -s "$sig" "$launcher"
	done
	run -0 "$CT" verify true.safetensors default.safetensors
	agent_stop
	run ! kill -0 "$launcher"
}

# An agent that is killed would leave what a policy has started, in another session, to run for ever.
@test "an agent that is killed leaves nobody of an engine's" {
	local i
	with
	model loop "# loop"
	"$CT" verify loop.safetensors >out 2>&1 &
	local pid=$!
	for ((i = 0; i < 1500; i++)); do
		[ -z "$(cat saw/*/orphan 2>/dev/null)" ] || break
		sleep 0.02
	done
	kill -KILL "$AGENT_PID"
	wait "$pid" || true
	for ((i = 0; i < 1500; i++)); do
		! alone || break
		sleep 0.02
	done
	alone
	AGENT_PID=''
}

# Who asks and goes, again and again, would keep every place for questions; and the audit would tell of decisions that nobody was told.
@test "who hangs up while his policy is being judged gives the question up; who only stops sending does not" {
	local i pid rc=0
	with --audit "$PWD/audit"
	model wait "# wait"
	"$CT" verify wait.safetensors >out 2>&1 &
	pid=$!
	waiting_for 1
	kill -KILL "$pid"
	wait "$pid" || true
	for ((i = 0; i < 1500; i++)); do
		! grep -q "pid $pid uid .*: gone before its policy was judged" "$AGENT_DIR/log" || break
		sleep 0.02
	done
	grep "pid $pid uid .*: gone before its policy was judged" "$AGENT_DIR/log"
	for ((i = 0; i < 1500; i++)); do
		! alone || break
		sleep 0.02
	done
	alone
	run ! grep '"event":"open"' audit
	python3 "$ROOT/tests/peer.py" open wait.safetensors >out & # shuts one way down behind its request
	pid=$!
	waiting_for 2
	touch saw/go
	wait "$pid"
	grep '"disposition":"\(serve\|refuse\)"' out # refuse: a slow machine
	grep -c '"event":"open"' audit | grep -qx 1
	run -0 "$CT" verify default.safetensors
}

# Who came later would be served first, for as long as more come.
@test "questions that wait for a place get it in the order in which they came" {
	with
	model wait "# wait"
	local i
	for i in {0..5}; do
		model "w$i" "# wait $i"
	done
	# An idle connection for each of the late ones: it leaves its place in the agent's table to the next that comes.
	python3 - "$ROOT/tests" <<-'EOF'
		import pathlib, sys
		sys.path.insert(0, sys.argv[1])
		import peer
		ping = peer.frame({"v": 1, "op": "ping"})
		idle = []
		for _ in range(6):
		    idle.append(peer.dial())
		    peer.exchange(ping)  # it has its place
		first = [peer.dial() for _ in range(8)]
		for s in first:
		    s.sendall(peer.open_frame("wait.safetensors"))
		    peer.exchange(ping)
		late = []
		for i in range(6):
		    idle.pop().close()  # the last in the table first
		    peer.exchange(ping)
		    late.append(peer.dial())
		    late[-1].sendall(peer.open_frame(f"w{i}.safetensors"))
		    peer.exchange(ping)
		pathlib.Path("saw/go").touch()
		for s in first + late:
		    s.settimeout(60)
		    assert s.recv(8)
	EOF
	python3 - <<-'EOF'
		import json, pathlib
		seen = []
		for f in pathlib.Path("saw").iterdir():
		    try:
		        seen.append((json.loads((f / "facts.json").read_text())["order"], (f / "policy").read_bytes().split()[2:]))
		    except (OSError, ValueError):
		        pass  # no folder, or ended before it could say more: a slow machine
		late = [int(w[0]) for _, w in sorted(seen) if w]
		assert late == sorted(late) and len(late) >= 2, late
	EOF
}

@test "when the process that starts engines is killed, what needs one is refused, with the reason, and the rest is served" {
	local i pid rc=0 ended='cannot be judged: the process that starts the policy engine has ended'
	with
	model true "# true"
	model wait "# wait"
	"$CT" verify wait.safetensors >out 2>&1 &
	pid=$!
	waiting_for 1
	run -0 "$CT" status --json
	[[ $output == *'"policy_engine":"ready"'* ]]
	run -0 "$CT" status
	[[ $output != *policies* ]]
	pkill -KILL -x -P "$AGENT_PID" ct-launcher
	touch saw/go
	wait "$pid" || rc=$?
	for ((i = 0; i < 1500; i++)); do
		[[ $("$CT" status --json) != *'"policy_engine":"ready"'* ]] || { sleep 0.02; continue; }
		break
	done
	run -1 "$CT" verify true.safetensors
	[ "$output" = "true.safetensors: EKEYREJECTED: its policy $ended" ]
	run -0 "$CT" verify default.safetensors
	run -1 "$CT" policy explain true.safetensors
	[[ $output == *"its policy:            error"* ]]
	run -0 "$CT" status --json
	[[ $output == *'"policy_engine":"ended"'* ]]
	run -0 "$CT" status
	[[ $output == *"THE POLICY ENGINE HAS ENDED"*"anew"* ]]
	grep -c 'the process that starts the policy engine has ended: ' "$AGENT_DIR/log"
	[ "$rc" = 0 ] || grep "$ended" out # it was with its supervisor, which lives on
	alone
	agent_stop
	: >own.rego
	echo "policy $PWD/own.rego" >conf
	chmod 600 conf own.rego
	with -c "$PWD/conf"
	pkill -KILL -x -P "$AGENT_PID" ct-launcher
	run -1 "$CT" verify default.safetensors
	[[ $output == *"EKEYREJECTED: the operator's policy $ended" ]]
	agent_stop
	with
	pkill -STOP -x -P "$AGENT_PID" ct-launcher
	"$CT" verify true.safetensors >out 2>&1 &
	pid=$!
	for ((i = 0; i < 1500; i++)); do
		[ "$(find "/proc/$AGENT_PID/fd" -lname 'pipe:*' | wc -l)" = 0 ] || break # its question has been sent
		sleep 0.02
	done
	pkill -KILL -x -P "$AGENT_PID" ct-launcher
	rc=0
	wait "$pid" || rc=$?
	[ "$rc" = 1 ]
	grep "$ended" out
}

# The kernel ends a process when memory is short. Each would take a place for questions with it, and with the last one no policy is judged any more.
@test "a supervisor that is killed is an error for who asked, and its place comes back" {
	local n rc pids=() launcher
	with
	launcher=$(pgrep -x -P "$AGENT_PID" ct-launcher)
	model wait "# wait"
	model true "# true"
	for n in 1 2 3 4 5 6 7 8; do
		"$CT" verify wait.safetensors >"out.$n" 2>&1 &
		pids+=($!)
		waiting_for "$n"
		pkill -KILL -P "$launcher"
	done
	for n in "${!pids[@]}"; do
		rc=0
		wait "${pids[n]}" || rc=$?
		[ "$rc" = 1 ]
		grep "EKEYREJECTED: .*no verdict" "out.$((n + 1))"
	done
	run -0 "$CT" verify true.safetensors
}

# An engine that could see more than it must, be told what to do by the environment, or change the policy that others judge.
@test "an engine has its arguments, two variables, five descriptors, and a policy that it cannot change" {
	export LD_AUDIT='' SECRET=1
	with
	model true "# true é"
	run -0 "$CT" verify true.safetensors
	python3 - <<-'EOF'
		import glob, json
		[f] = glob.glob("saw/*/facts.json")
		f = json.load(open(f))
		assert f["argv"] == ["one", "two"] and f["cwd"] == "/" and f["out"] == "/dev/null" and f["pgid"] and not f["policy_writable"]
		assert set(f["env"]) - {"LC_CTYPE"} == {"PATH", "LANG"}, f["env"]  # Python's own
		assert f["fds"] == [0, 1, 2, 3, 4], f["fds"]
		[p] = glob.glob("saw/*/policy")
		assert open(p).read() == open("true.rego").read()
	EOF
}

# A policy would judge by what the peer says of itself, or by facts that are wrong.
@test "the input is what docs/POLICY.md says: peer, file, time, host, the operator's attributes" {
	printf 'environment "prod \xc3\xa9"\nattribute site berlin\nattribute tier-1 "a b"\nattribute odd "a\\"\\*"\n' >conf
	chmod 600 conf
	with -c "$PWD/conf"
	model true "# true"
	run -0 "$CT" verify true.safetensors
	python3 - "$CT" <<-'EOF'
		import datetime, glob, hashlib, json, os, socket, struct, sys, time
		[p] = glob.glob("saw/*/input.json")
		text = open(p).read()
		assert "\\u" not in text and "\\/" not in text
		i = json.loads(text)
		assert set(i) <= {"peer", "file", "time", "host", "machine_id", "environment", "attributes"}, i
		peer = i["peer"]
		assert peer["uid"] == os.getuid() and peer["gid"] == os.getgid() and sorted(peer["groups"]) == sorted(os.getgroups())
		assert peer["exe"] == os.path.realpath(sys.argv[1]) and peer["pid"] > 1
		raw = open("true.safetensors", "rb").read()
		n = struct.unpack("<Q", raw[:8])[0]
		assert i["file"] == {"signer_kid": "ks", "key_kid": "ke", "tensors": 4, "sha256": hashlib.sha256(raw[:8 + n]).hexdigest()}
		t = i["time"]
		assert abs(t["ns"] / 1e9 - time.time()) < 300 and t["seconds"] == t["ns"] // 10**9
		u = datetime.datetime.fromtimestamp(t["seconds"], datetime.timezone.utc)
		assert t["rfc3339"] == u.strftime("%Y-%m-%dT%H:%M:%S+00:00") and t["weekday"] == u.isoweekday() % 7
		assert [t[k] for k in ("year", "month", "day", "hour", "minute", "second")] == list(u.timetuple())[:6]
		assert i["host"] == socket.gethostname()
		if os.path.exists("/etc/machine-id"):
		    assert i["machine_id"] == open("/etc/machine-id").read().strip()
		assert i["environment"] == "prod \u00e9" and i["attributes"] == {"site": "berlin", "tier-1": "a b", "odd": 'a"*'}
	EOF
}

# Who has the keys in hand would not learn which command opens the file, or open it past its policy.
@test "with --keys no policy but the default is taken for true, and the message names the way that works" {
	model true "# true"
	local how="EKEYREJECTED: its policy is not the default one, and with --keys nobody judges it: without --keys the agent does"
	run -1 "$CT" verify --keys k.jwk true.safetensors
	[[ $output == "true.safetensors: $how"* ]]
	run -3 "$CT" decrypt --keys k.jwk true.safetensors out.safetensors
	[[ $output == "ct: true.safetensors: $how"* ]]
	[ ! -e out.safetensors ]
	with
	run -0 "$CT" verify true.safetensors
	run -0 "$CT" decrypt -q true.safetensors out.safetensors
	cmp <(tail -c 1000 out.safetensors) <(tail -c 1000 plain.safetensors)
}

# The operator's no would be overruled by a publisher's yes, or the other way round.
@test "the operator's own policy and the file's must both allow" {
	printf '# expect\ninput["file"]["tensors"] == 4\n' >own.rego
	chmod 600 own.rego
	echo "policy $PWD/own.rego" >conf
	chmod 600 conf
	with -c "$PWD/conf"
	model true "# true"
	model false "# false"
	run -0 "$CT" verify default.safetensors true.safetensors
	run -1 "$CT" verify false.safetensors
	[[ $output == *"EKEYREJECTED: its policy says no"* ]]
	agent_stop
	printf '# expect\ninput["file"]["tensors"] == 5\n' >own.rego
	with -c "$PWD/conf"
	for f in default true; do
		run -1 "$CT" verify "$f.safetensors"
		[[ $output == *"EKEYREJECTED: the operator's policy says no"* ]]
	done
}

# Whoever writes the file decides who gets keys; a line that is not understood would be a rule that does not hold.
@test "settings that cannot hold end the agent at its start, with the line" {
	: >own.rego
	local line
	for line in "policy own.rego" "policy $PWD/nothing" "remote maybe" "attribute a" "attribute a/b c" "environment"; do
		echo "$line" >conf
		chmod 600 conf
		run -3 "$BUILD/ct-agent" -f -s "$PWD/s" -c conf --policy-engine "$ENGINE"
		[[ $output == "ct-agent: EBADMSG: conf:1: "* ]]
	done
	printf 'attribute a b\nattribute a c\n' >conf
	run -3 "$BUILD/ct-agent" -f -s "$PWD/s" -c conf --policy-engine "$ENGINE"
	[[ $output == *"conf:2: "*already* ]]
	refuses() { # of a policy's line
		run -3 "$BUILD/ct-agent" -f -s "$PWD/s" -c conf --policy-engine "$ENGINE"
		[ "$output" = "ct-agent: EBADMSG: conf:1: $1" ] || { printf '%s\n' "$output"; return 1; }
	}
	echo "policy own.rego" >conf
	refuses "policy takes the absolute path of a file"
	echo "policy $PWD/nothing" >conf
	refuses "$PWD/nothing: No such file or directory"
	echo "policy $PWD" >conf
	refuses "$PWD is not a regular file"
	echo "policy $PWD/own.rego" >conf
	chmod 666 own.rego
	refuses "others may write $PWD/own.rego (mode 0666): chmod go-w $PWD/own.rego"
	chmod 600 own.rego
	printf 'a\0b' >own.rego
	refuses "policy: a NUL byte in the file"
	truncate -s 1048577 own.rego
	refuses "$PWD/own.rego has more than 1048576 bytes"
	: >own.rego
	if [ -z "$SANITIZE" ]; then
		preload none <<<'#include <errno.h>
			#include <stddef.h>
			char *strndup(const char *s, size_t n) { (void)s; (void)n; errno = ENOMEM; return NULL; }'
		LD_PRELOAD=$PWD/none.so refuses "no memory"
	fi
	chmod 600 own.rego
	run -3 "$BUILD/ct-agent" -f -s "$PWD/s" -c conf
	[[ $output == *"--policy-engine"* ]]
	run -3 "$BUILD/ct-agent" -f -s "$PWD/s" --policy-engine "exec:python3 x"
	[[ $output == *"absolute path"* ]]
	run -3 "$BUILD/ct-agent" -f -s "$PWD/s" --policy-engine "exec:/nonexistent x"
	[[ $output == *ENOENT* ]]
	run -3 "$BUILD/ct-agent" -f -s "$PWD/s" --policy-engine "/bin/true"
	[[ $output == *"exec:PROGRAM"* ]]
}

# A file that is meant to be judged elsewhere, too, would be served by who was told not to.
@test "remote policies: carried by default, refused or judged on request" {
	model no "# false"
	python3 - "$ROOT/tests" <<-'EOF'
		import base64, json, struct, sys
		sys.path.insert(0, sys.argv[1])
		import judge
		key = [k for k in json.load(open("k.jwk"))["keys"] if k["kty"] == "okp"][0]
		for name, local, remote in (("remote", None, "# false\npackage model\nallow = false"), ("yes", None, "# true"), ("maybe", None, "# undefined"),
		                            ("dead", None, "# dies"), ("no", "# false\n", "# true")):
		    raw = open("no.safetensors" if local else "default.safetensors", "rb").read()
		    n, _, meta, tensors = judge.split(raw)
		    meta["__policy__"] = judge.text({"local": local or judge.DEFAULT_POLICY, "remote": remote})
		    meta["__signature__"] = base64.b64encode(judge.ed25519_sign(base64.b64decode(key["d"]), judge.signed_bytes(meta, tensors))).decode()
		    head = judge.canonical(meta, tensors, ()).ljust(n)
		    open(f"{name}.safetensors", "wb").write(struct.pack("<Q", n) + head + raw[8 + n:])
	EOF
	with --audit "$PWD/audit"
	run -0 "$CT" verify remote.safetensors
	grep -q '"remote_policy":true' audit
	agent_stop
	echo 'remote refuse' >conf
	chmod 600 conf
	with -c "$PWD/conf"
	run -0 "$CT" verify default.safetensors
	run -1 "$CT" verify remote.safetensors
	[[ $output == *"EKEYREJECTED: "*remote* ]]
	agent_stop
	with --remote refuse
	run -1 "$CT" verify remote.safetensors
	[[ $output == *"EKEYREJECTED: "*remote* ]]
	agent_stop
	with
	run -0 "$CT" policy explain remote.safetensors
	[[ $output == *"its remote policy:     ignored"* ]]
	agent_stop
	with --remote "$ENGINE judge of remote ones"
	run -0 "$CT" verify default.safetensors yes.safetensors
	run -1 "$CT" verify remote.safetensors
	[[ $output == *"EKEYREJECTED: its remote policy says no: "* ]]
	run -1 "$CT" verify maybe.safetensors
	[[ $output == *"EKEYREJECTED: its remote policy says no (data.model.allow is undefined)"* ]]
	run -1 "$CT" verify dead.safetensors
	[[ $output == *"EKEYREJECTED: its remote policy cannot be judged: "* ]]
	run -1 "$CT" verify no.safetensors
	[[ $output == *"EKEYREJECTED: its policy says no: "* ]]
	grep -q '"of", "remote", "ones"' saw/*/facts.json
	run -1 "$CT" policy explain remote.safetensors
	[[ $output == *"its policy:            default"*"its remote policy:     false"* ]]
	pkill -KILL -x -P "$AGENT_PID" ct-launcher
	run -1 "$CT" verify yes.safetensors
	[[ $output == *"EKEYREJECTED: its remote policy cannot be judged: the process that starts the policy engine has ended" ]]
	run -0 "$CT" verify default.safetensors
	run -3 "$BUILD/ct-agent" -f -s "$PWD/s" --remote nonsense
}

# The example that others start from would take a yes from what is no Rego, or leave a file behind for each policy that is killed.
@test "policies/opa-engine.sh: verdicts, errors, what is no Rego; nothing left in /tmp by one that was killed" {
	mkdir opa
	printf '#!/bin/sh\nexec %s %s "$@"\n' "$(python3 -c 'import sys; print(sys.executable)')" "$ROOT/tests/standins/opa.py" >opa/opa
	chmod +x opa/opa
	ENGINE="exec:$ROOT/policies/opa-engine.sh $PWD/opa/opa /capabilities.json"
	judged() { # NAME POLICY STATUS WHAT
		model "$1" "$2"
		run "-$3" "$CT" verify "$1.safetensors"
		[[ $output == *"$4"* ]] || { printf '%s\n' "$output"; return 1; }
	}
	AGENT_OPTS=(--policy-engine "$ENGINE")
	agent_start "$PWD/k.jwk"
	judged true $'package model\n# true' 0 ''
	judged false $'package model\n# false' 1 'its policy says no: '
	judged undefined $'package model\n# undefined' 1 'undefined'
	judged other $'package model\n# other' 1 'status 5'
	judged two $'package model\n# two' 1 'status 5'
	judged error $'package model\n# error' 1 'status 5'
	judged yaml $'model: {allow: true}\n# true' 1 'status 4, saying "1 error occurred: 1:1: rego_parse_error: package expected"'
	judged loop $'package model\n# loop' 1 'no verdict within 2 s'
	run ! pgrep -f "$ROOT/tests/standins/opa.py"
	local left
	left=$(find /tmp -maxdepth 1 -name 'ct-opa.*' | wc -l)
	[ "$left" = 0 ]
}
