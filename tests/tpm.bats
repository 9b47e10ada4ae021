# Key sets bound to a TPM: keys/ct-tpm-seal and ct-tpm-unseal against swtpm, a TPM in software. The judges are tpm2-tools, cmp and strace.

load helpers

setup() {
	need swtpm tpm2_createprimary tpm2_pcrextend basenc
	PATH=$BUILD:$ROOT/keys:$PATH
	cd "$BATS_TEST_TMPDIR"
	SHORT=$(mktemp -d /tmp/cttXXXXXX) # for sockets
	TPMS=()
	tpm_start one
	ct keygen -q --kid-enc 'k "@32"}' --kid-sign s -o keys.jwk
	ct keygen -q --from keys.jwk --reader reader.jwk
}

teardown() {
	local pid
	for pid in "${TPMS[@]}"; do
		kill "$pid" 2>/dev/null && wait "$pid" || true
	done
	rm -rf "$SHORT"
	agent_stop
}

# tpm_start NAME: that TPM, switched on; its state is kept in a folder of that name
tpm_start() {
	local i
	mkdir -p "$SHORT/$1" # the TCTI looks for the control socket beside the other
	swtpm socket --tpm2 --tpmstate dir="$SHORT/$1" --server type=unixio,path="$SHORT/s.$1" --ctrl type=unixio,path="$SHORT/s.$1.ctrl" \
		--flags not-need-init,startup-clear >"$SHORT/log" 2>&1 3>&- &
	TPMS+=($!)
	export TPM2TOOLS_TCTI=swtpm:path=$SHORT/s.$1
	for ((i = 0; i < 300; i++)); do
		[ -S "$SHORT/s.$1" ] && tpm2_getcap properties-fixed >/dev/null 2>&1 && return
		sleep 0.1
	done
	tail -n 5 "$SHORT/log"
	return 1
}

tpm_stop() { # the one that was started last; without a word to it, as when the power fails
	kill -9 "${TPMS[-1]}"
	wait "${TPMS[-1]}" || true
	rm -f "$SHORT"/s.*
}

tpm_reboot() {
	tpm_stop
	tpm_start "$1"
}

extend() { # extend PCR
	tpm2_pcrextend "$1:sha256=$(echo changed | sha256sum | cut -c 1-64)"
}

# fails TEXT… -- CMD…: exit status 3, nothing on stdout, one line that contains each TEXT
fails() {
	local texts=()
	while [ "$1" != -- ]; do
		texts+=("$1")
		shift
	done
	run -3 --separate-stderr "${@:2}"
	[ -z "$output" ]
	output=$stderr
	says "${texts[@]}"
	[ ${#stderr_lines[@]} = 1 ]
}

# The whole way, also after the machine was switched off.
@test "a sealed key set comes out as it went in, after a restart too, and opens a model" {
	plain_model plain.safetensors 300000
	ct encrypt -q --keys keys.jwk plain.safetensors m.safetensors
	ct decrypt -q --keys keys.jwk m.safetensors right
	ct-tpm-seal keys.jwk bound --pcrs 0,7
	ct-tpm-unseal bound | cmp - reader.jwk
	tpm_reboot one
	agent_start
	ct-tpm-unseal bound | ct add -q /dev/stdin
	rm keys.jwk reader.jwk
	ct decrypt -q m.safetensors out
	cmp out right
	[ "$(stat -c %a bound)" = 700 ]
}

# A set is sealed and its key file put away: what would not come out again must not be called sealed.
@test "sets of every kind are sealed whole, or refused" {
	ct keygen -q --alg aes128gcm --kid-enc b --kid-sign sb -o b.jwk
	ct keygen -q --alg chacha20poly1305 --kid-enc 'c é' --kid-sign sc --jose -o c.jwk
	jq -s '{keys: [.[0].keys[0], .[0].keys[1], .[1].keys[0], .[1].keys[1], .[2].keys[0]]}' keys.jwk b.jwk c.jwk >three.jwk
	jq '.keys[0] |= del(.alg, .kid)' three.jwk >bare.jwk
	jq '.keys += [{kty: "oct", k: .keys[0].k}]' three.jwk >four.jwk
	jq '.keys |= [.[1]]' keys.jwk >none.jwk
	chmod 600 ./*.jwk
	local k
	for k in b c three bare; do
		ct keygen -q --from $k.jwk --reader $k.reader
		ct-tpm-seal $k.jwk $k/
		ct-tpm-unseal $k | cmp - $k.reader || { echo "$k"; return 1; }
	done
	fails "4 master keys" -- ct-tpm-seal four.jwk four
	fails "no master key" -- ct-tpm-seal none.jwk none
	fails "ENOENT" -- ct-tpm-seal missing.jwk missing
	fails "there already" -- ct-tpm-seal keys.jwk b
	for k in '' 24 -1 '0,' ,0 0,,1 x '0 1' 0-7; do
		fails "numbers from 0 to 23" -- ct-tpm-seal --pcrs "$k" keys.jwk x
	done
	fails "--bank is one of" -- ct-tpm-seal --bank md5 keys.jwk x
	for k in '' keys.jwk 'keys.jwk x y' '--pcrs' '--foo keys.jwk x'; do
		# shellcheck disable=SC2086 # words
		run -2 ct-tpm-seal $k
	done
	run -2 ct-tpm-unseal
	[ ! -e x ] && [ ! -e four ] && [ ! -e none ] && [ ! -e missing ]
	[ -z "$(find . -name '*.new.*')" ]
}

# Without the name of what changed people turn the binding off for good after the first update.
@test "a changed PCR keeps the keys in, and is named" {
	ct-tpm-seal --pcrs 0,7,14 keys.jwk bound
	ct-tpm-seal --pcrs 16 keys.jwk other
	local was
	was=$(tpm2_pcrread sha256:7 | sed -n 's/.*0x//p')
	extend 7
	fails "PCR 7 (Secure Boot" "was $was, is $(tpm2_pcrread sha256:7 | sed -n 's/.*0x//p')" "ct-tpm-seal" -- ct-tpm-unseal bound
	[[ $output != *"PCR 0"* && $output != *"PCR 14"* ]]
	extend 14
	fails "PCR 7 (" "; PCR 14 (the keys of shim" -- ct-tpm-unseal bound
	ct-tpm-unseal other | cmp - reader.jwk
	tpm_reboot one
	ct-tpm-unseal bound | cmp - reader.jwk
}

# A stolen disk, or a new mainboard.
@test "another TPM, or one that was cleared, says so" {
	ct-tpm-seal keys.jwk bound
	tpm_stop
	fails "no key can be made in the TPM" -- ct-tpm-unseal bound
	tpm_start two
	fails "another TPM, or this one was cleared" -- ct-tpm-unseal bound
	tpm_reboot one
	ct-tpm-unseal bound | cmp - reader.jwk
	tpm2_clear -c p
	fails "another TPM, or this one was cleared" -- ct-tpm-unseal bound
}

# Who can write to the folder must not get a verification key of his own into the agent: he could sign headers under a policy of his own then.
@test "a folder that was changed gives no keys" {
	ct keygen -q --kid-enc 'k "@32"}' --kid-sign s -o evil.jwk
	ct-tpm-seal keys.jwk bound
	ct-tpm-seal evil.jwk evil
	cp -r bound x
	cp evil/set x/set
	fails "changed after it was sealed" -- ct-tpm-unseal x
	rm -r x
	cp -r bound x
	sed -i 's/"@32"}/"@16"}/' x/set
	fails "changed after it was sealed" -- ct-tpm-unseal x
	rm -r x
	cp -r bound x
	cp evil/sealed.pub x/sealed.pub
	fails "changed or damaged" -- ct-tpm-unseal x
	cp evil/sealed.priv x/sealed.priv # a whole object, of a set that x does not hold
	fails "changed after it was sealed" -- ct-tpm-unseal x
	rm -r x
	cp -r bound x
	sed -i 's/^7 /6 /' x/pcrs
	fails "does not unseal" -- ct-tpm-unseal x
	rm x/pcrs
	fails "x/pcrs cannot be read" -- ct-tpm-unseal x
	ct-tpm-unseal bound | cmp - reader.jwk
}

# The policy is the TPM's to hold, not the script's.
@test "the TPM itself does not unseal without the PCRs" {
	ct-tpm-seal keys.jwk bound
	tpm2_createprimary -Q -C o -g sha256 -G ecc256:aes128cfb -c p
	tpm2_flushcontext -t
	tpm2_load -Q -C p -u bound/sealed.pub -r bound/sealed.priv -c o
	tpm2_flushcontext -t
	run ! tpm2_unseal -Q -c o
	tpm2_flushcontext -t
	run ! tpm2_unseal -Q -c o -p pcr:sha256:0
	tpm2_flushcontext -t
	tpm2_unseal -c o -p pcr:sha256:7 | head -c 32 | base64 >k # the control: with them it does
	[ "$(cat k)" = "$(jq -r '.keys[0].k' keys.jwk)" ]
	tpm2_flushcontext -t
	extend 7
	run ! tpm2_unseal -Q -c o -p pcr:sha256:7
}

# Arguments and environments are everybody's to read, disks are kept for years.
@test "no key in an argument, an environment or a file outside of memory" {
	need strace
	strace -f -v -s 9999 -e trace=execve,openat,creat -o seal ct-tpm-seal keys.jwk bound
	strace -f -v -s 9999 -e trace=execve,openat,creat -o unseal ct-tpm-unseal bound >unsealed
	cmp unsealed reader.jwk
	local key hex
	local -a made
	key=$(jq -r '.keys[0].k' keys.jwk)
	hex=$(base64 -d <<<"$key" | od -An -v -tx1 | tr -d ' \n')
	grep -q execve seal && grep -q execve unseal
	run ! grep -iF -e "${key%=}" -e "$hex" seal unseal
	run ! grep -rF -e "${key%=}" bound
	mapfile -t made < <(sed -n 's/.*\(openat\|creat\)([^"]*"\([^"]*\)", [^)]*O_\(WRONLY\|RDWR\|CREAT\).*) = [0-9].*/\2/p' seal unseal |
		grep -v -e '^/dev/shm/ct-tpm\.' -e '^/dev/null$' -e '^bound\.new\.[0-9]*/[a-z.]*$' -e '^/dev/tty$' | sort -u)
	echo "also written: ${made[*]}"
	[ ${#made[@]} = 0 ]
	grep -qE 'openat\(.*"bound\.new\.[0-9]+/set".*O_CREAT' seal # the control
	mapfile -t made < <(sed -n 's/.*"\(\/dev\/shm\/ct-tpm\.[A-Za-z0-9]*\).*/\1/p' seal unseal | sort -u)
	[ ${#made[@]} -ge 2 ]
	for key in "${made[@]}"; do [ ! -e "$key" ]; done
}
