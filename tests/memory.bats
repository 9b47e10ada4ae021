# Models larger than the memory: plain files are page cache, which the kernel drops when memory runs short; what is decrypted must not be
# worth less. torch sums a model of 2 GiB in a memory cgroup of 1 GiB without swap, and four processes at once do in one of 2 GiB.
#
# In each lazy way. Eager cannot: it holds all that it maps, and the kernel ends such a process (docs/ARCHITECTURE.md).

load helpers
load ways

# group_parent: sets PARENT, the folder in which memory cgroups can be made, and V (1 or 2).
group_parent() {
	PARENT=$(awk '/ - cgroup / && $NF ~ /(^|,)memory(,|$)/ { print $5; exit }' /proc/self/mountinfo) V=1
	if [ -z "$PARENT" ]; then
		PARENT=$(awk '/ - cgroup2 / { print $5; exit }' /proc/self/mountinfo) V=2
		grep -qsw memory "$PARENT/cgroup.subtree_control" || PARENT=
	fi
	[ -n "$PARENT" ]
}

# group_make BYTES: GROUP, a memory cgroup of that size without swap.
group_make() {
	GROUP=$(mktemp -d "$PARENT/ctshim-test.XXXXXX")
	chmod 755 "$GROUP" # as cgroups are
	if [ "$V" = 1 ]; then
		echo "$1" >"$GROUP/memory.limit_in_bytes"
		[ ! -e "$GROUP/memory.memsw.limit_in_bytes" ] || echo "$1" >"$GROUP/memory.memsw.limit_in_bytes"
		PEAK=$GROUP/memory.max_usage_in_bytes
	else
		echo "$1" >"$GROUP/memory.max"
		[ ! -e "$GROUP/memory.swap.max" ] || echo 0 >"$GROUP/memory.swap.max"
		PEAK=$GROUP/memory.peak # Linux 5.19
	fi
}

group_remove() {
	local i
	[ -n "${GROUP-}" ] || return 0
	for ((i = 0; i < 100; i++)); do
		rmdir "$GROUP" 2>/dev/null && break
		sleep 0.1
	done
	unset GROUP
}

setup_file() {
	[[ -x $PY ]] && [ "$(id -u)" = 0 ] && group_parent || return 0 # every test says so itself
	T=$(mktemp -d /var/tmp/ctXXXXXX) # on a disk: what lies in memory itself is not cache
	export T
	chmod 755 "$T"
	[ "$(df --output=avail -B 1M "$T" | tail -n 1)" -gt 7000 ] || return 0
	python3 - "$T/made" <<-'EOF'
		import json, random, struct, sys
		mib, rng = 1 << 20, random.Random(4)
		sizes = [3 * 64 * mib, *(2 * k * 1000_008 for k in (1, 20, 3) * 30), 8, 256 * mib]
		head, at = {}, 0
		for i, n in enumerate(sizes + [2048 * mib - sum(sizes)]):
		    head[f"t{i}"] = {"dtype": "BF16" if i % 3 else "F32", "shape": [n // (2 if i % 3 else 4)], "data_offsets": [at, at + n]}
		    at += n
		text = json.dumps(head).encode()
		text += b" " * (-len(text) % 8)
		noise = rng.randbytes(mib + 8192)
		with open(sys.argv[1], "wb") as f:
		    f.write(struct.pack("<Q", len(text)) + text)
		    for i in range(at // mib):
		        f.write(struct.pack("<Q", i) + noise[8 * (i % 1000) + 8:][:mib - 8])
	EOF
	"$CT" keygen -q -o "$T/keys.jwk"
	"$CT" encrypt -q --keys "$T/keys.jwk" "$T/made" "$T/m.safetensors"
	mv "$T/made" "$T/plain.safetensors"
	ways_start "$T/keys.jwk"
	cold
	"$PY" "$ROOT/tests/tensor_sums.py" "$T/plain.safetensors" >"$T/want"
}

teardown_file() {
	ways_stop
	[ -z "${T-}" ] || rm -rf "$T"
}

teardown() {
	group_remove
}

# cold: the models leave the page cache, so that each run's own cgroup pays for what it reads.
cold() {
	local f
	for f in "$T"/*.safetensors; do
		dd of="$f" oflag=nocache conv=notrunc,fdatasync count=0 status=none
	done
}

ready() {
	need jq
	need_python torch safetensors
	[ "$(id -u)" = 0 ] || skip_or_fail "memory cgroups need root"
	group_parent || skip_or_fail "no memory controller, neither in cgroup v1 nor delegated in v2"
	[ -e "$T/want" ] || skip_or_fail "7 GB on the disk of /var/tmp are needed"
	rmdir "$(mktemp -d "$PARENT/ctshim-test.XXXXXX")" || skip_or_fail "no cgroup can be made in $PARENT"
}

# sums COUNT BYTES CMD…: CMD, COUNT times at once, in one cgroup of so many bytes; each must print the sums of the plain file.
sums() {
	local i rc count=$1 pids=() bad=0
	group_make "$2"
	cold
	for ((i = 0; i < count; i++)); do
		(
			echo "$BASHPID" >"$GROUP/cgroup.procs"
			"${@:3}"
		) >"$BATS_TEST_TMPDIR/out.$i" 2>"$BATS_TEST_TMPDIR/err.$i" 3>&- &
		pids+=($!)
	done
	for ((i = 0; i < count; i++)); do
		rc=0
		wait "${pids[i]}" || rc=$?
		if [ "$rc" != 0 ] || ! cmp "$BATS_TEST_TMPDIR/out.$i" "$T/want"; then
			echo "process $i: status $rc (137: killed for want of memory; 0: wrong sums)"
			tail -n 3 "$BATS_TEST_TMPDIR/err.$i"
			bad=1
		fi
	done
	[ ! -e "$PEAK" ] || [ "$(cat "$PEAK")" -gt $(($2 / 2)) ] # it was in there
	group_remove
	[ "$bad" = 0 ]
}

# sums_by WAY: one process in 1 GiB, four in 2 GiB.
sums_by() {
	ready
	export WAY_READ_ALL=1 PYTHONDONTWRITEBYTECODE=1 # .venv may lie in a closed folder
	sums 1 $((1 << 30)) way "$1" "$PY" "$ROOT/tests/tensor_sums.py" "$T/m.safetensors"
	sums 4 $((2 << 30)) way "$1" "$PY" "$ROOT/tests/tensor_sums.py" "$T/m.safetensors"
	run -0 jq -rs 'map(.method) | unique - ["none"] | join(" ")' "$WAYS/out/$1.stats"
	echo "filled by: $output"
	[ "$output" = "$(way_method "$1")" ]
}

# If the plain file did not get through, nothing below would mean a thing; and the cgroup must be one that presses.
@test "a plain model of 2 GiB is summed in 1 GiB, four times at once in 2 GiB; memory that is not cache is not" {
	ready
	sums 1 $((1 << 30)) "$PY" "$ROOT/tests/tensor_sums.py" "$T/plain.safetensors"
	sums 4 $((2 << 30)) "$PY" "$ROOT/tests/tensor_sums.py" "$T/plain.safetensors"
	group_make $((1 << 30))
	run -137 sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$GROUP" python3 -c 'bytes(b"\1" * (1 << 31))'
}

# A machine that worked with plain files kills its processes.
@test "an encrypted model of 2 GiB is summed in 1 GiB, four times at once in 2 GiB: root" {
	sums_by root
}

# As above.
@test "an encrypted model of 2 GiB is summed in 1 GiB, four times at once in 2 GiB: user" {
	sums_by user
}

# As above: here nobody but the shim itself can give memory back.
@test "an encrypted model of 2 GiB is summed in 1 GiB, four times at once in 2 GiB: user without userfaultfd" {
	sums_by nouffd
}
