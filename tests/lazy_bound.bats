# CTSHIM_MEMORY_MAX: a model that is larger than what its plaintext may take, in every way in which a mapping may be filled.

load helpers
load ways

setup_file() {
	local t=$BATS_FILE_TMPDIR
	"$CT" keygen -q -o "$t/keys.jwk"
	ways_start "$t/keys.jwk"
	export M=$WAYS/m.safetensors VIEW=$WAYS/view V1=$WAYS/v1.safetensors V1_VIEW=$WAYS/v1.view
	random_model "$t/plain" 512
	"$CT" encrypt -q --keys "$t/keys.jwk" "$t/plain" "$M"
	rm "$t/plain"
	"$CT" decrypt -q --keys "$t/keys.jwk" "$M" "$VIEW"
	random_model "$t/plain" 96
	"$CT" encrypt -q --keys "$t/keys.jwk" --format-version 1 "$t/plain" "$V1"
	"$CT" decrypt -q --keys "$t/keys.jwk" "$V1" "$V1_VIEW"
	chmod 644 "$M" "$VIEW" "$V1" "$V1_VIEW"
}

teardown_file() {
	ways_stop
}

# random_model PATH MIB: six tensors, of odd sizes
random_model() {
	python3 - "$1" "$2" <<-'EOF'
		import json, os, struct, sys
		left, head, at = int(sys.argv[2]) << 20, {}, 0
		sizes = [left // 4 + 1, 4097, left // 4, left // 8 + 12345, 3]
		sizes.append(left - sum(sizes))
		for i, n in enumerate(sizes):
		    head[f"w.{i}"] = {"dtype": "U8", "shape": [n], "data_offsets": [at, at + n]}
		    at += n
		h = json.dumps(head).encode()
		with open(sys.argv[1], "wb") as f:
		    f.write(struct.pack("<Q", len(h)) + h)
		    while at:
		        n = min(at, 16 << 20)
		        f.write(os.urandom(n))
		        at -= n
	EOF
}

# bounded MIB MODEL VIEW COMMAND KIND WAY: right, and what the shim counts was never more than MIB and 16 MiB, nor what the kernel counts, the
# probe's own 4 MiB left aside.
bounded() {
	local mib=$1 how=$6 out=$WAYS/out/$6.got peak
	CTSHIM_MEMORY_MAX=${mib}M way "$how" "$WAYS/bin/lazy_bound" "$2" "$3" "$4" "$5" >"$out" 2>"$WAYS/out/$how.err"
	cat "$out" "$WAYS/out/$how.err" "$WAYS/out/$how.stats"
	if [[ $how == eager ]]; then # it cannot keep the bound any other way
		grep -qx 'mmap ENOMEM' "$out"
		[ "$(grep -c "^ctshim: $2: .*CTSHIM_MEMORY_MAX" "$WAYS/out/$how.err")" = 1 ]
		return
	fi
	grep -qx 'read right' "$out"
	peak=$(sed -n 's/^peak //p' "$out")
	((peak <= mib + 16 + 4))
	(($(way_stat "$how" peak_bytes_held) >= (mib / 2) << 20)) # it was this mapping that was measured
	(($(way_stat "$how" peak_bytes_held) <= (mib + 16) << 20))
	(($(way_stat "$how" bytes_decrypted) >= (mib << 20)))
}

# A model that fits on no machine, or eight ranks of one that does, must not end processes.
@test "512 MiB are read twice through 64 MiB, private" {
	each_way bounded 64 "$M" "$VIEW" pass private
}

# Several threads fill at once: the bound is one for all.
@test "512 MiB are read by four threads through 64 MiB, shared" {
	each_way bounded 64 "$M" "$VIEW" threads shared
}

# What the application wrote is its own and never given back.
@test "512 MiB are read through 64 MiB, what was written into a private mapping stays" {
	each_way bounded 64 "$M" "$VIEW" written writable
}

# Chunks that are given back must come again, in whatever order.
@test "512 MiB are read at random through 64 MiB" {
	each_way bounded 64 "$M" "$VIEW" jump private
}

# Tensors of format version 1 are one chunk each, larger than the bound.
@test "96 MiB in chunks of 24 MiB and more are read twice through 20 MiB" {
	each_way bounded 20 "$V1" "$V1_VIEW" pass private
}
