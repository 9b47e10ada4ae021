# clients.bash: the programs of tests/clients, run on plain and on encrypted models. `load clients` after `load helpers`.
# shellcheck shell=bash

# clients_make FOLDER KEYS: for setup_file. Makes models, plain and encrypted, below FOLDER, and KEYS.
clients_make() {
	export MODELS=$1/models ENCRYPTED=$1/encrypted OUT=$1/out
	HF_HUB_OFFLINE=1 "$PY" "$CLIENTS/make_models.py" "$MODELS" --large >/dev/null
	"$CT" keygen -q -o "$2"
	"$CT" encrypt -q --keys "$2" "$MODELS" "$ENCRYPTED"
}

# matrix ARGS…: tests/clients/matrix.py
matrix() {
	python3 "$CLIENTS/matrix.py" --var PY_TORCH="$PY" "$@"
}

# clients_plain NAME…: on the plain models, by matrix.py, into $OUT/plain.
clients_plain() {
	need_python numpy safetensors torch transformers sentence_transformers
	run -0 matrix "$MODELS" "$OUT/plain" --only "$(IFS=,; echo "$*")"
}

# clients_as_plain OUT NAME… -- RUNNER…: RUNNER, a python to run matrix.py with, on the encrypted models under $CLIENT_PRELOAD, into OUT;
# they say what they said on the plain ones, and the shim says nothing.
clients_as_plain() {
	local out=$1 name said
	local -a names=()
	shift
	while [[ $1 != -- ]]; do
		names+=("$1")
		shift
	done
	shift
	said=$("$@" "$CLIENTS/matrix.py" "$ENCRYPTED" "$out" --var PY_TORCH="$PY" --preload "$CLIENT_PRELOAD" --against "$OUT/plain" \
		--only "$(IFS=,; echo "${names[*]}")") || {
		echo "$said"
		tail -n 5 "$out"/*.err
		return 1
	}
	echo "$said"
	[ "$(grep -c '^ok ' <<<"$said")" = ${#names[@]} ]
	for name in "${names[@]}"; do # nothing to say about a file that is well
		if grep -h '^ctshim:' "$out/$name.err"; then return 1; fi
	done
}
