# The main job for programs that every machine has: common tools, Python's own library, node. The judge is judge.py's own view of
# the encrypted file; what a failure looks like is the contract of the README.

load helpers

setup_file() {
	local t=$BATS_FILE_TMPDIR
	export T=$t M=$t/m.safetensors VIEW=$t/view WORDS=$t/words.safetensors
	plain_model "$t/plain.safetensors" 3000000
	"$CT" keygen -q -o "$t/keys.jwk"
	"$CT" encrypt -q --keys "$t/keys.jwk" --chunk-size 65536 "$t/plain.safetensors" "$M"
	PYTHONPATH=$ROOT/tests python3 - "$M" "$t/keys.jwk" "$VIEW" <<-'EOF'
		import json, judge, sys
		view, bad = judge.view(open(sys.argv[1], "rb").read(), json.load(open(sys.argv[2])))
		assert not bad
		open(sys.argv[3], "wb").write(view)
	EOF
	python3 - "$t/count.safetensors" <<-'EOF'
		import array, struct, sys
		n = 400000
		h = (b'{"w":{"dtype":"U64","shape":[%d],"data_offsets":[0,%d]}}' % (n, 8 * n)).ljust(128)
		open(sys.argv[1], "wb").write(struct.pack("<Q", len(h)) + h + array.array("Q", range(n)).tobytes())
	EOF
	"$CT" encrypt -q --keys "$t/keys.jwk" --chunk-size 20001 "$t/count.safetensors" "$WORDS"
	agent_start "$t/keys.jwk"
}

teardown_file() {
	agent_stop
}

sum() {
	sha256sum | cut -d' ' -f1
}

# same CMD…: its output is the view, byte for byte, and nothing is said on stderr.
same() {
	shimmed "$@" 2>"$BATS_TEST_TMPDIR/err" | cmp - "$VIEW"
	cat "$BATS_TEST_TMPDIR/err"
	[ ! -s "$BATS_TEST_TMPDIR/err" ]
}

# explained ERRNO-TEXT: of the last `run --separate-stderr`: one line from us that names the file.
explained() {
	local line ours=0
	for line in "${stderr_lines[@]}"; do
		echo "stderr: $line"
		case $line in "ctshim: $1: "*) ours=$((ours + 1)) ;; ctshim:*) return 1 ;; esac
	done
	[ "$ours" = 1 ]
}

# flipped PATH: a copy of the model with one byte of the data changed, 100,000 bytes before its end.
flipped() {
	python3 - "$M" "$1" <<-'EOF'
		import sys
		b = bytearray(open(sys.argv[1], "rb").read())
		b[-100000] ^= 1
		open(sys.argv[2], "wb").write(b)
	EOF
}

# If the fixture itself were readable, nothing below would mean a thing.
@test "the file on disk is ciphertext" {
	run ! cmp -s "$M" "$VIEW"
	[ "$(tail -c 1000000 "$M" | sum)" != "$(tail -c 1000000 "$T/plain.safetensors" | sum)" ]
	[ "$(tail -c 1000000 "$VIEW" | sum)" = "$(tail -c 1000000 "$T/plain.safetensors" | sum)" ]
}

# read(2) in pieces of all sizes, at all offsets, by the plainest programs.
@test "cat, dd, head, tail, od see the view" {
	same cat "$M"
	[[ $SANITIZE == *address* ]] || same dd if="$M" bs=4099 status=none # dd's own aligned_alloc displeases the sanitizer
	same dd if="$M" bs=1M status=none
	same sh -c 'dd if="$1" bs=4096 count=3 status=none; dd if="$1" bs=4096 skip=3 status=none' - "$M"
	same sh -c 'head -c 5000 "$1"; tail -c +5001 "$1"' - "$M"
	same sh -c 'head -c -777 "$1"; tail -c 777 "$1"' - "$M"
	run -0 shimmed od -An -tx1 -v -j 2999000 "$M"
	[ "$output" = "$(od -An -tx1 -v -j 2999000 "$VIEW")" ]
}

# A checksum of ciphertext, or of a half file.
@test "sha256sum and cmp see the view" {
	run -0 shimmed sha256sum "$M"
	[ "${output%% *}" = "$(sum <"$VIEW")" ]
	run -0 shimmed cmp "$M" "$VIEW"
}

# cp tries clones and copy_file_range before it reads; a clone would be ciphertext.
@test "cp copies the view" {
	shimmed cp "$M" "$BATS_TEST_TMPDIR/a"
	cmp "$BATS_TEST_TMPDIR/a" "$VIEW"
	shimmed cp --reflink=auto --sparse=always "$M" "$BATS_TEST_TMPDIR/b"
	cmp "$BATS_TEST_TMPDIR/b" "$VIEW"
}

# The most common way into a file of all.
@test "Python's open().read() sees the view" {
	same python3 -c 'import sys; sys.stdout.buffer.write(open(sys.argv[1], "rb").read())' "$M"
	same python3 -c 'import os, sys; os.writev(1, [b""]); fd = os.open(sys.argv[1], 0)
while b := os.read(fd, 30011): sys.stdout.buffer.write(b)' "$M"
}

# A mapping would hold ciphertext, end at the wrong byte, or die with its descriptor.
@test "Python's mmap sees the view: shared, private, from an offset, after close" {
	same python3 -c '
import mmap, os, sys
with open(sys.argv[1], "rb") as f:
    shared = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    private = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
    n = len(shared)
    part = mmap.mmap(f.fileno(), n - 8192, mmap.MAP_PRIVATE, mmap.PROT_READ, offset=8192)
assert shared[:] == private[:] and shared[8192:] == part[:]
private[:100] = bytes(100)
assert shared[:100] != bytes(100)
sys.stdout.buffer.write(shared)' "$M"
}

# whole COUNT: at least COUNT lines "WAY sha256" in $output, and all of them the view's.
whole() {
	echo "$output"
	[ "$(wc -l <<<"$output")" -ge "$1" ]
	[ "$(awk '{ print $2 }' <<<"$output" | sort -u)" = "$(sum <"$VIEW")" ]
}

# A way around read() and mmap(): sendfile, splice, copy_file_range, descriptors that were passed, inherited, forked.
@test "every way in which Python reads a whole file gives the view" {
	run -0 --separate-stderr shimmed python3 "$CLIENTS/stdlib_readers.py" "$M"
	whole 30
}

# The same for what people have in their shells: redirections, tar, gzip, perl …
@test "every way in which common tools read a whole file gives the view" {
	local tools=$CLIENTS/tools.sh
	if [[ $SANITIZE == *address* ]]; then # under libasan alone curl hangs, and dd and split abort (aligned_alloc)
		sed '/^way curl/d; /^way dd/d; /^way split/d' "$tools" >"$BATS_TEST_TMPDIR/tools.sh"
		tools=$BATS_TEST_TMPDIR/tools.sh
	fi
	run -0 --separate-stderr shimmed sh "$tools" "$M"
	output=$(grep -v '^busybox ' <<<"$output") # often static: no preload reaches it
	whole 15
}

# Node reads by pread and preadv from a pool of threads, and copies in the kernel.
@test "node's fs sees the view" {
	need node
	run -0 --separate-stderr shimmed node "$CLIENTS/node_readers.mjs" "$M"
	whole 8 # 9 from node 20 on
}

# Two threads would be handed the same bytes, or some bytes to none.
@test "eight threads that read one descriptor get every byte once" {
	for _ in 1 2 3; do
		run -0 shimmed python3 "$ROOT/tests/shared_offset.py" "$WORDS" threads
		[ "${output% *}" = 3200000 ]
	done
}

# dup, dup2 and F_DUPFD share one offset; views per descriptor would each begin anew.
@test "descriptors that were duplicated share one offset" {
	for _ in 1 2 3; do
		run -0 shimmed python3 "$ROOT/tests/shared_offset.py" "$WORDS" dup
		[ "${output% *}" = 3200000 ]
	done
}

# A parent that opens and workers that read on: each would be handed what another one had.
@test "eight processes that share one description get every byte once" {
	for _ in 1 2 3; do
		run -0 shimmed python3 "$ROOT/tests/shared_offset.py" "$WORDS" processes
		[ "${output% *}" = 3200000 ]
	done
}

# Hugging Face's cache names a blob by its digest, behind a symlink; other people rename files.
@test "the content decides, not the name" {
	cp "$M" "$BATS_TEST_TMPDIR/0f3a9d"
	ln -s 0f3a9d "$BATS_TEST_TMPDIR/model.safetensors"
	same cat "$BATS_TEST_TMPDIR/model.safetensors"
	same cat "$BATS_TEST_TMPDIR/0f3a9d"
	same python3 -c 'import os, sys; sys.stdout.buffer.write(open(os.path.realpath(sys.argv[1]), "rb").read())' \
		"$BATS_TEST_TMPDIR/model.safetensors"
}

# A shim that harms what it need not touch is taken out again.
@test "plain files, written and read under the preload, stay what they are" {
	same cat "$VIEW"
	shimmed cp "$T/plain.safetensors" "$BATS_TEST_TMPDIR/p.safetensors"
	cmp "$T/plain.safetensors" "$BATS_TEST_TMPDIR/p.safetensors"
	run -0 --separate-stderr shimmed sh -c 'echo text >"$1/n.safetensors"; cat "$1/n.safetensors"; : >"$1/e.safetensors"; cat "$1/e.safetensors"' \
		- "$BATS_TEST_TMPDIR"
	[ "$output" = text ]
	[ -z "$stderr" ]
}

# The view would be the old file's after somebody has put a new one in its place.
@test "a file that was replaced is opened anew, also within one process" {
	cp "$M" "$BATS_TEST_TMPDIR/x.safetensors"
	run -0 shimmed python3 -c '
import hashlib, os, sys
def sha(p): return hashlib.sha256(open(p, "rb").read()).hexdigest()
print(sha(sys.argv[1]))
os.environ.pop("LD_PRELOAD")
os.system("cp {1} {0}.new && mv {0}.new {0}".format(*sys.argv[1:]))
print(sha(sys.argv[1]))' "$BATS_TEST_TMPDIR/x.safetensors" "$WORDS"
	[ "${lines[0]}" = "$(sum <"$VIEW")" ]
	[ "${lines[1]}" = "$(shimmed cat "$WORDS" | sum)" ]
	[ "${lines[0]}" != "${lines[1]}" ]
}

# The same inode and size with other keys inside: a view that is taken for the old one reads damage.
@test "a file that was written over in place is opened anew, also within one process" {
	cp "$M" "$BATS_TEST_TMPDIR/x.safetensors"
	"$CT" encrypt -q --keys "$T/keys.jwk" --chunk-size 65536 "$T/plain.safetensors" "$BATS_TEST_TMPDIR/again"
	[ "$(stat -c %s "$M")" = "$(stat -c %s "$BATS_TEST_TMPDIR/again")" ]
	run -0 shimmed python3 -c '
import os, sys
view = open(sys.argv[2], "rb").read()
assert open(sys.argv[1], "rb").read() == view
os.environ.pop("LD_PRELOAD")
os.system("cat {0} >{1}".format(sys.argv[3], sys.argv[1]))
assert open(sys.argv[1], "rb").read() == view
print("same")' "$BATS_TEST_TMPDIR/x.safetensors" "$VIEW" "$BATS_TEST_TMPDIR/again"
	[ "$output" = same ]
}

# CTSHIM_DISABLE is how one looks at what is really there.
@test "CTSHIM_DISABLE=1 shows the file as it lies" {
	CTSHIM_DISABLE=1 shimmed cat "$M" | cmp - "$M"
}

# A program would take a plain model that somebody has slipped in.
@test "CTSHIM_REQUIRE=1 refuses plain models with EPERM, and serves encrypted ones" {
	export CTSHIM_REQUIRE=1
	same cat "$M"
	run -1 --separate-stderr shimmed cat "$T/plain.safetensors"
	[[ $stderr == *"Operation not permitted"* ]]
	[ -z "$output" ]
	explained "$T/plain.safetensors"
	echo hello >"$BATS_TEST_TMPDIR/notes.txt"
	[ "$(shimmed cat "$BATS_TEST_TMPDIR/notes.txt")" = hello ]
}

# Ciphertext instead of an error, or an error that nobody understands.
@test "no agent: ENOKEY and one line" {
	CT_AGENT_SOCK=/nonexistent/s run -1 --separate-stderr shimmed cat "$M"
	[ -z "$output" ]
	[[ $stderr == *"Required key not available"* ]]
	explained "$M"
}

# As above, for an agent without the key.
@test "an agent without the key: ENOKEY and one line" {
	"$CT" keygen -q --kid-enc other --kid-sign other -o "$BATS_TEST_TMPDIR/other.jwk"
	agent_start "$BATS_TEST_TMPDIR/other.jwk"
	run -1 --separate-stderr shimmed cat "$M"
	agent_stop
	[ -z "$output" ]
	[[ $stderr == *"Required key not available"* ]]
	explained "$M"
}

# A key of the same name that is not the key: noise served as weights.
@test "another key under the same name: EBADMSG and one line" {
	local enc sign
	enc=$(jq -r '.keys[] | select(.kty == "oct").kid' "$T/keys.jwk")
	sign=$(jq -r '.keys[] | select(.kty == "okp").kid' "$T/keys.jwk")
	"$CT" keygen -q --kid-enc "$enc" --kid-sign "$sign" -o "$BATS_TEST_TMPDIR/other.jwk"
	agent_start "$BATS_TEST_TMPDIR/other.jwk"
	run -1 --separate-stderr shimmed cat "$M"
	agent_stop
	[ -z "$output" ]
	[[ $stderr == *"Bad message"* ]]
	explained "$M"
}

# A damaged byte must not be served, and must not take the rest of the file with it.
@test "a flipped byte: EIO there, right bytes elsewhere, and the host lives on" {
	local f=$BATS_TEST_TMPDIR/f.safetensors
	flipped "$f"
	run -0 --separate-stderr shimmed python3 - "$f" "$VIEW" "$M" <<-'EOF'
		import errno, os, sys
		view, fd, got = open(sys.argv[2], "rb").read(), os.open(sys.argv[1], os.O_RDONLY), b""
		at = len(view) - 100000
		try:
		    while b := os.read(fd, 1 << 20):
		        got += b
		    sys.exit("a damaged file was read to its end")
		except OSError as e:
		    assert e.errno == errno.EIO
		assert at - 65536 < len(got) <= at and got == view[:len(got)], len(got)
		assert os.pread(fd, 1000, len(view) - 1000) == view[-1000:]
		assert open(sys.argv[3], "rb").read() == view
		print("alive")
	EOF
	[ "$output" = alive ]
	explained "$f"
}

# open(2) that fails must leave the program as it was.
@test "the host lives on after refused opens" {
	run -0 --separate-stderr shimmed env CT_AGENT_SOCK=/nonexistent/s python3 - "$M" "$T/plain.safetensors" <<-'EOF'
		import errno, sys
		for _ in range(3):
		    try:
		        open(sys.argv[1], "rb")
		        sys.exit("opened without a key")
		    except OSError as e:
		        assert e.errno == errno.ENOKEY
		print(len(open(sys.argv[2], "rb").read()))
	EOF
	[ "$output" = "$(stat -c %s "$T/plain.safetensors")" ]
}

# A damaged page that reads as zeros or as old plaintext is a wrong weight; SIGBUS is what a bad disk gives.
@test "a flipped byte in a mapping: SIGBUS on its pages alone" {
	local f=$BATS_TEST_TMPDIR/f.safetensors
	flipped "$f"
	run -0 --separate-stderr shimmed "$PROBES/pages" "$f"
	[ "${lines[0]}" = "$f pages 4096" ] || skip_or_fail "written for pages of 4096 bytes"
	# a chunk of 65,536 bytes lies on 16 or 17 pages
	bus=$(grep -c '^BUS$' <<<"$output")
	[ "$bus" = 17 ] || [ "$bus" = 16 ]
	explained "$f"
}

# The log would be lost, or would go where nobody looks.
@test "CTSHIM_LOG_FILE takes the lines, CTSHIM_LOG=debug says more" {
	local log=$BATS_TEST_TMPDIR/log
	CTSHIM_LOG_FILE=$log CTSHIM_LOG=debug shimmed cat "$M" 2>"$BATS_TEST_TMPDIR/err" | cmp - "$VIEW"
	[ ! -s "$BATS_TEST_TMPDIR/err" ]
	grep -F "$M" "$log"
}
