# ct rewrap: new keys and policy for encrypted files, of whose data no byte may change; what is refused; what is left when it is stopped. The judge
# is tests/rewrap_judge.py, which shares no code with ct.

load helpers

setup() {
	cd "$BATS_TEST_TMPDIR"
	"$CT" keygen -q -o old.jwk --kid-enc eo --kid-sign so
	"$CT" keygen -q -o new.jwk --kid-enc en --kid-sign sn
}

teardown() {
	local m
	for m in "${MOUNTS[@]}"; do
		umount "$m"
	done
	rm -rf ${OPEN_DIR:+"$OPEN_DIR"}
	agent_stop
}

judge() {
	python3 "$ROOT/tests/rewrap_judge.py" "$@"
}

# rewrap ARGS…: from old.jwk to new.jwk.
rewrap() {
	"$CT" rewrap --keys old.jwk --new-keys new.jwk "$@"
}

# header_size FILE: N.
header_size() {
	od -An -tu8 -N8 "$1" | tr -d ' '
}

# mounted TYPE MIB [MKFS…]: a file system of its own at ./TYPE.
mounted() {
	[[ $EUID == 0 ]] || skip_or_fail "needs root to mount" || return
	mkdir "$1"
	if [[ $1 == tmpfs ]]; then
		mount -t tmpfs -o "size=$2M" none "$1" || skip_or_fail "cannot mount a tmpfs" || return
	else
		need "${3:-mkfs.$1}"
		truncate -s "$2M" "$1.img"
		"${@:3}" "$1.img" >/dev/null
		mount -o loop "$1.img" "$1" || skip_or_fail "cannot mount $1 from a loop device" || return
	fi
	MOUNTS+=("$PWD/$1")
}

# as_user CMD…: as an ordinary user, in a folder of his own ($OPEN_DIR), where he finds ct and the keys: the checkout may be closed to him.
user_folder() {
	[[ $EUID == 0 ]] || skip_or_fail "needs root to become another user" || return
	need setpriv
	OPEN_DIR=$(mktemp -d /tmp/ctrXXXXXX)
	cp "$CT" old.jwk new.jwk "$OPEN_DIR/"
	chown -R 65534:65534 "$OPEN_DIR"
	chmod 755 "$OPEN_DIR"
}

as_user() {
	(cd "$OPEN_DIR" && setpriv --reuid 65534 --regid 65534 --clear-groups "$@")
}

# The old keys would still open the file, or nobody's; a byte of data or an entry that others signed for would be another one.
@test "the new keys open the file, the old ones do not: ct, agent and shim" {
	python3 - <<-'EOF'
		import hashlib, json, struct
		meta = {"format": "pt", "__ours__": "kept \u00e9", "a": "", "z\n": "\u0001\""}
		head, at, data = {"__metadata__": meta}, 0, b""
		for name, n in (("model.a", 70001), ("model.\u00e9", 4096), ("lm_head", 9000), ("none", 0)):
		    head[name] = {"dtype": "U8", "shape": [n], "data_offsets": [at, at + n]}
		    at, data = at + n, data + hashlib.shake_256(name.encode()).digest(n)
		h = json.dumps(head, ensure_ascii=False).encode()
		open("plain", "wb").write(struct.pack("<Q", len(h)) + h + data)
	EOF
	agent_start "$PWD/old.jwk"
	for how in "--chunk-size 4096 --digests" "--tensors model.*" "--format-version 1" "--tensors lm_head --chunk-size 17" "--format-version 1 --digests"; do
		echo "# $how"
		set -f
		# shellcheck disable=SC2086 # options
		"$CT" encrypt -q --force --keys old.jwk $how plain m.safetensors
		set +f
		"$CT" decrypt -q --force --keys old.jwk m.safetensors want
		cp m.safetensors was
		run -0 rewrap m.safetensors
		[[ $output == "m.safetensors: rewrapped"* && $output != *offset* ]]
		judge old.jwk was new.jwk m.safetensors
		[[ $how != *--digests* && $how != *--tensors* ]] || grep -qa '"__digests__":' m.safetensors
		run -0 "$CT" verify --keys new.jwk m.safetensors
		run -1 "$CT" verify --keys old.jwk m.safetensors
		[[ $output == "m.safetensors: ENOKEY: "* ]]
		"$CT" decrypt -q --force --keys new.jwk m.safetensors got
		cmp want got
		run -1 "$CT" verify m.safetensors
		[[ $output == *"m.safetensors: ENOKEY: "* ]]
		run ! shimmed cat m.safetensors
		[[ $output == *ENOKEY* ]]
		"$CT" remove -q --all
		"$CT" add -q new.jwk
		run -0 "$CT" verify m.safetensors
		shimmed cat m.safetensors >served
		cmp want served
		run ! shimmed cat was
		"$CT" remove -q --all
		"$CT" add -q old.jwk
	done
	# Keys of the same name: found, and wrong.
	"$CT" keygen -q -o twin.jwk --kid-enc eo --kid-sign so
	cp was m.safetensors
	"$CT" rewrap -q --keys old.jwk --new-keys twin.jwk m.safetensors
	run -0 "$CT" verify --keys twin.jwk m.safetensors
	run -1 "$CT" verify --keys old.jwk m.safetensors
	[[ $output == "m.safetensors: EBADMSG: the signature is wrong"* ]]
}

# A spelling or a version that others write would be misread here, and the model lost; a forged file would get a good signature.
@test "every vector: what opens becomes the same under new keys, what does not stays as it is" {
	cp "$VECTORS"/*.safetensors .
	for alg in aes128gcm aes256gcm chacha20poly1305; do
		"$CT" keygen -q --alg "$alg" --kid-enc e2 --kid-sign s2 -o "$alg.jwk"
		cat >"$alg.rego" <<<"package model # $alg"
	done
	python3 - "$ROOT/tests" "$CT" <<-'EOF'
		import collections, hashlib, json, os, pathlib, subprocess, sys
		sys.path.insert(0, sys.argv[1])
		import judge, rewrap_judge
		vectors, ct = pathlib.Path(sys.argv[1], "vectors"), sys.argv[2]
		seen = collections.Counter()
		for i, v in enumerate(json.loads((vectors / "manifest.json").read_text())["files"]):
		    name, was = v["file"], pathlib.Path(v["file"]).read_bytes()
		    open("keys.jwk", "wb", opener=lambda p, f: os.open(p, f, 0o600)).write((vectors / v["keys"]["file"]).read_bytes())
		    opens = v["errno"] in (None, "EIO") or v["class"] == "policy"
		    alg, policy = "aes256gcm", None
		    if opens and not v.get("plain"):
		        keys = json.loads(judge.split(was)[2]["__crypto_keys__"])
		        alg = judge.spelled(keys["enc"]["alg"])
		        policy = f"{alg}.rego" if i % 2 else None
		    cmd = [ct, "rewrap", "--keys", "keys.jwk", "--new-keys", f"{alg}.jwk"] + (["--policy", policy] if policy else []) + [name]
		    r = subprocess.run(cmd, capture_output=True, text=True, errors="replace")
		    if opens and not v.get("plain"):
		        assert r.returncode == 0, f"{name}: {r.stderr}"
		        pathlib.Path("was").write_bytes(was)
		        try:
		            rewrap_judge.main("keys.jwk", "was", f"{alg}.jwk", name, policy)
		        except AssertionError as e:
		            sys.exit(f"{name}: {e}")
		        seen["rewrapped" if v["errno"] != "EIO" else "damaged data, rewrapped"] += 1
		    else:
		        want = "EPERM" if v.get("plain") else v["errno"]
		        assert r.returncode == 3 and f"{name}: {want}: " in r.stderr, f"{name}: {r.returncode}, not {want}: {r.stderr}"
		        assert pathlib.Path(name).read_bytes() == was, f"{name} was changed"
		        seen[want] += 1
		assert not [p for p in os.listdir() if ".ct-" in p]
		print(seen)
		assert seen["rewrapped"] >= 110 and seen["damaged data, rewrapped"] >= 10 and seen["EBADMSG"] >= 60 and seen["ENOKEY"] >= 4, seen
	EOF
}

# A header without room would move terabytes; a data section at an odd place is read wrong, or cannot be cloned.
@test "a header that fits keeps its place; one that does not grows to a page boundary" {
	plain_model plain 50000
	for reserve in "" "--header-reserve 0" "--header-reserve 1" "--header-reserve 100000"; do
		echo "# $reserve"
		# shellcheck disable=SC2086 # options
		"$CT" encrypt -q --force --keys old.jwk $reserve plain e
		python3 - "$ROOT/tests" "${reserve##* }" <<-'EOF'
			import sys
			sys.path.insert(0, sys.argv[1])
			import judge
			raw = open("e", "rb").read()
			n, _, meta, tensors = judge.split(raw)
			free = n - len(judge.canonical(meta, tensors, ()))
			if sys.argv[2] == "0":
			    assert n % 8 == 0 and free < 8, (n, free)
			else:
			    want = int(sys.argv[2] or 4096)
			    assert (n + 8) % 4096 == 0 and want <= free < want + 4096, (n, free)
		EOF
	done
	long=$(printf 'k%.0s' {1..250})
	"$CT" keygen -q -o long.jwk --kid-enc "e$long" --kid-sign "s$long"
	{ echo 'package model'; head -c 30000 /dev/zero | tr '\0' '#'; } >long.rego
	for reserve in 0 4096 40000; do
		echo "# reserve $reserve"
		"$CT" encrypt -q --force --keys old.jwk --header-reserve $reserve plain e
		n=$(header_size e)
		cp e f
		run -0 rewrap f
		[ "$(header_size f)" = "$n" ]
		judge old.jwk e new.jwk f
		cp e f
		run -0 "$CT" rewrap --keys old.jwk --new-keys long.jwk f
		judge old.jwk e long.jwk f
		m=$(header_size f)
		if [ $reserve = 0 ]; then
			[[ $output == *"the header grows"* ]]
			[ $(((m + 8) % 4096)) = 0 ]
			[ "$m" -gt "$n" ]
		else
			[ "$m" = "$n" ]
		fi
		cp e f
		run -0 --separate-stderr "$CT" rewrap --json --keys old.jwk --new-keys long.jwk --policy long.rego --header-reserve 0 f
		judge old.jwk e long.jwk f long.rego
		m=$(header_size f)
		[ "$(jq -c '[.header_size,.old_header_size]' <<<"$output")" = "[$m,$n]" ]
		if [ $reserve = 40000 ]; then
			[ "$m" = "$n" ]
		else
			[ $((m % 8)) = 0 ]
			[ "$m" -gt "$n" ]
		fi
	done
	# There and back again: what had grown has room now.
	run -0 "$CT" rewrap --keys long.jwk --new-keys old.jwk f
	[ "$(header_size f)" = "$m" ]
}

# The publisher's rules would be lost, or changed, by a change of keys; or the keys' owner locked out of his own files.
@test "policy: a new one is carried to the byte, the old one kept, and neither is asked" {
	plain_model plain 1000
	printf 'package model\n# \xc3\xa9 "q" \\ \t\nallow if input.claims.x\n' >no.rego
	printf 'package model\r\nallow = true' >yes.rego
	"$CT" encrypt -q --keys old.jwk --policy no.rego plain e
	cp e f
	rewrap -q f
	judge old.jwk e new.jwk f no.rego
	cp e f
	rewrap -q --policy yes.rego f
	judge old.jwk e new.jwk f yes.rego
	printf 'package model\nallow = true\0' >nul.rego
	run -3 rewrap --policy nul.rego e
	[[ $output == "ct: nul.rego: EINVAL"* ]]
	run -3 rewrap --policy none.rego e
	# New keys and another policy than asked for: not done yet.
	cp f g
	run -3 rewrap --policy no.rego g
	[[ $output == "ct: g: ENOKEY: "* ]]
	cmp f g
	run -0 rewrap --policy yes.rego g
	[[ $output == "ct: g: has the new keys already" ]]
}

# listing PATH…: all that can be seen of them.
listing() {
	find "$@" -printf '%p %i %T@ %C@ %m %s\n' | sort
	find "$@" -type f -exec sha256sum {} + | sort
}

# A look at what would be done would do it.
@test "-n changes nothing" {
	plain_model plain 5000
	mkdir in
	"$CT" encrypt -q --keys old.jwk plain in/e.safetensors
	"$CT" encrypt -q --keys old.jwk --header-reserve 0 plain in/f.safetensors
	"$CT" encrypt -q --keys new.jwk plain in/g.safetensors
	"$CT" keygen -q -o long.jwk --kid-enc "$(printf 'k%.0s' {1..250})"
	before=$(listing in)
	run -0 --separate-stderr "$CT" rewrap -n --keys old.jwk --new-keys new.jwk in
	[ "$(listing in)" = "$before" ]
	[ "$output" = "in/e.safetensors: would be rewrapped
in/f.safetensors: would be rewrapped" ]
	[ "$stderr" = "ct: in/g.safetensors: has the new keys already
ct: 3 files: 2 would be rewrapped, 0 of them cloned; 1 had the new keys already; 0 failed" ]
	run -3 "$CT" rewrap -n --keys old.jwk --new-keys long.jwk -o out in
	[[ $output == *"in/f.safetensors: would be rewrapped; the header grows"* && $output == *"in/g.safetensors: ENOKEY"* ]]
	[ "$(listing in)" = "$before" ]
	[ ! -e out ]
}

# One customer would get the other's copy, or the original would be changed or lost.
@test "-o: a copy a customer, the original untouched; nothing is replaced unasked" {
	plain_model plain 70000
	mkdir -p in/sub in2 out
	"$CT" encrypt -q --keys old.jwk plain in/e.safetensors
	"$CT" encrypt -q --keys old.jwk --tensors big plain in/sub/e.safetensors
	cp in/e.safetensors in2/
	"$CT" keygen -q -o a.jwk && "$CT" keygen -q -o b.jwk
	before=$(sha256sum in/*.safetensors in/sub/* in2/*)
	for c in a b; do
		run -0 "$CT" rewrap --keys old.jwk --new-keys $c.jwk -o out/$c in
		for f in e.safetensors sub/e.safetensors; do
			judge old.jwk in/$f $c.jwk out/$c/$f
			cmp -i "$(($(header_size in/$f) + 8)):$(($(header_size out/$c/$f) + 8))" in/$f out/$c/$f
		done
		run -0 "$CT" verify --keys $c.jwk out/$c
	done
	run -1 "$CT" verify --keys a.jwk out/b
	[ "$(cd out/a && find . | sort)" = "$(cd in && find . | sort)" ]
	# what is there
	sum=$(sha256sum out/a/e.safetensors)
	run -3 "$CT" rewrap --keys old.jwk --new-keys b.jwk -o out/a in/e.safetensors
	[[ $output == "ct: in/e.safetensors: EEXIST: "*--force* ]]
	[ "$(sha256sum out/a/e.safetensors)" = "$sum" ]
	run -0 "$CT" rewrap -q --force --keys old.jwk --new-keys b.jwk -o out/a in/e.safetensors
	judge old.jwk in/e.safetensors b.jwk out/a/e.safetensors
	# two of one name
	run -3 rewrap -o out/c in/e.safetensors in2
	[[ $output == *"ct: in2/e.safetensors: EEXIST: another file of this run has the same name"* ]]
	judge old.jwk in/e.safetensors new.jwk out/c/e.safetensors
	# the input's own folder, by whatever name
	ln -s in here
	for dir in in in/. here; do
		for force in "" --force; do
			run -3 rewrap $force -o $dir in/e.safetensors
			[[ $output == "ct: in/e.safetensors: E"* ]]
		done
	done
	[[ $output == *EINVAL*"another -o DIR"* ]]
	# A copy takes the place of no file of the run, even where copies may be replaced.
	mkdir -p a d
	cp in/e.safetensors a/x.safetensors
	cp in2/e.safetensors d/x.safetensors
	sum=$(sha256sum d/x.safetensors)
	run -3 rewrap --force -o d a/x.safetensors d/x.safetensors
	[[ $output == *"ct: a/x.safetensors: EINVAL: "*"ct: d/x.safetensors: EINVAL: "* ]]
	[ "$(sha256sum d/x.safetensors)" = "$sum" ]
	run -3 rewrap -n -o out/c in/e.safetensors
	[[ $output == "ct: in/e.safetensors: EEXIST: "* ]]
	# A copy that was asked for is there, or it is an error.
	rewrap -q in2/e.safetensors
	run -3 rewrap -o out/d in2/e.safetensors
	[ ! -e out/d/e.safetensors ]
	run -2 rewrap -o '' in/e.safetensors
	run -2 rewrap --force in/e.safetensors
	[ "$(sha256sum in/*.safetensors in/sub/*)" = "$(head -n 2 <<<"$before")" ]
	[ -z "$(find . -name '.*ct-*')" ]
}

# One bad file would stop a rotation half way, or be harmed by it; nobody would know which files still have the old keys.
@test "several files: a bad one in the middle stays as it is, the others are done, and again" {
	for f in a b c d; do
		plain_model plain 3000
		"$CT" encrypt -q --keys old.jwk plain $f.safetensors
	done
	python3 -c "
f = open('b.safetensors', 'r+b'); f.seek(300); b = f.read(1); f.seek(300); f.write(bytes([b[0] ^ 1]))"
	cp plain plain.safetensors
	cp b.safetensors b.was && cp plain plain.was
	run -3 rewrap a.safetensors b.safetensors missing.safetensors plain.safetensors c.safetensors d.safetensors
	cmp b.safetensors b.was
	cmp plain.safetensors plain.was
	[[ $output == *"ct: b.safetensors: EBADMSG: "* && $output == *"ct: missing.safetensors: ENOENT"* && $output == *"ct: plain.safetensors: EPERM: is a plain file"* ]]
	[[ $output == *"ct: 6 files: 3 rewrapped, "*" of them cloned; 0 had the new keys already; 3 failed and are as they were"* ]]
	run -0 "$CT" verify --keys new.jwk a.safetensors c.safetensors d.safetensors
	before=$(listing ./*.safetensors)
	run -3 --separate-stderr rewrap --json a.safetensors b.safetensors c.safetensors d.safetensors
	[ "$(listing ./*.safetensors)" = "$before" ]
	[ "$(jq -c '[.file,.ok,.skipped,.error]' <<<"$output")" = '["a.safetensors",true,true,null]
["b.safetensors",null,null,"EBADMSG"]
["c.safetensors",true,true,null]
["d.safetensors",true,true,null]' ]
	run -0 rewrap a.safetensors c.safetensors d.safetensors
	[ "${lines[0]}" = "ct: a.safetensors: has the new keys already" ]
	[ "${lines[3]}" = "ct: 3 files: 0 rewrapped, 0 of them cloned; 3 had the new keys already; 0 failed" ]
	cp b.was x.safetensors
	"$CT" encrypt -q --force --keys old.jwk plain x.safetensors
	run -0 --separate-stderr rewrap --json x.safetensors
	[ "$(jq -c '[.file,.ok,.skipped,.dry_run,.header_size==.old_header_size,(.cloned|type),.output]' <<<"$output")" = \
		'["x.safetensors",true,false,false,true,"boolean","'"$PWD"'/x.safetensors"]' ]
}

# A rotation with the wrong old keys would end well and have changed nothing, where the new set holds keys of before as well.
@test "only the two keys that files would get are the new ones, not all of their set" {
	"$CT" keygen -q -o third.jwk
	jq -s '{keys: map(.keys[])}' new.jwk old.jwk >both.jwk
	chmod 600 both.jwk
	plain_model plain 3000
	"$CT" encrypt -q --keys old.jwk plain m
	run -3 "$CT" rewrap --keys third.jwk --new-keys both.jwk m
	[[ $output == "ct: m: ENOKEY: "* ]]
	run -0 "$CT" rewrap --keys old.jwk --new-keys both.jwk m
	run -0 "$CT" rewrap --keys old.jwk --new-keys both.jwk m
	[ "$output" = "ct: m: has the new keys already" ]
	run -0 "$CT" verify --keys new.jwk m
}

# A key of another algorithm, or none to sign with, would make files that nobody opens.
@test "new keys that do not fit are refused before anything is written" {
	plain_model plain 3000
	"$CT" encrypt -q --keys old.jwk plain e.safetensors
	cp e.safetensors was
	"$CT" keygen -q --alg chacha20poly1305 -o c.jwk --reader r.jwk --verifier v.jwk
	run -3 "$CT" rewrap --keys old.jwk --new-keys c.jwk e.safetensors
	[[ $output == "ct: e.safetensors: EINVAL: cannot get the new keys: its master key is for chacha20poly1305, not for aes256gcm; "*"--alg aes256gcm" ]]
	run -3 "$CT" rewrap --keys old.jwk --new-keys r.jwk e.safetensors
	[[ $output == "ct: r.jwk: ENOKEY: "*"private signing key"* ]]
	run -3 "$CT" rewrap --keys old.jwk --new-keys v.jwk e.safetensors
	run -3 "$CT" rewrap --keys v.jwk --new-keys new.jwk e.safetensors
	[[ $output == "ct: e.safetensors: ENOKEY: "* ]]
	run -2 "$CT" rewrap --keys old.jwk e.safetensors
	run -2 "$CT" rewrap --new-keys new.jwk e.safetensors
	run -2 rewrap
	run -2 rewrap --header-reserve 100000001 e.safetensors
	cmp e.safetensors was
	# A set for readers is enough to open with.
	"$CT" keygen -q --from old.jwk --reader old-reader.jwk
	run -0 "$CT" rewrap --keys old-reader.jwk --new-keys new.jwk e.safetensors
	judge old.jwk was new.jwk e.safetensors
	# The key files are no models, and stay.
	run -3 rewrap new.jwk
	[[ $output == "ct: new.jwk: EBADMSG"* ]]
}

# In a hub cache the link would become a file of its own, or the blob be rewrapped twice; a name that keeps the old file would go unnoticed.
@test "links stay links, their file is done once; hard links are told of" {
	plain_model plain 3000
	mkdir -p hub/blobs hub/snapshots/1 hub/snapshots/2
	"$CT" encrypt -q --keys old.jwk plain hub/blobs/abc
	ln -s ../../blobs/abc hub/snapshots/1/model.safetensors
	ln -s ../../blobs/abc hub/snapshots/2/model.safetensors
	cp hub/blobs/abc was
	run -0 rewrap hub/snapshots
	[ "${#lines[@]}" = 1 ]
	[ "$(readlink hub/snapshots/1/model.safetensors)" = ../../blobs/abc ]
	[ "$(readlink hub/snapshots/2/model.safetensors)" = ../../blobs/abc ]
	judge old.jwk was new.jwk hub/blobs/abc
	[ "$(find hub -type f)" = hub/blobs/abc ]
	# into a folder: copies, whole
	run -0 "$CT" rewrap -q --keys new.jwk --new-keys old.jwk -o out hub/snapshots
	[ ! -L out/1/model.safetensors ]
	cp was a.safetensors && ln a.safetensors b.safetensors
	run -0 --separate-stderr rewrap a.safetensors
	[[ $stderr == "ct: a.safetensors: has other names (hard links), which keep the old file" ]]
	cmp was b.safetensors
	judge old.jwk was new.jwk a.safetensors
	run -0 --separate-stderr rewrap b.safetensors
	[ -z "$stderr" ]
}

# The file would become root's, and its user locked out; or a user be told nothing of what to do.
@test "mode and owner are kept; what cannot be kept or written is an error" {
	plain_model plain 3000
	for mode in 600 644 640; do
		"$CT" encrypt -q --force --keys old.jwk plain e
		chmod $mode e
		rewrap -q e
		[ "$(stat -c %a e)" = $mode ]
	done
	user_folder
	"$CT" encrypt -q --keys old.jwk plain "$OPEN_DIR/mine"
	chmod 640 "$OPEN_DIR/mine"
	cp -p "$OPEN_DIR/mine" "$OPEN_DIR/roots"
	chmod 644 "$OPEN_DIR/roots"
	chown 65534:65534 "$OPEN_DIR/mine"
	rewrap -q "$OPEN_DIR/mine"
	[ "$(stat -c '%a %u %g' "$OPEN_DIR/mine")" = "640 65534 65534" ]
	run -0 as_user ./ct verify --keys new.jwk mine
	cp "$OPEN_DIR/roots" was
	run -3 as_user ./ct rewrap --keys old.jwk --new-keys new.jwk roots
	[[ $output == "ct: roots: EPERM: "*"cannot keep its owner"*"-o DIR"* ]]
	cmp was "$OPEN_DIR/roots"
	run -0 as_user ./ct rewrap -q --keys old.jwk --new-keys new.jwk -o copies roots
	judge old.jwk was new.jwk "$OPEN_DIR/copies/roots"
	chmod 555 "$OPEN_DIR"
	chown 0 "$OPEN_DIR"
	run -3 as_user ./ct rewrap --keys new.jwk --new-keys old.jwk mine
	[[ $output == "ct: mine: EACCES: "* ]]
	[ -z "$(find "$OPEN_DIR" -name '.*ct-*')" ]
}

# shared FILE: bytes of it that lie in blocks which another file has as well.
shared() {
	filefrag -v -b512 "$1" | awk '/shared/ { sub(":", "", $6); total += $6 } END { print total * 512 }'
}

# Copies without need: hours, and the disk full; or blocks taken over that are not the data's.
@test "where the file system can clone, the data's blocks are shared; where it cannot, the result is the same" {
	need filefrag jq
	plain_model plain 8000000
	long=$(printf 'k%.0s' {1..250})
	"$CT" keygen -q -o long.jwk --kid-enc "e$long" --kid-sign "s$long"
	{ echo 'package model'; head -c 30000 /dev/zero | tr '\0' '#'; } >long.rego
	"$CT" encrypt -q --keys old.jwk plain e
	"$CT" encrypt -q --keys old.jwk --header-reserve 0 plain tight
	mounted btrfs 200 mkfs.btrfs -q
	mounted tmpfs 64
	for fs in btrfs tmpfs; do
		for how in "" "--policy long.rego"; do
			for f in e tight; do
				echo "# $fs $f $how"
				rm -rf "${fs:?}"/*
				cp --reflink=never $f $fs/was
				cp --reflink=never $f $fs/m
				# shellcheck disable=SC2086 # options
				run -0 --separate-stderr "$CT" rewrap --json --keys old.jwk --new-keys long.jwk $how -o $fs/out $fs/m
				# Blocks begin where pages do: the data does in both files, or does not move.
				if [ $fs = btrfs ] && [ $f = e ]; then want=true; else want=false; fi
				[ "$(jq .cloned <<<"$output")" = $want ]
				judge old.jwk $fs/was long.jwk $fs/out/m ${how:+long.rego}
				cmp $fs/was $fs/m
				sync -f $fs
				if [ $want = true ]; then
					[ "$(shared $fs/out/m)" -ge 7900000 ]
				elif [ $fs = btrfs ]; then
					[ "$(shared $fs/out/m)" = 0 ]
				fi
			done
		done
	done
	# in place, tight: N stays, so even what begins at no page is shared
	rm -rf btrfs/*
	cp --reflink=never tight btrfs/m
	ln btrfs/m btrfs/was
	run -0 --separate-stderr rewrap --json btrfs/m
	[ "$(jq -c '[.cloned,.header_size==.old_header_size]' <<<"$output")" = '[true,true]' ]
	judge old.jwk btrfs/was new.jwk btrfs/m
	sync -f btrfs
	[ "$(shared btrfs/m)" -ge 7900000 ]
}

# kill -9, or a power cut, would leave a file that is neither the old nor the new one.
@test "killed at any moment: the old file or the new one, whole" {
	plain_model plain 48000000
	"$CT" encrypt -q --keys old.jwk plain old
	rm plain
	python3 - "$CT" "$ROOT/tests" <<-'EOF'
		import collections, glob, os, random, signal, subprocess, sys, time
		ct = sys.argv[1]
		cmd = [ct, "rewrap", "-q", "--keys", "old.jwk", "--new-keys", "new.jwk", "m"]
		def fresh():
		    for p in glob.glob(".m.ct-*") + glob.glob("m"):
		        os.unlink(p)
		    os.link("old", "m")
		def data(path):
		    with open(path, "rb") as f:
		        n = int.from_bytes(f.read(8), "little")
		        f.seek(8 + n)
		        return f.read()
		want = data("old")
		random.seed(1)
		seen = collections.Counter()
		def proven():
		    return seen["old"] > 1 and seen["new"] > 1 and seen["left over"] and seen["killed"] > 5
		for i in range(200):  # 50, and more where the machine's speed has changed so that not everything was seen
		    if i >= 50 and proven():
		        break
		    fresh()
		    if i % 10 == 0:
		        began = time.monotonic()
		        subprocess.run(cmd, check=True, stderr=subprocess.DEVNULL)
		        whole = time.monotonic() - began
		        fresh()
		    p = subprocess.Popen(cmd, stderr=subprocess.DEVNULL)
		    time.sleep(whole * 1.2 * (i % 10 + random.random()) / 10)
		    p.send_signal(signal.SIGKILL)
		    p.wait(60)
		    opens = {k for k in ("old", "new") if subprocess.run([ct, "verify", "-q", "--keys", k + ".jwk", "m"], stdout=subprocess.DEVNULL).returncode == 0}
		    assert len(opens) == 1, f"the file that stands opens with: {opens}"
		    assert data("m") == want, "the data changed"
		    seen[opens.pop()] += 1
		    seen["left over"] += bool(glob.glob(".m.ct-*"))
		    seen["killed"] += p.returncode == -signal.SIGKILL
		print(seen)
		assert proven(), f"this proves nothing: {seen}"
	EOF
	# and it can be done again
	rm -f m && ln old m
	rewrap -q m
	judge old.jwk old new.jwk m
}

# A full disk would cost the file.
@test "a full disk: ENOSPC, the file as it was, nothing left behind" {
	plain_model plain 6000000
	"$CT" encrypt -q --keys old.jwk plain e
	mounted tmpfs 10
	cp e tmpfs/m
	run -3 rewrap tmpfs/m
	[[ $output == "ct: tmpfs/m: ENOSPC: "* ]]
	cmp e tmpfs/m
	[ "$(ls -A tmpfs)" = m ]
}

# A file that someone writes at the same time would be replaced by what it was before.
@test "a file that is changed meanwhile stands as it was changed" {
	plain_model plain 200000000
	"$CT" encrypt -q --keys old.jwk plain m
	rm plain
	python3 - "$CT" <<-'EOF'
		import glob, os, signal, subprocess, sys, time
		os.link("m", "pristine")
		def stopped_half_way():
		    for _ in range(50):  # until it was not too fast
		        p = subprocess.Popen([sys.argv[1], "rewrap", "--keys", "old.jwk", "--new-keys", "new.jwk", "m"], stderr=subprocess.PIPE, text=True)
		        while p.poll() is None and not glob.glob(".m.ct-*"):
		            time.sleep(0.0005)
		        if p.returncode is None:
		            p.send_signal(signal.SIGSTOP)
		            os.waitid(os.P_PID, p.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
		        if glob.glob(".m.ct-*"):
		            return p
		        p.communicate(timeout=60)
		        os.unlink("m")
		        os.link("pristine", "m")
		    sys.exit("it was always too fast")
		for how in ("written", "replaced", "replaced by the same"):
		    p = stopped_half_way()
		    if how == "written":
		        with open("m", "r+b") as f:
		            f.seek(-1, 2)
		            last = f.read(1)
		            f.seek(-1, 2)
		            f.write(bytes([last[0] ^ 1]))
		    elif how == "replaced":
		        open("other", "wb").write(b"another file")
		        os.rename("m", "aside")
		        os.rename("other", "m")
		    else:
		        os.rename("aside", "m")
		        subprocess.run(["cp", "-p", "m", "copy"], check=True)
		        os.rename("copy", "m")
		    ino, st = os.stat("m").st_ino, os.stat("m")
		    p.send_signal(signal.SIGCONT)
		    said = p.communicate(timeout=60)[1]
		    assert p.returncode == 3 and said.splitlines()[-1].startswith("ct: m: EBUSY: was changed while it was read"), (how, p.returncode, said)
		    now = os.stat("m")
		    assert (now.st_ino, now.st_size, now.st_mtime_ns) == (ino, st.st_size, st.st_mtime_ns), how
		    assert not glob.glob(".m.ct-*")
		    if how == "replaced":
		        assert open("m", "rb").read() == b"another file"
		        os.unlink("m")
		        os.link("aside", "m")
	EOF
}

# Memory in proportion to the model would end on a machine smaller than it.
# Not with a sanitizer: it needs the address space.
# bats test_tags=plain-build
@test "memory does not depend on the model's size" {
	python3 - <<-'EOF'
		import json, struct
		h = json.dumps({"t": {"dtype": "U8", "shape": [400 << 20], "data_offsets": [0, 400 << 20]}}).encode()
		f = open("plain", "wb")
		f.write(struct.pack("<Q", len(h)) + h)
		f.truncate(8 + len(h) + (400 << 20))
	EOF
	"$CT" encrypt -q -j 2 --digests --keys old.jwk plain e
	rm plain
	ulimit -v 204800
	rewrap -q e
	run -0 "$CT" verify -j 2 --keys new.jwk e
	"$CT" keygen -q --from new.jwk --verifier v.jwk
	run -0 "$CT" verify -j 2 --keys v.jwk e
}
