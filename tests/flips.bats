# One changed byte anywhere in a file: the right bytes or an error, by every way into it. What must come of each change is worked out from
# docs/FORMAT.md and tests/judge.py (tests/flips.py), never from what the program says.

load helpers

setup_file() {
	export FILES=$BATS_FILE_TMPDIR/files
	mkdir "$FILES"
	python3 "$ROOT/tests/flips.py" make "$FILES"
	# Keys that are kept would have the shim take a changed file for the one it has open still.
	echo 'keep 0' >"$BATS_FILE_TMPDIR/conf"
	AGENT_OPTS=(-c "$BATS_FILE_TMPDIR/conf")
	agent_start
}

teardown_file() {
	agent_stop
}

flips() {
	python3 "$ROOT/tests/flips.py" "$@"
}

# A changed byte that nothing notices, or a refused file that only its padding distinguishes from a good one.
@test "ct verify: every byte of small files" {
	flips verify "$FILES"
}

# Wrong plaintext written to the disk.
@test "ct decrypt: every byte of a small file" {
	flips decrypt "$FILES"
}

# A wrong byte by one of the ways of reading, or damage that takes its neighbours with it.
@test "under the preload: every byte of small files" {
	flips served "$FILES"
}

# The same where chunks are many, pages are shared by them, and the header has a reserve.
@test "under the preload: 10,000 bytes of a file of 3 MiB" {
	flips big "$FILES" big_v2 10000
}

# Chunks that are too big to keep are checked in pieces, by other code.
@test "under the preload: bytes of a tensor of 5 MiB that is one chunk" {
	flips big "$FILES" big_v1 200
}

# As above; the header's bytes are read in no other way.
@test "the same where mappings are filled at once" {
	export CTSHIM_MMAP=eager METHOD=eager
	flips served "$FILES" data
	flips big "$FILES" big_v2 300
}

# As above.
@test "the same where a touch is a signal" {
	export METHOD=sigsegv
	local refuse=("$PROBES/refuse" userfaultfd ioctl:USERFAULTFD_IOC_NEW --)
	"${refuse[@]}" python3 "$ROOT/tests/flips.py" served "$FILES" data
	"${refuse[@]}" python3 "$ROOT/tests/flips.py" big "$FILES" big_v2 300
}
