# Policies that the agent has judged by an engine behind docs/POLICY.md's interface (tests/standins/engine.py does what a policy tells it to), the
# operator's own policy, and the audit.

load helpers

# shellcheck disable=SC2164 # bats ends the test
setup() {
	cd "$BATS_TEST_TMPDIR"
	mkdir saw
	plain_model plain.safetensors 1000
	"$CT" keygen -q --kid-enc ke --kid-sign ks -o k.jwk
	"$CT" encrypt -q --keys k.jwk plain.safetensors default.safetensors
	ENGINE="exec:$(python3 -c 'import sys; print(sys.executable)') $ROOT/tests/standins/engine.py $PWD/saw"
}

# model NAME POLICY: NAME.safetensors under that policy.
model() {
	printf '%s\n' "$2" >"$1.rego"
	"$CT" encrypt -q --keys k.jwk --policy "$1.rego" plain.safetensors "$1.safetensors"
}

# with OPTIONS…: an agent with the engine and the keys.
# shellcheck disable=SC2034 # read by agent_start
with() {
	AGENT_OPTS=(--policy-engine "$ENGINE one two" "$@")
	agent_start "$PWD/k.jwk"
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
	chmod 666 own.rego
	echo "policy $PWD/own.rego" >conf
	run -3 "$BUILD/ct-agent" -f -s "$PWD/s" -c conf --policy-engine "$ENGINE"
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
@test "remote policies: carried by default, refused on request" {
	python3 - "$ROOT/tests" <<-'EOF'
		import base64, json, struct, sys
		sys.path.insert(0, sys.argv[1])
		import judge
		raw = open("default.safetensors", "rb").read()
		n, _, meta, tensors = judge.split(raw)
		meta["__policy__"] = judge.text({"local": judge.DEFAULT_POLICY, "remote": "package model\nallow = false"})
		key = [k for k in json.load(open("k.jwk"))["keys"] if k["kty"] == "okp"][0]
		meta["__signature__"] = base64.b64encode(judge.ed25519_sign(base64.b64decode(key["d"]), judge.signed_bytes(meta, tensors))).decode()
		head = judge.canonical(meta, tensors, ()).ljust(n)
		open("remote.safetensors", "wb").write(struct.pack("<Q", n) + head + raw[8 + n:])
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
}

# Who got which model's keys would be in no record, or a stranger's text would forge a line of it.
@test "audit: a line of JSON for each decision and each change of keys; no secret, no foreign control character" {
	"$CT" keygen -q --kid-enc $'k\u202e"\\' --kid-sign ks -o odd.jwk
	"$CT" encrypt -q --keys odd.jwk plain.safetensors odd.safetensors
	with --audit "$PWD/audit"
	model true "# true"
	model false "# false"
	"$CT" add -q odd.jwk
	cp "$CT" $'ct\n{"x'
	run -0 "$CT" verify default.safetensors true.safetensors odd.safetensors
	run -1 $'./ct\n{"x' verify false.safetensors
	python3 -c 'f = open("default.safetensors", "r+b"); b = f.read(); f.seek(0); f.write(b.replace(b"\"pt\"", b"\"pu\""))'
	run -1 "$CT" verify default.safetensors
	"$CT" remove -q 1
	[ "$(stat -c %a audit)" = 600 ]
	python3 - <<-'EOF'
		import base64, hashlib, json, os
		raw = open("audit").read()
		lines = [json.loads(x) for x in raw.splitlines()]
		assert [x["event"] for x in lines] == ["add", "add", "open", "open", "open", "open", "open", "remove"], lines
		opens = [x for x in lines if x["event"] == "open"]
		assert [x["verdict"] for x in opens] == ["serve", "serve", "serve", "refuse", "EBADMSG"], opens
		assert all(x["uid"] == os.getuid() and x["pid"] > 1 and x["exe"].startswith("/") and x["time"].endswith("Z") for x in opens)
		assert opens[2]["key_kid"] == 'k\u202e"\\' and "\u202e" not in raw
		assert opens[3]["exe"].endswith('ct\n{"x') and "says no" in opens[3]["reason"]
		assert opens[3]["policy_sha256"] == hashlib.sha256(open("false.rego", "rb").read()).hexdigest()
		assert opens[0]["set"] == 1 and opens[2]["set"] == 2 and "set" not in opens[4]
		for name in ("k.jwk", "odd.jwk"):
		    for k in json.load(open(name))["keys"]:
		        for part in ("k", "d"):
		            assert part not in k or (k[part] not in raw and base64.b64decode(k[part]).hex() not in raw)
	EOF
}

# A disk that is full would let opens go unrecorded where records are required; or stop service where they are not.
@test "audit: what cannot be written down is refused on request, and served otherwise" {
	[ "$(id -u)" = 0 ] || skip_or_fail "a full disk is made by mounting one: root"
	mkdir full
	mount -t tmpfs -o size=16k none full
	dd if=/dev/zero of=full/rest bs=4k count=8 2>/dev/null || true
	for how in "" --audit-required; do
		# shellcheck disable=SC2086 # an option or none
		with --audit "$PWD/full/audit" $how
		if [ -z "$how" ]; then
			run -0 "$CT" verify default.safetensors
		else
			run -1 "$CT" verify default.safetensors
			[[ $output == *"EKEYREJECTED: "*audit* ]]
			rm full/rest
			run -0 "$CT" verify default.safetensors
		fi
		agent_stop
	done
	umount full
}

# A log collector that stands still would be everybody's outage; or, where records are required, opens would go unrecorded.
@test "audit, log: a pipe that nobody reads stops nobody, and holds up opens only where records are required" {
	local how
	for how in "" --audit-required; do
		# the reading end stays open in here; it is full soon
		python3 - "$BUILD" "$CT" $how <<-'EOF'
			import fcntl, os, subprocess, sys, tempfile
			build, ct, required = sys.argv[1], sys.argv[2], sys.argv[3:]
			r, w = os.pipe()
			fcntl.fcntl(w, 1031, 8192)  # F_SETPIPE_SZ
			sock = tempfile.mkdtemp(prefix="ct", dir="/tmp") + "/s"
			env = dict(os.environ, CT_AGENT_SOCK=sock)
			agent = subprocess.Popen([build + "/ct-agent", "-f", "-s", sock, "--audit", "stderr"] + required, stderr=w, stdout=subprocess.PIPE)
			try:
			    assert b"pid" in agent.stdout.readline() + agent.stdout.readline()
			    add = subprocess.run([ct, "add", "-q", "k.jwk"], env=env, timeout=60)
			    assert add.returncode == 0
			    rcs = []
			    for _ in range(20):
			        run = subprocess.run([ct, "verify", "default.safetensors"], env=env, timeout=60, stdout=subprocess.PIPE, text=True)
			        rcs.append(run.returncode)
			    assert rcs[0] == 0 and rcs[-1] == (1 if required else 0), rcs
			    assert not required or "EKEYREJECTED: the agent's audit" in run.stdout, run.stdout
			    os.set_blocking(r, False)
			    assert len(os.read(r, 8192)) > 1000
			    run = subprocess.run([ct, "verify", "default.safetensors"], env=env, timeout=60)
			    assert run.returncode == 0
			    lines = os.read(r, 8192).decode().splitlines()
			    assert sum(x.startswith("{") and x.endswith("}") for x in lines) == 1, lines
			finally:
			    agent.kill()
			    agent.wait()
			    os.rmdir(os.path.dirname(sock)) if not os.listdir(os.path.dirname(sock)) else None
		EOF
	done
}

# The log daemon is started anew with every upgrade: from then on nothing would be recorded; or, where records are required, nothing served.
@test "audit: syslog, and a log daemon that comes back" {
	[ "$(id -u)" = 0 ] || skip_or_fail "/dev/log is made in a /dev of the test's own: root"
	mkdir dev
	cat >log.py <<-'EOF'
		import socket, sys
		s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		s.bind("/dev/log")
		open(sys.argv[1] + ".ready", "w").close()
		while True:
		    with open(sys.argv[1], "ab") as f:
		        f.write(s.recv(65536) + b"\n")
	EOF
	cat >private.sh <<-'EOF'
		set -eu
		for f in null zero urandom random; do
			: >"dev/$f"
			mount --bind "/dev/$f" "dev/$f"
		done
		mount --rbind dev /dev
		daemon() {
			rm -f /dev/log
			python3 log.py "$1" &
			log=$!
			until [ -e "$1.ready" ]; do sleep 0.02; done
		}
		daemon first
		CT_AGENT_SOCK=$(mktemp -d)/s
		export CT_AGENT_SOCK
		"$BUILD/ct-agent" -f -s "$CT_AGENT_SOCK" --audit syslog --audit-required >agent.log 2>&1 &
		agent=$!
		trap 'kill "$agent" "$log"' EXIT
		until [ -S "$CT_AGENT_SOCK" ]; do kill -0 "$agent"; sleep 0.02; done
		"$CT" add -q k.jwk
		"$CT" verify default.safetensors
		kill "$log"
		wait "$log" || :
		! "$CT" verify default.safetensors
		daemon second
		"$CT" verify default.safetensors
	EOF
	export BUILD CT
	run -0 timeout 120 unshare -m bash private.sh 3>&-
	[[ ${lines[1]} == "default.safetensors: EKEYREJECTED: "*audit* ]]
	grep -c '^<86>ct-agent: {.*"event":"open"' first | grep -qx 1
	grep -c '^<86>ct-agent: {.*"event":"open"' second | grep -qx 1
}
