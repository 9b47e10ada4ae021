# The policies that ct writes, ct policy test and explain, and what the input document has beside engine.bats: claims and the digest of the
# executable. Engines: tests/standins/few_rego.py for the texts of ct, and ct-policy-rego where it is built and has its library; tests/standins/engine.py
# elsewhere.

load helpers
load engine

ID=0123456789abcdef0123456789abcdef
OTHER_ID=fedcba9876543210fedcba9876543210

setup() {
	engine_setup
	local lib
	FEW=("exec:$(python3 -c 'import sys; print(sys.executable)') $ROOT/tests/standins/few_rego.py")
	# Not with a sanitizer, whose run time needs system calls that the program forbids itself.
	for lib in "$ROOT"/.venv/lib/python3*/site-packages/regopy/librego_shared.so; do
		[ -n "$SANITIZE" ] || [ ! -x "$BUILD/ct-policy-rego" ] || [ ! -e "$lib" ] || FEW+=("exec:$BUILD/ct-policy-rego --librego $lib")
	done
}

# text FILE: its policy
text() {
	"$CT" inspect --json "$1" | python3 -c 'import json, sys; sys.stdout.write(json.load(sys.stdin)["policy"]["local"])'
}

# judged VERDICT FILE INPUT: by every engine.
judged() {
	local e
	printf '%s' "$3" >input.json
	for e in "${FEW[@]}"; do
		run "$CT" policy test --policy-engine "$e" --input input.json "$2"
		echo "$e: $output ($status), not $1, for $3"
		[ "$output" = "$1" ] || return
		[ "$status" = "$([ "$1" = true ] && echo 0 || echo 1)" ] || return
	done
}

# A day too short is a customer who cannot work; a day too long, or a month that overflows, one who need not pay.
@test "--until: to the second, whole days in UTC, instants in any zone, leap days, days of grace" {
	local row date grace limit
	while read -r date grace limit; do
		limit=$(date -u -d "$limit" +%s)
		TZ=America/New_York "$CT" encrypt -q --force --keys k.jwk --until "$date" --grace "$grace" plain.safetensors e.safetensors
		judged true e.safetensors "{\"time\":{\"seconds\":$((limit - 1))}}"
		judged false e.safetensors "{\"time\":{\"seconds\":$limit}}"
		[[ $(text e.safetensors) == *"# before $(date -u -d "@$limit" +%Y-%m-%dT%H:%M:%S)+00:00"* ]]
	done <<-'ROWS'
		2027-12-31 0 2028-01-01T00:00:00Z
		2028-02-28 0 2028-02-29T00:00:00Z
		2028-02-29 0 2028-03-01T00:00:00Z
		2400-02-29 0 2400-03-01T00:00:00Z
		2027-02-28 0 2027-03-01T00:00:00Z
		2027-02-28 14 2027-03-15T00:00:00Z
		2028-02-15 14 2028-03-01T00:00:00Z
		2027-01-31T18:00:00Z 0 2027-01-31T18:00:00Z
		2027-12-31T23:59:59+14:00 1 2028-01-01T09:59:59Z
		2028-02-29T00:00:00-05:30 0 2028-02-29T05:30:00Z
		9999-12-31 36500 10099-12-07T00:00:00Z
	ROWS
}

# The clock that counts is the agent's, not the client's.
# bats test_tags=plain-build
@test "--until holds at the agent, by its clock" {
	need faketime
	local so
	so=$(faketime -f '2027-01-01 00:00:00' printenv LD_PRELOAD)
	"$CT" encrypt -q --keys k.jwk --until 2028-02-29 plain.safetensors e.safetensors
	ENGINE=${FEW[0]}
	TZ=UTC FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME='2028-02-29 23:59:59' LD_PRELOAD=$so with
	run -0 "$CT" verify e.safetensors
	agent_stop
	TZ=UTC FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME='2028-03-01 00:00:00' LD_PRELOAD=$so with
	run -1 env TZ=UTC FAKETIME='2028-02-29 23:59:59' LD_PRELOAD="$so" "$CT" verify e.safetensors
	[[ $output == *"EKEYREJECTED: its policy says no"* ]]
	run -1 "$CT" policy explain e.safetensors
	[[ $output == *"input.time.seconds = $(date -u -d 2028-03-01 +%s)"$'\n'* ]]
}

# One condition that is forgotten when several are there opens the file to everybody it should keep out.
@test "--machine, --user, --until: each alone, all of them together; what is not there does not hold" {
	local now='"time":{"seconds":1000000000}' late='"time":{"seconds":4000000000}' who='"peer":{"uid":1000}' where="\"machine_id\":\"$ID\""
	"$CT" encrypt -q --keys k.jwk --machine "$ID" --machine "$OTHER_ID" plain.safetensors m.safetensors
	"$CT" encrypt -q --keys k.jwk --user 1000 --user 0 --user 4294967294 plain.safetensors u.safetensors
	"$CT" encrypt -q --keys k.jwk --until 2027-12-31 --machine "$ID" --user 1000 plain.safetensors all.safetensors
	for id in "$ID" "$OTHER_ID"; do
		judged true m.safetensors "{\"machine_id\":\"$id\"}"
	done
	for input in '{}' '{"machine_id":""}' "{\"machine_id\":\"${ID^^}\"}" "{\"machine_id\":\"${ID%?}\"}" "{\"machine_id\":[\"$ID\"]}" \
		"{\"peer\":{\"machine_id\":\"$ID\"}}"; do
		judged false m.safetensors "$input"
	done
	for uid in 0 1000 4294967294; do
		judged true u.safetensors "{\"peer\":{\"uid\":$uid}}"
	done
	for input in '{}' '{"peer":{}}' '{"peer":{"uid":1}}' '{"peer":{"uid":"1000"}}' '{"peer":{"uid":10001}}' '{"uid":1000}' '{"peer":{"gid":1000}}'; do
		judged false u.safetensors "$input"
	done
	judged true all.safetensors "{$now,$who,$where}"
	for input in "{$late,$who,$where}" "{$now,\"peer\":{\"uid\":0},$where}" "{$now,$who,\"machine_id\":\"$OTHER_ID\"}" "{$now,$who}" \
		"{$now,$where}" "{$who,$where}" '{}'; do
		judged false all.safetensors "$input"
	done
}

# What is pasted into an option would be Rego: `"} allow if true` opens the file.
@test "nothing but digits gets from options into a text; wrong ones are usage" {
	local v
	refused() { # refused OPTION VALUE [MORE…]
		run -2 "$CT" encrypt --keys k.jwk "$@" plain.safetensors x.safetensors
		[ "${#lines[@]}" = 1 ]
		[[ $output == "ct encrypt: "*"; see ct encrypt --help" ]]
		run -2 "$CT" rewrap --keys k.jwk --new-keys k.jwk "$@" default.safetensors
		[ ! -e x.safetensors ]
	}
	for v in 2027-02-29 2100-02-29 2027-04-31 2027-00-01 2027-13-01 2027-01-00 2027-01-32 2027-1-1 27-01-01 02027-01-01 1969-12-31 2027-01-01T00:00:00 \
		2027-01-01T24:00:00Z 2027-01-01T00:60:00Z 2027-01-01T00:00:60Z 2027-01-01T00:00:00.5Z 2027-01-01T00:00:00+24:00 2027-01-01T00:00:00+0100 \
		2027-02-29T00:00:00Z '2027-01-01 00:00:00Z' 2027-01-01Z '2027-01-01 ' ' 2027-01-01' '+027-01-01' '' tomorrow 1798761600 \
		$'2027-01-01\nallow if true' $'2027-01-01T00:00:00Z\nallow if true' '2027-01-01} allow if true'; do
		refused --until "$v"
	done
	for v in "${ID}0" "${ID%?}" "${ID^^}" "${ID%?}g" "${ID%?} " "${ID%?}\"" '' 00000000000000000000000000000000 "$ID\"} allow if true #" "${ID%?}"$'\n' \
		'"} allow if true } #            ' 01234567-89ab-cdef-0123-456789abcdef "${ID%??}é"; do
		refused --machine "$v"
	done
	for v in -1 +1 1.0 0x10 1K ' 1' '1 ' '' root 4294967295 18446744073709551616 '1} allow if true' $'1}\nallow if true'; do
		refused --user "$v"
	done
	for v in -1 1.5 36501 '' 1d '1 # '; do
		refused --until 2027-01-01 --grace "$v"
	done
	refused --grace 3
	refused --until 2027-01-01 --until 2028-01-01
	echo "package model" >p.rego
	for v in "--until 2027-01-01" "--machine $ID" "--user 0"; do
		# shellcheck disable=SC2086 # an option and its value
		refused --policy p.rego $v
	done
	cmp <(text default.safetensors) <(printf 'package model\nallow = true')
}

# Who copies a text from policies/ would not have the policy that the options write, or one of an older release.
@test "policies/*.rego are what ct writes by the command in their first line" {
	local f n=0 args
	for f in "$ROOT"/policies/*.rego; do
		read -ra args < <(sed -n '1s/^# ct encrypt //p' "$f")
		[ "${#args[@]}" -ge 2 ]
		"$CT" encrypt -q --force --keys k.jwk "${args[@]}" plain.safetensors e.safetensors
		text e.safetensors | diff - <(sed '1,/^$/d' "$f")
		[ -z "$(sed '/^$/,$d' "$f" | grep -v '^# ')" ]
		# as a whole, comment and all, it says the same
		"$CT" encrypt -q --force --keys k.jwk --policy "$f" plain.safetensors whole.safetensors
		cmp <(text whole.safetensors) "$f"
		n=$((n + 1))
	done
	[ "$n" = 4 ]
}

# A longer time would need the model anew; a new policy that is not written would be the old one under the new date.
@test "ct rewrap --until: the new text, signed, in a file that has the keys already" {
	"$CT" encrypt -q --keys k.jwk --until 2027-12-31 plain.safetensors e.safetensors
	cp e.safetensors old.safetensors
	"$CT" rewrap -q --keys k.jwk --new-keys k.jwk --until 2029-12-31 --user 7 e.safetensors
	"$CT" encrypt -q --keys k.jwk --until 2029-12-31 --user 7 plain.safetensors new.safetensors
	cmp <(text e.safetensors) <(text new.safetensors)
	run ! cmp -s <(text e.safetensors) <(text old.safetensors)
	ENGINE=${FEW[0]}
	with
	run -1 "$CT" verify e.safetensors
	[[ $output == *"its policy says no"* ]]
	"$CT" rewrap -q --keys k.jwk --new-keys k.jwk --until 2029-12-31 e.safetensors
	run -0 "$CT" verify e.safetensors
	run -0 "$CT" rewrap --keys k.jwk --new-keys k.jwk --until 2001-01-01 -n e.safetensors
	[[ $output == *"that is over already"* ]]
}

# A publisher would ship a policy that his test has not judged, or not as the agent does.
@test "ct policy test: true, false, undefined and errors, of a model and of a text; engines leave nobody behind" {
	local w f
	echo '{"a":1}' >in.json
	try() { run "$CT" policy test --policy-engine "$ENGINE" --input "${INPUT:-in.json}" "$@"; }
	for w in true false undefined twice status orphan loop; do
		model "$w" "# $w"
	done
	for f in rego safetensors; do
		try "true.$f"
		[ "$status $output" = "0 true" ]
		for w in false undefined; do
			try "$w.$f"
			[ "$status $output" = "1 $w" ]
		done
		for w in twice status; do
			try "$w.$f"
			[ "$status" = 3 ]
			[[ $output == "ct: $w.$f: EKEYREJECTED: the policy engine "* ]]
		done
	done
	try loop.rego
	[ "$status" = 3 ]
	[[ $output == *"no verdict within 2 s" ]]
	try orphan.rego
	[ "$status $output" = "0 true" ]
	run ! pgrep -f "$PWD/saw"
	run sh -c 'exec "$0" "$@" <&- 3>&- 4>&-' "$CT" policy test --policy-engine "$ENGINE" --input in.json true.rego
	[ "$status $output" = "0 true" ]
	try --json false.rego
	[ "$status $output" = '1 {"file":"false.rego","verdict":"false"}' ]
	try -q false.rego
	[ "$status $output" = "1 " ]
	try default.safetensors # as the agent: not asked
	[ "$status $output" = "0 true" ]
	try plain.safetensors
	[ "$status" = 3 ]
	[[ $output == "ct: plain.safetensors: EPERM: "* ]]
	printf '# true\n\0' >nul.rego
	for f in nul.rego nothing.rego /; do
		try "$f"
		[ "$status" = 3 ]
	done
	ENGINE=exec:/nonexistent/e try true.rego
	[ "$status" = 3 ]
	[[ $output == "ct: ENOENT: the policy engine "* ]]
	ENGINE=/bin/true try true.rego
	[ "$status" = 3 ]
	INPUT=nothing.json try true.rego
	[ "$status" = 3 ]
	[[ $output == "ct: nothing.json: ENOENT: "* ]]
}

# Engines read escapes and double names each in their own way: a test would pass where the agent's document would not.
@test "ct policy test: the engine gets the document in the agent's spelling; what no spelling helps is refused" {
	local bad
	echo '# true' >t.rego
	printf '{ "a" : "\\u00e9\\/\\"\\\\", "b": [1e3, -0.5,{"x":null}] ,"\\u0063":{"d":true,"e":false}, "f":{}, "g":[] }' >in.json
	run -0 "$CT" policy test --policy-engine "$ENGINE" --input in.json t.rego
	cmp saw/*/input.json <(printf '{"a":"é/\\"\\\\","b":[1e3,-0.5,{"x":null}],"c":{"d":true,"e":false},"f":{},"g":[]}')
	for bad in '' '[]' '1' '{' '{"a":1,"a":1}' '{"a":1,"\u0061":1}' '{"o":[{"a":1,"b":2,"\u0061":1}]}' '{"a":"\u0001"}' '{"a":"\n"}' '{"\t":1}' '{"a":"\u007f"}' \
		'{"a":01}' '{"a":1}{}' $'{"a":"\xff"}' '{"a":"\ud800"}'; do
		printf '%s' "$bad" >in.json
		run -3 "$CT" policy test --policy-engine "$ENGINE" --input in.json t.rego
		[[ $output == "ct: in.json: EBADMSG: "* ]]
	done
	python3 -c 'print("{\"a\":\"" + "x" * 262144 + "\"}")' >in.json
	run -3 "$CT" policy test --policy-engine "$ENGINE" --input in.json t.rego
	[[ $output == "ct: in.json: EFBIG: "* ]]
	[ "$(ls saw | wc -l)" = 1 ]
}

# Explained would be another document than the one that is judged, another verdict than open's, or only the first no.
@test "ct policy explain: what each says, what they saw, what open would answer" {
	local f
	printf '# expect\ninput["file"]["tensors"] == 4\n' >own.rego
	printf 'policy %s/own.rego\nattribute site berlin\ndeny exe=%s/other\n' "$PWD" "$PWD" >conf
	chmod 600 own.rego conf
	with -c "$PWD/conf"
	for f in true false undefined status; do
		model "$f" "# $f"
	done
	cp "$CT" other
	run -0 "$CT" policy explain true.safetensors
	[ "${lines[0]}" = "true.safetensors: would be served" ]
	[[ ${lines[1]} == *"its policy: "*" true" && ${lines[2]} == *remote*" default" && ${lines[3]} == *operator*" true" && ${lines[4]} == *"rules: "*" serve" ]]
	[[ $output == *$'\n    input.attributes.site = "berlin"'* && $output == *$'\n    input.peer.uid = '"$(id -u)"$'\n'* ]]
	run -0 "$CT" policy explain -q default.safetensors
	[ -z "$output" ]
	for f in default true false undefined status; do
		"$CT" verify "$f.safetensors" >"$f.open" 2>&1 || true
		"$CT" policy explain --json "$f.safetensors" >"$f.json" || true
		run "$CT" policy explain "$f.safetensors"
		[ "$status" = "$([[ $f =~ default|true ]] && echo 0 || echo 1)" ]
	done
	run -1 ./other policy explain --json false.safetensors
	echo "$output" >both.json
	run -1 ./other policy explain --json true.safetensors
	echo "$output" >other.json
	python3 - <<-'PY'
		import glob, json
		seen = [json.load(open(f)) for f in glob.glob("saw/*/input.json")]
		for name, says in ("default", "default"), ("true", "true"), ("false", "false"), ("undefined", "undefined"), ("status", "error"):
		    x = json.load(open(name + ".json"))
		    yes = says in ("default", "true")
		    assert x["file"] == name + ".safetensors" and x["policy"] == says and x["operator_policy"] == "true" and x["rules"] == "serve", x
		    assert x["disposition"] == ("serve" if yes else "refuse") and bool(x["reason"]) != yes
		    assert x["reason"] in open(name + ".open").read()
		    assert seen.count(x["input"]) == (1 if name == "default" else 2), name  # the engine, for the file's and the operator's
		both, other = json.load(open("both.json")), json.load(open("other.json"))
		assert (both["policy"], both["operator_policy"], both["rules"]) == ("false", "true", "refuse") and both["reason"].startswith("its policy says no")
		assert other["disposition"] == other["rules"] == "refuse" and "line 3 of" in other["reason"]
	PY
	agent_stop
	printf '# expect\ninput["file"]["tensors"] == 5\n' >own.rego
	printf 'policy %s/own.rego\nciphertext\nremote refuse\n' "$PWD" >conf
	with -c "$PWD/conf"
	run -1 "$CT" policy explain --json default.safetensors
	[[ $output == *'"disposition":"refuse","policy":"default","operator_policy":"false","rules":"ciphertext","reason":"the operator'*'says no'* ]]
	run -1 "$CT" policy explain --json false.safetensors # the first no is open's
	[[ $output == *'"policy":"false","operator_policy":"false","rules":"ciphertext","reason":"its policy says no'* ]]
	agent_stop
	echo ciphertext >conf
	AGENT_OPTS=(-c "$PWD/conf")
	agent_start "$PWD/k.jwk"
	run -1 "$CT" policy explain --json default.safetensors
	[[ $output == *'"disposition":"ciphertext","policy":"default","operator_policy":"none","rules":"ciphertext"'*'"input":{"peer":'* ]]
	run -1 "$CT" policy explain --json true.safetensors
	[[ $output == *'"disposition":"refuse","policy":"error","operator_policy":"none"'*"no policy engine"*'"input":{"peer":'* ]]
	run -3 "$CT" policy explain plain.safetensors
	[[ $output == "ct: plain.safetensors: EPERM: "* ]]
}

# A question that nobody counts as an open would hand out keys, or an answer about a header that nobody has signed.
@test "explain: never a key, nothing before the signature is right, in the audit, not among the opens" {
	export PYTHONPATH=$ROOT/tests
	with --audit "$PWD/audit"
	model true "# true"
	run -0 "$CT" policy explain default.safetensors
	run -0 "$CT" policy explain true.safetensors
	python3 - <<-'PY'
		import base64, json, peer
		right = peer.exchange(peer.open_frame("default.safetensors"))[1]
		keys = peer.data_keys("default.safetensors", "k.jwk")
		assert right == keys and len(keys) == 4 * 32
		head, size = peer.header_of("default.safetensors")
		reply, blob = peer.exchange(peer.frame({"v": 1, "op": "explain", "size": size}, head))
		assert reply["disposition"] == "serve" and "peer" in json.loads(blob), reply
		whole = json.dumps(reply).encode() + blob
		for i in range(4):
		    k = keys[32 * i:32 * i + 32]
		    assert k not in whole and k.hex().encode() not in whole and base64.b64encode(k)[:40] not in whole
		bad = bytearray(head)
		bad[head.index(b'"pt"') + 1] ^= 1
		reply, blob = peer.exchange(peer.frame({"v": 1, "op": "explain", "size": size}, bytes(bad)))
		assert reply["error"] == "EBADMSG" and "policy" not in reply and not blob, reply
		for request in {"v": 1, "op": "explain"}, {"v": 1, "op": "explain", "size": "1"}, {"v": 1, "op": "explain", "size": size, "claims": []}:
		    assert peer.exchange(peer.frame(request, head))[0]["error"] == "EINVAL"
		assert peer.exchange(peer.frame({"v": 1, "op": "explain", "size": 9}))[0]["error"] == "EINVAL"
		status = peer.exchange(peer.frame({"v": 1, "op": "status"}))[0]
		assert status["opens"] == {"served": 1, "ciphertext": 0, "refused": 0, "failed": 0}, status
		lines = [json.loads(x) for x in open("audit")]
		assert [(x["event"], x.get("verdict")) for x in lines] == [("add", None), ("explain", "serve"), ("explain", "serve"), ("open", "serve"),
		                                                            ("explain", "serve"), ("explain", "EBADMSG")], lines
	PY
	"$CT" keygen -q --kid-enc ke --kid-sign ks -o stranger.jwk
	"$CT" encrypt -q --keys stranger.jwk plain.safetensors stranger.safetensors
	run -3 "$CT" policy explain stranger.safetensors
	[[ $output == "ct: stranger.safetensors: EBADMSG: "* ]]
	# signed by this set's key, wrapped by another master key of the same id: what open would say
	python3 - <<-'PY'
		import json
		k, s = (json.load(open(f))["keys"] for f in ("k.jwk", "stranger.jwk"))
		json.dump({"keys": [x for x in s if x["kty"] == "oct"] + [x for x in k if x["kty"] != "oct"]}, open("mixed.jwk", "w"))
	PY
	chmod 600 mixed.jwk
	"$CT" encrypt -q --keys mixed.jwk plain.safetensors mixed.safetensors
	run -3 "$CT" policy explain mixed.safetensors
	[[ $output == "ct: mixed.safetensors: EBADMSG: "* ]]
	echo secret | "$CT" lock -q
	run -3 "$CT" policy explain default.safetensors
	[[ $output == "ct: default.safetensors: ENOKEY: "*locked* ]]
}

# An admitted user who cannot ask why asks the operator; one who is not admitted would learn what the machine is called.
@test "explain: for whom allow-uid admits, about himself, and for nobody else" {
	need setpriv
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, to be two users"
	model who $'# expect\ninput["peer"]["uid"] == 12345 and input["peer"]["gid"] == 54321 and input["peer"]["groups"] == [7]'
	printf 'allow-uid 12345\n' >conf
	chmod 600 conf
	with -c "$PWD/conf"
	chmod 711 "$AGENT_DIR"
	mkdir "$AGENT_DIR/x"
	cp "$CT" who.safetensors "$AGENT_DIR/x"
	chmod -R a+rX "$AGENT_DIR/x"
	run -0 setpriv --reuid 12345 --regid 54321 --groups 7 "$AGENT_DIR/x/ct" policy explain --json "$AGENT_DIR/x/who.safetensors"
	[[ $output == *'"disposition":"serve","policy":"true"'*'"peer":{"uid":12345,"gid":54321,"groups":[7],'* ]]
	run -1 "$CT" policy explain who.safetensors
	run -3 setpriv --reuid 12346 --regid 54321 --clear-groups "$AGENT_DIR/x/ct" policy explain "$AGENT_DIR/x/who.safetensors"
	[[ $output == *"EKEYREJECTED: "*"does not admit uid 12346"* && $output != *machine_id* ]]
}

# A policy that names a program's digest would fit another one, or every open would read every executable.
@test "peer.exe_sha256: that of the program that asks, and only where a policy speaks of it" {
	local sum
	sum=$(sha256sum "$CT" | cut -d' ' -f1)
	model digest "# expect"$'\n'"input['peer']['exe_sha256'] == '$sum'"
	model other "# expect"$'\n'"'exe_' + 'sha256' not in input['peer']"
	with
	run -0 "$CT" verify digest.safetensors other.safetensors
	run -0 "$CT" policy explain --json digest.safetensors
	[[ $output == *"\"exe_sha256\":\"$sum\""* ]]
	run -0 "$CT" policy explain --json default.safetensors
	[[ $output != *exe_sha256* ]]
	cp "$CT" longer
	printf x >>longer
	run -1 ./longer policy explain --json digest.safetensors
	[[ $output == *"\"exe_sha256\":\"$(sha256sum longer | cut -d' ' -f1)\""* ]]
	truncate -s 268435457 longer
	run ./longer policy explain --json digest.safetensors
	[[ $output == *'"policy":"error"'*'"exe":"'*/longer\"* && $output != *'"exe_sha256"'* ]]
	agent_stop
	# the operator's policy speaks of it
	cp digest.rego own.rego
	echo "policy $PWD/own.rego" >conf
	chmod 600 own.rego conf
	with -c "$PWD/conf"
	run -0 "$CT" verify default.safetensors
	agent_stop
	# not ours to ask: the agent is another user
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, to be two users"
	local d s=0
	d=$(mktemp -d /tmp/ctXXXXXX)
	cp "$BUILD/ct-agent" "$d"
	chmod 755 "$d" "$d/ct-agent"
	mkdir "$d/s"
	chown 12345 "$d/s"
	setpriv --reuid 12345 --regid 12345 --clear-groups "$d/ct-agent" -s "$d/s/s" >/dev/null
	export CT_AGENT_SOCK=$d/s/s CT_AGENT_UID=12345
	"$CT" add -q k.jwk || s=$?
	run "$CT" policy explain --json digest.safetensors
	setpriv --reuid 12345 --regid 12345 --clear-groups "$d/ct-agent" -k -s "$d/s/s"
	rm -r "$d"
	[ "$s $status" = "0 1" ]
	[[ $output == *'"peer":{"uid":0,'* && $output != *'"exe_sha256"'* && $output != *'"exe"'* ]]
}

# A claim that could stand elsewhere than below `claims`, or be read in two ways, would be a fact.
@test "claims: below input.claims, in the agent's spelling, and nowhere else; wrong ones are refused" {
	export PYTHONPATH=$ROOT/tests
	with
	model claims $'# expect\ninput["claims"] == {"n": 5, "t": True, "s": "\u00e9/\\"\\\\", "peer": "x", "f": -1.5} and input["peer"]["uid"] != "x"'
	model none $'# expect\n"claims" not in input'
	run -0 "$CT" verify none.safetensors
	python3 - <<-'PY'
		import glob, os, peer
		head, size = peer.header_of("claims.safetensors")
		ask = lambda op, claims: peer.exchange(peer.frame(b'{"v":1,"op":"%s","size":%d,"claims":%s}' % (op, size, claims), head))
		good = rb'{ "n":5 ,"t":true,"s":"\u00e9\/\"\\","\u0070eer":"x","f":-1.5}'
		for op in b"open", b"explain":
		    reply, _ = ask(op, good)
		    assert reply.get("disposition") == "serve", reply
		raw = max(glob.glob("saw/*/input.json"), key=os.path.getmtime)
		assert open(raw, "rb").read().endswith('"claims":{"n":5,"t":true,"s":"é/\\"\\\\","peer":"x","f":-1.5}}'.encode())
		longest = b'{"a":"' + b"x" * 4088 + b'"}'
		assert len(longest) == 4096 and ask(b"explain", longest)[0]["ok"]
		bad = [b'{"a":"' + b"x" * 4089 + b'"}', b"[]", b"1", b"null", b'"a"', b'{"a":null}', b'{"a":[]}', b'{"a":{}}', b'{"a":1,"a":1}', rb'{"a":1,"\u0061":1}',
		       rb'{"a":"\u0000"}', rb'{"a":"\n"}', rb'{"a\u001f":1}', rb'{"a":"\u007f"}', b'{"a":01}']
		for claims in bad:
		    for op in b"open", b"explain":
		        reply, blob = ask(op, claims)
		        assert reply.get("error") == "EINVAL" and not blob, (claims, reply)
		twice = peer.exchange(peer.frame(b'{"v":1,"op":"explain","size":%d,"claims":{},"claims":{}}' % size, head))[0]
		assert twice["error"] == "EINVAL" and "twice" in twice["reason"]
		assert peer.exchange(peer.frame(b'{"v":1,"op":"ping","claims":[]}'))[0]["ok"]  # unknown there: ignored
	PY
	run -1 "$CT" policy explain --json --claim 'a=b=c "d" \e' --claim 'é=' claims.safetensors
	[[ $output == *'"claims":{"a":"b=c \"d\" \\e","é":""}}}' ]]
	run -3 "$CT" policy explain --claim a=1 --claim a=2 default.safetensors
	[[ $output == "ct: default.safetensors: EINVAL: claims is "* ]]
}
