# A program that has come to a limit of its own (descriptors, address space, pieces of memory, threads) reads what it mapped before, as it would
# read a file's mapping, which needs none of them.

load helpers
load ways

setup_file() {
	local t=$BATS_FILE_TMPDIR
	"$CT" keygen -q -o "$t/keys.jwk"
	ways_start "$t/keys.jwk"
	export M=$WAYS/m.safetensors VIEW=$WAYS/view
	python3 "$ROOT/tests/lazy_judge.py" model "$t/plain.safetensors" 40000000
	"$CT" encrypt -q --keys "$t/keys.jwk" --chunk-size 30011 "$t/plain.safetensors" "$M"
	"$CT" decrypt -q --keys "$t/keys.jwk" "$M" "$VIEW"
	rm "$t/plain.safetensors"
	chmod 644 "$M" "$VIEW"
}

teardown_file() {
	ways_stop
}

# limited NAME WAY: says on the encrypted file what it says on the plain one.
limited() {
	as "$2" "$WAYS/bin/lazy_limits" "$VIEW" "$VIEW" "$1" >"$WAYS/out/$2.want"
	WAY_SECONDS=30 way "$2" "$WAYS/bin/lazy_limits" "$M" "$VIEW" "$1" >"$WAYS/out/$2.got" || {
		echo "lazy_limits $1: status $?"
		cat "$WAYS/out/$2.got"
		return 1
	}
	diff "$WAYS/out/$2.want" "$WAYS/out/$2.got"
}

# A store of ours behind a table's end, in whatever memory of the program lies there. What was filled at once can't grow.
@test "a mapping grows to ten times its length" {
	WAYS_TRIED="root user nouffd root-nouffd" each_way limited grow
}

# Signals that the program never deserved.
@test "what may be written only can be read, as on every machine" {
	each_way limited write-only
}

# Servers live at this limit: a page would be a SIGBUS, or a wait.
@test "no descriptor is left" {
	each_way limited descriptors
}

# A touch that waits for ever.
@test "no address space is left" {
	[[ $SANITIZE != *address* ]] || skip "the sanitizer needs address space"
	each_way limited address-space
}

# A store that faults for ever.
@test "no piece of memory is left: stores to every other page" {
	each_way limited pieces
}

# A child that waits for ever for threads that could not be made.
@test "a child may make no threads" {
	each_way limited threads
}
