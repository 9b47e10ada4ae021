# Where ct takes keys from, other than a plain file: cred:, exec:, and what must not work.

load helpers

setup() {
	cd "$BATS_TEST_TMPDIR"
	"$CT" keygen -q --kid-enc the-master-key -o k.jwk
	cp k.jwk keys.in
	plain_model plain.safetensors
	MARK=mark.$$.$RANDOM # in the argv of whatever a test starts
}

# ct_run …: ct run, in a build with sanitizers too (their run time must come first).
ct_run() {
	local with=()
	[[ -z $SANITIZE ]] || with=(LD_PRELOAD="${PRELOAD% *}" ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0)
	env "${with[@]}" "$CT" run "$@"
}

# program NAME <BODY: an executable script.
program() {
	{ echo '#!/bin/bash'; cat; } >"$1"
	chmod 700 "$1"
}

# reader SOURCE: what ct says of a source, and nothing is written if it says no.
reader() {
	"$CT" keygen --from "$1" --reader out.jwk --force
}

# none_left: no process with MARK in its argv; they may still be dying.
none_left() {
	local i
	for ((i = 0; i < 600; i++)); do
		pgrep -f "$MARK" >/dev/null || return 0
		sleep 0.05
	done
	pgrep -af "$MARK"
	return 1
}

# A source that one command forgot would be looked for as a file there.
@test "every command takes exec: and cred: where it takes a key file" {
	local src
	export CREDENTIALS_DIRECTORY=$PWD/credentials
	mkdir -m 700 credentials
	cp k.jwk credentials/model-keys
	"$CT" keygen -q -o k2.jwk
	agent_start
	for src in "exec:/bin/cat $PWD/k.jwk" cred:model-keys; do
		"$CT" encrypt -q --force --keys "$src" plain.safetensors e
		"$CT" inspect e | grep -q the-master-key
		"$CT" verify -q --keys "$src" e
		"$CT" decrypt -q --force --keys "$src" e d
		"$CT" rewrap -q --force --keys "$src" --new-keys k2.jwk -o out e
		"$CT" verify -q --keys k2.jwk out/e
		"$CT" rewrap -q --force --keys k2.jwk --new-keys "$src" -o back out/e
		"$CT" verify -q --keys "$src" back/e
		"$CT" keygen -q --force --from "$src" --reader r.jwk --verifier v.jwk
		run -0 "$CT" add "$src"
		[[ $output == "ct: $src: the agent has its 2 keys as set "* ]]
		run -0 ct_run --keys "$src" -- bash -c '"$CT" list'
		[[ $output == *the-master-key* ]]
	done
}

# A unit's credential would not be found, another file be taken for it, or one that everybody reads be used.
@test "cred: a name in CREDENTIALS_DIRECTORY, and nothing else" {
	mkdir -m 700 c c/folder
	cp k.jwk c/name
	export CREDENTIALS_DIRECTORY=$PWD/c
	reader cred:name
	chmod 440 c/name # as systemd shows a file that an ACL opens to the unit's user
	reader cred:name
	chmod 444 c/name
	run -3 reader cred:name
	[[ $output == "ct: cred:name: EKEYREJECTED: a key file that others may use"* ]]
	run -3 reader cred:none
	[[ $output == "ct: cred:none: ENOENT: cannot be opened: No such file or directory" ]]
	run -3 "$CT" verify --keys cred:none e
	[[ $output == "ct: cred:none: ENOENT: $PWD/c/none: No such file or directory" ]]
	run -3 reader cred:folder
	[[ $output == "ct: cred:folder: EISDIR: "* ]]
	for name in "" . .. ../k.jwk "$PWD/k.jwk" folder/x; do
		run -3 reader "cred:$name"
		[[ $output == "ct: cred:$name: E"*": cred: takes the name of a credential, without folders" || $output == "ct: cred:$name: ENOENT: cannot be opened"* ]]
	done
	unset CREDENTIALS_DIRECTORY
	run -3 reader cred:name
	[[ $output == "ct: cred:name: ENOENT: CREDENTIALS_DIRECTORY is not set"* ]]
	CREDENTIALS_DIRECTORY=c run -3 reader cred:name # a relative one is nobody's
	[[ $output == "ct: cred:name: ENOENT: CREDENTIALS_DIRECTORY is not set"* ]]
	# a name alone stays a path, and a path that looks like a source can be named
	run -3 reader name
	[[ $output == "ct: name: ENOENT: "* ]]
	cp k.jwk exec:x
	reader ./exec:x
}

# pkcs11: is the agent's: taken for a file's name the message would send people looking for a file.
@test "pkcs11: is refused by name" {
	run -3 reader "pkcs11:token=x"
	[ "$output" = "ct: pkcs11:token=x: EOPNOTSUPP: pkcs11: is for ct-agent" ]
}

# A key that a program fetches could be read by a shell's rules, by another program, or be mangled.
@test "exec: argv is split at blanks, without a shell; the program's environment, descriptors and stdin" {
	program p <<-'EOF'
		for a; do printf '<%s>' "$a"; done >&2
		echo >&2
		env | grep -E '^(LD_|KEEP)' | sort >&2
		cat >&2
		(ls /proc/self/fd | tr '\n' ' '; ps -o pid=,sid= -p $$) >"${0%/*}/seen"
		echo $$ >>"${0%/*}/seen"
		cat "${0%/*}/keys.in"
	EOF
	echo stdin-is-not-for-it >in
	LD_EVIL=1 LD_LIBRARY_PATH=/nonexistent KEEP=yes run -0 reader "exec:$PWD/p  a \$HOME	'b c' *" <in 7<in
	[ "${lines[0]}" = "<a><\$HOME><'b><c'><*>" ]
	[ "${lines[1]}" = KEEP=yes ]
	[[ ${lines[2]} == "ct: out.jwk: "* ]]
	read -ra seen <seen
	[ "${seen[*]:0:4}" = "0 1 2 3" ] # 3 is what ls reads the folder by
	[ "${seen[4]}" = "$(tail -n 1 seen)" ]
	[ "${seen[5]}" = "${seen[4]}" ] # a session of its own
	# where the caller ignores SIGCHLD, the status would be lost, and so would the keys
	env --ignore-signal=CHLD "$CT" keygen -q --force --from "exec:/bin/cat $PWD/k.jwk" --reader out.jwk
	run -3 reader exec:
	[[ $output == "ct: exec:: EINVAL: exec: takes the absolute path"* ]]
	run -3 reader "exec:   "
	[[ $output == *"EINVAL: exec: takes the absolute path"* ]]
	run -3 reader "exec:cat $PWD/k.jwk"
	[[ $output == *"EINVAL: exec: takes the absolute path"* ]]
	run -3 reader "exec:/bin/cat$(printf ' x%.0s' {1..64})"
	[[ $output == *"E2BIG: exec: takes at most 64 words" ]]
	run -3 reader exec:/nonexistent/program
	[ "$output" = "ct: exec:/nonexistent/program: ENOENT: /nonexistent/program cannot be run: No such file or directory" ]
	run -3 reader "exec:$PWD/keys.in"
	[[ $output == *": EACCES: $PWD/keys.in cannot be run: Permission denied" ]]
	run -3 reader "exec:$(printf '/bin/echo \x1b[31m')"
	[[ $output != *$'\x1b'* ]]
}

# hostile NAME REASON <BODY: the program of that body is refused with that reason alone, and nothing is left of it.
hostile() {
	local name=$1 reason=$2
	program "$name"
	run -3 reader "exec:$PWD/$name $MARK"
	echo "$output"
	[ "${lines[-1]}" = "ct: exec:$PWD/$name $MARK: $reason" ]
	none_left
	[ ! -e out.jwk ]
}

# A program that goes wrong would hang ct, fill its memory, or pass half of its output for keys.
@test "exec: programs that fail are refused with the reason" {
	hostile status "EIO: ended with status 7" <<<'cat "${0%/*}/keys.in"; exit 7'
	hostile signal "EIO: was ended by SIGSEGV" <<<'cat "${0%/*}/keys.in"; kill -SEGV $$'
	hostile half "EBADMSG: not a JWK set: $(head -c 100 k.jwk >half.in; "$CT" keygen --from <(cat half.in) --reader x 2>&1 | sed 's/.*not a JWK set: //')" \
		<<<'head -c 100 "${0%/*}/keys.in"'
	hostile stderr "EBADMSG: printed nothing" <<<'echo no key for you >&2'
	[ "${lines[0]}" = "no key for you" ]
	hostile nothing "EBADMSG: printed nothing" <<<':'
	hostile other "EBADMSG: not a JWK set: no JWK: neither \"keys\" nor \"kty\" is there" <<<'echo "{}"'
}

# The machine would be filled.
@test "exec: endless output is cut off at 1 MiB" {
	hostile endless "EFBIG: printed over 1048576 bytes: killed" <<<'yes "$1"'
	hostile ignores "EFBIG: printed over 1048576 bytes: killed" <<<'trap "" PIPE TERM HUP INT; while :; do echo "$1"; done 2>/dev/null'
	program just <<<'cat "${0%/*}/keys.in"; head -c 1000000 /dev/zero | tr "\0" " "'
	reader "exec:$PWD/just"
}

# A program that hangs would hang ct. The limit is 10 s, so these run side by side; where the limit did not hold, sleeps and child would do well.
@test "exec: endless runs, and children that keep the pipe, are killed after 10 s" {
	local n jobs=()
	program sleeps <<<'cat "${0%/*}/keys.in"; exec bash -c "sleep 40; :" "$1"'
	program silent <<<'exec >&-; trap "" TERM HUP INT; while :; do sleep 300; done'
	program drips <<<'while :; do printf " "; sleep 0.2; done'
	program child <<<'cat "${0%/*}/keys.in"; bash -c "sleep 40; :" "$1" & exit 0'
	program trapped <<<'trap "" TERM HUP INT; cat "${0%/*}/keys.in"; (trap "" TERM HUP INT; exec bash -c "sleep 300; :" "$1") & exit 0'
	for n in sleeps silent drips child trapped; do
		{
			rc=0
			"$CT" keygen --from "exec:$PWD/$n $MARK" --reader "out.$n" 2>"err.$n" || rc=$?
			echo $rc >"rc.$n"
		} 3>&- &
		jobs+=($!)
	done
	wait "${jobs[@]}"
	for n in sleeps drips child trapped; do
		[ "$(cat "rc.$n" "err.$n")" = "3
ct: exec:$PWD/$n $MARK: ETIMEDOUT: did not close its output within 10 s: killed" ]
	done
	[ "$(cat rc.silent err.silent)" = "3
ct: exec:$PWD/silent $MARK: ETIMEDOUT: did not end within 10 s: killed" ]
	none_left
	[ -z "$(compgen -G 'out.*')" ]
}

# What a good program leaves in the background would stay for ever, with the keys in its memory.
@test "exec: nothing is left of a program that did well, nor of one whose ct was killed" {
	program lingers <<<'bash -c "sleep 300; :" "$1" >/dev/null & cat "${0%/*}/keys.in"'
	reader "exec:$PWD/lingers $MARK"
	none_left
	program waits <<<'touch "${0%/*}/started"; exec bash -c "sleep 300; :" "$1"'
	"$CT" keygen --from "exec:$PWD/waits $MARK" --reader x 3>&- &
	for ((i = 0; i < 600; i++)); do [ -e started ] && break; sleep 0.05; done
	kill -KILL $!
	wait $! || true
	# bash -c waits for its sleep: the leader is what ends with ct
	run ! pgrep -f "bash -c sleep 300; : $MARK"
}

# It is what exec: is for: the example of the README must work.
@test "exec: age, a JWK set and one under a passphrase" {
	need age age-keygen
	age-keygen -o id.txt 2>/dev/null
	age -r "$(age-keygen -y id.txt)" -o keys.age k.jwk
	reader "exec:$(command -v age) -d -i $PWD/id.txt $PWD/keys.age"
	"$CT" keygen -q --from k.jwk --reader want.jwk
	cmp want.jwk out.jwk
	age-keygen -o other.txt 2>/dev/null
	rm out.jwk
	run -3 reader "exec:$(command -v age) -d -i $PWD/other.txt $PWD/keys.age"
	[[ ${lines[-1]} == *": EIO: ended with status 1" && ${lines[0]} == *"no identity matched"* ]]
	[ ! -e out.jwk ]
	program ask <<<'echo a-passphrase'
	export CT_ASKPASS=$PWD/ask CT_ASKPASS_REQUIRE=force
	"$CT" keygen -q --passphrase -o p.jwe
	age -r "$(age-keygen -y id.txt)" -o p.age p.jwe
	reader "exec:$(command -v age) -d -i $PWD/id.txt $PWD/p.age"
}
