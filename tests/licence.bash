# Loaded by the tests of licences: a publisher (k.jwk), a customer (c.jwk, r.json), a model, and agents.

# What needs jwcrypto runs in the distribution's own Python.
JUDGE_PY=/usr/bin/python3

licence_setup() {
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
