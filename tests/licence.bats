# Licences: what ct licence makes, what the agent makes of it, what must not work. The judge of formats and keys is tests/licence_judge.py (jwcrypto); the whole
# story, as people live it, is scripts/licence-story.

load helpers

# What needs jwcrypto runs in the distribution's own Python.
JUDGE_PY=/usr/bin/python3

setup() {
	"$JUDGE_PY" -c 'import jwcrypto' 2>/dev/null || skip_or_fail "python3-jwcrypto is not installed"
	cd "$BATS_TEST_TMPDIR"
	plain_model plain
	"$CT" keygen -q -o k.jwk --kid-enc e --kid-sign s
	"$CT" encrypt -q --keys k.jwk plain m.safetensors
	"$CT" decrypt -q --keys k.jwk m.safetensors want
	FINGERPRINT=$(fingerprint k.jwk)
	"$CT" licence request -q --publisher "$FINGERPRINT" --keys c.jwk -o r.json --name "ACME GmbH"
}

# fingerprint KEYS: the publisher's
fingerprint() {
	"$CT" keygen --force --from "$1" --verifier fingerprint.jwk 2>&1 | sed -n 's/.*(ct licence request): //p'
}

judge() {
	"$JUDGE_PY" "$ROOT/tests/licence_judge.py" "$@"
}

# issue ID [OPTION…]: for c.jwk, into ID/, until far away unless told
issue() {
	local id=$1
	shift
	[[ " $* " == *" --until "* ]] || set -- --until 2099-12-31 "$@"
	"$CT" licence issue -q --keys k.jwk --to r.json --id "$id" -o "$id" "$@" m.safetensors
}

# agent LINE…: one with these lines of configuration; its clock is kept here.
agent() {
	agent_stop
	printf '%s\n' "clock $PWD/clock" "$@" >conf
	AGENT_OPTS=(-c conf --audit "$PWD/audit")
	agent_start
}

add() {
	"$CT" add --licence-key "${KEY:-c.jwk}" "$@"
}

# opens FILE: ct decrypt gives the model
opens() {
	"$CT" decrypt -q --force "$1" opened && cmp want opened
}

# refused LINE FILE: by the agent, with that line
refused() {
	run -3 "$CT" decrypt -q --force "$2" opened
	echo "$output"
	[[ $output == "ct: $2: EKEYREJECTED: $1"* ]]
}

no_sets() {
	run -0 "$CT" list
	[ "$output" = "ct: the agent has no keys: ct add FILE" ]
}

# What people are told would be another thing than what works.
# bats test_tags=plain-build
@test "the whole story: scripts/licence-story ends well" {
	need faketime
	run -0 "$ROOT/scripts/licence-story"
	echo "$output"
	[[ ${lines[-1]} == "== Done" ]]
}

# Only we could read what we wrote; a key that is not what the documents say would be lost with our code.
@test "a licence is a JWS with a JWE inside for jwcrypto, its key HKDF's for cryptography; only the header differs" {
	mkdir folder
	cp m.safetensors folder/one.safetensors
	cp m.safetensors folder/two.safetensors
	for alg in aes256gcm aes128gcm chacha20poly1305; do
		"$CT" keygen -q --force -o k.jwk --alg "$alg" --kid-sign s
		"$CT" encrypt -q --force --keys k.jwk --alg "$alg" plain m.safetensors
		"$CT" licence request -q --publisher "$(fingerprint k.jwk)" --keys "c-$alg.jwk" -o r.json --name $'Größe "1" \\ x' --force
		issue "$alg" --grace 14 --machine 0123456789abcdef0123456789abcdef --user 1000 --user 0
		run -0 judge check "$alg/$alg.licence" k.jwk "c-$alg.jwk" set.jwk
		python3 - "$output" "$alg" <<-'EOF_PY'
			import json, sys, time
			p = json.loads(sys.argv[1])
			issued = p.pop("issued")
			assert abs(issued - time.time()) < 600, issued
			assert p == {"v": 1, "id": sys.argv[2], "until": 4102444800, "grace": 14, "name": 'Gr\u00f6\u00dfe "1" \\ x', "users": [1000, 0],
			             "machines": ["0123456789abcdef0123456789abcdef"], "what": ["m.safetensors"]}, p
		EOF_PY
		run -0 judge same m.safetensors "$alg/m.safetensors"
		[ "$output" = "$alg" ]
		chmod 600 set.jwk
		"$CT" verify -q --keys set.jwk "$alg/m.safetensors"
		PYTHONPATH=$ROOT/tests python3 -c 'import json, judge, sys; v, bad = judge.view(open(sys.argv[1], "rb").read(), json.load(open("set.jwk"))); assert not bad and v[-1000:] == open("plain", "rb").read()[-1000:]' "$alg/m.safetensors"
		run -1 "$CT" verify --keys k.jwk "$alg/m.safetensors"
	done
	# a folder is one licence, whatever is in it
	"$CT" keygen -q --force -o k.jwk
	"$CT" encrypt -q --force --keys k.jwk plain folder/one.safetensors
	"$CT" encrypt -q --force --keys k.jwk plain folder/two.safetensors
	"$CT" licence request -q --publisher "$(fingerprint k.jwk)" --keys f.jwk -o f.json
	"$CT" licence issue -q --keys k.jwk --to f.json --id F --until 2099-01-01 -o F --licence f.licence folder/
	judge check f.licence k.jwk f.jwk set.jwk | grep -q '"what": \["folder"\]'
	chmod 600 set.jwk
	"$CT" verify -q --keys set.jwk F
}

# A licence that another tool made, or that is spelled otherwise, would not be taken.
@test "what jwcrypto signs is taken" {
	agent
	issue A
	judge make A/A.licence k.jwk 'p["what"] = []; p.pop("name")' >made
	add made
	opens A/m.safetensors
	judge make A/A.licence k.jwk 'h["x"] = 1; h.pop("kid"); p["issued"] += 1' | tr -d '\n' >made
	add made
	printf '\n\n  %s \r\n' "$(judge make A/A.licence k.jwk 'p["issued"] += 2')" >made
	add made
	opens A/m.safetensors
	run -0 "$CT" list
	[ "${#lines[@]}" = 3 ] # one set all the time
}

# Somebody who is not the publisher would decide who opens models; or a text that a library takes for signed is not.
@test "forged, changed, by somebody else: refused by ct and by the agent, nothing is left" {
	local change want
	agent
	issue A
	"$CT" keygen -q -o other.jwk
	bad() { # bad LINE FILE
		run -3 add "$2"
		echo "$output"
		[[ $output == "ct: $2: $1"* ]]
		no_sets
	}
	judge make A/A.licence other.jwk 'h["jwk"] = public' >f
	bad "EKEYREJECTED: is signed by " f
	judge make A/A.licence other.jwk '' >f # with the publisher's key in it
	bad "EBADMSG: not a licence: its signature is wrong" f
	for change in 'part[1] = part[1][:40] + ("A" if part[1][40] != "A" else "B") + part[1][41:]' 'part[0] = part[0] + "A"' \
		'part[2] = ("A" if part[2][0] != "A" else "B") + part[2][1:]' 'part[2] = "A" * 86' 'part[0], part[1] = part[1], part[0]'; do
		python3 -c 'import sys; part = open("A/A.licence").read().strip().split("."); exec(sys.argv[1]); print(".".join(part))' "$change" >f
		bad "EBADMSG: not a licence: " f
	done
	while read -r change want; do
		judge make A/A.licence k.jwk "$change" >f
		bad "EBADMSG: not a licence: $want" f
	done <<-'ROWS'
		h["alg"]="none" "alg" is not EdDSA
		h["alg"]="HS256" "alg" is not EdDSA
		h["alg"]="ES256" "alg" is not EdDSA
		h["alg"]=1 "alg" is not EdDSA
		h["crit"]=["exp"] "crit" in the header is not understood
		h["b64"]=False "b64" in the header is not understood
		h["typ"]="ct-licence-revoked" a signed text of another type
		h["typ"]="ct-licence\0" a NUL in "typ"
		h["typ"]="x"*33 "typ" is too long
		h.pop("typ") "alg", "typ" or "jwk" is missing
		h.pop("jwk") "alg", "typ" or "jwk" is missing
		h["jwk"]["d"]="AAAA" "jwk" is not a public Ed25519 key
		h["jwk"]["crv"]="X25519" "jwk" is not a public Ed25519 key
		h["jwk"]["x"]+="=" "jwk" is not a public Ed25519 key
		h["jwk"]["x"]="A"*43 its signature is wrong
		raw_head=json.dumps(h)[:-1]+',"alg":"EdDSA"}' "alg" is there twice
		raw_head=json.dumps(h)+"x" 
	ROWS
	printf 'eyJ.%s.AA' "$(head -c 40000 /dev/zero | tr '\0' A)" >f
	bad "EBADMSG: not a licence: over 32768 bytes" f
	add A/A.licence
	opens A/m.safetensors
}

# A condition that is not understood would be passed over; a member of the wrong kind would be read as none.
@test "each member of a licence, wrong, missing or unknown: refused with its name" {
	local change want
	agent
	issue A --grace 1 --machine 0123456789abcdef0123456789abcdef --user 0
	while read -r change want; do
		judge make A/A.licence k.jwk "$change" >f
		run -3 add f
		echo "$change: $output"
		[[ $output == "ct: f: EBADMSG: not a sound licence: $want"* ]]
		# ct is not the only one who can talk to the agent
		python3 - <<-'EOF_PY'
			import json
			k = json.load(open("k.jwk"))
			for x in k["keys"]:
			    x.pop("d", None)
			json.dump(k, open("raw.jwk", "w"))
			json.dump({"v": 1, "op": "add", "licence": open("f").read()}, open("request", "w"))
		EOF_PY
		run python3 "$ROOT/tests/peer.py" ask "$(cat request)" raw.jwk
		[[ $output == *'"EBADMSG"'*"not a sound licence"* ]]
		no_sets
	done <<-'ROWS'
		p["v"]=2 "v" is not 1
		p.pop("v") "v" is missing
		p["id"]="" "id" is not
		p["id"]="-A" "id" is not
		p["id"]="A\0" "id" is not
		p["id"]="A"*65 "id" is not
		p["id"]="A/B" "id" is not
		p["id"]=1 "id" is not
		p.pop("id") "id" is missing
		p["issued"]=0 "issued" is not
		p["issued"]=1.5 "issued" is not
		p["until"]=-1 "until" is not
		p["until"]="2099-12-31" "until" is not
		p["until"]=253402300800 "until" is not
		p.pop("until") "until" is missing
		p["grace"]=36501 "grace" is not
		p["grace"]=None "grace" is not
		p["name"]="x"*256 "name" is not
		p["name"]="a\0b" "name" is not
		p["to"]["x"]="AAAA" "to" is not
		p["to"]["d"]="A"*43 "to" is not
		p["to"]=[] "to" is not
		p.pop("to") "to" is missing
		p["machines"]=[] "machines" is not
		p["machines"]=["0"*32] "machines" is not
		p["machines"]=["0123"] "machines" is not
		p["machines"]=p["machines"]*17 "machines" is not
		p["users"]=[] "users" is not
		p["users"]=[4294967295] "users" is not
		p["users"]=["0"] "users" is not
		p["users"]=[0]*65 "users" is not
		p["users"]=0 "users" is not
		p["what"]=[1] "what" is not
		p["what"]=["x"]*33 "what" is not
		p["keys"]={} "keys" is not
		p["keys"]="" "keys" is not
		p.pop("keys") "keys" is missing
		p["region"]="EU" "region" is not known here, and may be a condition
		p["evil\x1b[31m"]=1 "evil\\u001b[31m" is not known here
		raw=(json.dumps(p)[:-1]+',"until":9999999999}').encode() "until" is there twice
		raw=b"[]" 
		raw=b"" 
	ROWS
}

# A licence would open at the wrong customer, or with another one's key inside.
@test "another customer's licence, a swapped key, another pin, no key" {
	agent
	issue A
	issue B
	"$CT" licence request -q --publisher "$FINGERPRINT" --keys d.jwk -o d.json
	KEY=d.jwk run -3 add A/A.licence
	[[ $output == "ct: A/A.licence: EKEYREJECTED: the licence is for another customer's key (ct licence show tells which)" ]]
	judge make A/A.licence k.jwk 'p["keys"]=swap("B/B.licence")["keys"]' >f # by the publisher himself
	run -3 add f
	[ "$output" = "ct: f: EBADMSG: the licence's keys are not its own master key and the key that signed it" ]
	run -3 "$CT" add A/A.licence
	[ "$output" = "ct: A/A.licence: ENOKEY: is a licence: --licence-key CUSTOMER.jwk opens it" ]
	run -3 "$CT" add --licence-key k.jwk A/A.licence
	[[ $output == "ct: A/A.licence: EBADMSG: k.jwk: not a customer's key (ct licence request makes one)"* ]]
	jq -c 'del(.ct_publisher)' c.jwk >nopin.jwk
	chmod 600 nopin.jwk
	KEY=nopin.jwk run -3 add A/A.licence
	[[ $output == "ct: A/A.licence: EBADMSG: nopin.jwk: no publisher is pinned in it"* ]]
	jq -c '.ct_publisher |= sub("^."; "g")' c.jwk >nopin.jwk
	KEY=nopin.jwk run -3 add A/A.licence
	[[ $output == *"no publisher is pinned in it"* ]]
	jq -c '.ct_publisher |= (.[1:] + .[:1])' c.jwk >nopin.jwk
	KEY=nopin.jwk run -3 add A/A.licence
	[[ $output == *"EKEYREJECTED: is signed by "*", not by the publisher that is pinned, "* ]]
	jq -c 'del(.d)' c.jwk >public.jwk
	chmod 600 public.jwk
	KEY=public.jwk run -3 add A/A.licence
	[[ $output == *"public.jwk: the public half of a key only" ]]
	chmod 644 c.jwk
	run -3 add A/A.licence
	[[ $output == *"EKEYREJECTED: c.jwk: a key file that others may use"* ]]
	no_sets
	for command in "verify --keys" "add"; do
		# shellcheck disable=SC2086
		run "$CT" $command A/A.licence A/m.safetensors
		[ "$status" != 0 ]
	done
	run -3 "$CT" decrypt --keys A/A.licence A/m.safetensors x
	[[ $output == *"EBADMSG: is a licence, not a key set: ct add --licence-key CUSTOMER.jwk takes it" ]]
}

# A key that is under a passphrase or in a credential would be of no use to a licence.
@test "the customer's key: under a passphrase, cred:, exec:; a request never replaces it" {
	agent
	cat >ask <<-'EOF_ASK'
		#!/bin/sh
		echo the-word
	EOF_ASK
	chmod 700 ask
	export CT_ASKPASS=$PWD/ask CT_ASKPASS_REQUIRE=force CREDENTIALS_DIRECTORY=$PWD
	"$CT" licence request -q --publisher "$FINGERPRINT" --keys p.jwk -o p.json --passphrase
	grep -q PBES2 <(jq -r .protected p.jwk | tr _- /+ | base64 -d 2>/dev/null || true)
	[ "$(stat -c %a p.jwk)" = 600 ]
	"$CT" licence issue -q --keys k.jwk --to p.json --id P --until 2099-01-01 -o P m.safetensors
	for KEY in p.jwk cred:p.jwk "exec:/bin/cat $PWD/p.jwk"; do
		add -q P/P.licence
		opens P/m.safetensors
		"$CT" remove -q --all
	done
	before=$(sha256sum c.jwk p.jwk)
	for key in c.jwk cred:c.jwk; do
		"$CT" licence request -q --publisher "$FINGERPRINT" --keys "$key" -o again.json --force
		[ "$(jq -c .key again.json)" = "$(jq -c .key r.json)" ]
	done
	"$CT" keygen -q -o other.jwk
	run -3 "$CT" licence request --publisher "$(fingerprint other.jwk)" --keys c.jwk -o again.json --force
	[[ $output == "ct: c.jwk: EKEYREJECTED: another publisher is pinned in it, "* ]]
	run -3 "$CT" licence request --publisher "$FINGERPRINT" --keys c.jwk -o again.json
	[[ $output == "ct: again.json: EEXIST: "* ]]
	run -2 "$CT" licence request --publisher "$FINGERPRINT" --keys c.jwk -o ./c.jwk --force
	run -2 "$CT" licence request --publisher "${FINGERPRINT%?}" --keys c.jwk -o x
	run -2 "$CT" licence request --publisher "$FINGERPRINT" --keys c.jwk -o x --name $'a\nb'
	[ "$(sha256sum c.jwk p.jwk)" = "$before" ]
	# and a request for another publisher is not served
	"$CT" licence request -q --publisher "$(fingerprint other.jwk)" --keys o.jwk -o o.json
	run -3 "$CT" licence issue --keys k.jwk --to o.json --id O --until 2099-01-01 -o O m.safetensors
	[[ $output == "ct: o.json: EKEYREJECTED: is for the publisher "* ]]
	[ ! -e O ]
}

# The agent is the one that counts: whoever may add keys talks to it without ct.
@test "the agent itself: a licence of other keys, and another licence's file" {
	agent
	issue A
	issue B
	for x in A B; do
		judge check "$x/$x.licence" k.jwk c.jwk "$x.jwk" >/dev/null
	done
	"$CT" keygen -q -o other.jwk
	ask() { # ask SET LICENCE
		python3 "$ROOT/tests/peer.py" ask "$(python3 -c 'import json, sys; print(json.dumps({"v": 1, "op": "add", "licence": open(sys.argv[1]).read()}))' "$2")" "$1"
	}
	run ask other.jwk A/A.licence
	[[ $output == *'"EKEYREJECTED"'*'is not signed by a verification key of the set that it came with'* ]]
	no_sets
	run -0 ask A.jwk B/B.licence # the key of A under the conditions of B
	[[ $output == *'"licensed":true'* || $output == *'"licensed": true'* ]]
	refused 'licence "B" does not open it: the file is under licence "A"' A/m.safetensors
	run -1 "$CT" policy explain --json A/m.safetensors
	[[ $output == *'"licence":"file"'* ]]
	# a set that was there keeps what it had
	run ask other.jwk A/A.licence
	refused 'licence "B" does not open it' A/m.safetensors
	run -0 ask A.jwk A/A.licence
	opens A/m.safetensors
	run -0 "$CT" policy explain --json A/m.safetensors
	[[ $output == *'"licence":"good"'* ]]
	# a file without the entry, under the licence's own keys
	"$CT" remove -q --all
	"$CT" encrypt -q --keys k.jwk plain n.safetensors
	jq -c --slurpfile k k.jwk '.keys[1] = ($k[0].keys[1])' A.jwk >both.jwk
	chmod 600 both.jwk
	"$CT" rewrap -q --keys k.jwk --new-keys both.jwk n.safetensors
	add -q A/A.licence
	refused 'licence "A" does not open it: the file is under no licence' n.safetensors
	# who has keys without a licence needs none
	chmod 600 A.jwk
	"$CT" add -q A.jwk
	opens A/m.safetensors
	opens n.safetensors
	run -0 "$CT" policy explain --json A/m.safetensors
	[[ $output == *'"licence":"none"'* ]]
	run -1 grep -q licence <("$CT" status)
}

# An agent that knows nothing of licences would serve their keys for ever.
@test "an agent that is too old to know licences is not left with the keys" {
	issue A
	export CT_AGENT_SOCK=$BATS_TEST_TMPDIR/old
	timeout 120 python3 - 3>&- <<-'EOF_PY' &
		import json, os, socket, struct
		s = socket.socket(socket.AF_UNIX)
		s.bind(os.environ["CT_AGENT_SOCK"])
		s.listen()
		for answer in ({"v": 1, "ok": True, "set": 7, "keys": 2}, {"v": 1, "ok": True, "removed": 1}):
		    c, _ = s.accept()
		    j, b = struct.unpack("<II", c.recv(8, socket.MSG_WAITALL))
		    print(c.recv(j, socket.MSG_WAITALL).decode()[:40], file=open("asked", "a"))
		    c.recv(b, socket.MSG_WAITALL)
		    text = json.dumps(answer).encode()
		    c.sendall(struct.pack("<II", len(text), 0) + text)
		    c.close()
	EOF_PY
	CT_AGENT_WAIT=30 run -3 add A/A.licence
	wait
	[[ $output == "ct: A/A.licence: EPROTO: this agent is too old to know licences"* ]]
	run -0 tail -n 1 asked
	[[ $output == *'"op":"remove","set":7'* ]]
}

# A licence for one machine, or one user, would open everywhere.
@test "machine and user: all that are given must hold; --machine request takes the customer's" {
	local id
	agent "allow-uid 65534"
	id=$(cat /etc/machine-id 2>/dev/null || true)
	[[ ${#id} == 32 ]] || skip_or_fail "this machine has no /etc/machine-id"
	issue M --machine 0123456789abcdef0123456789abcdef
	issue U --user 4294967294
	issue X --machine 0123456789abcdef0123456789abcdef --machine "$id" --user 4294967294 --user "$(id -u)"
	add -q M/M.licence U/U.licence X/X.licence
	refused 'licence "M" is not for this machine' M/m.safetensors
	refused "licence \"U\" is not for uid $(id -u)" U/m.safetensors
	opens X/m.safetensors
	run -3 "$CT" licence issue --keys k.jwk --to r.json --id R --until 2099-01-01 --machine request -o R m.safetensors
	[[ $output == "ct: r.json: ENOENT: has no machine in it (ct licence request --machine)" ]]
	"$CT" licence request -q --publisher "$FINGERPRINT" --keys c.jwk -o r.json --force --machine
	issue R --machine request
	"$CT" licence show R/R.licence | grep -q "machine:    $id"
	add -q R/R.licence
	opens R/m.safetensors
}

# A server that runs would be cut off, or one that starts be let in, or the line not say what to do.
@test "the end, in an agent that runs: what is open goes on, what is opened is refused" {
	local until i
	agent "keep 60"
	until=$(($(date +%s) + 8))
	issue A --until "$(date -u -d "@$until" +%FT%TZ)"
	add -q A/A.licence
	shimmed python3 -c 'import mmap, os, sys, time
f = open(sys.argv[1], "rb")
m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
open("opened.now", "w").close()
for i in range(6000):
    if os.path.exists("go"): break
    time.sleep(0.02)
sys.stdout.buffer.write(m[-50000:])' A/m.safetensors >late 2>late.err 3>&- &
	for ((i = 0; i < 1200; i++)); do
		run "$CT" decrypt -q --force A/m.safetensors x
		[ "$status" = 0 ] || break
		sleep 0.05
	done
	[[ $output == "ct: A/m.safetensors: EKEYREJECTED: licence \"A\" ended on $(date -u -d "@$((until - 1))" '+%F %T') UTC: ask the publisher for a renewal, and ct add it" ]]
	[ "$(date +%s)" -ge "$until" ]
	touch go
	wait "$!" || [ ! -e opened.now ] # a machine may be too slow to open it in time
	[ ! -e opened.now ] || cmp late <(tail -c 50000 plain)
	grep -q '"event":"licence","licence":"A",.*"state":"1 day"' audit
	grep -q '"event":"licence","licence":"A",.*"state":"over"' audit
	[ "$(grep -c '"event":"licence"' audit)" = 2 ]
	"$CT" status | grep -q "licence:   A for ACME GmbH (set 1): over, "
	run -1 "$CT" policy explain --json A/m.safetensors
	[[ $output == *'"licence":"over"'* ]]
}

# The way to a longer time would need new files, or quietly lose a condition; an old licence would come back.
@test "renewal: same key, same file, other terms only where they are given; an older one is not taken" {
	agent
	issue A --until 2001-01-01 --grace 5 --machine 0123456789abcdef0123456789abcdef --user 1 --user 2
	add -q A/A.licence
	refused 'licence "A" ended on 2001-01-01 23:59:59 UTC (with 5 days of grace on 2001-01-06 23:59:59 UTC): ask the publisher' A/m.safetensors
	before=$(sha256sum A/m.safetensors)
	"$CT" licence issue -q --keys k.jwk --renew A/A.licence --until 2099-01-01 --licence two
	python3 - "$(judge check A/A.licence k.jwk c.jwk one.jwk)" "$(judge check two k.jwk c.jwk two.jwk)" <<-'EOF_PY'
		import json, sys
		a, b = map(json.loads, sys.argv[1:])
		assert b.pop("issued") > a.pop("issued") and b.pop("until") == 4070995200 and a.pop("until")
		assert a == b, (a, b)
	EOF_PY
	# the later one, also where the publisher's clock was ahead when he signed the first
	judge make A/A.licence k.jwk 'p["issued"] = 4000000000' >ahead
	"$CT" licence issue -q --keys k.jwk --renew ahead --until 2099-01-01 --licence later
	[ "$("$CT" licence show --json later | jq .issued)" = 4000000001 ]
	jq -e -n --slurpfile a one.jwk --slurpfile b two.jwk '$a == $b'
	add -q two
	refused 'licence "A" is not for this machine' A/m.safetensors
	"$CT" licence issue -q --keys k.jwk --renew two --until 2099-01-01 --grace 0 --machine "$(cat /etc/machine-id)" --user "$(id -u)" --licence three
	add -q three
	opens A/m.safetensors
	for old in A/A.licence two; do
		run -3 add "$old"
		[[ $output == "ct: $old: EKEYREJECTED: licence \"A\" of "*" is an old one: that of "*" is here already" ]]
		opens A/m.safetensors
	done
	add three
	[ "$(sha256sum A/m.safetensors)" = "$before" ]
	# what is documented: an agent that does not know the new one takes the old one, as long as that runs
	"$CT" remove -q --all
	add -q two
	refused 'licence "A" is not for this machine' A/m.safetensors
	"$CT" keygen -q -o other.jwk
	run -3 "$CT" licence issue --keys other.jwk --renew two --until 2099-01-01 --licence x
	[ "$output" = "ct: two: EKEYREJECTED: is not signed by these keys" ]
	run -3 "$CT" licence issue --keys k.jwk --renew two --until 2099-01-01 --licence three
	[[ $output == "ct: three: EEXIST: "* ]]
	for options in "--id A" "-o x" "--machine request" "--to r.json"; do
		# shellcheck disable=SC2086
		run -2 "$CT" licence issue --keys k.jwk --renew two --until 2099-01-01 --licence x $options
	done
	run -2 "$CT" licence issue --keys k.jwk --renew two --until 2099-01-01 --licence x m.safetensors
	run -2 "$CT" licence issue --keys k.jwk --renew two --licence x
	run -2 "$CT" licence issue --keys k.jwk --to r.json --id "a b" --until 2099-01-01 -o x m.safetensors
	run -3 "$CT" licence issue --keys k.jwk --to two --id x --until 2099-01-01 -o x m.safetensors
	[[ $output == "ct: two: EBADMSG: not a request"* || $output == "ct: two: EBADMSG: "* ]]
	[ ! -e x ]
}

# What was revoked would open on, or a list that anybody puts there decide, or a list that is gone set everybody free.
@test "revocation: lists are read when they change; older, foreign, broken ones and none are not taken" {
	"$CT" keygen -q -o other.jwk
	issue A
	issue B
	agent "revoked $PWD/list" "revoked $PWD/second"
	add -q A/A.licence B/B.licence
	refused "licence \"A\": the agent's configuration names a list of revoked licences that was never there" A/m.safetensors
	"$CT" status | grep -q "2 LISTS OF REVOKED ONES WERE NEVER THERE"
	"$CT" licence revoke -q --keys k.jwk -o list
	refused 'licence "A": the agent' A/m.safetensors
	"$CT" licence revoke -q --keys other.jwk -o second A B # another publisher's: nothing to these
	opens A/m.safetensors
	"$CT" licence revoke -q --keys k.jwk -o list OTHER
	cp list two
	"$CT" licence revoke -q --keys k.jwk -o list A
	refused 'licence "A" was revoked by its publisher' A/m.safetensors
	opens B/m.safetensors
	[ "$(jq -c . <(judge_payload list))" = "$(jq -c . <(judge_payload list) | jq -c '.seq = 3 | .ids = ["OTHER","A"]')" ]
	for broken in two second none garbage; do
		case $broken in
		none) rm list ;;
		garbage) echo "not a list" >list ;;
		*) cp "$broken" list ;;
		esac
		refused 'licence "A" was revoked by its publisher' A/m.safetensors
		opens B/m.safetensors
		"$CT" status | grep -q "1 lists of revoked ones are not sound: the ones before them count"
	done
	grep -q "not taken: is list 2, and 3 was here already; the one before it stays" "$AGENT_DIR/log"
	grep -q "not taken: is by another publisher than the list that was there" "$AGENT_DIR/log"
	grep -q "not taken: .*No such file or directory" "$AGENT_DIR/log"
	grep -q "not taken: not a list of revoked licences: " "$AGENT_DIR/log"
	run -3 "$CT" licence revoke --keys k.jwk -o list C # never over what it cannot go on with
	[[ $output == "ct: list: EBADMSG: not a list of revoked licences"* ]]
	run -3 "$CT" licence revoke --keys k.jwk -o second C
	[ "$output" = "ct: second: EKEYREJECTED: is not signed by these keys" ]
	run -2 "$CT" licence revoke --keys k.jwk -o list "a b"
	# an older list counts for an agent that knows no newer one, as documented
	cp two list
	agent "revoked $PWD/list"
	add -q A/A.licence
	opens A/m.safetensors
	for payload in '{"v":1,"issued":1,"seq":9,"ids":["A"],"more":1}' '{"v":1,"issued":1,"seq":9,"ids":["A b"]}' '{"v":1,"issued":1,"seq":0,"ids":["A"]}' \
		'{"v":1,"issued":1,"seq":9,"ids":["A"],"seq":9}' '{"v":2,"issued":1,"seq":9,"ids":["A"]}' '{"v":1,"issued":1,"seq":9}' '{"v":1,"issued":1,"seq":9,"ids":"A"}'; do
		judge list k.jwk "$payload" >list
		opens A/m.safetensors
		run -3 "$CT" licence show list
		[[ $output == "ct: list: EBADMSG: not a sound list of revoked licences: "* ]]
	done
	judge list k.jwk '{"v":1,"issued":1,"seq":9,"ids":["A"]}' >list
	refused 'licence "A" was revoked by its publisher' A/m.safetensors
	"$CT" licence show list --publisher "$FINGERPRINT" | grep -q "revoked:    A"
}

judge_payload() {
	cut -d. -f2 "$1" | python3 -c 'import base64, sys; t = sys.stdin.read().strip(); print(base64.urlsafe_b64decode(t + "=" * (-len(t) % 4)).decode())'
}

# A clock that is set back would give time that was not paid for; one that was ahead for an hour would lock everybody out for ever.
# bats test_tags=plain-build
@test "time never goes back behind what was seen, by this process, in the file, or by the publisher; the file is the remedy" {
	need faketime
	local so today
	so=$(faketime -f '2027-01-01 00:00:00' printenv LD_PRELOAD)
	today=$(date -u +%F)
	at() { # at DAYS: the agent is started anew, so many days from today
		agent_stop
		AGENT_OPTS=(-c conf --audit "$PWD/audit")
		TZ=UTC FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME="@$(date -u -d "$today + $1 days" '+%F 12:00:00')" LD_PRELOAD=$so agent_start
		add -q A/A.licence
	}
	issue A --until "$(date -u -d "$today + 10 days" +%F)"
	echo "clock $PWD/clock" >conf
	at 5
	opens A/m.safetensors
	run -0 cat clock
	[[ $output =~ ^[0-9]{20}$ ]]
	[ "$((10#$output))" -ge "$(date -u -d "$today + 5 days" +%s)" ]
	run -1 grep -q "CLOCK IS BEHIND" <("$CT" status)
	at 20
	refused 'licence "A" ended on ' A/m.safetensors
	[[ $output != *"the clock says"* ]]
	at 6
	refused 'licence "A" ended on ' A/m.safetensors
	[[ $output == *"the clock says it has not, but $(date -u -d "$today + 20 days" +%F) 12:00:"*" UTC was seen already"* ]]
	"$CT" status | grep -q "THE CLOCK IS BEHIND what was seen before: they are judged by $(date -u -d "$today + 20 days" +%F)"
	grep -q "the clock is more than a day behind what was seen before" "$AGENT_DIR/log"
	echo garbage >clock
	at 6
	grep -q "clock: no time in it: it is begun anew" "$AGENT_DIR/log"
	opens A/m.safetensors
	# what the publisher signed says that it is later; what another one signed does not
	"$CT" keygen -q -o other.jwk
	judge list other.jwk '{"v":1,"issued":9999999999,"seq":1,"ids":[]}' >list
	echo "revoked $PWD/list" >>conf
	at 6
	opens A/m.safetensors
	judge list k.jwk "{\"v\":1,\"issued\":$(date -u -d "$today + 12 days" +%s),\"seq\":1,\"ids\":[]}" >list
	at 6
	refused 'licence "A" ended on ' A/m.safetensors
	rm list clock
	echo "clock $PWD/clock" >conf
	at 6
	opens A/m.safetensors
	# a file that others may write, or that cannot be made, is an error where it is named
	agent_stop
	chmod 666 clock
	run -3 timeout -k 9 60 "$BUILD/ct-agent" -f -s "$PWD/s" -c conf
	[[ $output == *"others may write $PWD/clock"* ]]
	echo "clock /nonexistent/clock" >conf
	run -3 timeout -k 9 60 "$BUILD/ct-agent" -f -s "$PWD/s" -c conf
	[[ $output == *"/nonexistent/clock: No such file or directory"* ]]
	for line in "clock x" "revoked x" $'clock /a\nclock /b' "revoked"; do
		echo "$line" >conf
		run -3 timeout -k 9 60 "$BUILD/ct-agent" -f -s "$PWD/s" -c conf
		[[ $output == *"EBADMSG: conf:"* ]]
	done
}

# A user without a configuration would have no memory of the time, or it would lie where others write.
@test "where the time is kept unless told; nothing is written there before a licence is" {
	[[ $EUID == 0 ]] || need setpriv
	local dir
	dir=$(mktemp -d /tmp/ctlXXXXXX)
	issue A
	cp "$CT" "$BUILD/ct-agent" c.jwk A/A.licence k.jwk "$dir/"
	[[ $EUID != 0 ]] || chown -R 65534:65534 "$dir"
	as() { if [[ $EUID == 0 ]]; then setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; else "$@"; fi; }
	(
		cd "$dir"
		unset XDG_STATE_HOME
		export HOME=$dir CT_AGENT_SOCK=$dir/s CT_AGENT_WAIT=30
		as ./ct-agent -f -s "$dir/s" >log 2>&1 3>&- &
		pid=$!
		trap 'kill $pid; wait $pid || true' EXIT
		as ./ct add -q k.jwk
		[ "$(stat -c '%a %s' .local/state/ct-agent/clock)" = "600 0" ]
		as ./ct add -q --licence-key c.jwk A.licence
		as ./ct status
		[ "$(stat -c '%a %s' .local/state/ct-agent/clock)" = "600 21" ]
		[ "$(stat -c %a .local/state/ct-agent)" = 700 ]
	)
	rm -rf "$dir"
}

# Licences of one id for two keys, as after the loss of the first, would be in each other's way: the one that is over would answer for both.
@test "one id for two customers' keys: each opens his own copy, whatever the other's licence says" {
	agent
	issue A --until 2001-01-01
	cp r.json old.json
	"$CT" licence request -q --publisher "$FINGERPRINT" --keys d.jwk -o r.json --force
	"$CT" licence issue -q --keys k.jwk --to r.json --id A --until 2099-01-01 -o D m.safetensors
	add -q A/A.licence
	KEY=d.jwk add -q D/A.licence
	opens D/m.safetensors
	refused 'licence "A" ended on 2001-01-01' A/m.safetensors
	run -1 "$CT" policy explain --json A/m.safetensors
	[[ $output == *'"licence":"over"'* ]]
	# in the other order, too
	"$CT" remove -q --all
	KEY=d.jwk add -q D/A.licence
	add -q A/A.licence
	opens D/m.safetensors
	refused 'licence "A" ended on 2001-01-01' A/m.safetensors
}

# A program that opens a file again within keep_s would not be asked about the end.
@test "keep_s ends with the licence" {
	agent "keep 3600"
	issue A --until "$(date -u -d '+600 seconds' +%FT%TZ)"
	issue B
	add -q A/A.licence B/B.licence
	keep_of() {
		python3 "$ROOT/tests/peer.py" open "$1" | grep -o '"keep_s": *[0-9]*' | tr -dc 0-9
	}
	[ "$(keep_of A/m.safetensors)" -le 600 ]
	[ "$(keep_of A/m.safetensors)" -gt 0 ]
	[ "$(keep_of B/m.safetensors)" = 3600 ]
}

# A name in a request could paint a terminal over with another one.
@test "hostile names are harmless in show, status, issue and the audit" {
	agent
	python3 - <<-'EOF_PY'
		import json
		r = json.load(open("r.json"))
		r["name"] = "\x1b[31mred\u202e\u0007\n"
		json.dump(r, open("r.json", "w"))
	EOF_PY
	cp m.safetensors $'m\e[1m.safetensors'
	run -0 "$CT" licence issue --keys k.jwk --to r.json --id A --until 2099-01-01 -o A $'m\e[1m.safetensors'
	all=$output
	add -q A/A.licence
	for what in "licence show r.json" "licence show --json r.json" "licence show A/A.licence" "licence show --json A/A.licence" status "status --json"; do
		# shellcheck disable=SC2086
		run -0 "$CT" $what
		all+=$output
	done
	all+=$(cat audit "$AGENT_DIR/log")
	[[ $all == *red* ]]
	run -1 grep -P '\x1b|\x07|\x{202e}' <<<"$all"
}

# What is shown would not be what counts.
@test "ct licence show: who, what, until when, and whether the pin was looked at" {
	issue A --grace 2 --until 2098-12-31 --user 7
	# in the spelling in which it is compared on the phone
	key=$("$CT" licence show r.json | sed -n 's/^\(  key:  .*\): compare it.*/\1/p')
	[[ $key == "  key:        "????????" "* ]]
	[ "$("$CT" licence show --json A/A.licence | jq -r .to_sha256)" = "$(tr -d ' ' <<<"${key#  key:}")" ]
	run -0 "$CT" licence show A/A.licence
	for line in "A/A.licence: licence A" "  for:        ACME GmbH" "$key" "  opens:      m.safetensors" "  until:      2098-12-31 23:59:59 UTC, and 2 days of grace: 2099-01-02 23:59:59 UTC" \
		"  now:        running, days left: "* "  user:       7" "  publisher:  $FINGERPRINT" "  signature:  right, but not checked against a pin"*; do
		found=0
		for l in "${lines[@]}"; do
			# shellcheck disable=SC2053 # a pattern
			[[ $l != $line ]] || found=1
		done
		[ $found = 1 ] || { echo "no: $line"; return 1; }
	done
	for how in "--keys c.jwk" "--publisher $(tr -d ' ' <<<"$FINGERPRINT")"; do
		# shellcheck disable=SC2086
		run -0 "$CT" licence show $how A/A.licence
		[[ $output == *"right, by the publisher that is pinned"* ]]
	done
	"$CT" keygen -q -o other.jwk
	run -3 "$CT" licence show --publisher "$(fingerprint other.jwk)" A/A.licence
	[[ $output == *"EKEYREJECTED: is signed by $FINGERPRINT, not by the publisher that is pinned"* ]]
	"$CT" licence request -q --publisher "$FINGERPRINT" --keys d.jwk -o d.json
	run -3 "$CT" licence show --keys d.jwk A/A.licence
	[[ $output == *"EKEYREJECTED: the licence is for another customer's key"* ]]
	[ "$("$CT" licence show --json A/A.licence | jq -r '[.id, .name, .until, .ends, .grace_days, .opens[0], .users[0], .pinned] | join(",")')" = \
		"A,ACME GmbH,4070908800,4071081600,2,m.safetensors,7,false" ]
	"$CT" inspect A/m.safetensors | grep -q "licence:        A"
	[ "$("$CT" inspect --json A/m.safetensors | jq -r .licence)" = A ]
	for options in "" "nothing" "show" "issue" "revoke" "request"; do
		# shellcheck disable=SC2086
		run -2 "$CT" licence $options
	done
	run -0 "$CT" licence --help
	run -0 "$CT" licence issue --help
}
