# Licences: what ct licence makes, what the agent makes of it, what must not work. The judge of formats and keys is tests/licence_judge.py (jwcrypto); the whole
# story, as people live it, is scripts/licence-story.

load helpers
load licence

setup() {
	licence_setup
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
