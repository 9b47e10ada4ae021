# Attacks on the agent and its clients, each with the outcome that docs/SECURITY.md tells. Where each is tested:
#
#   connect, then exec or fork an allowed program            here
#   PR_SET_MM_MAP: another executable's name                 here
#   a peer that has ended, or whose pid is somebody else's    rules.bats, "a process that has ended is nobody", "… took the number …"
#   another uid, admitted and not                            here
#   a connection that is handed on                           here
#   a socket that was swapped                                here; agent_life.bats, "a socket that belongs to another user …", "a folder that others may write …"
#   another policy spliced into a header                     here; flips.bats and differential.bats for every other change
#   one file's header before another's data                  here
#   a header signed anew with another set's key              agent.bats, "a header signed by a key of another set …"; token.bats for tokens
#   a program that preloads, traces, is a script             not ours to prevent: SECURITY.md, "Which programs may decrypt"
#   unknown operations, versions, members twice              agent.bats, "other versions, unknown operations …"
#   frames over their limits, cut, mutated                   agent.bats, "frames over their limits …", "2000 mutated requests …"
#   peers that are slow, or many; headers that are huge      agent.bats, "peers that send half a frame …", "more connections …", "a huge forged header …"
#   claims, paths, metadata that look like something else    policy.bats, "claims …"; rules.bats, "a hostile path …"; cli.bats, "foreign strings …"
#   policies that never end, eat memory, escape              engine.bats, policy_rego.bats
#   a licence that is replayed, changed, somebody else's     licence.bats, licence_agent.bats "renewal …"
#   a clock set back, an older list of revoked licences      licence_agent.bats, "time never goes back …", "revocation …"
#   somebody who has taken the agent over                    unit/agent_calls.c, agent_front.c, agent_keeper.c; hardening.bats, keeper.bats
#   somebody who may read the agent's memory, or trace it    hardening.bats, keeper.bats, token.bats
#   the key of a set that was removed                        agent.bats, "what is removed is gone from memory …"

load helpers

setup_file() {
	local t=$BATS_FILE_TMPDIR
	export PYTHONPATH=$ROOT/tests PYTHONDONTWRITEBYTECODE=1 T=$t A=$t/a.safetensors
	plain_model "$t/plain.safetensors" 200000
	"$CT" keygen -q -o "$t/keys.jwk"
	"$CT" encrypt -q --keys "$t/keys.jwk" --chunk-size 65536 "$t/plain.safetensors" "$A"
	"$CT" encrypt -q --keys "$t/keys.jwk" --chunk-size 65536 "$t/plain.safetensors" "$t/b.safetensors"
	cp "$(readlink -f "$(command -v sh)")" "$t/allowed"
}

setup() {
	ATTACK=(python3 "$ROOT/tests/attacks.py")
	cd "$BATS_TEST_TMPDIR"
}

teardown() {
	[ -z "${SERVER-}" ] || { kill "$SERVER" && wait "$SERVER"; } 2>/dev/null || true
	[ -z "${DIR-}" ] || rm -rf "$DIR"
	agent_stop
}

# agent_with [LINE…]
agent_with() {
	agent_stop
	printf '%s\n' "$@" >conf
	AGENT_OPTS=(-c "$PWD/conf")
	agent_start "$T/keys.jwk"
}

root_needed() { # root_needed WHY
	need setpriv
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, $1"
}

# for_all: sets DIR, a folder where every user finds the attacks, the file and its keys' owner's program
for_all() {
	DIR=$(mktemp -d /tmp/ctXXXXXX)
	cp "$ROOT"/tests/{attacks,peer,judge}.py "$A" "$T/allowed" "$PROBES/exe_name" "$DIR"
	chmod -R a+rX "$DIR"
	export PYTHONPATH=$DIR
	ATTACK=(/usr/bin/python3 "$DIR/attacks.py")
	chmod 711 "$AGENT_DIR"
}

# A rule about executables reads like a boundary. Here is what it is: what SECURITY.md says of exe=, and no worse.
@test "connect and exec: exe= believes it; uid= and cgroup= do not change by it" {
	local cgroup
	agent_with "allow exe=$T/allowed" "deny"
	run -0 "$T/allowed" -c "$(printf '%q ' python3 "$ROOT/tests/peer.py" open "$A")" # not by a child of an allowed one
	says '"disposition":"refuse"'
	run -0 "${ATTACK[@]}" exec "$A" "$T/allowed"
	says '"disposition":"serve"'
	agent_with "deny uid=$(id -u)" "allow exe=$T/allowed"
	run -0 "${ATTACK[@]}" exec "$A" "$T/allowed"
	says '"disposition":"refuse"' 'line 1 of'
	"$CT" policy explain --json "$A" >explained || true
	cgroup=$(python3 -c 'import json; print(json.load(open("explained"))["input"]["peer"]["cgroup"])')
	agent_with "deny cgroup=\"$cgroup\"" "allow exe=$T/allowed"
	run -0 "${ATTACK[@]}" exec "$A" "$T/allowed"
	says '"disposition":"refuse"' 'line 1 of'
}

# If the child's executable counted, anybody's parent would do; if nobody looked, the rules would be about the wrong process.
@test "connect, fork, exec: who connected is who is asked about" {
	agent_with "allow exe=$T/allowed" "deny"
	run -0 "${ATTACK[@]}" fork "$A" "$T/allowed"
	says '"disposition":"refuse"' 'line 2 of'
	agent_with "deny exe=$T/allowed"
	run -0 "${ATTACK[@]}" fork "$A" "$T/allowed"
	says '"disposition":"serve"'
}

# A namespace is no privilege, and yet lets a process choose its executable's name: who relies on exe= against others must know.
@test "PR_SET_MM_MAP: exe= believes it; uid= is the one outside of the namespace" {
	root_needed "to be another user"
	need unshare
	agent_with "allow-uid 12345" "allow exe=/tmp/ct*/allowed" "deny"
	for_all
	"${ATTACK[@]}" request "$A" >request
	setpriv --reuid 12345 --regid 12345 --clear-groups unshare -Ur true ||
		skip_or_fail "an ordinary user may have no namespace here" || return
	run -0 setpriv --reuid 12345 --regid 12345 --clear-groups "${ATTACK[@]}" exec "$DIR/a.safetensors" /bin/sh
	says '"disposition":"refuse"'
	run -0 --separate-stderr setpriv --reuid 12345 --regid 12345 --clear-groups unshare -Ur "$DIR/exe_name" "$DIR/allowed" <request
	[ "$stderr" = "$DIR/allowed" ]
	says '"disposition":"serve"'
	rm -rf "$DIR"
	agent_with "allow-uid 12345" "deny uid=12345" "allow exe=/tmp/ct*/allowed"
	for_all
	run -0 --separate-stderr setpriv --reuid 12345 --regid 12345 --clear-groups unshare -Ur "$DIR/exe_name" "$DIR/allowed" <request
	[ "$stderr" = "$DIR/allowed" ]
	says '"disposition":"refuse"' 'line 2 of' '(uid 12345)'
	# and it is nobody's owner for being root inside
	run -0 setpriv --reuid 12345 --regid 12345 --clear-groups unshare -Ur /usr/bin/python3 "$DIR/peer.py" ask '{"v":1,"op":"list"}'
	says '"error":"EPERM"'
}

# The rights of the protocol's table, each with a peer who has them and one who has not.
@test "another uid: refused before a byte of its request is read; admitted it may open, and no more" {
	local op
	root_needed "to be two users"
	agent_with "allow-uid 12345"
	for_all
	run -0 timeout 60 "${ATTACK[@]}" silent 12346
	says '"error":"EKEYREJECTED"' 'does not admit uid 12346'
	PEER=(setpriv --reuid 12345 --regid 12345 --clear-groups /usr/bin/python3 "$DIR/peer.py")
	run -0 "${PEER[@]}" open "$DIR/a.safetensors"
	says '"disposition":"serve"'
	for op in explain status ping; do
		run -0 "${PEER[@]}" ask "{\"v\":1,\"op\":\"$op\"}"
		[[ $output != *EPERM* && $output != *EKEYREJECTED* ]]
	done
	for op in list lock unlock remove add; do
		run -0 "${PEER[@]}" ask "{\"v\":1,\"op\":\"$op\",\"all\":true}"
		says '"error":"EPERM"'
	done
	PEER[2]=12346
	for op in open explain status ping list lock unlock remove add; do
		run -0 "${PEER[@]}" ask "{\"v\":1,\"op\":\"$op\"}"
		says '"error":"EKEYREJECTED"'
	done
	run -0 "$CT" list
	[[ $output != *"no keys"* ]]
}

# The credentials of a connection are its connector's for good. That may be abused among friends, but must never add to what one of them may.
@test "a connection that is handed on: the connector's rights, whoever asks" {
	root_needed "to be three users"
	agent_with "allow-uid 12345"
	for_all
	run -0 "${ATTACK[@]}" pass 12345 12346 open "$DIR/a.safetensors"
	says '"disposition":"serve"'
	run -0 "${ATTACK[@]}" pass 12346 12345 open "$DIR/a.safetensors"
	says '"error":"EKEYREJECTED"' 'does not admit uid 12346'
	run -0 "${ATTACK[@]}" pass 12345 0 remove
	says '"error":"EPERM"'
	run -0 "${ATTACK[@]}" pass 12346 0 remove
	says '"error":"EKEYREJECTED"'
	run -0 "${ATTACK[@]}" pass 0 12346 list
	says '"ok":true'
}

# server_at PATH COUNT: a stranger's socket; what it gets is in received
server_at() {
	local i
	setpriv --reuid 12345 --regid 12345 --clear-groups "${ATTACK[@]}" server "$1" "$2" >received 3>&- &
	SERVER=$!
	for ((i = 0; i < 600; i++)); do
		[ ! -S "$1" ] || return 0
		sleep 0.05
	done
	return 1
}

# Whoever is believed gets headers, and with ct add the keys.
@test "a swapped socket: nothing is sent to it, by ct or shim, under its own path, a link or a folder's name" {
	root_needed "to be two users"
	agent_with
	for_all
	local real=$AGENT_DIR/s
	mkdir -m 755 "$DIR/theirs"
	chown 12345 "$DIR/theirs"
	server_at "$DIR/theirs/s" 9
	mkdir "$DIR/mine"
	ln -s "$real" "$DIR/mine/s"
	CT_AGENT_SOCK=$DIR/mine/s run -0 "$CT" verify "$A" # a link to our own is fine
	ln -sfn "$DIR/theirs/s" "$DIR/mine/s"
	mv "$DIR/mine" "$DIR/was"
	ln -s theirs "$DIR/mine"
	for CT_AGENT_SOCK in "$DIR/theirs/s" "$DIR/was/s" "$DIR/mine/s"; do
		run -3 "$CT" add "$T/keys.jwk"
		says "ENOKEY" "runs as uid 12345 and is not believed"
		run -1 "$CT" verify "$A"
		says "ENOKEY"
		run -1 --separate-stderr shimmed cat "$A"
		[ -z "$output" ]
		[[ $stderr == *"ENOKEY"* ]]
	done
	wait "$SERVER"
	unset SERVER
	cat received
	[ "$(sort received | uniq -c | tr -s ' ')" = " 9 0" ]
}

# A client may send whatever header it likes: what it sends is what was signed, or nothing.
@test "a header with another policy spliced in is EBADMSG" {
	local word=""
	agent_with
	"$CT" encrypt -q --keys "$T/keys.jwk" --policy <(printf 'package model\nallow = false\n') "$T/plain.safetensors" no.safetensors
	run -0 python3 "$ROOT/tests/peer.py" open no.safetensors
	says '"disposition":"refuse"'
	"${ATTACK[@]}" splice spliced.safetensors no.safetensors $'package model\nallow = true'
	run -0 python3 "$ROOT/tests/peer.py" open spliced.safetensors
	says '"error":"EBADMSG"' 'signature'
	# the same policy, spliced in again, is the file as it was: the splice is not what fails
	"${ATTACK[@]}" splice same.safetensors "$A" $'package model\nallow = false'
	"${ATTACK[@]}" splice again.safetensors same.safetensors "$(python3 -c '
import json, sys
raw = open(sys.argv[1], "rb").read()
print(json.loads(json.loads(raw[8:8 + int.from_bytes(raw[:8], "little")])["__metadata__"]["__policy__"])["local"], end="")' "$A")"
	run -0 python3 "$ROOT/tests/peer.py" open same.safetensors
	says '"error":"EBADMSG"'
	run -0 python3 "$ROOT/tests/peer.py" open again.safetensors
	says '"disposition":"serve"'
}

# The agent never sees data: a soft file's header in front of a strict one's must not open that.
@test "one file's header before another's data is EIO, without a byte of it" {
	agent_with
	"${ATTACK[@]}" graft grafted.safetensors "$A" "$T/b.safetensors"
	run -0 python3 "$ROOT/tests/peer.py" open grafted.safetensors
	says '"disposition":"serve"'
	run -1 "$CT" verify grafted.safetensors
	says "EIO"
	local n
	n=$((8 + $(od -An -tu8 -N8 grafted.safetensors)))
	shimmed cat grafted.safetensors >got 2>said || true
	cat said
	[ "$(stat -c %s got)" -le "$n" ]
	grep -q 'Input/output error' said
	shimmed cat "$A" | cmp -n "$n" - got
}
