# The keeper: the process of an agent that holds the master keys, and nothing else. The judges are root's eyes on the memory of both processes (scan.py), peer.py's own
# unwrapping, and the kernel's word on who lives.

load helpers

setup_file() {
	export PYTHONPATH=$ROOT/tests F=$BATS_FILE_TMPDIR
	plain_model "$F/plain.safetensors"
	"$CT" keygen -q --kid-enc master --kid-sign signer -o "$F/keys.jwk"
	"$CT" encrypt -q --keys "$F/keys.jwk" "$F/plain.safetensors" "$F/model.safetensors"
}

setup() {
	PEER=(python3 "$ROOT/tests/peer.py")
	T=$BATS_TEST_TMPDIR
	cd "$T"
	LEFT=()
}

# A failed test's own processes end with it.
teardown() {
	local p
	exec 8>&- || true
	for p in "${LEFT[@]}"; do
		kill -CONT "$p" 2>/dev/null || true
		kill -9 "$p" 2>/dev/null || true
	done
	agent_stop
}

ask() { # ask JSON [BLOBFILE]: the reply's JSON
	"${PEER[@]}" ask "$@"
}

scan() {
	python3 "$ROOT/tests/scan.py" "$F/keys.jwk" "$@"
}

gone() { # gone PID: within 30 s
	local i
	for ((i = 0; i < 600; i++)); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.05
	done
	return 1
}

# many N: a model of N tensors, N.safetensors
many() {
	python3 - "$1" <<-'EOF'
		import struct, sys
		n = int(sys.argv[1])
		h = ('{' + ','.join('"t%d":{"dtype":"F32","shape":[2,2],"data_offsets":[%d,%d]}' % (i, 16 * i, 16 * i + 16) for i in range(n)) + '}').encode()
		open("plain", "wb").write(struct.pack("<Q", len(h)) + h + bytes(16 * n))
	EOF
	"$CT" encrypt -q --force --keys "$F/keys.jwk" plain "$1.safetensors"
}

# adder NAME KEYS: a client that sends half of an add and the rest when NAME.go is there; its answer in NAME
adder() {
	python3 - "$@" <<-'EOF' 3>&- &
		import os, peer, sys, time
		name, keys = sys.argv[1:]
		raw = peer.frame({"v": 1, "op": "add"}, open(keys, "rb").read())
		s = peer.dial()
		s.settimeout(60)
		s.sendall(raw[:-100])
		open(name + ".half", "w").close()
		while not os.path.exists(name + ".go"):
		    time.sleep(0.02)
		try:
		    s.sendall(raw[-100:])
		except BrokenPipeError: # refused meanwhile
		    pass
		got = b""
		while part := s.recv(65536):
		    got += part
		open(name + ".new", "wb").write(got[8:])
		os.rename(name + ".new", name)
	EOF
	LEFT+=($!)
	appears "$1.half"
}

appears() { # appears FILE: within 30 s
	local i
	for ((i = 0; i < 600; i++)); do
		[ -e "$1" ] && return
		sleep 0.05
	done
	return 1
}

# The claim. Root's own eyes see what any bug of the serving process could give away; without memfd_secret they must find the key in the keeper, or the scan sees nothing.
# Not with a sanitizer: its shadow is terabytes.
# bats test_tags=plain-build
@test "the process that serves has no master key in its memory; the keeper has it where root cannot read it" {
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, who reads every memory"
	need gcore gdb
	local keeper way
	for way in hidden plain; do
		AGENT_VIA=()
		[ $way = hidden ] || AGENT_VIA=("$PROBES/refuse" memfd_secret --)
		agent_start "$F/keys.jwk"
		keeper=$(keeper)
		run -0 ask '{"v":1,"op":"status"}'
		says "\"keeper\":$keeper"
		if [ $way = plain ]; then
			says '"memory_hidden":"EOPNOTSUPP"'
		elif python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(447, 0) < 0)'; then # memfd_secret
			says '"memory_hidden":true'
		else
			skip_or_fail "this kernel has no memfd_secret"
		fi
		run -0 "${PEER[@]}" open "$F/model.safetensors" "$F/keys.jwk"
		gcore -o core "$AGENT_PID" >/dev/null 2>&1
		gcore -o core "$keeper" >/dev/null 2>&1
		run -0 scan "$AGENT_PID" "core.$AGENT_PID" "core.$keeper"
		says "scanned "
		[ ${#lines[@]} = 1 ]
		run -0 scan "$keeper"
		if [ $way = hidden ]; then
			says "scanned "
			[ ${#lines[@]} = 1 ]
		else
			says "master raw 1"
		fi
		agent_stop
	done
}

# A key that the serving process has forgotten and the keeper has not is a key too many.
@test "a set that expires is gone from the keeper, whatever the serving process does" {
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, who reads every memory"
	local keeper k i
	k=$(jq -r '.keys[] | select(.kty == "oct").k' "$F/keys.jwk" | base64 -d | od -An -tx1 | tr -d ' \n')
	AGENT_VIA=("$PROBES/refuse" memfd_secret --)
	agent_start
	keeper=$(keeper)
	run -0 ask '{"v":1,"op":"add","lifetime":2}' "$F/keys.jwk"
	kill -STOP "$AGENT_PID"
	[ "$("${PEER[@]}" search "$keeper" "$k")" = found ]
	for ((i = 0; i < 150; i++)); do
		[ "$("${PEER[@]}" search "$keeper" "$k")" = found ] || break
		sleep 0.2
	done
	kill -CONT "$AGENT_PID"
	[ "$("${PEER[@]}" search "$keeper" "$k")" = gone ]
	run -0 ask '{"v":1,"op":"list"}'
	says '"sets":0'
}

# The keeper reads a stranger's bytes at that stranger's speed; everybody's data keys come from the same process.
@test "adders that stop in the middle hold up neither opens nor each other" {
	local n
	agent_start "$F/keys.jwk"
	for n in a b c d; do
		adder $n "$F/keys.jwk"
	done
	for ((n = 0; n < 3; n++)); do
		run -0 timeout 8 "${PEER[@]}" open "$F/model.safetensors" "$F/keys.jwk"
		says serve
	done
	# a fifth gets the place of one that hangs up, of which nothing stays
	"$CT" keygen -q -o e.jwk
	"$CT" add -q e.jwk &
	kill -9 "${LEFT[0]}"
	wait $!
	"$CT" keygen -q -o f.jwk
	touch f.go
	adder f f.jwk
	appears f
	grep '"ok":true,"set":3' f
	run -0 ask '{"v":1,"op":"list"}'
	says '"sets":3'
	# those whose time is over are closed by both processes, and their places come back
	run -0 timeout 60 python3 - <<-'EOF'
		import peer
		all = [peer.dial() for _ in range(4)]
		for s in all:
		    s.settimeout(50)
		    s.sendall(peer.frame({"v": 1, "op": "add"}, b"x" * 99)[:-1])
		print([s.recv(9) for s in all])
	EOF
	says "[b'', b'', b'', b'']"
	run -0 "$CT" add -q e.jwk
}

# ct add twice at the same moment must not leave two sets, of which one is removed and the other forgotten.
@test "the same set from several adders at once is one set" {
	local n
	agent_start
	for n in a b c d; do
		adder $n "$F/keys.jwk"
	done
	touch {a,b,c,d}.go
	for n in a b c d; do
		appears $n
		grep '"set":1' $n
	done
	run -0 ask '{"v":1,"op":"list"}'
	says '"sets":1'
	head -c 50 "$F/keys.jwk" >short
	run -0 ask '{"v":1,"op":"add"}' short
	says '"error":"EBADMSG"'
	run -0 "${PEER[@]}" open "$F/model.safetensors" "$F/keys.jwk"
}

# A blob that is shorter than its frame says; and lock must hold for an add that is under way.
@test "an add that is cut short or locked out adds nothing" {
	agent_start
	printf secret >pass
	run -0 python3 - "$F/keys.jwk" <<-'EOF'
		import peer, sys
		raw = peer.frame({"v": 1, "op": "add"}, open(sys.argv[1], "rb").read())
		print(peer.exchange(raw[:-1]))
	EOF
	says ENODATA "cut short"
	adder a "$F/keys.jwk"
	run -0 ask '{"v":1,"op":"lock"}' pass
	touch a.go
	appears a
	grep '"error":"EPERM"' a
	run -0 ask '{"v":1,"op":"unlock"}' pass
	run -0 ask '{"v":1,"op":"list"}'
	says '"sets":0'
}

# Keys that are gone are better said than found out; and a keeper that outlives its agent is a process full of keys that nobody knows of.
@test "keeper and serving process end with each other; signals that are meant for the agent do not end the keeper" {
	local keeper sig rc=0
	agent_start "$F/keys.jwk"
	keeper=$(keeper)
	for sig in TERM HUP INT QUIT; do
		kill -s $sig "$keeper"
	done
	run -0 "${PEER[@]}" open "$F/model.safetensors" "$F/keys.jwk"
	kill -9 "$keeper"
	wait "$AGENT_PID" || rc=$?
	[ $rc = 3 ]
	grep "EPIPE: the process that keeps the keys has ended, and they are gone with it" "$AGENT_DIR/log"
	[ ! -e "$CT_AGENT_SOCK" ]
	rm -r "$AGENT_DIR"
	unset AGENT_PID AGENT_DIR

	agent_start "$F/keys.jwk"
	keeper=$(keeper)
	adder a "$F/keys.jwk"
	kill -9 "$AGENT_PID"
	gone "$keeper"
	rm -r "$AGENT_DIR"
	unset AGENT_PID AGENT_DIR

	agent_start "$F/keys.jwk"
	keeper=$(keeper)
	agent_stop
	run ! kill -0 "$keeper"
}

# Data keys go through messages of 512: one that is lost, doubled or in the wrong place shows only in files that take several.
@test "files of 511 to 100,000 data keys get the right ones; the one that is wrong is named" {
	local n
	agent_start "$F/keys.jwk"
	for n in 511 512 513 1024 1025 100000; do
		many $n
		run -0 "${PEER[@]}" open $n.safetensors "$F/keys.jwk"
		says serve
	done
	python3 - "$F/keys.jwk" <<-'EOF'
		import base64, json, judge, peer, struct
		raw = open("1025.safetensors", "rb").read()
		n, head, meta, tensors = judge.split(raw)
		e = json.loads(meta["__encryption__"])
		key = bytearray(base64.b64decode(e["t700"]["wrapped_key"]))
		key[0] ^= 1
		e["t700"]["wrapped_key"] = base64.b64encode(key).decode()
		whole = json.loads(raw[8:8 + n])
		whole["__metadata__"]["__encryption__"] = json.dumps(e, separators=(",", ":"))
		h = json.dumps(whole, separators=(",", ":")).encode()
		open("changed", "wb").write(struct.pack("<Q", len(h)) + h + raw[8 + n:])
	EOF
	"${PEER[@]}" resign changed wrong.safetensors "$F/keys.jwk" signer
	run -0 "${PEER[@]}" open wrong.safetensors
	says '"error":"EBADMSG"' 'the data key of \"t700\" does not unwrap' 'the master key \"master\" is another one'
}
