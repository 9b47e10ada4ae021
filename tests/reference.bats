# Both ways between ctshim and the reference implementation: the package cryptotensors, unchanged, in the test venv.

load helpers

setup_file() {
	[[ -x $PY ]] || return 0 # every test says so itself
	"$PY" "$ROOT/tests/reference.py" plain "$BATS_FILE_TMPDIR"
	export PLAIN=$BATS_FILE_TMPDIR
}

reference() {
	"$PY" "$ROOT/tests/reference.py" "$@"
}

# read_by_package SIZE FILE…: the package reads each FILE as it reads the plain one.
read_by_package() {
	local size=$1 f
	shift
	reference show-visible "$PLAIN/$size.safetensors" >"$BATS_TEST_TMPDIR/want"
	for f; do
		echo "# $f"
		CRYPTOTENSOR_KEYS=$(cat "$BATS_TEST_TMPDIR/keys.jwk") reference read "$f" >"$BATS_TEST_TMPDIR/got"
		diff "$BATS_TEST_TMPDIR/want" "$BATS_TEST_TMPDIR/got"
	done
}

# written_by_ct ALGORITHM: `ct encrypt` in both versions and with three chunk sizes, then the package reads it.
written_by_ct() {
	local t=$BATS_TEST_TMPDIR size
	need_python cryptotensors safetensors numpy
	"$CT" keygen -q --alg "$1" -o "$t/keys.jwk"
	for size in small big; do
		"$CT" encrypt -q --keys "$t/keys.jwk" --alg "$1" --format-version 1 "$PLAIN/$size.safetensors" "$t/$size-v1.safetensors"
		"$CT" encrypt -q --keys "$t/keys.jwk" --alg "$1" "$PLAIN/$size.safetensors" "$t/$size-v2.safetensors"
		"$CT" encrypt -q --keys "$t/keys.jwk" --alg "$1" --chunk-size 4096 "$PLAIN/$size.safetensors" "$t/$size-v2-4096.safetensors"
		"$CT" encrypt -q --keys "$t/keys.jwk" --alg "$1" --chunk-size 1001 "$PLAIN/$size.safetensors" "$t/$size-v2-1001.safetensors"
		read_by_package "$size" "$t/$size-v1.safetensors" "$t/$size-v2.safetensors" "$t/$size-v2-4096.safetensors" \
			"$t/$size-v2-1001.safetensors"
	done
	# chunks smaller than a tensor of the small file, and not a multiple of an element
	"$CT" encrypt -q --keys "$t/keys.jwk" --alg "$1" --chunk-size 7 "$PLAIN/small.safetensors" "$t/small-v2-7.safetensors"
	read_by_package small "$t/small-v2-7.safetensors"
}

# read_by_us NAME.jwk: what the package encrypts with these keys verifies, decrypts and is served.
read_by_us() {
	local t=$BATS_TEST_TMPDIR keys f size
	need_python cryptotensors safetensors numpy
	keys=$(key_file "$1")
	agent_start "$keys"
	reference write "$t" "$keys" pkg
	run -0 "$CT" verify --keys "$keys" "$t"/pkg-*.safetensors
	for size in small big; do
		reference show-written "$PLAIN/$size.safetensors" >"$t/want"
		[ "$(wc -l <"$t/want")" -gt 2 ]
		for f in "$t/pkg-$size"-*.safetensors; do
			echo "# $f"
			"$CT" decrypt -q --keys "$keys" "$f" "$t/out"
			reference show "$t/out" >"$t/decrypted"
			diff "$t/want" "$t/decrypted"
			rm "$t/out"
			shimmed "$PY" "$ROOT/tests/reference.py" show "$f" >"$t/served"
			diff "$t/decrypted" "$t/served"
		done
	done
}

# Files that only we can read: a wrong wrap, IV, tag order, signature or base64 under one algorithm.
@test "the package opens what ct encrypt wrote: aes128gcm" {
	written_by_ct aes128gcm
}

# As above.
@test "the package opens what ct encrypt wrote: aes256gcm" {
	written_by_ct aes256gcm
}

# As above.
@test "the package opens what ct encrypt wrote: chacha20poly1305" {
	written_by_ct chacha20poly1305
}

# Files that the others have would be refused or misread.
@test "what the package wrote verifies, decrypts and is served: aes128gcm" {
	read_by_us aes128gcm.jwk
}

# As above.
@test "what the package wrote verifies, decrypts and is served: aes256gcm" {
	read_by_us aes256gcm.jwk
}

# As above.
@test "what the package wrote verifies, decrypts and is served: chacha20poly1305" {
	read_by_us chacha20poly1305.jwk
}

# Rewrapped files that only we can read, or not those that the package rewrapped; old keys that still open them.
@test "rewrap: each side opens what the other one rewrapped, with the new keys alone" {
	local t=$BATS_TEST_TMPDIR how size
	need_python cryptotensors safetensors numpy
	"$CT" keygen -q --kid-enc e1 --kid-sign s1 -o "$t/old.jwk"
	"$CT" keygen -q --kid-enc e2-longer --kid-sign s2-longer -o "$t/new.jwk"
	for size in small big; do
		reference show "$PLAIN/$size.safetensors" >"$t/plain"
		for how in "" "--format-version 1" "--chunk-size 4096 --digests" "--tensors *a*" "--header-reserve 0"; do
			echo "# $size $how"
			set -f
			# shellcheck disable=SC2086 # options
			"$CT" encrypt -q --force --keys "$t/old.jwk" $how "$PLAIN/$size.safetensors" "$t/m.safetensors"
			set +f
			cp "$t/m.safetensors" "$t/theirs.safetensors"
			"$CT" rewrap -q --keys "$t/old.jwk" --new-keys "$t/new.jwk" "$t/m.safetensors"
			cp "$t/new.jwk" "$t/keys.jwk"
			read_by_package "$size" "$t/m.safetensors"
			CRYPTOTENSOR_KEYS=$(cat "$t/old.jwk") run ! reference read "$t/m.safetensors"
			[[ $output == *SafetensorError* ]]
			reference rewrap "$t/theirs.safetensors" "$t/old.jwk" "$t/new.jwk"
			run -0 "$CT" verify --keys "$t/new.jwk" "$t/theirs.safetensors"
			run -1 "$CT" verify --keys "$t/old.jwk" "$t/theirs.safetensors"
			"$CT" decrypt -q --force --keys "$t/new.jwk" "$t/theirs.safetensors" "$t/back"
			reference show "$t/back" | diff "$t/plain" -
			"$CT" rewrap -q --keys "$t/new.jwk" --new-keys "$t/old.jwk" "$t/theirs.safetensors"
			python3 "$ROOT/tests/rewrap_judge.py" "$t/new.jwk" "$t/m.safetensors" "$t/old.jwk" "$t/theirs.safetensors"
		done
	done
}

# A document that leads third implementations to files which only we can read.
@test "the package opens the worked example of docs/FORMAT.md" {
	local t=$BATS_TEST_TMPDIR example="$ROOT/tests/format_example.py"
	need_python cryptotensors safetensors numpy
	python3 "$example" shown "$ROOT/docs/FORMAT.md" "The plain file" >"$t/plain.safetensors"
	python3 "$example" shown "$ROOT/docs/FORMAT.md" "The encrypted file" >"$t/e.safetensors"
	reference show-visible "$t/plain.safetensors" >"$t/want"
	CRYPTOTENSOR_KEYS=$(python3 "$example" shown "$ROOT/docs/FORMAT.md" "The key set") reference read "$t/e.safetensors" >"$t/got"
	diff "$t/want" "$t/got"
	[ "$(wc -l <"$t/got")" = 4 ]
}
