# Mappings that are touched from everywhere at once, and one of more chunks than a process may have mappings; in each way.
# STORM_SECONDS: how long a storm blows (default 5; `make soak`: 60). Not for sanitizers: see tests/host.bats on threads and forks.

load helpers
load ways

setup_file() {
	local t
	t=$(mktemp -d /var/tmp/ctXXXXXX) # big
	export T=$t
	chmod 755 "$T"
	python3 - "$T" <<-'EOF'
		import json, random, struct, sys
		rng = random.Random(4)
		def model(path, sizes):
		    head, at = {}, 0
		    for i, n in enumerate(sizes):
		        head[f"t{i}"] = {"dtype": "U8", "shape": [n], "data_offsets": [at, at + n]}
		        at += n
		    text = json.dumps(head).encode()
		    text += b" " * (-len(text) % 8)
		    with open(f"{sys.argv[1]}/{path}", "wb") as f:
		        f.write(struct.pack("<Q", len(text)) + text)
		        while at > 0:
		            f.write(rng.randbytes(min(at, 1 << 24)))
		            at -= min(at, 1 << 24)
		model("storm", [90_000_001, 3, 50_000_000, 1 << 20, 60_123_456, 0, 7_777, 50_000_000, 17_000_000])
		model("many", [5, 419_999_999, 6_000_000, 101])
	EOF
	"$CT" keygen -q -o "$T/keys.jwk"
	"$CT" encrypt -q --keys "$T/keys.jwk" --chunk-size 1000003 "$T/storm" "$T/storm.safetensors"
	"$CT" encrypt -q --keys "$T/keys.jwk" --chunk-size 4096 "$T/many" "$T/many.safetensors"
	local m
	for m in storm many; do
		"$CT" decrypt -q --keys "$T/keys.jwk" "$T/$m.safetensors" "$T/$m.view"
		cmp <(tail -c 260000000 "$T/$m") <(tail -c 260000000 "$T/$m.view")
		rm "$T/$m"
		chmod 644 "$T/$m.safetensors" "$T/$m.view"
	done
	ways_start "$T/keys.jwk"
}

teardown_file() {
	ways_stop
	rm -rf "$T"
}

# storm MODEL SECONDS|all WAY: sets said.
storm() {
	[[ $EUID == 0 || $3 != root ]] || skip_or_fail "needs root"
	run -0 way "$3" "$WAYS/bin/lazy_storm" "$T/$1.safetensors" "$T/$1.view" "$2"
	said=$output
	echo "$output; $(way_stat "$3" chunks_decrypted) chunks decrypted"
	[[ $output == right,* ]]
	run -0 jq -rs 'map(.method) | unique - ["none"] | join(" ")' "$WAYS/out/$3.stats"
	echo "filled by: $output"
	[ "$output" = "$(way_method "$3")" ]
}

# blow WAY: the storm, and that no kind of trouble was left out of it.
blow() {
	local kind n
	storm storm "${STORM_SECONDS:-5}" "$1"
	for kind in pages maps reads advices forks spawns; do
		n=$(sed -n "s/.*$kind \([0-9]*\).*/\1/p" <<<"$said")
		[ "$n" -gt 4 ]
	done
}

# A page that is seen before it is whole, a fork while a page is filled, a thread that waits for itself: they come when everything happens
# at once. Four tests, since each method has its own way to hang.
@test "storm: root" {
	blow root
}

# As above.
@test "storm: user" {
	blow user
}

# As above.
@test "storm: user without userfaultfd" {
	blow nouffd
}

# As above.
@test "storm: eager" {
	blow eager
}

# A mapping per chunk would end at vm.max_map_count (65,530), in the middle of a load: 104,007 chunks that share their pages, touched
# in an order that joins no neighbours until late.
@test "104,007 chunks in one mapping, all pages at random: root" {
	storm many all root
}

# As above.
@test "104,007 chunks in one mapping, all pages at random: user" {
	storm many all user
}

# As above: the method that makes mappings.
@test "104,007 chunks in one mapping, all pages at random: user without userfaultfd" {
	storm many all nouffd
}

# As above.
@test "104,007 chunks in one mapping, all pages at random: eager" {
	storm many all eager
	[ "$(way_stat eager chunks_decrypted)" = 104007 ]
}
