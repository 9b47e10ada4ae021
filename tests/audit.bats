# The audit: what stands in it, what cannot be written, who holds it up. Policies are judged as in engine.bats.

load helpers
load engine

setup() {
	engine_setup
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

# Who owns the record of what was opened can rewrite it; a pipe or a device is none.
@test "audit: a file that is somebody else's, that others may write, or that is no file ends the agent at its start" {
	no() { # PATH REASON
		run -3 timeout 60 "$BUILD/ct-agent" -f -s "$PWD/s" --audit "$1"
		[[ $output == "ct-agent: "*"$2"* ]] || { printf '%s\n' "$output"; return 1; }
	}
	touch a
	chmod 660 a
	no "$PWD/a" "EKEYREJECTED: others may write $PWD/a (mode 0660)"
	chmod 600 a
	no a "EBADMSG: --audit takes"
	no /dev/null "EKEYREJECTED: /dev/null is not a regular file"
	mkfifo f
	no "$PWD/f" "ENXIO: "
	[ "$(id -u)" = 0 ] || skip_or_fail "a file of another user's: root"
	chown 12345 a
	no "$PWD/a" "EKEYREJECTED: $PWD/a belongs to uid 12345"
}

# A disk that is full would let opens go unrecorded where records are required, or stop service where they are not; and nobody would notice.
@test "audit: what cannot be written down is refused on request, and served otherwise" {
	[ "$(id -u)" = 0 ] || skip_or_fail "a full disk is made by mounting one: root"
	mkdir full
	mount -t tmpfs -o size=16k none full
	dd if=/dev/zero of=full/rest bs=4k count=8 2>/dev/null || true
	for how in "" --audit-required; do
		# shellcheck disable=SC2086 # an option or none
		with --audit "$PWD/full/audit" $how
		grep 'add by pid .*: its line of the audit is lost' "$AGENT_DIR/log"
		if [ -z "$how" ]; then
			run -0 "$CT" verify default.safetensors
			run -0 "$CT" status
			[[ $output == *"audit:     2 LINES LOST"* ]]
			run -0 "$CT" status --json
			[[ $output == *'"audit_lost":2,'* ]]
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
