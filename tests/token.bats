# Master keys in PKCS#11 tokens: softhsm2, filled by pkcs11-tool as docs/TOKENS.md says. The judges are OpenSSL (tests/unit/agent_token.c), judge.py's
# view of the model, and the agent's memory.

load helpers

setup_file() {
	local t=$BATS_FILE_TMPDIR n
	T=$t
	export PYTHONPATH=$ROOT/tests T
	export MODULE=/usr/lib/softhsm/libsofthsm2.so SOFTHSM2_CONF=$t/softhsm2.conf PIN=2468
	command -v softhsm2-util >/dev/null && command -v pkcs11-tool >/dev/null && [ -e $MODULE ] || return 0 # setup() says so
	mkdir "$t/tokens"
	printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$t/tokens" >"$SOFTHSM2_CONF"
	(umask 077 && echo $PIN >"$t/pin")
	plain_model "$t/plain.safetensors" 2000000
	for n in a b; do
		"$CT" keygen -q --kid-enc "master $n" --kid-sign "signer $n" -o "$t/$n.jwk"
		"$CT" keygen -q --from "$t/$n.jwk" --verifier "$t/$n.verify"
		"$CT" encrypt -q --keys "$t/$n.jwk" --chunk-size 65536 "$t/plain.safetensors" "$t/$n.safetensors"
	done
	python3 - "$t/a.safetensors" "$t/a.jwk" "$t/view" <<-'EOF'
		import json, judge, sys
		view, bad = judge.view(open(sys.argv[1], "rb").read(), json.load(open(sys.argv[2])))
		assert not bad
		open(sys.argv[3], "wb").write(view)
	EOF
	token "ct test"
	jwk_into "ct test" "$t/a.jwk"
}

setup() {
	need softhsm2-util pkcs11-tool
	[ -e "$MODULE" ] || skip_or_fail "no $MODULE"
	cd "$BATS_TEST_TMPDIR"
	CONF=$BATS_TEST_TMPDIR/conf
	URI="pkcs11:token=ct%20test;object=master%20a?module-path=$MODULE&pin-source=$T/pin"
}

token() { # token LABEL: a new one
	softhsm2-util --init-token --free --label "$1" --so-pin 1357 --pin $PIN >/dev/null
}

p11() { # p11 TOKEN ARG…; quiet unless it fails
	local said
	said=$(pkcs11-tool --module $MODULE --token-label "$1" --login --pin env:PIN "${@:2}" 2>&1) || { echo "$said"; return 1; }
}

key_into() { # key_into TOKEN LABEL ID OPTION… <BYTES
	local bytes=$BATS_FILE_TMPDIR/bytes
	cat >"$bytes"
	p11 "$1" --write-object "$bytes" --type secrkey --key-type "AES:$(stat -c %s "$bytes")" --label "$2" --id "$3" "${@:4}"
}

# jwk_into TOKEN KEYS: the command of docs/TOKENS.md, as it stands there
jwk_into() {
	local token=$1 keys=$2 line
	line=$(sed -n '/^jq -r .*keys.jwk/,/[^\\]$/p' "$ROOT/docs/TOKENS.md")
	[ -n "$line" ]
	line=${line//keys.jwk/'"$keys"'}
	line=${line//MODULE/$MODULE}
	line=${line//TOKEN/'"$token"'}
	eval "$line" >"$T/said" 2>&1 || { cat "$T/said"; return 1; }
}

decrypts() { # decrypts FILE: through the agent; the data are the plain model's
	"$CT" decrypt -q --force "$1" decrypted && python3 - decrypted "$T/plain.safetensors" <<-'EOF'
		import struct, sys
		a, b = (open(p, "rb").read() for p in sys.argv[1:])
		data = lambda raw: raw[8 + struct.unpack("<Q", raw[:8])[0]:]
		assert data(a) == data(b) and len(data(a)) > 2000000
	EOF
}

agent_with() { # agent_with [LINE…]
	agent_stop
	printf '%s\n' "$@" >"$CONF"
	AGENT_OPTS=(-c "$CONF")
	agent_start
}

# starts_not TEXT… <LINES: the agent refuses that configuration, says so, and leaves no socket
starts_not() {
	cat >"$CONF"
	run -3 timeout 30 "$BUILD/ct-agent" -f -s "$PWD/s" -c "$CONF"
	says "$@" && [ ! -e s ]
}

# A module is C of somebody else's: what it returns for a wrong tag, a lost session, a missing key must each come to the right error.
@test "keys in a token unwrap what OpenSSL has sealed; whatever does not fit is said" {
	mkdir f
	head -c 32 /dev/urandom >f/aes32
	head -c 16 /dev/urandom >f/aes16
	mkdir tokens # of its own
	printf 'directories.tokendir = %s\nlog.level = ERROR\n' "$PWD/tokens" >conf2
	export SOFTHSM2_CONF=$PWD/conf2
	token "ct test"
	token twins
	token twins
	key_into "ct test" aes32 15 --sensitive --private <f/aes32
	key_into "ct test" aes16 16 --sensitive --private <f/aes16
	head -c 24 /dev/urandom | key_into "ct test" aes24 17 --sensitive --private
	key_into "ct test" plain 18 --private <f/aes32
	key_into "ct test" public 22 --sensitive <f/aes32
	key_into "ct test" leaves 19 --sensitive --private --extractable <f/aes32
	key_into "ct test" twin 20 --sensitive --private <f/aes32
	key_into "ct test" twin 21 --sensitive --private <f/aes16
	p11 "ct test" --keygen --key-type GENERIC:32 --label generic --sensitive --private
	echo 1111 >f/wrong-pin
	echo $PIN >f/open-pin
	: >f/empty-pin
	chmod 600 f/*-pin
	chmod 644 f/open-pin
	cp "$(ldd "$CT" | awk '$1 == "libc.so.6" { print $3 }')" f/no-p11.so
	cp -L "$MODULE" f/writable.so
	chmod 666 f/writable.so
	run -0 timeout 300 "$BUILD/unit/agent_token" keys $MODULE "$T/pin" "$PWD/f"
	echo "$output"
	P11_REAL=$MODULE run -0 timeout 300 "$BUILD/unit/agent_token" faults "$BUILD/standins/p11.so" "$T/pin" "$PWD/f"
	echo "$output"
}

# What the whole thing is for; and people paste the commands of the document.
@test "an agent that has the token alone opens and serves a model" {
	agent_with "token $URI verify=$T/a.verify"
	shimmed cat "$T/a.safetensors" | cmp - "$T/view"
	shimmed python3 -c 'import mmap, sys; f = open(sys.argv[1], "rb"); sys.stdout.buffer.write(mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ))' \
		"$T/a.safetensors" | cmp - "$T/view"
	decrypts "$T/a.safetensors"
	run -0 "$CT" list
	says 'master key    aes256gcm          master a  in the token "ct test"' 'signing key   ed25519            signer a'
	run -0 "$CT" list --json
	says '"token":"ct test"'
	# another publisher's file is none of its business
	run ! --separate-stderr shimmed cat "$T/b.safetensors"
	[ -z "$output" ]
	[[ $stderr == *"ENOKEY"* ]]
	# in the background the module is loaded after the fork
	agent_stop
	"$BUILD/ct-agent" -c "$CONF" -s "$PWD/s" 3>&-
	CT_AGENT_SOCK=$PWD/s decrypts "$T/a.safetensors" || { "$BUILD/ct-agent" -k -s "$PWD/s"; return 1; }
	"$BUILD/ct-agent" -k -s "$PWD/s"
}

# A file names its master key as it likes; so does the configuration. AES-128 is another length.
@test "kid= says what files call the key; without it that is the key's label" {
	"$CT" keygen -q --alg aes128gcm --kid-enc 'é "7\#' --kid-sign s -o k.jwk
	"$CT" keygen -q --from k.jwk --verifier 'v "7\#'
	"$CT" encrypt -q --alg aes128gcm --keys k.jwk "$T/plain.safetensors" m.safetensors
	jq -r '.keys[] | select(.kty == "oct") | .k' k.jwk | base64 -d | key_into "ct test" other 77 --sensitive --private
	local uri="pkcs11:id=w;token=ct%20test?module-path=$MODULE&pin-source=file:$T/pin"
	agent_with "token $uri \"verify=$PWD/v \\\"7\\\\#\" \"kid=é \\\"7\\\\#\""
	decrypts m.safetensors
	run -0 "$CT" list
	says "aes128gcm"
	agent_with "token $uri \"verify=$PWD/v \\\"7\\\\#\""
	run -3 "$CT" decrypt -q --force m.safetensors out
	says ENOKEY
}

# Else whoever can reach the agent signs a foreign header anew, under a policy of his own, and has its data keys unwrapped by the token.
@test "a header that another key signed is not unwrapped" {
	agent_with "token $URI verify=$T/a.verify"
	python3 "$ROOT/tests/peer.py" resign "$T/a.safetensors" stranger.safetensors "$T/b.jwk" "signer b"
	run -3 "$CT" decrypt -q stranger.safetensors out
	says ENOKEY "signer b"
	"$CT" add -q "$(key_file "$T/b.jwk")"
	run -3 "$CT" decrypt -q stranger.safetensors out
	says EKEYREJECTED "another key set"
	jq '.keys[1].kid = "signer a"' "$T/b.jwk" >mixed.jwk
	python3 "$ROOT/tests/peer.py" resign "$T/a.safetensors" same.safetensors "$PWD/mixed.jwk" "signer a"
	run -3 "$CT" decrypt -q same.safetensors out
	says EBADMSG "signature"
	decrypts "$T/a.safetensors"
}

# Tokens know AES alone: "does not unwrap" would send people to look for damage.
@test "chacha20poly1305 is EKEYREJECTED, unless a key set has its key" {
	"$CT" keygen -q --alg chacha20poly1305 --kid-enc "master a" --kid-sign "signer a" -o c.jwk
	"$CT" keygen -q --from c.jwk --verifier c.verify
	"$CT" encrypt -q --alg chacha20poly1305 --keys c.jwk "$T/plain.safetensors" c.safetensors
	agent_with "token $URI verify=$PWD/c.verify"
	run ! --separate-stderr shimmed cat c.safetensors
	[ -z "$output" ]
	[[ $stderr == *"EKEYREJECTED: "*"chacha20poly1305"*"token \"ct test\""* ]]
	"$CT" add -q c.jwk
	decrypts c.safetensors
	# a wrapped key that is for another length, or for another key
	"$CT" keygen -q --alg aes128gcm --kid-enc "master a" --kid-sign "signer a" -o d.jwk
	"$CT" keygen -q --from d.jwk --verifier d.verify
	"$CT" encrypt -q --alg aes128gcm --keys d.jwk "$T/plain.safetensors" d.safetensors
	agent_with "token $URI verify=$PWD/d.verify"
	run -3 "$CT" decrypt -q d.safetensors out2
	says EBADMSG aes128gcm
	"$CT" keygen -q --kid-enc "master a" --kid-sign "signer a" -o e.jwk
	"$CT" keygen -q --from e.jwk --verifier e.verify
	"$CT" encrypt -q --keys e.jwk "$T/plain.safetensors" e.safetensors
	agent_with "token $URI verify=$PWD/e.verify"
	run -3 "$CT" decrypt -q e.safetensors out2
	says EBADMSG "does not unwrap" '"master a" is another one'
}

# An agent that starts without its keys is found out when the first model fails; one that tries a PIN again and again locks the token.
@test "what is wrong with a token line ends the agent at its start, with the line's number" {
	echo 9999 >wrong
	chmod 600 wrong
	starts_not "ENOKEY: line 2 of the configuration: the token \"ct test\" does not take the PIN in $PWD/wrong: CKR_PIN_INCORRECT" \
		<<<$'keep 1\ntoken '"${URI/$T\/pin/$PWD/wrong} verify=$T/a.verify"
	starts_not "has no AES key" <<<"token ${URI/master%20a/nobody} verify=$T/a.verify"
	starts_not "no token of" '"ct test"' <<<"token ${URI/ct%20test/ct} verify=$T/a.verify"
	starts_not "ENOENT: line 1 of the configuration: $PWD/none.so" <<<"token ${URI/$MODULE/$PWD/none.so} verify=$T/a.verify"
	starts_not "ENOENT: line 1 of the configuration: $PWD/none" <<<"token $URI verify=$PWD/none"
	starts_not "EKEYREJECTED: line 1" "holds secret keys" <<<"token $URI verify=$T/a.jwk"
	"$CT" keygen -q --from "$T/a.jwk" --reader reader
	starts_not "holds secret keys" <<<"token $URI verify=$PWD/reader"
	jq '.keys |= [.[1]]' "$T/a.jwk" >signer
	chmod 600 signer
	starts_not "holds secret keys" <<<"token $URI verify=$PWD/signer"
	cp "$T/a.verify" v
	chmod 664 v
	starts_not "others may write" <<<"token $URI verify=$PWD/v"
	echo '{}' >v
	chmod 600 v
	starts_not "EBADMSG: line 1" "not a JWK set" <<<"token $URI verify=$PWD/v"
	local bad
	for bad in token 'token pkcs11:object=k?module-path=/x' "token $URI" "token $URI verify=" "token $URI verify=a" "token $URI kid=k" \
		"token $URI verify=/a verify=/b" "token $URI verify=/a kid=" "token $URI verify=/a kid=a kid=b" "token $URI verify=/a $URI" \
		"token $URI verify=/a kid=$(printf 'x%.0s' {1..256})" "token $URI verify=/a kid=$(printf '\377')" "token $URI&pin-value=$PIN verify=/a" \
		"token ${URI/&/ &} verify=/a" 'token http://x verify=/a' "Token $URI verify=/a"; do
		starts_not "EBADMSG: $CONF:2: " <<<$'keep 1\n'"$bad" || { echo "for $bad"; return 1; }
		[[ $output != *$PIN* ]]
	done
	starts_not "$CONF:17: " "(16)" < <(yes "token $URI verify=$T/a.verify" | head -n 17)
}

# held PID-FILE FILE: a client under the shim that has read FILE, keeps it open and mapped; sets CLIENT
held() {
	shimmed python3 - "$1" "$2" <<-'EOF' 3>&- &
		import mmap, os, sys, time
		f = open(sys.argv[2], "rb")
		f.read(600000)
		m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
		sum(m[::4096])
		with open(sys.argv[1] + ".new", "w") as r:
		    r.write(str(os.getpid()))
		os.rename(sys.argv[1] + ".new", sys.argv[1])
		time.sleep(300)
	EOF
	local i
	for ((i = 0; i < 300; i++)); do [[ -e $1 ]] && break; sleep 0.1; done
	CLIENT=$(cat "$1")
}

scan() { # scan [--data-keys FILE] KEYS WHERE…: prints what it found
	python3 "$ROOT/tests/scan.py" "$@"
}

# The claim itself, and that the scan can tell: the same agent with the key set has the key, the client has the data keys.
# Not with a sanitizer: its shadow makes cores of terabytes.
# bats test_tags=plain-build
@test "no memory of agent or client holds a master key that is in a token; none of a client one that is not" {
	need gcore gdb
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, who reads every memory"
	agent_with "token $URI verify=$T/a.verify"
	held "$PWD/ready" "$T/a.safetensors"
	local keeper
	keeper=$(keeper)
	gcore -o agent "$AGENT_PID" >/dev/null 2>&1
	gcore -o agent "$keeper" >/dev/null 2>&1
	gcore -o client "$CLIENT" >/dev/null 2>&1
	run -0 scan "$T/a.jwk" "$AGENT_PID" "$keeper" "$CLIENT" "agent.$AGENT_PID" "agent.$keeper" "client.$CLIENT"
	echo "$output"
	[ ${#lines[@]} = 1 ]
	[[ $output == "scanned "* ]]
	run -0 scan --data-keys "$T/a.safetensors" "$T/a.jwk" "$CLIENT"
	says raw
	run -0 scan --data-keys "$T/a.safetensors" "$T/a.jwk" "client.$CLIENT"
	[ ${#lines[@]} = 1 ]
	kill "$CLIENT"

	agent_stop
	AGENT_OPTS=()
	AGENT_VIA=("$PROBES/refuse" memfd_secret --)
	agent_start "$T/a.jwk"
	held "$PWD/ready2" "$T/a.safetensors"
	gcore -o client2 "$CLIENT" >/dev/null 2>&1
	run -0 scan "$T/a.jwk" "$CLIENT" "client2.$CLIENT"
	echo "$output"
	[ ${#lines[@]} = 1 ]
	run -0 scan "$T/a.jwk" "$(keeper)"
	says "master a raw"
	kill "$CLIENT"
}

# A token is somebody else's program, on a wire: one that does not come back would have been the end of all service, and of ct remove.
@test "a token that hangs is an error with its name; all else goes on, and so does it when it comes back" {
	export P11_REAL=$MODULE P11_HANG=$PWD/hang
	agent_with "token ${URI/$MODULE/$BUILD/standins/p11.so} verify=$T/a.verify"
	"$CT" add -q "$T/b.jwk"
	decrypts "$T/a.safetensors"
	touch hang
	run -3 "$CT" decrypt -q "$T/a.safetensors" out
	says ENOKEY 'the token "ct test" has not unwrapped' "within 8 s"
	# who needs no key, and who removes one, is served; who needs one hears at once why not
	run -0 "$CT" status
	run -3 "$CT" decrypt -q "$T/b.safetensors" out
	says ENOKEY 'the token "ct test" has not answered an earlier question'
	run -3 "$CT" add "$T/b.jwk"
	says ENOKEY "hangs in a token"
	run -0 "$CT" remove 2
	run -0 "$CT" list
	[[ $output != *"master b"* ]]
	[ ! -e out ]
	rm hang
	local i
	for ((i = 0; i < 300; i++)); do
		! "$CT" add -q "$T/b.jwk" || break
		sleep 0.1
	done
	decrypts "$T/a.safetensors"
	decrypts "$T/b.safetensors"
	# killed while it hangs, with keys: neither process stays
	touch hang
	"$CT" decrypt -q "$T/a.safetensors" out 2>said &
	local keeper client=$!
	keeper=$(keeper)
	for ((i = 0; i < 300; i++)); do # it sleeps in the stand-in, not in poll()
		[ "$(cut -d ' ' -f 1 "/proc/$keeper/syscall")" != 7 ] && break
		sleep 0.1
	done
	kill -9 "$AGENT_PID"
	wait "$client" || true
	for ((i = 0; i < 300; i++)); do
		kill -0 "$keeper" 2>/dev/null || break
		sleep 0.1
	done
	run ! kill -0 "$keeper"
	rm -r "$AGENT_DIR"
	unset AGENT_PID AGENT_DIR
	# and ended as it should be
	rm hang
	agent_with "token ${URI/$MODULE/$BUILD/standins/p11.so} verify=$T/a.verify"
	decrypts "$T/a.safetensors"
	touch hang
	run -3 "$CT" decrypt -q "$T/a.safetensors" out
	agent_stop
}
