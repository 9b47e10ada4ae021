# Programs that others wrote, unchanged, under the preload: what each prints must equal what it prints for the plain models.
# tests/clients has the programs, its README the matrix; here are those that this version serves.

load helpers
load clients

setup_file() {
	[[ -x $PY ]] || return 0 # every test says so itself
	clients_make "$BATS_FILE_TMPDIR" "$BATS_FILE_TMPDIR/keys.jwk"
	agent_start "$BATS_FILE_TMPDIR/keys.jwk"
}

teardown_file() {
	agent_stop
}

# client NAME…: first on the plain models, then on the encrypted ones under the preload.
client() {
	clients_plain "$@"
	CLIENT_PRELOAD=$PRELOAD clients_as_plain "$OUT/encrypted" "$@" -- env ASAN_OPTIONS="${ASAN_HOST_OPTIONS-}" python3
}

# Otherwise every test below would compare plain files with plain files.
@test "the models on disk are encrypted, the rest of the folder is copied" {
	need_python safetensors
	local f n=0
	while read -r f; do
		run ! cmp -s "$MODELS/$f" "$ENCRYPTED/$f"
		grep -aq __encryption__ "$ENCRYPTED/$f"
		n=$((n + 1))
	done < <(cd "$MODELS" && find . -name '*.safetensors')
	[ "$n" -ge 9 ]
	while read -r f; do
		cmp "$MODELS/$f" "$ENCRYPTED/$f"
	done < <(cd "$MODELS" && find . -type f ! -name '*.safetensors')
	[ -f "$ENCRYPTED/qwen3-sharded/model.safetensors.index.json" ]
}

# The library behind nearly everything: its whole map, read by numpy.
@test "safetensors, numpy: load_file, safe_open, get_slice, both backends" {
	client safetensors-numpy safetensors-numpy-pread
}

# torch opens the file a second time by path and maps it writable, copy on write.
@test "safetensors, torch: load_file, safe_open, get_slice, both backends, bytes, threads, a model past every block size" {
	client safetensors-torch-mmap safetensors-torch-pread safetensors-torch-bytes safetensors-torch-threads safetensors-torch-large
}

# What a program writes into its private mapping must neither fail nor reach other readers.
@test "safetensors, torch: tensors written to after loading" {
	client safetensors-torch-write
}

# The mapping must outlive its descriptor, which torch closes at once.
@test "torch: UntypedStorage.from_file" {
	need_python torch
	local show='
import hashlib, os, sys, torch
s = torch.UntypedStorage.from_file(sys.argv[1], False, os.path.getsize(sys.argv[1]))
t = torch.tensor(s, dtype=torch.uint8)
n = int.from_bytes(bytes(t[:8].tolist()), "little")
print(hashlib.sha256(t[8 + n:].numpy().tobytes()).hexdigest(), t[8:10].tolist())
t[0] = 255'
	run -0 "$PY" -c "$show" "$MODELS/mixed.safetensors"
	want=$output
	run -0 --separate-stderr shimmed "$PY" -c "$show" "$ENCRYPTED/mixed.safetensors"
	[ "$output" = "$want" ]
	[ -z "$stderr" ]
}

# The user's real program: a sharded model, found through its index, that answers with the same tokens.
@test "transformers: from_pretrained and generate, single and sharded" {
	client transformers transformers-sharded transformers-gpt2
	grep -q '^tokens' "$OUT/encrypted/transformers-sharded.txt"
	need_python torch
	local gen='
import sys, torch
from transformers import AutoModelForCausalLM
m = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="auto").eval()
print(m.generate(torch.tensor([[1, 2, 3, 5, 8]]), max_new_tokens=12, do_sample=False, pad_token_id=256).tolist())'
	run -0 --separate-stderr env HF_HUB_OFFLINE=1 "$PY" -c "$gen" "$MODELS/qwen3-sharded"
	want=$output
	[ -n "$want" ]
	HF_HUB_OFFLINE=1 run -0 --separate-stderr shimmed "$PY" -c "$gen" "$ENCRYPTED/qwen3-sharded"
	[ "$output" = "$want" ]
}

# In the cache of huggingface_hub a name is a symlink to a blob without a suffix.
@test "transformers through the Hugging Face cache's layout, huggingface_hub's own loader" {
	client hub-cache hub-serialization
}

# As transformers, by another loader.
@test "sentence-transformers" {
	client sentence-transformers
}

# numpy maps from offsets and reads through stdio.
@test "numpy: fromfile, memmap" {
	client numpy
}

# A worker that was forked or spawned would read ciphertext or hang.
@test "ranks: forked and spawned readers" {
	client ranks-fork ranks-spawn
}

# Without a key the library must get an error it understands, and its host must be able to go on.
@test "no key, a wrong key, a flipped byte: an exception, one line, and the host lives on" {
	need_python safetensors numpy
	local try='
import sys
from safetensors import safe_open
from safetensors.numpy import load_file
for p in sys.argv[1:]:
    try:
        load_file(p, backend="pread")
        print("loaded")
    except Exception as e:
        print(type(e).__name__, e)
print("alive")' t=$BATS_TEST_TMPDIR f=$ENCRYPTED/np.safetensors
	CT_AGENT_SOCK=/nonexistent/s run -0 --separate-stderr shimmed "$PY" -c "$try" "$f" "$MODELS/np.safetensors"
	echo "$output"
	echo "$stderr"
	# whatever open(2) says, the library calls it a FileNotFoundError; the line on stderr is what helps
	[[ ${lines[0]} == FileNotFoundError* && ${lines[1]} == loaded && ${lines[2]} == alive ]]
	[ "$(grep -c "^ctshim: $f: ENOKEY: " <<<"$stderr")" = 1 ]

	python3 - "$f" "$t/flipped.safetensors" <<-'EOF'
		import sys
		b = bytearray(open(sys.argv[1], "rb").read())
		b[-9] ^= 1
		open(sys.argv[2], "wb").write(b)
	EOF
	run -0 --separate-stderr shimmed "$PY" -c "$try" "$t/flipped.safetensors" "$f"
	echo "$output"
	echo "$stderr"
	[[ ${lines[0]} == *"Input/output error"* && ${lines[1]} == loaded && ${lines[2]} == alive ]]
	[ "$(grep -c "^ctshim: $t/flipped.safetensors: " <<<"$stderr")" = 1 ]

	"$CT" keygen -q --kid-enc other --kid-sign other -o "$t/other.jwk"
	agent_start "$t/other.jwk"
	run -0 --separate-stderr shimmed "$PY" -c "$try" "$f"
	[[ ${lines[0]} == FileNotFoundError* && ${lines[1]} == alive ]]
	[ "$(grep -c "^ctshim: $f: ENOKEY: " <<<"$stderr")" = 1 ]
}
