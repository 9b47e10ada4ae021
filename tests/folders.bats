# Folders through ct: gone on with where a run ended, in the layouts that hubs and trainers make, and never written over their own input.

load helpers
load moments

setup() {
	cd "$BATS_TEST_TMPDIR"
	"$CT" keygen -q -o keys.jwk
	cat >tensors.py <<-'PY'
		import hashlib, json, struct, sys
		for path in sys.argv[1:]:
		    with open(path, "rb") as f:
		        n = struct.unpack("<Q", f.read(8))[0]
		        head = json.loads(f.read(n))
		        head.pop("__metadata__", None)
		        data = f.read()
		    for name, t in sorted(head.items()):
		        begin, end = t["data_offsets"]
		        print(name, t["dtype"], t["shape"], hashlib.sha256(data[begin:end]).hexdigest())
	PY
}

# model PATH SEED BYTES: a plain model with weights of its own.
model() {
	mkdir -p "$(dirname "$1")"
	python3 - "$@" <<-'PY'
		import hashlib, json, struct, sys
		path, seed, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
		h = json.dumps({"__metadata__": {"format": "pt"}, seed + ".a": {"dtype": "U8", "shape": [n], "data_offsets": [0, n]},
		                seed + ".b": {"dtype": "U8", "shape": [7], "data_offsets": [n, n + 7]}}).encode()
		with open(path, "wb") as f:
		    f.write(struct.pack("<Q", len(h)) + h + hashlib.shake_256(seed.encode()).digest(n + 7))
	PY
}

# tensors FILE…: names, types and digests, by a program that knows nothing of ours.
tensors() {
	python3 tensors.py "$@"
}

# same_models PLAIN BACK FILE…: the models below the two folders have the same tensors.
same_models() {
	local plain=$1 back=$2 f
	shift 2
	for f; do
		[ "$(tensors "$plain/$f")" = "$(tensors "$back/$f")" ]
	done
}

# encrypted FILE…
encrypted() {
	local f
	for f; do
		run -0 "$CT" inspect --json "$f"
		[[ $output == *'"encrypted":true'* ]]
	done
}

make_in() {
	model in/a.safetensors a 300000
	model in/b/c.safetensors c 5000000
	model in/b/blob blob 5000
	model in/z.safetensors z 200000
	echo '{}' >in/config.json
	head -c 1500000 /dev/zero >in/b/other
	ln -s ../config.json in/b/link
	chmod 640 in/config.json
	chmod 775 in/b
	touch -d '2020-01-02 03:04:05' in/config.json in/b/other
}

# finished FOLDER: name, inode, time and size of the files in it that have their final names.
finished() {
	(cd "$1" && find . -type f ! -name '.*.ct-tmp-??????' -printf '%p %i %T@ %s\n' | sort)
}

# gone_on CMD IN OUT: ct CMD IN OUT is killed again and again. What has its final name is complete, and is never written again.
gone_on() {
	local cmd=$1 in=$2 out=$3 total at kills=0
	COUNT=$PWD/count with moment "$CT" "$cmd" -q --keys keys.jwk "$in" "$out"
	total=$(cat count)
	rm -rf "$out"
	rm -f before
	for at in $(shuf -i 1-"$total" -n 8) $(shuf -i 1-10 -n 4); do # a run that has little left to do makes few calls
		AT=$at with moment "$CT" "$cmd" -q --keys keys.jwk "$in" "$out" 3>&- || kills=$((kills + 1))
		[ -d "$out" ] || continue
		[ "$(left "$out" | wc -l)" -le 1 ]
		untouched "$out"
		finished "$out" >before
	done
	[ "$kills" -ge 3 ]
	run -0 "$CT" "$cmd" --keys keys.jwk "$in" "$out"
	[ ! -s before ] || [[ $output == *"$(wc -l <before) skipped: complete already" ]]
	untouched "$out"
	[ -z "$(left)" ]
}

# untouched FOLDER: what the list `before` has is as it was.
untouched() {
	[ ! -e before ] || [ -z "$(comm -23 before <(finished "$1"))" ]
}

# Days of work done anew, or a part of a file taken for the whole.
@test "a folder that was not finished is gone on with: what is complete is not written again" {
	moments
	make_in
	for round in 1 2; do
		rm -rf out back
		gone_on encrypt in out
		gone_on decrypt out back
		[ "$(cd in && find . | sort)" = "$(cd out && find . | sort)" ]
		encrypted out/a.safetensors out/b/c.safetensors out/b/blob out/z.safetensors
		same_models in back a.safetensors b/c.safetensors b/blob z.safetensors
		for f in config.json b/other; do
			cmp "in/$f" "out/$f"
			cmp "in/$f" "back/$f"
			[ "$(stat -c '%a %Y' "in/$f")" = "$(stat -c '%a %Y' "back/$f")" ]
		done
		[ "$(readlink back/b/link)" = ../config.json ]
		[ "$(stat -c %a out/b)" = 775 ]
		run -0 "$CT" encrypt --keys keys.jwk in out
		[ "$output" = "ct: out: 0 models encrypted, 0 other files copied, 6 skipped: complete already" ]
	done
	# A folder has its mode even if the run ended in it.
	rm -rf out
	AT=2 ONLY=flock with moment run -137 "$CT" encrypt --keys keys.jwk in out
	[ "$(ls out/b)" = "" ]
	"$CT" encrypt -q --keys keys.jwk in out
	[ "$(stat -c %a out/b)" = 775 ]
	rm -rf out
	AT=2 ONLY=chmod with moment run -137 "$CT" encrypt --keys keys.jwk in out
	[ "$(ls out/b)" = "" ]
	"$CT" encrypt -q --keys keys.jwk in out
	[ "$(stat -c %a out/b)" = 775 ]
}

# refused FILE PATTERN [OPTION…]: the run names the file that is in the way and what differs, and touches nothing.
refused() {
	local file=$1 pattern=$2 before
	shift 2
	before=$(finished out)
	run -3 "$CT" encrypt --keys keys.jwk "$@" in out
	echo "$output"
	[[ $output == "ct: $file: EEXIST: "*"use --force to replace it" ]]
	# shellcheck disable=SC2053 # a pattern
	[[ $output == $pattern ]]
	[ "$(finished out)" = "$before" ]
}

# Another model, other keys or options would pass for what was asked for; or what is there would be lost.
@test "a folder: an output that is there and is not what would be written is named, and stays" {
	make_in
	cp -a in in.kept
	"$CT" encrypt -q --keys keys.jwk in out
	cp -a out out.kept
	again() {
		rm -rf in out
		cp -a in.kept in
		cp -a out.kept out
	}
	# How it was asked for.
	cp keys.jwk kept.jwk
	sed -i 's/aes256gcm//' keys.jwk # a key for any algorithm
	refused out/a.safetensors "*encrypted with aes256gcm, not with chacha20poly1305*" --alg chacha20poly1305
	cp kept.jwk keys.jwk
	refused out/a.safetensors "*format version is 2, not 1*" --format-version 1
	refused out/a.safetensors "*chunks have 262144 bytes, not 65536*" --chunk-size 64K
	echo 'package model' >p.rego
	refused out/a.safetensors "*its policy is another*" --policy p.rego
	"$CT" keygen -q --force -o keys.jwk
	refused out/a.safetensors "*not what would be written*"
	# The same names, other keys.
	"$CT" keygen -q --force -o keys.jwk --kid-enc "$(kid kept.jwk oct)" --kid-sign "$(kid kept.jwk okp)"
	refused out/a.safetensors "*signature*"
	# The same keys under other names.
	sed 's/"kid": *"enc-[^"]*",//' kept.jwk >keys.jwk
	"$CT" encrypt -q --force --keys keys.jwk in out
	cp kept.jwk keys.jwk
	refused out/a.safetensors "*it names other keys*"
	again
	# The input, since.
	for seek in 0 299999 300006; do
		python3 -c '
import sys
f = open("in/a.safetensors", "r+b"); at = f.seek(0, 2) - 300007 + int(sys.argv[1])
f.seek(at); b = f.read(1)[0]; f.seek(at); f.write(bytes([b ^ 1]))' "$seek"
		refused out/a.safetensors "*byte *, in tensor a.[ab], differs*" -j 3
		again
	done
	sed -i 's/"format": "pt"/"format": "tf"/' in/z.safetensors
	refused out/z.safetensors "*metadata differs*"
	again
	sed -i 's/"z.b"/"z.c"/' in/z.safetensors
	refused out/z.safetensors "*tensors differ*"
	again
	sed -i 's/"shape": \[7\], /"shape":[7,1],/' in/z.safetensors
	refused out/z.safetensors "*tensors differ*"
	again
	# The output, since.
	printf 'x' >>out/a.safetensors
	refused out/a.safetensors "*"
	again
	head -c 100000 in/a.safetensors >out/a.safetensors
	refused out/a.safetensors "*"
	again
	: >out/a.safetensors
	refused out/a.safetensors "*"
	again
	cp in/a.safetensors out/a.safetensors
	refused out/a.safetensors "*it is not encrypted*"
	again
	cp out/z.safetensors out/a.safetensors
	refused out/a.safetensors "*tensors differ*"
	again
	python3 -c '
f = open("out/b/c.safetensors", "r+b"); f.seek(-1, 2); b = f.read(1)[0]; f.seek(-1, 2); f.write(bytes([b ^ 1]))'
	refused out/b/c.safetensors "*in tensor c.b, is damaged*"
	again
	mv out/z.safetensors z && ln -s ../z out/z.safetensors
	refused out/z.safetensors "*as a link*"
	again
	# What is copied.
	printf 'X' | dd of=out/b/other bs=1 seek=1499999 conv=notrunc status=none
	refused out/b/other "*its bytes differ*"
	again
	printf 'X' >>out/config.json
	refused out/config.json "*it has 4 bytes, not 3*"
	again
	ln -sfn other out/b/link
	refused out/b/link "*is not the link*"
	rm out/b/link && touch out/b/link
	refused out/b/link "*is not the link*"
	again
	rm -r out/b && touch out/b
	run -3 "$CT" encrypt --keys keys.jwk in out
	[[ $output == "ct: out/b: ENOTDIR: "* ]]
	again
	# Mode and time of what is complete are as after a copy.
	chmod 600 out/config.json out/a.safetensors
	touch out/config.json
	chmod 604 in/a.safetensors
	run -0 "$CT" encrypt --keys keys.jwk in out
	[ "$(stat -c '%a %Y' out/config.json)" = "640 $(stat -c %Y in.kept/config.json)" ]
	[ "$(stat -c %a out/a.safetensors)" = 604 ]
	# With --force all is made anew.
	"$CT" encrypt -q --force --keys keys.jwk in out
	[ -z "$(comm -12 <(finished out) <(finished out.kept) | grep .)" ]
	run ! cmp -s out/a.safetensors out.kept/a.safetensors
}

# kid FILE KTY
kid() {
	python3 -c '
import json, sys
print([k for k in json.load(open(sys.argv[1]))["keys"] if k["kty"].lower() == sys.argv[2]][0]["kid"])' "$@"
}

# The same on the way back: a weight that someone changed in the plain copy would stay.
@test "a folder: decrypting goes on, and what is there and differs is named" {
	make_in
	"$CT" encrypt -q --keys keys.jwk in out
	"$CT" decrypt -q --keys keys.jwk out back
	chmod 644 back/a.safetensors
	before=$(finished back)
	run -0 "$CT" decrypt --keys keys.jwk out back
	[ "$output" = "ct: back: 0 models decrypted, 0 other files copied, 6 skipped: complete already" ]
	[ "$(finished back)" = "$before" ]
	[ "$(stat -c %a back/a.safetensors)" = 600 ]
	cp -r back back.kept
	for at in 0 20 -1 -8 -300000; do
		rm -rf back && cp -r back.kept back
		python3 -c '
import sys
at = int(sys.argv[1])
f = open("back/a.safetensors", "r+b"); f.seek(at, 2 if at < 0 else 0); b = f.read(1)[0]; f.seek(-1, 1); f.write(bytes([b ^ 1]))' "$at"
		run -3 "$CT" decrypt --keys keys.jwk out back
		[[ $output == "ct: back/a.safetensors: EEXIST: "*differs*"use --force to replace it" ]]
	done
	rm -rf back && cp -r back.kept back
	python3 -c '
f = open("back/b/c.safetensors", "r+b"); f.seek(-9, 2); b = f.read(1)[0]; f.seek(-9, 2); f.write(bytes([b ^ 1]))'
	run -3 "$CT" decrypt -j 3 --keys keys.jwk out back
	[[ $output == "ct: back/b/c.safetensors: EEXIST: "*"in tensor c.a, differs"* ]]
	rm -rf back && cp -r back.kept back
	truncate -s -1 back/z.safetensors
	run -3 "$CT" decrypt --keys keys.jwk out back
	[[ $output == "ct: back/z.safetensors: EEXIST: "*bytes* ]]
	# A fault of the input is said of the input.
	rm -rf back && cp -r back.kept back
	python3 -c '
f = open("out/z.safetensors", "r+b"); f.seek(-1, 2); b = f.read(1)[0]; f.seek(-1, 2); f.write(bytes([b ^ 1]))'
	run -3 "$CT" decrypt --keys keys.jwk out back
	[[ $output == "ct: out/z.safetensors: EIO: "* ]]
}

# Files that lie in OUT for another reason would be mixed with ours.
@test "a folder that holds nothing of the input is refused without --force; temporary files of killed runs are nothing" {
	make_in
	mkdir out && touch out/mine
	run -3 "$CT" encrypt --keys keys.jwk in out
	[[ $output == "ct: out: ENOTEMPTY: "*--force* ]]
	rm out/mine && mkdir out/b && touch out/.x.ct-tmp-abcdef out/b/.y.ct-tmp-abcdef
	run -0 "$CT" encrypt --keys keys.jwk in out
	[ -z "$(left out)" ]
	# Also in folders where nothing is to be written.
	touch out/.x.ct-tmp-abcdef out/b/.y.ct-tmp-abcdef
	run -0 "$CT" encrypt --keys keys.jwk in out
	[[ $output == *".y.ct-tmp-abcdef: removed: "*"6 skipped"* ]]
	[ -z "$(left out)" ]
	# In the input they are no files to copy: the next run would take the copies for its own.
	touch in/b/.y.ct-tmp-abcdef
	run -3 "$CT" encrypt --keys keys.jwk in out2
	[[ $output == "ct: in/b/.y.ct-tmp-abcdef: EINVAL: has the name of a temporary file of ct"* ]]
	[ ! -e out2 ]
}

# An index that no longer fits its shards, a tokenizer that is not the same: the model does not load.
@test "a sharded model with index and tokenizer, there and back" {
	for i in 1 2 3; do
		model "in/model-0000$i-of-00003.safetensors" "layer$i" $((i * 100000))
	done
	python3 - <<-'PY'
		import json
		names = {f"layer{i}.{t}": f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3) for t in "ab"}
		json.dump({"metadata": {"total_size": 600021}, "weight_map": names}, open("in/model.safetensors.index.json", "w"), indent=2)
	PY
	echo '{"model_type":"llama"}' >in/config.json
	head -c 100000 /dev/urandom >in/tokenizer.model
	echo '{"version":"1.0"}' >in/tokenizer.json
	"$CT" encrypt -q --keys keys.jwk in out
	"$CT" decrypt -q --keys keys.jwk out back
	[ "$(cd in && find . | sort)" = "$(cd out && find . | sort)" ]
	for f in model.safetensors.index.json config.json tokenizer.model tokenizer.json; do
		cmp "in/$f" "out/$f"
		cmp "in/$f" "back/$f"
	done
	encrypted out/*.safetensors
	# Each shard that the index names has the tensors that it names, under the shim.
	agent_start "$PWD/keys.jwk"
	cat >load.py <<-'PY'
		import json, struct, sys
		index = json.load(open(sys.argv[1] + "/model.safetensors.index.json"))["weight_map"]
		for name, shard in sorted(index.items()):
		    raw = open(sys.argv[1] + "/" + shard, "rb").read()
		    n = struct.unpack("<Q", raw[:8])[0]
		    begin, end = json.loads(raw[8:8 + n])[name]["data_offsets"]
		    print(name, hash(raw[8 + n + begin:8 + n + end]))
	PY
	export PYTHONHASHSEED=0
	want=$(python3 load.py in)
	[ "$(shimmed python3 load.py out)" = "$want" ]
	[ "$(python3 load.py back)" = "$want" ]
	run ! diff -q <(python3 load.py out) <(echo "$want")
}

make_cache() {
	local c=cache/models--x--y
	mkdir -p $c/blobs $c/refs $c/snapshots/rev1/sub $c/snapshots/rev2
	model $c/blobs/aaaa a 100000
	model $c/blobs/bbbb b 200000
	echo '{"c":1}' >$c/blobs/cccc
	printf rev2 >$c/refs/main
	ln -s ../../blobs/aaaa $c/snapshots/rev1/model.safetensors
	ln -s ../../blobs/cccc $c/snapshots/rev1/config.json
	ln -s ../../../blobs/bbbb $c/snapshots/rev1/sub/adapter_model.safetensors
	ln -s ../../blobs/bbbb $c/snapshots/rev2/model.safetensors
	ln -s ../../blobs/cccc $c/snapshots/rev2/config.json
}

# A blob in the clear, a link that points back to one, or every model as often as there are revisions.
@test "a hub cache: links stay links, blobs are encrypted once, and back" {
	make_cache
	run -0 "$CT" encrypt --keys keys.jwk cache out
	[ "$output" = "ct: out: 2 models encrypted, 2 other files copied" ]
	[ "$(cd cache && find . -printf '%p %y %l\n' | sort)" = "$(cd out && find . -printf '%p %y %l\n' | sort)" ]
	encrypted out/models--x--y/blobs/{aaaa,bbbb} out/models--x--y/snapshots/*/model.safetensors
	run -0 "$CT" decrypt --keys keys.jwk out back
	[ "$output" = "ct: back: 2 models decrypted, 2 other files copied" ]
	[ "$(cd cache && find . -printf '%p %y %l\n' | sort)" = "$(cd back && find . -printf '%p %y %l\n' | sort)" ]
	same_models cache back models--x--y/snapshots/{rev1/model.safetensors,rev1/sub/adapter_model.safetensors,rev2/model.safetensors}
	# The links too are there already, the second time.
	run -0 "$CT" encrypt --keys keys.jwk cache out
	[ "$output" = "ct: out: 0 models encrypted, 0 other files copied, 4 skipped: complete already" ]
}

# A snapshot alone would be a folder of links to plain blobs, or to nothing.
@test "a snapshot of a hub cache alone: its links lead out of it, real files come out" {
	make_cache
	run -0 "$CT" encrypt --keys keys.jwk cache/models--x--y/snapshots/rev1 out
	[ "$output" = "ct: out: 2 models encrypted, 1 other file copied" ]
	[ -z "$(find out -type l)" ]
	encrypted out/model.safetensors out/sub/adapter_model.safetensors
	run -0 "$CT" decrypt --keys keys.jwk out back
	same_models cache/models--x--y/snapshots/rev1 back model.safetensors sub/adapter_model.safetensors
	cmp out/config.json cache/models--x--y/blobs/cccc
	# The snapshot itself may be reached through a link.
	ln -s cache/models--x--y/snapshots/rev2 latest
	run -0 "$CT" encrypt --keys keys.jwk latest out2
	encrypted out2/model.safetensors
}

# An adapter would be opened with the base model's keys, or all would go when one set goes.
@test "a base model and two adapters, each with keys of its own, one agent with all" {
	model base/model.safetensors base 300000
	for a in one two; do
		model "$a/adapter_model.safetensors" "$a" 20000
		echo '{"peft_type":"LORA"}' >"$a/adapter_config.json"
	done
	mkdir e
	for m in base one two; do
		"$CT" keygen -q --kid-enc "enc-$m" --kid-sign "sign-$m" -o "$m.jwk"
		"$CT" encrypt -q --keys "$m.jwk" "$m" "e/$m"
	done
	agent_start "$PWD"/{base,one,two}.jwk
	files=(base/model.safetensors one/adapter_model.safetensors two/adapter_model.safetensors)
	want=$(tensors "${files[@]}")
	[ "$(cd e && shimmed python3 ../tensors.py "${files[@]}")" = "$want" ]
	set=$("$CT" list --json | python3 -c '
import json, sys
print([s["id"] for s in json.load(sys.stdin)["sets"] if "enc-one" in json.dumps(s)][0])')
	"$CT" remove "$set"
	for f in base/model.safetensors two/adapter_model.safetensors; do
		[ "$(shimmed python3 tensors.py "e/$f")" = "$(tensors "$f")" ]
	done
	run -1 shimmed python3 tensors.py e/one/adapter_model.safetensors
	[[ $output == *"[Errno 126] Required key not available"* ]]
	"$CT" add -q one.jwk
	[ "$(cd e && shimmed python3 ../tensors.py "${files[@]}")" = "$want" ]
}

# The only copy of the weights would be written over, by whatever name it goes.
@test "no input is written over: by name, link, hard link, folders within one another" {
	make_in
	cp in/a.safetensors m.safetensors
	ln m.safetensors hard.safetensors
	ln -s m.safetensors soft.safetensors
	"$CT" encrypt -q --keys keys.jwk m.safetensors e.safetensors
	ln e.safetensors ehard
	sum=$(sha256sum m.safetensors e.safetensors)
	for force in "" --force; do
		for to in m.safetensors ./m.safetensors "$PWD/in/../m.safetensors" hard.safetensors soft.safetensors; do
			# shellcheck disable=SC2086 # nothing or a word
			run -3 "$CT" encrypt $force --keys keys.jwk m.safetensors "$to"
			[[ $output == *"is the input itself: name another output" ]]
		done
		# shellcheck disable=SC2086
		run -3 "$CT" decrypt $force --keys keys.jwk e.safetensors ehard
		[[ $output == *"is the input itself: name another output" ]]
		mkdir -p sub
		ln -sfn "$PWD/in" toin
		for to in in in/ in/b in/new in/b/../new toin toin/b toin/new . "$PWD"; do
			# shellcheck disable=SC2086
			run -3 "$CT" encrypt $force --keys keys.jwk in "$to"
			echo "$to: $output"
			[[ $output == *"EINVAL: input and output folder lie within one another"* ]]
		done
		# shellcheck disable=SC2086
		run -3 "$CT" encrypt $force --keys keys.jwk toin in
		[[ $output == *EINVAL* ]]
	done
	[ "$(sha256sum m.safetensors e.safetensors)" = "$sum" ]
	# Hard links between the two folders: the file that is read must not be the one that is there.
	mkdir out && ln in/config.json out/config.json
	for force in "" --force; do
		# shellcheck disable=SC2086
		run -3 "$CT" encrypt $force --keys keys.jwk in out
		[[ $output == *"is the input itself"* ]]
	done
	rm -r out
	[ -z "$(left)" ]
}

# An output would take the place of what a link of the input leads to, before that was read.
@test "a link of the input into the output folder is refused before anything is written" {
	make_in
	model out/a.safetensors other 1000
	mkdir -p out/b far
	cp out/a.safetensors kept
	for link in "in/x.safetensors ../out/a.safetensors" "in/b/x ../../out" "in/b/x ../../out/b" "in/b/x $PWD" "in/far ../far"; do
		ln -sfn ../out/a.safetensors far/x
		ln -sfn "${link#* }" "${link% *}"
		run -3 "$CT" encrypt --force --keys keys.jwk in out
		echo "$link: $output"
		[[ $output == "ct: ${link% *}"*": EINVAL: is a link into the output folder: name another output" ]]
		cmp out/a.safetensors kept
		[ "$(cd out && find . -type f)" = ./a.safetensors ]
		rm "${link% *}"
	done
	run -0 "$CT" encrypt --force --keys keys.jwk in out
}

# Half a folder written before it turns out that the rest cannot be.
@test "a folder: what cannot be done is found before anything is written" {
	make_in
	printf '\x10\0\0\0\0\0\0\0{"a":broken JSON' >in/zz.safetensors
	run -3 "$CT" encrypt --keys keys.jwk in out
	[[ $output == "ct: in/zz.safetensors: EBADMSG: "* ]]
	[ ! -e out ]
	rm in/zz.safetensors
	ln -s nowhere in/zz
	run -3 "$CT" encrypt --keys keys.jwk in out
	[[ $output == "ct: in/zz: ENOENT: "* ]]
	[ ! -e out ]
	rm in/zz
	mkfifo in/zz
	run -3 "$CT" encrypt --keys keys.jwk in out
	[[ $output == "ct: in/zz: EINVAL: "* ]]
	[ ! -e out ]
}

# A folder that is another model's would be half mixed with this one before the run sees that it is none of its own.
@test "a folder that is another's is not begun to be written into" {
	mkdir in out
	plain_model in/a.safetensors 1000
	echo '{}' >in/config.json
	echo '{"other": 1}' >out/config.json
	: >out/x
	run -3 "$CT" encrypt --keys keys.jwk in out
	[[ $output == "ct: out/config.json: EEXIST: "*--force* ]]
	[ "$(ls out)" = $'config.json\nx' ]
}
