# Loaded by the tests of policies: files under policies, and an agent that has them judged by tests/standins/engine.py, which does what they tell it to.

# engine_setup: goes to the test's folder; k.jwk, plain and default.safetensors; ENGINE, which notes in saw/ what it sees.
engine_setup() {
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
with() {
	AGENT_OPTS=(--policy-engine "$ENGINE" "$@")
	agent_start "$PWD/k.jwk"
}
