# The clients that map their files, in every way in which a mapping may be filled: what each prints must equal what it prints for the
# plain models. What root's way gives is seen in clients.bats, which also says what the clients are.

load helpers
load clients
load ways

setup_file() {
	[[ -x $PY ]] || return 0 # every test says so itself
	local t=$BATS_FILE_TMPDIR
	clients_make "$t" "$t/keys.jwk"
	ways_start "$t/keys.jwk"
	mkdir "$WAYS/out/home" # libraries keep caches
	chmod 777 "$WAYS/out/home"
}

teardown_file() {
	ways_stop
}

# mapped_by WAY: no process of the last run that had bytes decrypted mapped by another method, and one did by this.
mapped_by() {
	[ "$(jq -s -r 'map(.method) | unique - ["none"] | join(" ")' "$WAYS/out/$1.stats")" = "$(way_method "$1")" ]
}

# clients_in NAME… WAY
clients_in() {
	local how=${*: -1}
	WAY_SECONDS=300 CLIENT_PRELOAD=${PRELOAD/$SHIM/$WAY_SHIM} clients_as_plain "$WAYS/out/$how.clients" "${@:1:$#-1}" -- \
		way_unloaded "$how" HOME="$WAYS/out/home" TMPDIR="$WAYS/out" HF_HUB_OFFLINE=1 "$PY"
	mapped_by "$how"
}

# in_each_way NAME…
in_each_way() {
	clients_plain "$@"
	export WAY_READ_ALL=1 WAYS_TRIED='user nouffd eager'
	each_way clients_in "$@"
}

# The library behind nearly everything, by numpy, which copies out of the map, and by torch, which maps once more, writable.
@test "safetensors: numpy, torch, tensors written to, a model past every block size" {
	in_each_way safetensors-numpy safetensors-torch-mmap safetensors-torch-write safetensors-torch-large
}

# Threads that load at once touch the same pages; ranks that were forked inherit a mapping that is half read.
@test "safetensors: threads, forked ranks" {
	in_each_way safetensors-torch-threads ranks-fork
}

# The user's real program.
@test "transformers: from_pretrained, sharded" {
	in_each_way transformers-sharded
}

# numpy maps from offsets.
@test "numpy: fromfile, memmap" {
	in_each_way numpy
}
