# ct-agent by its protocol. peer.py speaks to it; judge.py says what the data keys are.

load helpers
load agent

setup_file() {
	agent_setup_file
}

setup() {
	agent_setup
}

teardown() {
	agent_teardown
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
