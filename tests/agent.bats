# ct-agent by its protocol and its options. peer.py speaks to it; judge.py says what the data keys are.

load helpers

setup_file() {
	export PYTHONPATH=$ROOT/tests M=$VECTORS/aes256gcm_v2_c16.safetensors
}

setup() {
	PEER=(python3 "$ROOT/tests/peer.py")
	T=$BATS_TEST_TMPDIR
	DIRS=()
}

# What a failed test leaves in the background ends here, too.
teardown() {
	local s
	while IFS= read -r -d '' s; do
		as "$(stat -c %u "$s")" "$BUILD/ct-agent" -k -s "$s" || true
	done < <([ ${#DIRS[@]} = 0 ] || find "${DIRS[@]}" -type s -print0)
	[ ${#DIRS[@]} = 0 ] || rm -rf "${DIRS[@]}"
	agent_stop
}

# short_dir: sets DIR, a folder whose name leaves room for a socket's
short_dir() {
	DIR=$(mktemp -d /tmp/ctXXXXXX)
	DIRS+=("$DIR")
}

ask() { # ask JSON [BLOBFILE]: the reply's JSON
	"${PEER[@]}" ask "$@"
}

add() { # add KEYS-IN-VECTORS
	ask '{"v":1,"op":"add"}' "$VECTORS/keys/$1"
}

# root_needed WHY: must stand in the test itself: inside run() a skip would skip nothing.
root_needed() {
	need setpriv
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, $1"
}

# as UID CMD…: as another user; the programs are copied to where he may run them.
as() {
	if [ "$1" = "$(id -u)" ]; then
		"${@:2}"
		return
	fi
	setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"
}

kill_9() { # the agent, without a chance to clean up; its folder stays
	DIRS+=("$AGENT_DIR")
	kill -9 "$AGENT_PID"
	wait "$AGENT_PID" || true
	unset AGENT_PID
}

gone() { # gone PID: within 5 s
	local i
	for ((i = 0; i < 100; i++)); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.05
	done
	return 1
}

# Another implementation follows the document, not the code: the example in it must be true.
@test "the frame that docs/PROTOCOL.md shows is a ping" {
	agent_start
	run -0 "${PEER[@]}" hex "$(sed -n '/^13 00 00 00/p' "$ROOT/docs/PROTOCOL.md")"
	[ "$output" = '{"ok":true,"v":1}' ]
}

# A shim of next year must hear that it is too new, not something that it misreads.
@test "other versions, unknown operations and malformed requests are named" {
	agent_start
	run -0 ask '{"v":2,"op":"ping"}'
	says '"error":"EPROTO"' '"versions":[1]'
	run -0 ask '{"v":1,"op":"frobnicate"}'
	says '"error":"EPROTO"'
	local bad
	for bad in '{"v":1,"op":"ping","v":1}' '{"op":"ping"}' '{"v":"1","op":"ping"}' '{"v":1}' '[1]' '{"v":1,"op":"ping"} x' '{"v":1,"op":"open"}' \
		'{"v":1,"op":"open","size":-1}' '{"v":1,"op":"remove"}' '{"v":1,"op":"remove","set":1,"all":true}' '{"v":1,"op":"add"}'; do
		run -0 ask "$bad"
		says '"error":"EINVAL"' || { echo "for $bad"; return 1; }
	done
	run -0 ask '{"v":1,"op":"ping","novel":{"x":[1]}}'
	says '"ok":true'
}

# Lengths are the first thing that a hostile peer plays with.
@test "frames over their limits are refused, cut ones are dropped, and the agent lives on" {
	agent_start
	local f
	for f in '00 00 00 00 00 00 00 00' '01 00 01 00 00 00 00 00' 'ff ff ff ff ff ff ff ff' '13 00 00 00 09 e1 f5 05'; do
		run -0 "${PEER[@]}" hex "$f"
		says '"error":"EINVAL"' || { echo "for $f"; return 1; }
	done
	# a blob for an operation that takes none
	run -0 "${PEER[@]}" hex '13 00 00 00 01 00 00 00 7b 22 76 22 3a 31 2c 22 6f 70 22 3a 22 70 69 6e 67 22 7d 00'
	says '"error":"EINVAL"'
	for f in '' '13' '13 00 00 00 00 00 00 00 7b'; do
		run -0 "${PEER[@]}" hex "$f"
		[ "$output" = closed ]
	done
	run -0 ask '{"v":1,"op":"ping"}'
	says '"ok":true'
}

# The data keys in another order, or of another length, would be found by no check but this.
@test "open gives the data keys that an independent reader unwraps" {
	agent_start
	local alg f
	for alg in aes128gcm aes256gcm chacha20poly1305; do
		add "$alg.jwk"
		for f in v1_cdefault v2_c16 v2_cdefault; do
			run -0 "${PEER[@]}" open "$VECTORS/${alg}_$f.safetensors" "$VECTORS/keys/$alg.jwk"
			says '"disposition":"serve","keep_s":60'
		done
		ask '{"v":1,"op":"remove","all":true}'
	done
	add rfc7517/aes256gcm.jwk
	run -0 "${PEER[@]}" open "$VECTORS/all_dtypes.safetensors" "$VECTORS/keys/aes256gcm.jwk"
}

# Every file of the vectors: the agent's answer is the manifest's, as far as a header can tell.
@test "each vector's header gets its verdict" {
	agent_start
	run -0 python3 - "$VECTORS" <<-'EOF'
		import json, os, sys, peer, judge
		wrong = seen = 0
		V = sys.argv[1]
		for f in json.load(open(V + "/manifest.json"))["files"]:
		    path = V + "/" + f["file"]
		    raw = open(path, "rb").read()
		    if f.get("plain") or len(raw) < 9 or 8 + int.from_bytes(raw[:8], "little") > len(raw):
		        continue
		    peer.exchange(peer.frame({"v": 1, "op": "remove", "all": True}))
		    peer.exchange(peer.frame({"v": 1, "op": "add"}, open(V + "/" + f["keys"]["file"], "rb").read()))
		    reply, _ = peer.exchange(peer.open_frame(path))
		    got = reply.get("error") or reply["disposition"]
		    want = {None: "serve", "EIO": "serve", "EKEYREJECTED": "refuse"}.get(f["errno"], f["errno"])
		    if want in ("serve", "refuse"):
		        meta = judge.split(raw)[2]
		        local = json.loads(meta["__policy__"])
		        local = local["local"] if isinstance(local, dict) else local[0]
		        want = "serve" if local.strip(" \t\r\n") == judge.DEFAULT_POLICY else "refuse"
		    seen += 1
		    if got != want:
		        wrong += 1
		        print(f["file"], "got", got, "not", want, reply.get("reason"), "|", f["why"])
		print(seen, "seen")
		sys.exit(wrong > 0 or seen < 180)
	EOF
}

# What people read when it does not work.
@test "no keys, other keys, changed header, policy: each is named with its errno" {
	agent_start
	run -0 "${PEER[@]}" open "$M"
	says '"error":"ENOKEY"' 'ct add'
	add new-aes256gcm.jwk
	run -0 "${PEER[@]}" open "$M"
	says '"error":"ENOKEY"'
	says '\"ek\"'
	add aes256gcm.jwk
	run -0 "${PEER[@]}" open "$VECTORS/wrong_master_key.safetensors"
	says '"error":"EBADMSG"'
	run -0 "${PEER[@]}" open "$VECTORS/stranger_same_kids.safetensors"
	says '"error":"EBADMSG"' 'signature'
	run -0 "${PEER[@]}" open "$VECTORS/policy_allow_TRUE.safetensors"
	says '"disposition":"refuse"' 'no policy engine'
	python3 - "$M" "$T/plain" <<-'EOF'
		import sys
		h = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}   '
		open(sys.argv[2], "wb").write(len(h).to_bytes(8, "little") + h + b"x")
	EOF
	run -0 "${PEER[@]}" open "$T/plain"
	says '"error":"EBADMSG"' 'not encrypted'
}

# Without the rule, whoever may add a key could sign another publisher's header anew, under a softer policy.
@test "a header signed by a key of another set than its master key's is refused" {
	agent_start
	"${PEER[@]}" resign "$M" "$T/own" "$VECTORS/keys/aes256gcm.jwk" sk
	"${PEER[@]}" resign "$M" "$T/foreign" "$VECTORS/keys/new-aes256gcm.jwk" sk2
	add aes256gcm.jwk
	run -0 "${PEER[@]}" open "$T/own" "$VECTORS/keys/aes256gcm.jwk"
	run -0 "${PEER[@]}" open "$T/foreign"
	says '"error":"ENOKEY"'
	add new-aes256gcm.jwk
	run -0 "${PEER[@]}" open "$T/foreign"
	says '"error":"EKEYREJECTED"' 'another key set'
	# under the same key id, from a set that came first and has no master key
	ask '{"v":1,"op":"remove","all":true}'
	sed -n 's/"sk2"/"sk"/; /okp/,/}/p' "$VECTORS/keys/new-aes256gcm.jwk" | sed '1s/^/{/; s/^ *}.*/}/' >"$T/signer"
	"${PEER[@]}" resign "$M" "$T/same-kid" <(printf '{"keys":[%s]}' "$(cat "$T/signer")") sk
	run -0 ask '{"v":1,"op":"add"}' "$T/signer"
	says '"keys":1'
	add aes256gcm.jwk
	run -0 "${PEER[@]}" open "$T/same-kid"
	says '"error":"EKEYREJECTED"'
	run -0 "${PEER[@]}" open "$M" "$VECTORS/keys/aes256gcm.jwk"
	# the same two keys, added together, trust each other
	ask '{"v":1,"op":"remove","all":true}'
	add two-aes256gcm.jwk
	run -0 "${PEER[@]}" open "$T/foreign" "$VECTORS/keys/aes256gcm.jwk"
}

# Two publishers who both call their keys ek and sk must not shut each other out.
@test "with equal key ids every set is tried" {
	agent_start
	sed 's/"kid": "ek2"/"kid": "ek"/; s/"kid": "sk2"/"kid": "sk"/' "$VECTORS/keys/new-aes256gcm.jwk" >"$T/same"
	"${PEER[@]}" resign "$M" "$T/file" "$T/same" sk # our master key, the other's signature
	python3 - "$T/same" "$VECTORS/keys/aes256gcm.jwk" "$T/mixed" <<-'EOF'
		import json, sys
		a, b = (json.load(open(p))["keys"] for p in sys.argv[1:3])
		json.dump({"keys": [k for k in a if k["kty"] == "okp"] + [k for k in b if k["kty"] == "oct"]}, open(sys.argv[3], "w"))
	EOF
	ask '{"v":1,"op":"add"}' "$T/same"
	run -0 "${PEER[@]}" open "$M"
	says '"error":"EBADMSG"'
	add aes256gcm.jwk
	run -0 "${PEER[@]}" open "$M" "$VECTORS/keys/aes256gcm.jwk"
	run -0 "${PEER[@]}" open "$T/file" # the first set made the signature, but its master key does not fit
	says '"error":"EBADMSG"'
	ask '{"v":1,"op":"add"}' "$T/mixed"
	run -0 "${PEER[@]}" open "$T/file" "$VECTORS/keys/aes256gcm.jwk"
}

# ct add, twice by mistake, must not pile sets up; remove must hit the right one.
@test "add, list, remove" {
	agent_start
	run -0 add aes256gcm.jwk
	says '"keys":2' '"set":1'
	run -0 add rfc7517/aes256gcm.jwk
	says '"set":1'
	run -0 add any256.jwk
	says '"set":2'
	run -0 ask '{"v":1,"op":"list"}'
	says '{"kty":"oct","alg":"aes256gcm","kid":"ek"},{"kty":"okp","alg":"ed25519","kid":"sk","sha256":"3097e2dee2cb4a34b53840cdb705aed71067c36f68db0e0f559c3f3fa043315f"}'
	says '"id":2,"expires_in":null,"keys":[{"kty":"oct","alg":null'
	run -0 ask '{"v":1,"op":"remove","set":1}'
	says '"removed":1'
	run -0 ask '{"v":1,"op":"remove","set":1}'
	says '"error":"ENOENT"'
	run -0 add aes256gcm.jwk
	says '"set":3' # numbers are never used again
	run -0 ask '{"v":1,"op":"remove","all":true}'
	says '"removed":2'
	echo '{"keys":[{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODw"},7]}' >"$T/bad"
	run -0 ask '{"v":1,"op":"add"}' "$T/bad"
	says '"error":"EBADMSG"' 'key 2'
	[[ $output != *AAECAwQ* ]]
}

# A limit that counts wrongly shows only at its edge.
@test "256 sets are the limit" {
	agent_start
	run -0 python3 - <<-'EOF'
		import peer
		for i in range(257):
		    text = '{"kty":"oct","kid":"%d","k":"AAECAwQFBgcICQoLDA0ODw=="}' % i
		    reply = peer.exchange(peer.frame({"v": 1, "op": "add"}, text.encode()))[0]
		    assert reply["ok"] == (i < 256), reply
		assert reply["error"] == "ENOSPC"
	EOF
}

# A header that names no kid fits every set, and each try is a pass over all of it: a stranger's forged one would keep the agent busy.
@test "a huge forged header that fits many sets is given up" {
	agent_start
	run -0 python3 - "$T/forged.safetensors" <<-'EOF'
		import base64, json, peer, struct, sys
		from subprocess import run
		for i in range(24):
		    d = bytes([i + 1]) * 32
		    der = bytes.fromhex("302e020100300506032b657004220420") + d
		    x = run(["openssl", "pkey", "-inform", "DER", "-pubout", "-outform", "DER"], input=der, check=True, capture_output=True).stdout[-32:]
		    keys = [{"kty": "oct", "kid": "k%d" % i, "k": base64.b64encode(d).decode(), "alg": "aes256gcm"},
		            {"kty": "okp", "kid": "s%d" % i, "x": base64.b64encode(x).decode(), "alg": "ed25519"}]
		    assert peer.exchange(peer.frame({"v": 1, "op": "add"}, json.dumps({"keys": keys}).encode()))[0]["ok"]
		policy = "package model\nallow = true"
		meta = {"__crypto_keys__": json.dumps({"enc": {"alg": "aes256gcm", "kty": "oct"}, "sign": {"alg": "ed25519", "kty": "okp"}, "version": "2"}),
		        "__encryption__": "{}", "__policy__": json.dumps({"local": policy, "remote": policy}),
		        "__signature__": base64.b64encode(bytes(64)).decode(), "padding": "x" * 60_000_000}
		h = json.dumps({"__metadata__": meta}).encode()
		open(sys.argv[1], "wb").write(struct.pack("<Q", len(h)) + h)
	EOF
	run -1 "$CT" verify "$T/forged.safetensors"
	says "ENOKEY" "too much work"
	run -0 ask '{"v":1,"op":"ping"}'
	rm -f "$T/forged.safetensors"
}

# A wrong path, or CT_AGENT_SOCK of something else: another program's process would be ended.
@test "ct-agent -k leaves a process alone that is no agent" {
	python3 - "$T/other" 3>&- <<-'EOF' &
		import socket, sys
		s = socket.socket(socket.AF_UNIX)
		s.bind(sys.argv[1])
		s.listen()
		while True:
		    c, _ = s.accept()
		    if c.recv(4) == b"end":
		        break
		    c.close()
	EOF
	local i
	for ((i = 0; i < 100; i++)); do [ -S "$T/other" ] && break; sleep 0.1; done
	run -3 "$BUILD/ct-agent" -k -s "$T/other"
	says "ENOKEY"
	python3 -c 'import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.send(b"end")' "$T/other"
	wait $!
}

# A key that outlives its time is a key in the hands of whoever comes later.
@test "lifetimes: of the set, by default, and what is forgotten is forgotten" {
	AGENT_OPTS=(-t 2s)
	agent_start
	run -0 ask '{"v":1,"op":"add","lifetime":3600}' "$VECTORS/keys/any256.jwk"
	says '"expires_in":3600'
	run -0 add aes256gcm.jwk
	says '"expires_in":2'
	run -0 "${PEER[@]}" open "$M"
	says serve
	sleep 2.2
	run -0 ask '{"v":1,"op":"list"}'
	says '"sets":1'
	[[ $output != *3097e2dee2cb*3097e2dee2cb* ]]
	run -0 ask '{"v":1,"op":"status"}'
	says '"sets":1'
	run -0 ask '{"v":1,"op":"add","lifetime":0}' "$VECTORS/keys/any256.jwk"
	says '"error":"EINVAL"'
}

# Memory is what a key must leave when it is removed; the private half must never come in.
@test "what is removed is gone from memory, and d never stays" {
	root_needed "to read the agent's memory"
	AGENT_VIA=("$PROBES/refuse" memfd_secret --) # else nobody could see it there
	agent_start
	local keys=$VECTORS/keys/new-aes256gcm.jwk k d text
	read -r k d text < <(python3 - "$keys" <<-'EOF'
		import base64, json, sys
		k, s = json.load(open(sys.argv[1]))["keys"]
		print(base64.b64decode(k["k"]).hex(), base64.b64decode(s["d"]).hex(), k["k"][:32].encode().hex())
	EOF
	)
	add new-aes256gcm.jwk
	run -0 "${PEER[@]}" open "$VECTORS/rewrap_aes256gcm_after.safetensors"
	local keeper pid
	keeper=$(keeper)
	[ "$("${PEER[@]}" search "$keeper" "$k")" = found ]
	[ "$("${PEER[@]}" search "$keeper" "$d")" = gone ]
	ask '{"v":1,"op":"remove","all":true}'
	for pid in "$keeper" "$AGENT_PID"; do
		[ "$("${PEER[@]}" search "$pid" "$k")" = gone ]
		[ "$("${PEER[@]}" search "$pid" "$d")" = gone ]
		[ "$("${PEER[@]}" search "$pid" "$text")" = gone ] # base64 of k
	done
}

# As ssh-add -x: the keys stay, nobody gets them.
@test "lock and unlock" {
	agent_start
	add aes256gcm.jwk
	printf 'open sesame' >"$T/right"
	printf 'open sesamE' >"$T/wrong"
	run -0 ask '{"v":1,"op":"unlock"}' "$T/right"
	says '"error":"ENOENT"'
	run -0 ask '{"v":1,"op":"lock"}' "$T/right"
	says '"ok":true'
	run -0 ask '{"v":1,"op":"lock"}' "$T/wrong"
	says '"error":"EBUSY"'
	run -0 "${PEER[@]}" open "$M"
	says '"error":"ENOKEY"' 'ct unlock'
	local op
	for op in '{"v":1,"op":"list"}' '{"v":1,"op":"remove","all":true}'; do
		run -0 ask "$op"
		says '"error":"EPERM"'
	done
	run -0 add aes256gcm.jwk
	says '"error":"EPERM"'
	run -0 ask '{"v":1,"op":"status"}'
	says '"locked":true'
	run -0 ask '{"v":1,"op":"unlock"}' "$T/wrong"
	says '"error":"EKEYREJECTED"'
	run -0 ask '{"v":1,"op":"unlock"}' "$T/right"
	says '"error":"EAGAIN"'
	sleep 1.1
	run -0 ask '{"v":1,"op":"unlock"}' "$T/right"
	says '"ok":true'
	run -0 "${PEER[@]}" open "$M"
	says serve
}

# Who stops an agent by hand takes the pid from there; the mode keeps other users' clients from even asking.
@test "status names the process; the socket is its user's alone" {
	agent_start
	run -0 ask '{"v":1,"op":"status"}'
	says "\"pid\":$AGENT_PID"
	[ "$(stat -c %a "$CT_AGENT_SOCK")" = 600 ]
}

# Two agents on one socket would each hold half of the keys; a dead one's socket must not stop the next.
@test "a second agent is refused, a dead one's socket is replaced, something else is left alone" {
	agent_start
	run -3 "$BUILD/ct-agent" -s "$CT_AGENT_SOCK"
	says "EADDRINUSE"
	run -0 ask '{"v":1,"op":"ping"}'
	kill_9
	[ -S "$CT_AGENT_SOCK" ]
	run -0 "$BUILD/ct-agent" -s "$CT_AGENT_SOCK"
	run -0 ask '{"v":1,"op":"ping"}'
	run -0 "$BUILD/ct-agent" -k
	echo precious >"$T/file"
	run -3 "$BUILD/ct-agent" -s "$T/file"
	says "is no socket"
	[ "$(cat "$T/file")" = precious ]
}

# Many at once (a host's services at boot): exactly one wins, the others say so.
@test "of ten agents started at once on one stale socket, one serves" {
	local i won=0 rc
	agent_start
	kill_9
	for ((i = 0; i < 10; i++)); do
		(rc=0; "$BUILD/ct-agent" -s "$CT_AGENT_SOCK" >"$T/out.$i" 2>&1 || rc=$?; echo $rc >"$T/rc.$i") 3>&- &
	done
	for ((i = 0; i < 100; i++)); do
		[ "$(cat "$T"/rc.* 2>/dev/null | wc -l)" = 10 ] && break
		sleep 0.1
	done
	for ((i = 0; i < 10; i++)); do
		rc=$(cat "$T/rc.$i")
		[ "$rc" = 0 ] && won=$((won + 1))
		[ "$rc" = 0 ] || [ "$rc" = 3 ]
	done
	[ "$won" = 1 ]
	run -0 ask '{"v":1,"op":"ping"}'
	run -0 "$BUILD/ct-agent" -k
	run -3 "$BUILD/ct-agent" -k
}

# Whoever starts it in a script waits for its descriptors to close; what it prints is what people copy.
@test "to the background: the parent returns when it serves, and keeps no descriptor open" {
	short_dir
	local dir=$DIR
	export CT_AGENT_SOCK=$dir/s
	# fd 9 is a pipe: cat ends only when nobody holds it
	run -0 timeout 10 bash -c '{ "$0" >&8; } 8>"$1/out" 9>&1 | cat' "$BUILD/ct-agent" "$dir"
	run -0 ask '{"v":1,"op":"ping"}'
	run -0 cat "$dir/out"
	says "ct-agent -k"
	[[ $output != *export* ]] # clients find it by themselves
	[ "$(sed -n 's/^# ct-agent: pid \([0-9]*\) .*/\1/p' "$dir/out")" = "$(ask '{"v":1,"op":"status"}' | grep -o '"pid":[0-9]*' | cut -d: -f2)" ]
	run -0 "$BUILD/ct-agent" -k
	[ -z "$(ls "$dir" | grep -v out)" ]
	unset CT_AGENT_SOCK
	cd "$dir"
	run -0 "$BUILD/ct-agent" -s "it's"
	local stop
	stop=$(sed -n 's/.*stop it: //p' <<<"$output")
	eval "$output"
	[ "$CT_AGENT_SOCK" = "$dir/it's" ]
	export CT_AGENT_SOCK
	run -0 ask '{"v":1,"op":"ping"}'
	PATH=$BUILD:$PATH run -0 bash -c "$stop"
	[ ! -e "$CT_AGENT_SOCK" ]
	cd /
}

# A leftover socket would be the first thing that the next client stumbles over.
@test "SIGTERM, SIGINT end it cleanly" {
	local s
	for s in TERM INT; do
		agent_start
		kill -"$s" "$AGENT_PID"
		wait "$AGENT_PID"
		[ ! -e "$CT_AGENT_SOCK" ]
		[ ! -e "$CT_AGENT_SOCK.lock" ]
		unset AGENT_PID
		rm -r "$AGENT_DIR"
	done
}

# ct run relies on it: an agent whose job is gone must not stay with its keys.
@test "-P: it ends with the process that it follows" {
	sleep 100 3>&- &
	local job=$!
	AGENT_OPTS=(-P "$job")
	agent_start
	run -0 ask '{"v":1,"op":"ping"}'
	kill "$job"
	gone "$AGENT_PID"
	wait "$AGENT_PID"
	[ ! -e "$CT_AGENT_SOCK" ]
	run -3 timeout 10 "$BUILD/ct-agent" -f -s "$CT_AGENT_SOCK" -P "$job"
	says "ESRCH"
}

@test "usage errors are status 2, help and version 0" {
	local o
	for o in "-x" "extra" "-t" "-t 0" "-t 5y" "-t 99999999999" "-P 0" "-P x" "-k -f"; do
		# shellcheck disable=SC2086
		run -2 "$BUILD/ct-agent" $o
		says "--help"
	done
	run -2 "$BUILD/ct-agent" -s ""
	run -0 "$BUILD/ct-agent" --help
	says "usage: ct-agent"
	run -0 "$BUILD/ct-agent" --version
	says "ct-agent "
}

# A typing error in the file that says who gets keys must never pass for "nobody" or "everybody".
@test "configuration: keep, and errors with their line" {
	printf '# ours\n\nkeep 7 # seconds\nallow-uid 12345\n' >"$T/conf"
	AGENT_OPTS=(-c "$T/conf")
	agent_start
	add aes256gcm.jwk
	run -0 "${PEER[@]}" open "$M"
	says '"keep_s":7'
	[ "$(stat -c %a "$CT_AGENT_SOCK")" = 666 ]
	agent_stop
	local bad
	for bad in 'keep' 'keep x' 'keep -1' 'keep 1 2' 'keep 99999999999' 'allow-uid root' 'allow-uid 4294967295' 'allow_uid 1' 'Keep 1'; do
		printf 'keep 1\n%s\n' "$bad" >"$T/conf"
		run -3 timeout 10 "$BUILD/ct-agent" -f -s "$T/s" -c "$T/conf"
		says "conf:2: "
	done
	printf 'keep 1\n' >"$T/conf"
	chmod 666 "$T/conf"
	run -3 timeout 10 "$BUILD/ct-agent" -f -s "$T/s" -c "$T/conf"
	says "chmod go-w"
	run -3 timeout 10 "$BUILD/ct-agent" -f -s "$T/s" -c "$T/none"
	says "ENOENT"
}

# In a folder that others may write, anybody could put his own socket in the place of ours.
@test "a folder that others may write is refused, a sticky one is not" {
	short_dir
	local dir=$DIR
	chmod 777 "$dir"
	run -3 timeout 10 "$BUILD/ct-agent" -f -s "$dir/s"
	says "others may write"
	[ -z "$(ls -A "$dir")" ]
	chmod 1777 "$dir"
	run -0 "$BUILD/ct-agent" -s "$dir/s"
	run -0 "$BUILD/ct-agent" -k -s "$dir/s"
	run -3 "$BUILD/ct-agent" -s "$dir/none/s"
	says "ENOENT"
	run -3 "$BUILD/ct-agent" -s "$dir/$(printf 'x%.0s' {1..110})"
	says "ENAMETOOLONG"
}

# A stranger's socket that is believed gets the file's header, and may serve keys of its own.
@test "a socket that belongs to another user is not believed" {
	root_needed "to be two users"
	short_dir
	local d=$DIR
	chmod 755 "$d" && mkdir -m 700 "$d/a" && cp "$BUILD"/ct{,-agent} "$d" && chmod 755 "$d"/ct*
	printf 'allow-uid 12346\n' >"$d/conf" && chmod 644 "$d/conf"
	chown 12345 "$d/a"
	chmod 711 "$d/a"
	run -0 as 12345 "$d/ct-agent" -s "$d/a/s" -c "$d/conf"
	export CT_AGENT_SOCK=$d/a/s
	run -3 as 12346 "$d/ct" status
	says "ENOKEY" "runs as uid 12345 and is not believed" "CT_AGENT_UID=12345"
	CT_AGENT_UID=12345 run -0 as 12346 "$d/ct" status
	CT_AGENT_UID=12346 run -3 as 12346 "$d/ct" status
	CT_AGENT_UID=bob run -3 as 12346 "$d/ct" status
	says "CT_AGENT_UID is not a user's number"
	run -0 as 12345 "$d/ct" status
	run -0 as 12345 "$d/ct-agent" -k
	# no session, no runtime folder: ~/.ct is made, and closed to others
	unset CT_AGENT_SOCK XDG_RUNTIME_DIR
	HOME=$d/a run -0 as 12345 "$d/ct-agent"
	[ "$(stat -c '%a %u' "$d/a/.ct")" = "700 12345" ]
	HOME=$d/a run -0 as 12345 "$d/ct" status
	HOME=$d/a run -0 as 12345 "$d/ct-agent" -k
	chmod 755 "$d/a/.ct"
	HOME=$d/a run -3 as 12345 "$d/ct-agent"
	says "chmod 700"
}

# One slow peer, or two hundred, must cost the others nothing.
@test "peers that send half a frame hold nobody up, and are closed after 10 s" {
	agent_start
	add aes256gcm.jwk
	"${PEER[@]}" idle 250 12 >"$T/idle" 3>&- &
	local job=$! n
	for ((n = 0; n < 100; n++)); do
		grep -q ready "$T/idle" && break
		sleep 0.1
	done
	for ((n = 0; n < 20; n++)); do # not i: run() changes it
		run -0 timeout 2 "${PEER[@]}" open "$M"
		says serve
	done
	wait "$job"
	[ "$(tail -n 1 "$T/idle")" = 250 ]
	run -0 ask '{"v":1,"op":"ping"}'
}

# 256 is a limit, not the end: the 257th waits until one goes.
@test "more connections than the limit wait and are served later" {
	agent_start
	"${PEER[@]}" idle 300 1 >"$T/idle" 3>&- &
	local job=$!
	run -0 timeout 14 "${PEER[@]}" ask '{"v":1,"op":"ping"}'
	says '"ok":true'
	wait "$job"
}

# Bytes that nobody thought of; under the sanitizers this is where they show.
@test "2000 mutated requests: well-formed answers, no wrong key, the agent lives" {
	agent_start
	add aes256gcm.jwk
	run -0 "${PEER[@]}" fuzz "$M" 2000
	echo "$output"
	run -0 ask '{"v":1,"op":"ping"}'
	says '"ok":true'
}

# A host must not hang for ever because the agent does.
@test "an agent that does not answer is given up after 10 s with ENOKEY" {
	agent_start
	kill -STOP "$AGENT_PID"
	local start=$SECONDS
	run -3 "$CT" status
	kill -CONT "$AGENT_PID"
	says "ENOKEY" "did not answer within 10 s"
	[ $((SECONDS - start)) -ge 9 ]
	[ $((SECONDS - start)) -le 13 ]
}

# Side-cars start in any order.
@test "CT_AGENT_WAIT waits for an agent that is still starting" {
	short_dir
	local dir=$DIR
	export CT_AGENT_SOCK=$dir/s
	run -3 "$CT" status
	says "no agent at $dir/s: start ct-agent"
	(sleep 1; exec "$BUILD/ct-agent" -s "$dir/s") >/dev/null 3>&- &
	CT_AGENT_WAIT=10 run -0 "$CT" status
	wait $!
	run -0 "$BUILD/ct-agent" -k
	CT_AGENT_WAIT=x run -3 "$CT" status
	says "CT_AGENT_WAIT"
	local start=$SECONDS
	CT_AGENT_WAIT=2 run -3 "$CT" status
	[ $((SECONDS - start)) -ge 1 ]
}
