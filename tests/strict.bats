# What docs/FORMAT.md lists under "Where we differ from the reference" and random files do not hold (differential.bats): each by what
# ct and the shim do, and by what the package does with the same file.

load helpers

setup_file() {
	cd "$BATS_FILE_TMPDIR"
	export T=$BATS_FILE_TMPDIR
	plain_model plain.safetensors
	"$CT" keygen -q -o keys.jwk
	"$CT" encrypt -q --keys keys.jwk --chunk-size 4096 --header-reserve 0 plain.safetensors good.safetensors
	agent_start "$T/keys.jwk"
}

teardown_file() {
	agent_stop
}

teardown() {
	:
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	need_python cryptotensors numpy
}

strict() {
	"$PY" "$ROOT/tests/strict.py" "$@"
}

# theirs VERDICT FILE [KEYS]: that is what the package says.
theirs() {
	run -0 strict theirs "${3-$T/keys.jwk}" "$2"
	echo "the package: $output"
	[[ $output == "$1 "* ]]
}

# refused ERRNO TEXT FILE: that is what ct verify says.
refused() {
	run -1 "$CT" verify --keys "$T/keys.jwk" "$3"
	echo "$output"
	[[ $output == "$3: $1: "*"$2"* ]]
}

# A header that costs gigabytes of memory to look at would be looked at.
@test "12: more than 4,194,304 values in a member are refused" {
	strict craft values "$T/keys.jwk" "$T/good.safetensors" x
	refused EBADMSG "too many values" x
	theirs ok x
}

# A file that brings a key along would be opened, and who reads the header might believe in it.
@test "4: key material in the header is refused" {
	strict craft material "$T/keys.jwk" "$T/good.safetensors" x
	refused EBADMSG "key material in the header" x
	"$PY" - "$T/keys.jwk" <<-'EOF'
		import cryptotensors, json, sys
		enc, sign = json.load(open(sys.argv[1]))["keys"]
		with cryptotensors.safe_open("x", "np", config={"enc_key": enc, "sign_key": sign}) as f:
		    assert f.get_tensor("h").size == 15
	EOF
}

# Whoever can write a file beside the model would decide whom to trust.
@test "5: the jku in a file is not followed" {
	"$CT" keygen -q -o jku.jwk --kid-enc stranger --kid-sign stranger
	"$CT" encrypt -q --keys jku.jwk "$T/plain.safetensors" foreign
	strict craft jku jku.jwk foreign x
	refused ENOKEY "that the file asks for" x
	run ! shimmed cat x
	[[ $output == *ENOKEY* ]]
	run -0 strict theirs x # no provider: it goes where the file says
	[[ $output == "ok "* ]]
}

# Chunked entries in the short spelling of JSON would be misread: refused by one side, served by the other.
@test "entries as arrays: the members of both versions in the reference's order" {
	strict craft array "$T/keys.jwk" "$T/good.safetensors" x
	run -0 "$CT" verify --keys "$T/keys.jwk" x
	theirs ok x
	strict craft short_array "$T/keys.jwk" "$T/good.safetensors" y
	refused EBADMSG "__encryption__" y
	theirs read y
}

# Plain files of others would vanish behind an error, or pass as good where only encrypted ones may.
@test "15: a plain file whose __metadata__ is null: ct refuses, the shim shows it as it lies" {
	python3 - <<-'EOF'
		import struct
		h = b'{"__metadata__":null,"t":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}'
		open("x", "wb").write(struct.pack("<Q", len(h)) + h + b"abc")
	EOF
	refused EBADMSG "not an object" x
	run -3 "$CT" encrypt --keys "$T/keys.jwk" x y
	theirs plain x
	shimmed cat x | cmp - x
}

# Metadata of an application would be missing, or ours would stand beside it.
@test "17: of the metadata only our own names are hidden" {
	python3 - <<-'EOF'
		import json, struct
		h = json.dumps({"__metadata__": {"__mine__": "v", "a": "b"}, "t": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}).encode()
		open("p", "wb").write(struct.pack("<Q", len(h)) + h + b"abc")
	EOF
	"$CT" encrypt -q --keys "$T/keys.jwk" --digests p x
	grep -q __digests__ x
	shimmed cat x >view
	PYTHONPATH=$ROOT/tests python3 -c 'import judge; assert judge.split(open("view", "rb").read())[2] == {"__mine__": "v", "a": "b"}'
	run -0 "$PY" - "$T/keys.jwk" <<-'EOF'
		import cryptotensors, json, sys
		cryptotensors.register_direct_key_provider(keys=json.load(open(sys.argv[1])))
		with cryptotensors.safe_open("x", "np") as f:
		    print(f.metadata())
	EOF
	[ "$output" = "{'a': 'b'}" ]
}

# Ciphertext would be loaded as weights.
@test "18: a chunk that does not authenticate is EIO, and no byte of it is given" {
	"$PY" - "$T/good.safetensors" "$T/keys.jwk" <<-'EOF'
		import cryptotensors, json, struct, sys
		raw = bytearray(open(sys.argv[1], "rb").read())
		n = struct.unpack("<Q", raw[:8])[0]
		a, _ = json.loads(raw[8:8 + n])["big"]["data_offsets"]
		raw[8 + n + a + 5000] ^= 1
		open("x", "wb").write(raw)
		open("at", "w").write(str(8 + n + a + 4096))
		cryptotensors.register_direct_key_provider(keys=json.load(open(sys.argv[2])))
		given = dict(cryptotensors.deserialize(bytes(raw)))["big"]["data"]
		assert raw[8 + n + a:8 + n + a + 20000] == given[:20000], "the package gives no ciphertext"
	EOF
	refused EIO "" x
	shimmed cat "$T/good.safetensors" >view
	shimmed python3 - "$(cat at)" <<-'EOF'
		import errno, os, sys
		bad, fd, view = int(sys.argv[1]), os.open("x", os.O_RDONLY), open("view", "rb").read()
		for at in range(bad, bad + 4096, 100):
		    try:
		        os.pread(fd, 1, at)
		        sys.exit(f"byte {at} is given")
		    except OSError as e:
		        assert e.errno == errno.EIO
		assert os.pread(fd, bad, 0) == view[:bad] and os.pread(fd, len(view), bad + 4096) == view[bad + 4096:]
	EOF
}

# The one thing that is authenticated of an empty tensor would never be looked at: it has no byte to read.
@test "19: the tag of an empty tensor is checked at open" {
	strict craft empty_tag "$T/keys.jwk" "$T/good.safetensors" x
	refused EBADMSG "the tag of the empty tensor none is wrong" x
	run ! shimmed cat x
	[[ $output == *EBADMSG* ]]
	theirs read x
}

# What an application wrote into its metadata would be gone after a round trip.
@test "21: user metadata under one of our names is an error, not dropped" {
	"$PY" - "$T/keys.jwk" <<-'EOF'
		import cryptotensors, json, struct, sys
		h = json.dumps({"__metadata__": {"__licence__": "v"}, "t": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}).encode()
		open("p", "wb").write(struct.pack("<Q", len(h)) + h + b"abc")
		enc, sign = json.load(open(sys.argv[1]))["keys"]
		t = {"t": {"dtype": "uint8", "shape": [3], "data": b"abc"}}
		cryptotensors.serialize_file(t, "x", {"__policy__": "mine"}, {"enc_key": enc, "sign_key": sign})
		assert b"mine" not in open("x", "rb").read()
	EOF
	run -3 "$CT" encrypt --keys "$T/keys.jwk" p y
	[[ $output == *"EBADMSG: its metadata uses the reserved name __licence__"* ]]
	[ ! -e y ]
}

# Users of JOSE tools, and those who need no key ids, would have to convert their keys by hand.
@test "22: keys without a kid, and in RFC 7517's spelling" {
	"$CT" keygen -q --jose -o jose.jwk
	"$CT" encrypt -q --keys jose.jwk "$T/plain.safetensors" x
	run -0 "$CT" verify --keys jose.jwk x
	umask 077
	jq 'del(.keys[].kid)' "$T/keys.jwk" >anonymous.jwk
	"$CT" encrypt -q --keys anonymous.jwk "$T/plain.safetensors" y
	run -0 "$CT" verify --keys anonymous.jwk y
	run -1 strict theirs jose.jwk x
	[[ $output == *SafetensorError* ]]
	run -1 strict theirs anonymous.jwk y
	[[ $output == *"Missing 'kid'"* ]]
}

# Plaintext weights would pass for verified ones.
@test "23: a plain file does not verify, and is EPERM where encrypted ones are required" {
	refused EPERM "not encrypted" "$T/plain.safetensors"
	CTSHIM_REQUIRE=1 run -1 shimmed cat "$T/plain.safetensors"
	[[ $output == *EPERM* ]]
	theirs plain "$T/plain.safetensors"
}

# A file exchanged after it was verified would be read in its place.
@test "24: what was opened is what is read, whatever takes its name" {
	cp "$T/good.safetensors" x
	plain_model other.safetensors 200000
	shimmed cat x >view
	shimmed python3 - <<-'EOF'
		import os
		fd = os.open("x", os.O_RDONLY)
		os.replace("other.safetensors", "x")
		assert os.pread(fd, 1 << 20, 0) == open("view", "rb").read()
	EOF
	cmp x <(shimmed cat x)
}

# Weights would be encrypted under a key that nobody has.
@test "25: no key, no file" {
	umask 077
	jq '(.keys[] | select(.kty == "oct")) |= del(.k)' "$T/keys.jwk" >no.jwk
	run -3 "$CT" encrypt --keys no.jwk "$T/plain.safetensors" x
	[ ! -e x ]
	"$PY" - no.jwk <<-'EOF'
		import cryptotensors, json, sys
		enc, sign = json.load(open(sys.argv[1]))["keys"]
		t = {"t": {"dtype": "uint8", "shape": [3], "data": b"abc"}}
		cryptotensors.serialize_file(t, "y", None, {"enc_key": enc, "sign_key": sign})
	EOF
	theirs open y
}

# A typing error would leave a model in the clear.
@test "28: a pattern that fits no tensor is an error, and nothing is written" {
	run ! "$CT" encrypt --keys "$T/keys.jwk" --tensors 'bgi' "$T/plain.safetensors" x
	[[ $output == *bgi* ]]
	[ ! -e x ]
	"$PY" - "$T/keys.jwk" <<-'EOF'
		import cryptotensors, json, sys
		enc, sign = json.load(open(sys.argv[1]))["keys"]
		t = {"t": {"dtype": "uint8", "shape": [3], "data": b"abc"}}
		cryptotensors.serialize_file(t, "y", None, {"enc_key": enc, "sign_key": sign, "tensors": ["bgi"]})
	EOF
	theirs plain y
}

# Who reads while keys are changed, or finds the file after a crash, would have neither the old one nor the new one.
@test "29: a rewrap leaves the old file whole for whoever has it open" {
	"$CT" keygen -q -o new.jwk
	for who in ours theirs; do
		cp "$T/good.safetensors" x
		exec 7<x
		if [ "$who" = ours ]; then
			"$CT" rewrap -q --keys "$T/keys.jwk" --new-keys new.jwk x
		else
			"$PY" - "$T/keys.jwk" new.jwk <<-'EOF'
				import cryptotensors, json, sys
				old, new = (json.load(open(p))["keys"] for p in sys.argv[1:])
				cryptotensors.rewrap_file("x", {"enc_key": new[0], "sign_key": new[1]}, {"enc_key": old[0], "sign_key": old[1]})
			EOF
		fi
		run -0 "$CT" verify --keys new.jwk x
		cat <&7 >"$who"
		exec 7<&-
	done
	cmp ours "$T/good.safetensors"
	run ! cmp theirs "$T/good.safetensors"
}
