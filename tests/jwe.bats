# Key files under a passphrase, and JWE between us and jose, which is the judge of all of it.

load helpers

setup() {
	need jose
	cd "$BATS_TEST_TMPDIR"
	JWE=$BUILD/unit/test_jwe
	[ -x "$JWE" ] || skip_or_fail "make tools"
	cat >ask <<-'EOF'
		#!/bin/sh
		printf '%s\n' "$1" >>"${0%/*}/prompts"
		cat "${0%/*}/word"
	EOF
	chmod 700 ask
	printf '%s\n' "$WORD" >word
	export CT_ASKPASS=$PWD/ask CT_ASKPASS_REQUIRE=force
}

WORD=correct-horse-battery # jose takes what is typed up to the first blank, and nothing but ASCII

terminal() {
	timeout -k 9 120 python3 "$ROOT/tests/terminal.py" "$@"
}

# ct_run …: ct run, in a build with sanitizers too (their run time must come first).
ct_run() {
	local with=()
	[[ -z $SANITIZE ]] || with=(LD_PRELOAD="${PRELOAD% *}" ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0)
	env "${with[@]}" "$CT" run "$@"
}

# jose_enc TEMPLATE [OPTION…] <PLAIN >JWE: under the passphrase
jose_enc() {
	local template=$1
	shift
	cat >plain.in
	terminal "$WORD" "$WORD" -- jose jwe enc -p -I plain.in -i "$template" -o made "$@" >shown || { cat shown >&2; return 1; }
	cat made
}

# jose_dec FILE >PLAIN
jose_dec() {
	terminal "$WORD" -- jose jwe dec -p -i "$1" -O opened >shown || { cat shown >&2; return 1; }
	cat opened
}

# A key file that jose wrote would not open, in one of its spellings: its own defaults put alg, p2s and p2c into the recipient's header.
@test "what jose writes under a passphrase opens: every algorithm, JSON and compact" {
	local plain='{"some": "text"}' alg enc form
	for form in "" -c; do
		run -0 "$JWE" open "$WORD" < <(jose_enc '{}' $form <<<"$plain")
		[ "$output" = "$plain" ]
	done
	for alg in PBES2-HS256+A128KW PBES2-HS384+A192KW PBES2-HS512+A256KW; do
		for enc in A128GCM A256GCM A128CBC-HS256 A256CBC-HS512; do
			form=$([ $enc = A256GCM ] && echo -c || true)
			# shellcheck disable=SC2086 # or no option
			jose_enc '{"protected":{"alg":"'$alg'","enc":"'$enc'","p2c":1000}}' $form <<<"$plain" >m
			run -0 "$JWE" open "$WORD" <m
			[ "$output" = "$plain" ]
			run -1 "$JWE" open "$WORD." <m
			[[ $output == "EKEYREJECTED: wrong passphrase"* ]]
		done
	done
	jose_enc '{"protected":{"enc":"A256GCM"},"unprotected":{"alg":"PBES2-HS512+A256KW","p2c":1001}}' <<<"$plain" >m
	grep -q '"unprotected"' m
	run -0 "$JWE" open "$WORD" <m
	[ "$output" = "$plain" ]
}

# Nobody but ct could read what ct wrote.
@test "what we write, jose opens: under a passphrase and for an EC key, JSON and compact" {
	local plain='{"some": "text"}' form
	"$JWE" key >ours.jwk
	jose jwk gen -i '{"kty":"EC","crv":"P-256"}' -o theirs.jwk
	jose jwk pub -i theirs.jwk -o public.jwk
	for form in compact json; do
		"$JWE" seal $form "$WORD" <<<"$plain" >m
		[ "$(jose_dec m)" = "$plain" ]
		"$JWE" seal $form @public.jwk <<<"$plain" >m
		[ "$(jose jwe dec -i m -k theirs.jwk)" = "$plain" ]
		"$JWE" seal $form @ours.jwk <<<"$plain" >m
		[ "$(jose jwe dec -i m -k ours.jwk)" = "$plain" ]
		run ! jose jwe dec -i m -k theirs.jwk
	done
	jose jwk pub -i ours.jwk >/dev/null # jose takes our key for one
}

# A licence that another tool made for a customer's key would not open.
@test "what jose writes for an EC key opens: every algorithm, JSON and compact, with and without party names" {
	local plain='{"some": "text"}' alg enc form more
	"$JWE" key >ours.jwk
	jose jwk pub -i ours.jwk -o public.jwk
	jose jwk gen -i '{"kty":"EC","crv":"P-256"}' -o other.jwk
	# The key's own alg would decide.
	jq -c 'del(.alg)' public.jwk >public && mv public public.jwk
	for alg in ECDH-ES+A128KW ECDH-ES+A192KW ECDH-ES+A256KW; do
		for enc in A128GCM A256GCM A128CBC-HS256 A256CBC-HS512; do
			for form in "" -c; do
				more=$([ $enc = A256GCM ] && echo ',"apu":"QWxpY2U","apv":"Qm9i"' || true)
				# shellcheck disable=SC2086 # or no option
				jose jwe enc -I - -k public.jwk -i '{"protected":{"alg":"'$alg'","enc":"'$enc'"'"$more"'}}' $form -o m <<<"$plain"
				run -0 "$JWE" open @ours.jwk <m
				[ "$output" = "$plain" ]
				run -1 "$JWE" open @other.jwk <m
				[[ $output == "EKEYREJECTED: is for another EC key"* ]]
			done
		done
	done
	# P-521, two recipients, a key for nobody's use: refused with the reason
	jose jwk gen -i '{"alg":"ECDH-ES+A256KW"}' -o big.jwk
	jose jwe enc -I - -k big.jwk -o m <<<"$plain"
	run -1 "$JWE" open @ours.jwk <m
	[[ $output == 'EBADMSG: "epk": EC key: "crv" is not P-256' ]]
	jose jwe enc -I - -k public.jwk -k other.jwk -o m <<<"$plain"
	run -1 "$JWE" open @ours.jwk <m
	[[ $output == "EBADMSG: 2 recipients"* ]]
}

# The owner of a passphrase could not use it everywhere, or ct could go on without it.
@test "a key set that jose encrypted serves every command; a wrong passphrase is EKEYREJECTED" {
	plain_model plain.safetensors
	"$CT" keygen -q --jose -o k.jwk
	jose_enc '{}' <k.jwk >k.jwe
	chmod 600 k.jwe
	"$CT" encrypt -q --keys k.jwe plain.safetensors e
	"$CT" verify -q --keys k.jwe e
	"$CT" decrypt -q --keys k.jwe e back
	"$CT" decrypt -q --keys k.jwk e back2
	cmp back back2
	"$CT" keygen -q --from k.jwe --reader r.jwk
	"$CT" verify -q --keys r.jwk e
	"$CT" keygen -q --passphrase -o new.jwe
	"$CT" rewrap -q --keys k.jwe --new-keys new.jwe -o out e
	"$CT" verify -q --keys new.jwe out/e
	[ "$(grep -c '^Passphrase for k.jwe$' prompts)" = 5 ]
	run -0 ct_run --keys new.jwe -- bash -c '"$CT" list'
	agent_start
	run -0 "$CT" add k.jwe
	run -0 "$CT" list
	[[ $output == *"master key"* ]]
	agent_stop
	echo "$WORD-not" >word
	for c in "encrypt --keys k.jwe plain.safetensors x" "decrypt --keys k.jwe e x" "keygen --from k.jwe --reader x" \
		"rewrap --keys k.jwe --new-keys new.jwe -o x e"; do
		# shellcheck disable=SC2086 # words
		run -3 "$CT" $c
		[ "$output" = "ct: k.jwe: EKEYREJECTED: wrong passphrase (or it was changed)" ]
		[ ! -e x ]
	done
	run -125 "$CT" run --keys k.jwe -- touch x
	[[ $output == "ct: k.jwe: EKEYREJECTED: wrong passphrase"* ]]
	[ ! -e x ]
}

# keygen could leave the keys readable beside their encrypted copy, or write what only it can open.
@test "keygen --passphrase: jose opens it, no key is in it, the set for readers is under it, too; wrong mode and changed bytes are refused" {
	"$CT" keygen -q --passphrase --jose --kid-enc name-of-the-key -o k.jwe --reader r.jwe --verifier v.jwk
	[ "$(stat -c %a k.jwe r.jwe)" = "600
600" ]
	run ! grep -E '"(k|d|keys)"|name-of' k.jwe r.jwe
	grep -q '"x"' v.jwk
	jose_dec k.jwe >k.jwk
	jose_dec r.jwe >r.jwk
	[ "$(jq -r '.keys[0].kid' k.jwk)" = name-of-the-key ]
	[ "$(jq '[.keys[] | has("d")] | any' k.jwk r.jwk | tr '\n' ' ')" = "true false " ]
	[ "$(jq '.keys[0].k' k.jwk)" = "$(jq '.keys[0].k' r.jwk)" ]
	"$CT" keygen -q --passphrase >piped
	jose_dec piped | grep -q '"k"'
	jq -r .protected k.jwe | tr -- -_ +/ | base64 -d 2>/dev/null >start || true
	grep -q '"p2c":32768' start # jose refuses more
	[ -z "$(find . -name '.*ct-*')" ]
	: >prompts
	chmod 640 k.jwe
	run -3 "$CT" keygen --from k.jwe --reader x
	[[ $output == "ct: k.jwe: EKEYREJECTED: "*"chmod 600"* ]]
	[ ! -s prompts ] # nobody is asked for a file that is not to be used
	chmod 600 k.jwe
	sed -i 's/"tag":"./"tag":"?/' k.jwe
	run -3 "$CT" keygen --from k.jwe --reader x
	[ "$output" = 'ct: k.jwe: EBADMSG: not a key file (JWE): "tag" is not base64url without padding' ]
	[ ! -s prompts ]
	"$JWE" key >ec.jwk
	"$JWE" seal json @ec.jwk <k.jwk >ec.jwe
	chmod 600 ec.jwe
	run -3 "$CT" keygen --from ec.jwe --reader x
	[[ $output == "ct: ec.jwe: ENOKEY: is encrypted for the holder of an EC key"* ]]
	"$JWE" seal json "$WORD" <<<'{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}' >odd.jwe
	chmod 600 odd.jwe
	run -3 "$CT" keygen --from odd.jwe --reader x
	[ "$output" = 'ct: odd.jwe: EBADMSG: not a JWK set: key 1: "k" is not 16 or 32 bytes' ]
	[ ! -e x ]
}

# The passphrase could be seen, or the terminal be left blind.
@test "on a terminal: asked twice for a new one, echo off and back on, after a signal and a stop, too" {
	unset CT_ASKPASS_REQUIRE
	run -0 terminal "$WORD" "$WORD" -- "$CT" keygen --passphrase -o k.jwe # the terminal goes first
	[[ $output == "Passphrase for the new key file: "*"The same again: "*"k.jwe: master key"*"[echo on]" ]]
	[[ $output != *"$WORD"* ]]
	[ ! -e prompts ]
	run -0 terminal "$WORD" -- "$CT" keygen --from k.jwe --verifier v.jwk
	[[ $output == "Passphrase for k.jwe: "*"[echo on]" ]]
	run -0 terminal "with blanks é" "with blanks é" -- "$CT" keygen --passphrase -o b.jwe
	run -3 terminal "$WORD" "$WORD." -- "$CT" keygen --passphrase -o x
	[[ $output == *"EINVAL: the two passphrases differ"*"[echo on]" ]]
	run -3 terminal "" -- "$CT" keygen --passphrase -o x
	[[ $output == *"EINVAL: an empty passphrase"*"[echo on]" ]]
	run -3 terminal "$(printf 'x%.0s' {1..1025})" -- "$CT" keygen --passphrase -o x
	[[ $output == *"EINVAL: a passphrase has at most 1024 bytes"*"[echo on]" ]]
	run -130 terminal ^C -- "$CT" keygen --from k.jwe --verifier x
	[[ $output == *"[echo on]" ]]
	run -131 terminal '^\' -- "$CT" keygen --from k.jwe --verifier x
	[[ $output == *"[echo on]" ]]
	run -0 terminal ^Z "$WORD" -- "$CT" keygen --from k.jwe --reader r.jwk
	[[ $output == *"[stopped, echo on]"*"Passphrase for k.jwe: "*"[echo on]" ]]
	grep -q '"k"' r.jwk
	CT_ASKPASS_REQUIRE=force run -0 terminal -- "$CT" keygen -q --from k.jwe --reader f.jwk
	[ "$output" = "[echo on]" ]
	[ "$(cat prompts)" = "Passphrase for k.jwe" ]
	agent_start
	run -0 terminal "$WORD" "$WORD" -- "$CT" lock
	[[ $output == "Passphrase for the agent: "*"The same again: "*"ct: the agent is locked"*"[echo on]" ]]
	run -0 terminal "$WORD" -- "$CT" unlock
	run -125 terminal ^C -- "$CT" run --keys k.jwe -- touch x
	[[ $output == *"EINTR: interrupted"*"[echo on]" ]]
	[ ! -e x ]
}

# Without a terminal ct would hang, or take a passphrase from where everybody sees it.
@test "CT_ASKPASS: where there is no terminal, or always; its failures are errors" {
	"$CT" keygen -q --passphrase -o k.jwe
	[ "$(cat prompts)" = "Passphrase for the new key file
The same again" ]
	unset CT_ASKPASS_REQUIRE
	run -0 setsid -w "$CT" keygen -q --from k.jwe --reader r.jwk
	[ -f r.jwk ]
	run -3 setsid -w env -u CT_ASKPASS "$CT" keygen --from k.jwe --reader x
	[[ $output == "ct: k.jwe: ENOKEY: a passphrase is needed, and there is no terminal to ask on: set CT_ASKPASS"* ]]
	run -3 env CT_ASKPASS_REQUIRE=force CT_ASKPASS=ask "$CT" keygen --from k.jwe --reader x
	[[ $output == "ct: k.jwe: EINVAL: CT_ASKPASS=ask is not an absolute path" ]]
	run -3 env CT_ASKPASS_REQUIRE=force CT_ASKPASS=/nonexistent "$CT" keygen --from k.jwe --reader x
	[[ $output == "ct: k.jwe: ENOENT: CT_ASKPASS: /nonexistent cannot be run: No such file or directory" ]]
	run -3 env CT_ASKPASS_REQUIRE=force CT_ASKPASS=/bin/false "$CT" keygen --from k.jwe --reader x
	[[ $output == "ct: k.jwe: EIO: CT_ASKPASS: ended with status 1" ]]
	run -3 env CT_ASKPASS_REQUIRE=force CT_ASKPASS=/bin/true "$CT" keygen --from k.jwe --reader x
	[[ $output == "ct: k.jwe: EINVAL: an empty passphrase" ]]
	[ ! -e x ]
}
