# ct encrypt and ct decrypt: what they write, what they refuse, and what is left when they are stopped. The judge of the bytes is
# tests/judge.py, which shares no code with ct.

load helpers

setup() {
	cd "$BATS_TEST_TMPDIR"
	"$CT" keygen -q -o keys.jwk
}

# judged KEYS PLAIN ENCRYPTED DECRYPTED: the independent reader gets the plain file's tensors and metadata out of ENCRYPTED, and
# DECRYPTED is the view to the byte.
judged() {
	python3 - "$ROOT/tests" "$@" <<-'EOF'
		import json, sys
		sys.path.insert(0, sys.argv[1])
		import judge
		keys, plain, encrypted, decrypted = (open(p, "rb").read() for p in sys.argv[2:])
		view, bad = judge.view(encrypted, json.loads(keys))
		assert not bad and view == decrypted, "the decrypted file is not the view"
		n, head, meta, tensors = judge.split(plain)
		m, _, vmeta, vtensors = judge.split(view)
		assert vmeta == meta and vtensors == tensors and view[8 + m:] == plain[8 + n:], "the view is not the plain model"
		assert m % 8 == 0
		if len(plain) > 8 + n + 64:
		    assert plain[8 + n:8 + n + 64] not in encrypted, "plaintext in the encrypted file"
	EOF
}

# An algorithm, a version or a chunk size would write files that nobody can read.
@test "every algorithm, version and chunk size gives back the plain model" {
	plain_model plain.safetensors 600001
	for alg in aes128gcm aes256gcm chacha20poly1305; do
		"$CT" keygen -q --alg "$alg" -o "$alg.jwk" --reader "$alg.reader.jwk"
		for how in "--format-version 1" "--chunk-size 17" "--chunk-size 4K" "--chunk-size 300001" "" "--chunk-size 12M"; do
			echo "# $alg $how"
			# shellcheck disable=SC2086 # options
			"$CT" encrypt -q --force --keys "$alg.jwk" $how plain.safetensors e.safetensors
			run -0 "$CT" verify --keys "$alg.reader.jwk" e.safetensors
			[ "$output" = "e.safetensors: ok" ]
			"$CT" decrypt -q --force --keys "$alg.reader.jwk" -j 3 e.safetensors d.safetensors
			judged "$alg.jwk" plain.safetensors e.safetensors d.safetensors
		done
	done
}

# Files that read back but differ in form from what the reference writes: other readers look at the form.
@test "the header has the reference's form to the byte" {
	plain_model plain.safetensors 5000
	"$CT" keygen -q --kid-enc 'e "k"' --kid-sign sk -o named.jwk
	"$CT" encrypt -q --keys named.jwk --header-reserve 0 --chunk-size 4096 plain.safetensors v2
	"$CT" encrypt -q --keys named.jwk --header-reserve 0 --format-version 1 plain.safetensors v1
	python3 - <<-'EOF'
		import json, struct
		def text(v):
		    return json.dumps(v, ensure_ascii=False, separators=(",", ":"))
		for name, chunked in (("v2", True), ("v1", False)):
		    raw = open(name, "rb").read()
		    n = struct.unpack("<Q", raw[:8])[0]
		    got = raw[8:8 + n]
		    head = json.loads(got)
		    meta = head["__metadata__"]
		    assert list(head)[0] == "__metadata__" and list(meta) == sorted(meta)
		    assert got == text(head).encode().ljust(n) and n % 8 == 0 and n - len(text(head).encode()) < 8
		    keys = {"enc": {"alg": "aes256gcm", "kid": 'e "k"', "kty": "oct"}, "sign": {"alg": "ed25519", "kid": "sk", "kty": "okp"},
		            "version": "2" if chunked else "1"}
		    assert meta["__crypto_keys__"] == text({"chunk_size": 4096} | keys if chunked else keys)
		    default = "package model\nallow = true"
		    assert meta["__policy__"] == text({"local": default, "remote": default})
		    enc = json.loads(meta["__encryption__"])
		    assert meta["__encryption__"] == text(enc) and list(enc) == sorted(enc, key=lambda k: k.encode())
		    last = ["base_iv", "tags"] if chunked else ["iv", "tag"]
		    assert all(list(e) == ["wrapped_key", "key_iv", "key_tag"] + last for e in enc.values())
		    assert (enc["none"]["iv"] == enc["none"]["tag"] == "") if not chunked else len(enc["none"]["tags"]) == 24
		    offsets = [t["data_offsets"] for k, t in head.items() if k != "__metadata__"]
		    assert offsets == sorted(offsets) and all(list(t) == ["dtype", "shape", "data_offsets"] for k, t in head.items() if k[0] != "_")
	EOF
}

# Two files under one nonce and key would give both away; so would a key that is not random.
@test "encrypting twice shares no key, no IV and no ciphertext" {
	plain_model plain.safetensors 5000
	"$CT" encrypt -q --keys keys.jwk plain.safetensors a
	"$CT" encrypt -q --keys keys.jwk plain.safetensors b
	python3 - "$ROOT/tests" <<-'EOF'
		import base64, json, struct, sys
		sys.path.insert(0, sys.argv[1])
		import judge
		seen = set()
		def new(v):
		    assert v not in seen
		    seen.add(v)
		kek = base64.b64decode(json.load(open("keys.jwk"))["keys"][0]["k"])
		for name in "ab":
		    raw = open(name, "rb").read()
		    n = struct.unpack("<Q", raw[:8])[0]
		    for e in json.loads(json.loads(raw[8:8 + n])["__metadata__"]["__encryption__"]).values():
		        for v in e.values():
		            new(v)
		        wrapped, iv, tag = (base64.b64decode(e[k]) for k in ("wrapped_key", "key_iv", "key_tag"))
		        key = judge.aead_open("aes256gcm", kek, iv, wrapped, tag)
		        assert len(set(key)) > 16
		        new(key)
		    data = raw[8 + n:]
		    for at in range(0, len(data) - 16, 16):
		        new(data[at:at + 16])
	EOF
}

# The 32-bit counter in an IV must not wrap: with bad luck, once in a thousand big files, the last chunks could not be read.
# Not with a sanitizer: its run time must come before any other preload.
# bats test_tags=plain-build
@test "the counter of the last chunk fits, whatever is drawn" {
	need gcc
	cat >luck.c <<-'EOF'
		#include <stdint.h>
		#include <string.h>
		#include <sys/random.h>
		int RAND_bytes(unsigned char *p, int n)
		{
			uint64_t all_ones = 0xffffffffu; /* the largest start of a counter, where it is drawn from all 32 bits */
			if (n == 8)
				memcpy(p, &all_ones, 8);
			return n == 8 || getrandom(p, (size_t)n, 0) == n;
		}
	EOF
	gcc -shared -fPIC -o luck.so luck.c
	plain_model plain.safetensors 10000
	LD_PRELOAD=$PWD/luck.so "$CT" encrypt -q --keys keys.jwk --chunk-size 100 plain.safetensors e
	run -0 "$CT" verify --keys keys.jwk e
	python3 - <<-'EOF'
		import base64, json, struct
		raw = open("e", "rb").read()
		n = struct.unpack("<Q", raw[:8])[0]
		e = json.loads(json.loads(raw[8:8 + n])["__metadata__"]["__encryption__"])["big"]
		start, chunks = struct.unpack(">I", base64.b64decode(e["base_iv"])[8:])[0], len(base64.b64decode(e["tags"])) // 16
		assert chunks == 100 and start == 0xffffffff % (2**32 - 100 + 1), start  # the library was in use
	EOF
}

# A damaged byte would come out as a weight, or the message would not say where it is.
@test "damage: an error that names tensor, chunk and bytes, and no output" {
	plain_model plain.safetensors 100000
	"$CT" encrypt -q --keys keys.jwk --chunk-size 1000 plain.safetensors e.safetensors
	size=$(stat -c %s e.safetensors)
	at=$((size - 100037 + 41500)) # in chunk 41 of the tensor "big"
	python3 -c "
f = open('e.safetensors', 'r+b'); f.seek($at); b = f.read(1); f.seek($at); f.write(bytes([b[0] ^ 1]))"
	run -1 "$CT" verify --keys keys.jwk e.safetensors
	[[ $output == "e.safetensors: EIO: tensor big, chunk 41 (bytes $((at - 500)) to $((at + 500)) of the file) is damaged"* ]]
	run -3 "$CT" decrypt --keys keys.jwk e.safetensors d.safetensors
	[[ $output == "ct: e.safetensors: EIO: tensor big, chunk 41"* ]]
	[ ! -e d.safetensors ]
	[ -z "$(find . -name '.*ct-*')" ]
}

# Without these refusals a source would be overwritten, or a model encrypted in a way that nobody can undo.
@test "refusals: what exists, what is the input, what is encrypted, what lacks a key" {
	plain_model plain.safetensors 1000
	sum=$(sha256sum plain.safetensors)
	"$CT" encrypt -q --keys keys.jwk plain.safetensors e.safetensors
	run -3 "$CT" encrypt --keys keys.jwk plain.safetensors e.safetensors
	[[ $output == *EEXIST*--force* ]]
	"$CT" encrypt -q --force --keys keys.jwk plain.safetensors e.safetensors
	for out in plain.safetensors ./plain.safetensors link; do
		ln -sf plain.safetensors link
		run -3 "$CT" encrypt --force --keys keys.jwk plain.safetensors "$out"
		[[ $output == *EINVAL*"input itself"* ]]
	done
	run -3 "$CT" encrypt --keys keys.jwk e.safetensors x
	[[ $output == *EBADMSG*"encrypted already"* ]]
	"$CT" keygen -q --from keys.jwk --reader reader.jwk
	run -3 "$CT" encrypt --keys reader.jwk plain.safetensors x
	[[ $output == *ENOKEY*"private signing key"* ]]
	run -3 "$CT" encrypt --keys keys.jwk --alg aes128gcm plain.safetensors x
	[[ $output == *EINVAL*aes256gcm*aes128gcm* ]]
	run -3 "$CT" encrypt --keys keys.jwk --chunk-size 1 --alg aes256gcm plain.safetensors /nonexistent/x
	[[ $output == *ENOENT* ]]
	run -3 "$CT" decrypt --keys keys.jwk plain.safetensors x
	[[ $output == *EPERM*"not encrypted"* ]]
	head -c 500 plain.safetensors >cut.safetensors
	run -3 "$CT" encrypt --keys keys.jwk cut.safetensors x
	[[ $output == *"cut.safetensors: EBADMSG"* ]]
	[ ! -e x ]
	[ "$(sha256sum plain.safetensors)" = "$sum" ]
	[ -z "$(find . -name '.*ct-*')" ]
}

# User metadata under our names would be dropped without a word, or read as crypto keys.
@test "reserved metadata names are refused; other __x__ names are kept" {
	python3 - <<-'EOF'
		import json, struct
		for i, key in enumerate(["__policy__", "__signature__", "__digests__", "__licence__", "__mine__"]):
		    h = json.dumps({"__metadata__": {key: "v"}, "t": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}).encode()
		    open(f"m{i}", "wb").write(struct.pack("<Q", len(h)) + h + b"abc")
	EOF
	for i in 0 1 2 3; do
		run -3 "$CT" encrypt --keys keys.jwk "m$i" x
		[[ $output == *EBADMSG* ]]
	done
	"$CT" encrypt -q --keys keys.jwk m4 x
	"$CT" decrypt -q --keys keys.jwk x y
	grep -qa '"__mine__":"v"' y
}

# Tags that do not fit the header would be found out after hours of encrypting, or written as a file nobody opens.
@test "what the format cannot hold is refused before any work" {
	truncate -s 8000000200 sparse
	python3 - <<-'EOF'
		import json, struct
		h = json.dumps({"t": {"dtype": "U8", "shape": [8000000000], "data_offsets": [0, 8000000000]}}).encode().ljust(192)
		open("sparse", "r+b").write(struct.pack("<Q", len(h)) + h)
	EOF
	run -3 timeout 10 "$CT" encrypt --keys keys.jwk --chunk-size 1000 sparse x
	[[ $output == *EBADMSG*"larger chunks"* ]]
	truncate -s 80000000200 sparse
	python3 - <<-'EOF'
		import json, struct
		h = json.dumps({"t": {"dtype": "U8", "shape": [80000000000], "data_offsets": [0, 80000000000]}}).encode().ljust(192)
		open("sparse", "r+b").write(struct.pack("<Q", len(h)) + h)
	EOF
	run -3 timeout 10 "$CT" encrypt --keys keys.jwk --format-version 1 sparse x
	[[ $output == *EBADMSG*nonce*"version 2"* ]]
	[ ! -e x ]
}

# Memory in proportion to a tensor or a chunk would end on a machine smaller than the model.
# Not with a sanitizer: it needs the address space.
# bats test_tags=plain-build
@test "memory depends neither on a tensor's nor on a chunk's size" {
	python3 - <<-'EOF'
		import json, struct
		h = json.dumps({"t": {"dtype": "U8", "shape": [400 << 20], "data_offsets": [0, 400 << 20]}}).encode()
		f = open("plain", "wb")
		f.write(struct.pack("<Q", len(h)) + h)
		f.truncate(8 + len(h) + (400 << 20))
	EOF
	ulimit -v 204800
	for how in "" "--format-version 1" "--chunk-size 300M"; do
		# shellcheck disable=SC2086 # options
		"$CT" encrypt -q --force -j 2 --keys keys.jwk $how plain e
		run -0 "$CT" verify -j 2 --keys keys.jwk e
	done
	"$CT" decrypt -q -j 2 --keys keys.jwk e d
	cmp <(tail -c $((400 << 20)) d) <(tail -c $((400 << 20)) plain)
}

# A half file under the final name, a leftover, or a changed source after Ctrl-C.
@test "a signal leaves neither output nor temporary file, and the source untouched" {
	python3 - "$CT" <<-'EOF'
		import glob, json, os, signal, struct, subprocess, sys, time
		size = 1 << 30
		h = json.dumps({"t": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
		with open("plain.safetensors", "wb") as f:
		    f.write(struct.pack("<Q", len(h)) + h)
		    f.truncate(8 + len(h) + size)
		before = os.stat("plain.safetensors")
		for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
		    p = subprocess.Popen([sys.argv[1], "encrypt", "--keys", "keys.jwk", "plain.safetensors", "out.safetensors"])
		    while not glob.glob(".out.safetensors.ct-*"):
		        assert p.poll() is None, "it ended before the test could stop it"
		        time.sleep(0.005)
		    p.send_signal(sig)
		    assert p.wait(30) == -sig, p.returncode
		    assert not os.path.exists("out.safetensors") and not glob.glob(".out*")
		after = os.stat("plain.safetensors")
		assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
	EOF
}

# A full disk (here: a limit on the size of files) would leave a cut file under the final name.
@test "an output that cannot be written whole does not appear" {
	plain_model plain.safetensors 3000000
	ulimit -f 1000
	run -3 "$CT" encrypt --keys keys.jwk plain.safetensors out.safetensors
	[[ $output == *EFBIG* ]]
	[ ! -e out.safetensors ]
	[ -z "$(find . -name '.*ct-*')" ]
}

# Plain weights written where others can read them.
@test "the decrypted file is for its owner alone, the encrypted one as open as its source" {
	plain_model plain.safetensors 1000
	chmod 644 plain.safetensors
	"$CT" encrypt -q --keys keys.jwk plain.safetensors e
	"$CT" decrypt -q --keys keys.jwk e d
	[ "$(stat -c %a e)" = 644 ]
	[ "$(stat -c %a d)" = 600 ]
}

# The policy would be changed on its way into the file, or hide text from the engine behind a NUL.
@test "a policy is carried to the byte; text that an engine would not see is refused" {
	plain_model plain.safetensors 1000
	printf 'package model\n# \xc3\xa9 "q" \\ \t\nallow if input.claims.x\n' >p.rego
	"$CT" encrypt -q --keys keys.jwk --policy p.rego plain.safetensors e
	"$CT" inspect --json e | python3 -c '
import json, sys
assert json.load(sys.stdin)["policy"]["local"] == open("p.rego").read()'
	run -1 "$CT" verify --keys keys.jwk e
	[[ $output == "e: EKEYREJECTED: "* ]]
	printf 'package model\nallow = true\0' >nul.rego
	run -3 "$CT" encrypt --keys keys.jwk --policy nul.rego plain.safetensors x
	[[ $output == *"nul.rego: EINVAL"* ]]
}

make_folder() {
	mkdir -p in/sub
	plain_model in/model-00001-of-00002.safetensors 3000
	plain_model in/sub/model.safetensors 4000
	plain_model in/blob 5000 # a model by its content, as in a hub cache
	echo '{"weight_map":{}}' >in/model.safetensors.index.json
	chmod 640 in/model.safetensors.index.json
	touch -d '2020-01-02 03:04:05' in/model.safetensors.index.json
	ln -s model.safetensors.index.json in/inside
	plain_model outside.safetensors 2000
	ln -s ../outside.safetensors in/followed.safetensors
	: >in/empty
}

# A model left in the clear in the folder that is given away; an index that no longer fits.
@test "a folder: models encrypted wherever they hide, the rest copied as it is, and back" {
	make_folder
	run -0 "$CT" encrypt --keys keys.jwk in out
	for f in model-00001-of-00002.safetensors sub/model.safetensors blob followed.safetensors; do
		run -0 "$CT" inspect --json "out/$f"
		[[ $output == *'"encrypted":true'* ]]
		[ ! -L "out/$f" ]
	done
	cmp in/model.safetensors.index.json out/model.safetensors.index.json
	[ "$(stat -c '%a %Y' out/model.safetensors.index.json)" = "$(stat -c '%a %Y' in/model.safetensors.index.json)" ]
	[ "$(readlink out/inside)" = model.safetensors.index.json ]
	[ "$(cd in && find . | sort)" = "$(cd out && find . | sort)" ]
	run -0 "$CT" verify --keys keys.jwk out
	[ "${#lines[@]}" = 3 ]
	run -0 "$CT" decrypt --keys keys.jwk out back
	judged keys.jwk in/sub/model.safetensors out/sub/model.safetensors back/sub/model.safetensors
	judged keys.jwk in/blob out/blob back/blob
	[ "$(cd in && find . | sort)" = "$(cd back && find . | sort)" ]
}

# Writing into the input, or over files that the user forgot about; a success that encrypted nothing.
@test "a folder: refusals" {
	make_folder
	for out in in in/x . in/sub/../y; do
		run -3 "$CT" encrypt --keys keys.jwk in "$out"
		[[ $output == *EINVAL* ]]
	done
	mkdir full && touch full/x
	run -3 "$CT" encrypt --keys keys.jwk in full
	[[ $output == *ENOTEMPTY*--force* ]]
	run -0 "$CT" encrypt --force --keys keys.jwk in full
	run -0 "$CT" encrypt --force --keys keys.jwk in full
	mkdir none && touch none/readme
	run -3 "$CT" encrypt --keys keys.jwk none none.out
	[[ $output == *ENOENT*"no model"* ]]
	echo 'version https://git-lfs.github.com/spec/v1' >in/lfs.safetensors
	run -3 "$CT" encrypt --keys keys.jwk in broken
	[[ $output == *"in/lfs.safetensors: EBADMSG"* ]]
	[ ! -e broken/lfs.safetensors ]
	rm in/lfs.safetensors
	run -3 "$CT" encrypt --keys keys.jwk full twice
	[[ $output == *EBADMSG*"encrypted already"* ]]
	ln -s nowhere in/dangling
	run -3 "$CT" encrypt --keys keys.jwk in out
	[[ $output == *"in/dangling: ENOENT"* ]]
	rm in/dangling
	ln -s "$PWD/in" in/loop
	run -3 "$CT" encrypt --keys keys.jwk in looped
	[[ $output == *ELOOP* ]]
}

# Weights that a reader more lenient than ours can still load would be given away in the clear, because we could not parse them.
@test "a folder: what begins as a model and does not parse is never copied in the clear" {
	make_folder
	python3 - <<-'PY'
		import json, os, struct
		t = '"t":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}'
		def model(name, head):
		    os.makedirs(name)
		    open(f"{name}/blob", "wb").write(struct.pack("<Q", len(head)) + head.encode() + b"WEIGHTS-IN-CLEAR")
		model("twice", '{"__metadata__":{"a":"1","a":"2"},' + t + "}")
		model("nojson", '{"__metadata__":{"a":1.},' + t + "}")
		model("short", "{" + t.replace("16", "17") + "}")
	PY
	for f in twice nojson short; do
		cp in/blob "$f/z"
		run -3 "$CT" encrypt --keys keys.jwk "$f" "$f.out"
		[[ $output == "ct: $f/blob: EBADMSG: looks like a model but cannot be read: "*"; repair or move it away" ]]
		[ ! -e "$f.out/blob" ]
		# What ct decrypt was given may be given away as it is.
		"$CT" encrypt -q --keys keys.jwk "$f/z" "$f/e"
		run -0 "$CT" decrypt --keys keys.jwk "$f" "$f.back"
		cmp "$f/blob" "$f.back/blob"
	done
	# Other files, binary ones too, are no one's business.
	printf '\x02\x00\x00\x00\x00\x00\x00\x00[]more' >in/binary
	head -c 3000 /dev/urandom >in/random && printf '\xff' | dd of=in/random bs=1 seek=7 conv=notrunc status=none
	printf '{"__metadata__":{"a":"1","a":"2"}}' >in/text.json
	run -0 "$CT" encrypt --keys keys.jwk in out
	for f in binary random text.json empty; do
		cmp "in/$f" "out/$f"
	done
}

# The same where memory does not suffice: a model would be "no model" on a small machine.
# Not with a sanitizer: it needs the address space.
# bats test_tags=plain-build
@test "a folder: a header for which there is no memory ends the run" {
	mkdir in
	python3 - <<-'PY'
		import struct
		head = b'{"t":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'.ljust(90000000)
		open("in/blob", "wb").write(struct.pack("<Q", len(head)) + head + b"abcd")
	PY
	plain_model in/z
	(
		ulimit -v 80000
		run -3 "$CT" encrypt --keys keys.jwk in out
		[[ $output == "ct: in/blob: ENOMEM: "* ]]
		run -3 "$CT" decrypt --keys keys.jwk in back
		[[ $output == "ct: in/blob: ENOMEM: "* ]]
	)
	[ ! -e out/blob ]
	[ ! -e back/blob ]
}

# A copy of a set-uid program belongs to whoever made the copy, and would lend his rights to all.
@test "a folder: modes are copied without set-uid, set-gid and sticky bits" {
	make_folder
	echo tool >in/tool
	chmod 6755 in/tool
	chmod 3750 in/sub
	chmod 6644 in/blob
	run -0 "$CT" encrypt --keys keys.jwk in out
	[ "$(cd out && stat -c '%n %a' tool sub blob)" = $'tool 755\nsub 750\nblob 644' ]
}

# A link kept in OUT would lead out of it, and back to the plain model: the encrypted copy is never read, or given away without.
@test "a folder: only links whose way stays inside are kept" {
	make_folder
	mkdir -p in/a/b outside
	plain_model outside/o.safetensors 500
	ln -s ../in/blob in/back.safetensors              # out of IN by its name, and back
	ln -s a/../../in/sub in/folder                    # the same, to a folder
	ln -s back.safetensors in/chain.safetensors       # inside, through one that is not
	ln -s "$PWD/in/sub" in/a/abs                      # absolute: a copy
	ln -s abs/model.safetensors in/a/through          # inside, through an absolute one
	ln -s ../../blob in/a/b/up                        # up, but not out
	ln -s . in/a/self
	ln -s a/self/b/up in/chain2                       # through links that are kept
	ln -s ../a/b/up in/sub/across                     # from a/abs this is another place's link
	echo right >in/x && echo wrong >in/a/x
	ln -s ../x in/sub/x                               # from a/abs this would be a/x
	ln -s "$PWD/outside" in/out-folder
	ln -s ../in/blob outside/l                        # in OUT this would be OUT/in/blob
	run -0 "$CT" encrypt --keys keys.jwk in out
	for f in back.safetensors folder/model.safetensors chain.safetensors a/through a/abs/model.safetensors out-folder/l; do
		run -0 "$CT" inspect --json "out/$f"
		[[ $output == *'"encrypted":true'* ]]
	done
	for f in back.safetensors folder chain.safetensors a/abs a/through out-folder/l; do
		[ ! -L "out/$f" ]
	done
	for f in inside a/b/up a/self chain2 sub/across; do
		[ "$(readlink "out/$f")" = "$(readlink "in/$f")" ]
	done
	for f in a/abs/x folder/x sub/x; do
		[ "$(cat "out/$f")" = right ]
	done
	[ ! -L out/a/abs/across ] # ../a/b/up leads nowhere from there
	# Nothing in OUT leads out of it, wherever OUT is moved.
	mkdir away && mv out away/ && mv in gone
	run -0 find away/out -type l -exec realpath -e {} +
	[ "${#lines[@]}" = 8 ] # with sub/x and two in folder
	for f in "${lines[@]}"; do
		[[ $f == "$PWD"/away/out/* ]]
	done
}

# With --force, a link that someone left in OUT would have files elsewhere replaced.
@test "a folder: --force goes through no link in OUT and leaves folders that were there as they were" {
	make_folder
	mkdir -p out/sub elsewhere
	echo mine >elsewhere/model.safetensors
	rmdir out/sub
	for target in ../elsewhere "$PWD/elsewhere" nowhere; do
		ln -sfn "$target" out/sub
		run -3 "$CT" encrypt --force --keys keys.jwk in out
		[[ $output == *"ct: out/sub: ENOTDIR: "*link*"move it away" ]]
		[ "$(cat elsewhere/*)" = mine ]
	done
	rm out/sub && echo file >out/sub
	run -3 "$CT" encrypt --force --keys keys.jwk in out
	[[ $output == *"ct: out/sub: ENOTDIR: "* ]]
	rm out/sub && mkdir out/sub
	# A link in a file's place is replaced, not written through.
	ln -sf ../elsewhere/model.safetensors out/blob
	chmod 711 out && chmod 700 out/sub
	chmod 755 in in/sub
	touch -d '2020-01-02 03:04:05' in in/sub
	run -0 "$CT" encrypt --force --keys keys.jwk in out
	[ "$(cat elsewhere/*)" = mine ]
	[ ! -L out/blob ]
	[ "$(stat -c %a out out/sub)" = $'711\n700' ]
	[ "$(stat -c %Y out)" != "$(stat -c %Y in)" ]
	# Folders that this run makes take mode and time; OUT itself may be a link, as the user named it.
	mkdir real && chmod 711 real && ln -s real link
	run -0 "$CT" encrypt --keys keys.jwk in link
	[ "$(stat -c %a real)" = 711 ]
	[ "$(stat -c '%a %Y' real/sub)" = "$(stat -c '%a %Y' in/sub)" ]
}
