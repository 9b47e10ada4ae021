# What the owner of a key set binds it to (ct add -t, -c, --uid, --exe, --opens), and ct check. The judges are cmp, judge.py's data keys and the kernel's /proc.

load helpers

setup_file() {
	export PYTHONPATH=$ROOT/tests M=$VECTORS/aes256gcm_v2_c16.safetensors KEYS=$VECTORS/keys/aes256gcm.jwk T=$BATS_FILE_TMPDIR
	PYEXE=$(python3 -c 'import os; print(os.readlink("/proc/self/exe"))') # python3 itself may be a script, or a link
	export PYEXE
	plain_model "$T/plain.safetensors" 200000
	"$CT" keygen -q --kid-enc "master a" --kid-sign a/signer -o "$T/a.jwk"
	"$CT" encrypt -q --keys "$T/a.jwk" --chunk-size 65536 "$T/plain.safetensors" "$T/a.safetensors"
	"$CT" encrypt -q --keys "$T/a.jwk" --chunk-size 65536 "$T/plain.safetensors" "$T/b.safetensors"
	"$CT" decrypt -q --keys "$T/a.jwk" "$T/a.safetensors" "$T/view" # the headers of views differ from the plain file's
}

setup() {
	PEER=(python3 "$ROOT/tests/peer.py")
	CAT=$(readlink -f "$(command -v cat)")
	JOBS=()
	cd "$BATS_TEST_TMPDIR"
}

# What a failed test leaves in the background ends here, too.
teardown() {
	local j
	for j in "${JOBS[@]}"; do
		kill -9 "$j" 2>/dev/null || true
	done
	agent_stop
}

ask() {
	"${PEER[@]}" ask "$@"
}

# add JSON-MEMBERS: the keys of M
add() {
	ask "{\"v\":1,\"op\":\"add\"${1:+,$1}}" "$KEYS"
}

keys_of() { # keys_of FILE: mode 600, as ct wants it
	key_file "$1"
}

# A constraint with a typing error that were dropped would hand out keys to everybody.
@test "constraints that are none are EINVAL, say what is right, and add nothing" {
	agent_start
	local bad many exe
	many=$(printf '1%.0s,' {1..64})1
	exe=$(printf 'x%.0s' {1..1023})
	ln -s "${CAT%/*}" link
	for bad in '"uids":[]' '"uids":1' '"uids":["1"]' '"uids":[-1]' '"uids":[4294967295]' '"uids":[1.5]' "\"uids\":[$many]" '"uids":null' \
		'"exes":[]' '"exes":"/bin/cat"' '"exes":[1]' '"exes":["cat"]' '"exes":[""]' "\"exes\":[\"/$exe\"]" '"exes":["/a\u0000b"]' "\"exes\":[\"/a\",\"$PWD/link/cat\"]" \
		"\"exes\":[\"$PWD\"]" '"opens":0' '"opens":-1' '"opens":"1"' '"opens":4294967296' '"confirm":1' '"confirm":null' '"uids":[1],"uids":[1]'; do
		run -0 add "$bad"
		says '"error":"EINVAL"' || { echo "for $bad"; return 1; }
	done
	run -0 add "\"uids\":[$many]"
	says '1 to 64 numbers'
	run -0 add '"exes":["cat"]'
	says 'begin with / or *'
	run -0 add "\"exes\":[\"$PWD/link/cat\"]"
	says 'readlink -f'
	run -0 ask '{"v":1,"op":"list"}'
	says '"sets":0'
	run -0 add "\"uids\":[${many%,1}],\"exes\":[\"/${exe%x}\"],\"opens\":4294967295,\"confirm\":false"
	says '"constrained":true'
	run -0 add '"confirm":false'
	[[ $output != *constrained* ]]
}

# ct's options are what people type: each must arrive, and be refused where it is wrong.
@test "ct add: its options, ct list, and the same keys given again" {
	agent_start
	local bad keys
	keys=$(keys_of "$KEYS")
	for bad in '--uid root' '--uid -1' '--uid 4294967295' '--exe cat' '--opens 0' '--opens x' '-t 0' '-t 5y' '-t 99999999999' '-t 1193047h'; do
		# shellcheck disable=SC2086
		run -2 "$CT" add $bad "$keys"
		says "ct add: "
	done
	run -3 "$CT" add --exe "$PWD" "$keys"
	says "EINVAL" "names a folder"
	run -0 "$CT" add -t 90m --uid 7 --uid 8 --exe "$CAT" --exe '/opt/my "models"/*' --opens 3 "$keys"
	run -0 "$CT" list --json
	[ "$(jq -c '.sets[0] | [.id, .uids, .exes, .opens, .confirm]' <<<"$output")" = "[1,[7,8],[\"$CAT\",\"/opt/my \\\"models\\\"/*\"],3,null]" ]
	[ "$(jq '.sets[0].expires_in > 5300 and .sets[0].expires_in <= 5400' <<<"$output")" = true ]
	run -0 "$CT" list
	says "set 1, forgotten in 5" "for 3 more opens" "only for user 7" "only for user 8" "only for program $CAT" 'only for program /opt/my "models"/*'
	run -0 "$CT" add "$keys"
	says "as set 1"
	run -0 "$CT" list --json
	[ "$(jq -c '.sets[0] | [.expires_in, .uids, .exes, .opens]' <<<"$output")" = '[null,null,null,null]' ]
}

# The constraint that lets another program in is none.
@test "exe: one program reads, the other gets EKEYREJECTED and not one byte" {
	agent_start
	"$CT" add -q --exe "$CAT" "$(keys_of "$T/a.jwk")"
	shimmed cat "$T/a.safetensors" | cmp - "$T/view"
	run ! --separate-stderr shimmed head -c 1000 "$T/a.safetensors"
	[ -z "$output" ]
	[[ $stderr == *"EKEYREJECTED: key set 1 is not for the program $(readlink -f "$(command -v head)")"* ]]
	run -1 "$CT" policy explain "$T/a.safetensors"
	says "would be refused: key set 1 is not for the program" "the set's constraints: unfit"
	"$CT" add -q --exe '*/head' --exe "$CAT" "$(keys_of "$T/a.jwk")"
	shimmed cat "$T/a.safetensors" | cmp - "$T/view"
	run -0 shimmed head -c 1 "$T/a.safetensors"
}

# Who replaces an executable under a running program would keep its rights.
@test "exe: an executable that was removed fits nothing, not its own name either" {
	agent_start
	cp "$PYEXE" python
	add "\"exes\":[\"*\"]"
	mkfifo go
	PYTHONHOME=$(python3 -c 'import sys; print(sys.prefix)') ./python -c 'open("ready", "w").close(); open("go").read(); import peer, sys; peer.main("open", sys.argv[1])' "$M" >out 2>&1 3>&- &
	JOBS+=($!)
	local i
	for ((i = 0; i < 300; i++)); do [ -e ready ] && break; sleep 0.1; done
	rm python
	echo >go
	wait "$!"
	run -0 cat out
	says '"disposition":"refuse"' 'was removed or replaced since it started'
	run -0 "${PEER[@]}" open "$M" "$KEYS"
}

# The kernel's word on who connected.
@test "uid: others are refused, and are told neither globs nor users" {
	need setpriv
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, to be two users"
	printf 'allow-uid 12345\nallow-uid 12346\n' >conf
	AGENT_OPTS=(-c "$PWD/conf")
	agent_start
	chmod 711 "$AGENT_DIR"
	local d=$AGENT_DIR/x
	mkdir "$d" && cp "$ROOT"/tests/{peer,judge}.py "$M" "$d" && chmod -R a+rX "$d"
	export PYTHONPATH=$d PYTHONDONTWRITEBYTECODE=1
	as() { setpriv --reuid "$1" --regid "$1" --clear-groups /usr/bin/python3 "$d/peer.py" "${@:2}"; }
	add '"uids":[12345],"exes":["/secret/place","*"]'
	run -0 as 12345 open "$d/${M##*/}"
	says '"disposition":"serve"'
	run -0 as 12346 open "$d/${M##*/}"
	says '"disposition":"refuse"' 'key set 1 is not for uid 12346'
	[[ $output != *secret* && $output != *12345* ]]
	add '"uids":[12345],"exes":["/secret/place"]'
	run -0 as 12345 open "$d/${M##*/}"
	says '"disposition":"refuse"' 'key set 1 is '
	[[ $output != *secret* ]]
	run -0 "${PEER[@]}" open "$M"
	says 'key set 1 is not for uid 0'
}

# A set that is for somebody else must not hide the one that fits, nor be opened through it.
@test "of two sets with the same keys the one that fits is tried" {
	agent_start
	python3 -c '
import json, sys
keys = json.load(open(sys.argv[1]))["keys"]
json.dump({"keys": keys + [dict(keys[0], kid="more")]}, open("more", "w"))' "$KEYS"
	add '"exes":["/nobody"]'
	run -0 "${PEER[@]}" open "$M"
	says '"disposition":"refuse"' 'key set 1 is not for'
	run -0 ask '{"v":1,"op":"add","opens":1}' more
	says '"set":2'
	run -0 "${PEER[@]}" open "$M" "$KEYS"
	says '"disposition":"serve"'
	run -0 "${PEER[@]}" open "$M" # set 2 is gone
	says '"disposition":"refuse"' 'key set 1 is not for'
	run -0 ask '{"v":1,"op":"status"}'
	says '"refused":2' '"served":1'
	# one that fits but has another master key is not what there is to say
	sed 's/"kid": "ek2"/"kid": "ek"/' "$VECTORS/keys/new-aes256gcm.jwk" >other
	python3 - "$KEYS" other mixed <<-'EOT'
		import json, sys
		a, b = (json.load(open(p))["keys"] for p in sys.argv[1:3])
		json.dump({"keys": [k for k in a if k["kty"] == "okp"] + [k for k in b if k["kty"] == "oct"]}, open(sys.argv[3], "w"))
	EOT
	ask '{"v":1,"op":"add"}' mixed
	run -0 "${PEER[@]}" open "$M"
	says '"disposition":"refuse"' 'key set 1 is not for'
}

# One too many is a leak; one too few, a server that does not start.
@test "opens: exactly as many as were given, explain counts as none, then the set is gone" {
	AGENT_OPTS=(--audit "$PWD/audit")
	agent_start
	add '"opens":3'
	local n
	for n in 1 2 3; do # not i: run() changes it
		ask "{\"v\":1,\"op\":\"explain\",\"size\":$(stat -c %s "$M")}" <(head -c "$(($(od -An -tu8 -N8 "$M") + 8))" "$M") >explained
		grep -q '"disposition":"serve"' explained
		run -0 ask '{"v":1,"op":"list"}'
		says "\"opens\":$((4 - n))"
		run -0 "${PEER[@]}" open "$M" "$KEYS"
	done
	run -0 "${PEER[@]}" open "$M"
	says '"error":"ENOKEY"'
	run -0 ask '{"v":1,"op":"list"}'
	says '"sets":0'
	[ "$(jq -r .event audit | tail -n 3 | head -n 2 | sort | tr '\n' ' ')" = "open remove " ]
	add '"opens":1'
	shimmed python3 -c '
import sys
for _ in range(5):
    assert open(sys.argv[1], "rb").read()' "$M" # once a process, as long as its views live
	run -0 ask '{"v":1,"op":"list"}'
	says '"sets":0'
}

# --- a question to a person ---

# asking_agent [KEYS]: an agent that asks by askpass.sh, and those keys added with -c
asking_agent() {
	export ASKPASS_DIR=$PWD
	CT_ASKPASS=$ROOT/tests/askpass.sh agent_start
	"$CT" add -q -c "$(keys_of "${1-$T/a.jwk}")"
}

questions() {
	find . -name 'question.*' | wc -l
}

served() {
	ask '{"v":1,"op":"status"}' | jq .opens.served
}

# asked N: within 30 s there are that many questions
asked() {
	local i
	for ((i = 0; i < 300; i++)); do
		[ "$(questions)" -ge "$1" ] && break
		sleep 0.1
	done
	[ "$(questions)" = "$1" ]
}

failed() { # failed JOB: its status; not by run(), which is another process
	local rc=0
	wait "$1" || rc=$?
	[ "$rc" != 0 ]
}

# What is asked must be what happens: another program, another key, or control characters in the text would have people say yes to the wrong thing.
@test "confirm: the question names program, process, user and keys, escaped; yes serves" {
	export ASKPASS_DIR=$PWD
	echo 0 >answer
	CT_ASKPASS=$ROOT/tests/askpass.sh LD_LIBRARY_PATH=/nonexistent SSH_ASKPASS_PROMPT=none agent_start
	"$CT" keygen -q --kid-enc 'my key' --kid-sign s -o odd.jwk
	"$CT" encrypt -q --keys odd.jwk "$T/plain.safetensors" odd.safetensors
	"$CT" add -q -c odd.jwk
	run -0 "$CT" list
	says "set 1, after a question"
	local cat=$'my\ncat'
	cp "$CAT" "$cat"
	shimmed "./$cat" odd.safetensors >out
	[ "$(stat -c %s out)" = "$(stat -c %s odd.safetensors)" ]
	[ "$(questions)" = 1 ]
	run -0 cat question.*
	says 'Decrypt a model for '"$PWD"'/my\x0acat (process ' " of uid $(id -u)) with key set 1, key \"my key\", signed by \"s\"?"
	[ "${lines[1]}" = 1 ]
	[ "${lines[2]}" = confirm ]
	[ "${lines[3]}" = none ]
	run -0 ask '{"v":1,"op":"status"}'
	says '"served":1'
}

# A loader opens dozens of shards, in threads and in workers; dozens of windows are what makes people say yes to anything.
@test "confirm: one question for a program, its threads, its workers and all its files; another launch is asked anew" {
	asking_agent
	cat >reader.py <<-'EOT'
		import os, sys, threading
		def read(path):
		    open(path, "rb").read()
		threads = [threading.Thread(target=read, args=(p,)) for p in sys.argv[1:] * 2]
		for t in threads: t.start()
		for t in threads: t.join()
		if "again" not in os.environ:
		    os.environ["again"] = "1"
		    sys.exit(os.waitstatus_to_exitcode(os.spawnv(os.P_WAIT, sys.executable, [sys.executable, *sys.argv]) << 8))
	EOT
	shimmed python3 reader.py "$T/a.safetensors" "$T/b.safetensors" 3>&- &
	JOBS+=($!)
	asked 1
	echo 0 >answer
	wait "$!"
	[ "$(questions)" = 1 ]
	shimmed cat "$T/a.safetensors" | cmp - "$T/view" # another program, as a child of this shell
	[ "$(questions)" = 2 ]
	shimmed python3 reader.py "$T/a.safetensors"
	[ "$(questions)" = 3 ]
	# what is executed in the same process is another program
	shimmed python3 -c 'import os, sys; open(sys.argv[1], "rb").read(); os.execvp("cat", ["cat", sys.argv[1]])' "$T/a.safetensors" >/dev/null
	[ "$(questions)" = 5 ]
	# a worker goes on after the program that was asked about has ended
	cp "$T/a.safetensors" c.safetensors
	cat >worker.py <<-'EOT'
		import os, sys, time
		open(sys.argv[1], "rb").read()
		if "worker" in os.environ:
		    while os.getppid() == int(os.environ["worker"]): time.sleep(0.1)
		    open(sys.argv[2], "rb").read()
		    open("over", "w").close()
		else:
		    os.environ["worker"] = str(os.getpid())
		    os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, *sys.argv])
		    while "worker" not in open("start").read(): pass
	EOT
	mkfifo start
	local n before
	before=$(served)
	shimmed python3 worker.py "$T/a.safetensors" c.safetensors 3>&- &
	JOBS+=($!)
	asked 6
	for ((n = 0; n < 300; n++)); do [ "$(served)" = $((before + 2)) ] && break; sleep 0.1; done
	[ "$n" -lt 300 ]
	echo worker >start
	for ((n = 0; n < 300; n++)); do [ -e over ] && break; sleep 0.1; done
	[ -e over ]
	[ "$(questions)" = 6 ]
}

# A no that is forgotten is asked until somebody says yes.
@test "confirm: a no is EKEYREJECTED and stays for that process; adding the set anew asks anew" {
	asking_agent "$KEYS"
	echo 1 >answer
	cat >twice.py <<-'EOT'
		import peer, sys
		for _ in range(2):
		    peer.main("open", sys.argv[1])
		print("next", flush=True)
		open("go").read()
		peer.main("open", sys.argv[1])
	EOT
	mkfifo go
	python3 twice.py "$M" >out 2>&1 3>&- &
	JOBS+=($!)
	local n
	for ((n = 0; n < 300; n++)); do grep -q next out && break; sleep 0.1; done
	[ "$(questions)" = 1 ]
	[ "$(grep -c '"disposition":"refuse".*and the answer was no' out)" = 2 ]
	echo 0 >answer
	"$CT" add -q -c "$(keys_of "$KEYS")"
	echo >go
	wait "$!"
	[ "$(questions)" = 2 ]
	run -0 tail -n 1 out
	says '"disposition":"serve"'
	echo 1 >answer
	run -0 "$CT" policy explain "$M" # asks nobody
	says "the set's constraints: ask"
	[ "$(questions)" = 2 ]
}

# Everybody waits for one person's lunch otherwise.
@test "confirm: others are served meanwhile, and the client comes again after its 10 s" {
	asking_agent
	"$CT" add -q "$(keys_of "$KEYS")"
	shimmed cat "$T/a.safetensors" >out 2>err 3>&- &
	JOBS+=($!)
	local job=$! start=$SECONDS
	asked 1
	run -0 "${PEER[@]}" open "$M" "$KEYS"
	run -0 "${PEER[@]}" open "$T/a.safetensors"
	says '"error":"EAGAIN"' 'somebody is being asked'
	[ $((SECONDS - start)) -ge 7 ]
	[ "$(questions)" = 2 ] # two programs
	run -0 "${PEER[@]}" open "$M" "$KEYS"
	sleep 4
	kill -0 "$job" # 12 s have gone since it asked
	echo 0 >answer
	wait "$job"
	cmp out "$T/view"
	[ "$(questions)" = 2 ]
}

# An agent that asks without anybody to ask would never serve, and one that then serves would never ask.
@test "confirm: without CT_ASKPASS, or with one that is no program, ct add -c is refused" {
	agent_start
	run -3 "$CT" add -c "$(keys_of "$KEYS")"
	says "ENOENT" "CT_ASKPASS"
	agent_stop
	CT_ASKPASS=askpass agent_start
	run -3 "$CT" add -c "$(keys_of "$KEYS")"
	says "ENOENT" "no absolute path"
	"$CT" add -q "$(keys_of "$KEYS")"
	run -0 ask '{"v":1,"op":"list"}'
	says '"sets":1'
}

# Questions that outlive the agent would stand on a screen for ever; a launcher that is gone must not mean yes.
@test "confirm: a program that was killed is a no, a launcher that was killed as well, and nothing outlives the agent" {
	need pkill
	asking_agent
	echo hang >answer
	shimmed cat "$T/a.safetensors" >out 2>err 3>&- &
	JOBS+=($!)
	asked 1
	local n asker launcher
	asker=$(sed -n 5p question.*)
	for ((n = 0; n < 300; n++)); do grep -q sleep "/proc/$asker/comm" && break; sleep 0.1; done
	kill -9 "$asker"
	failed "$!"
	[ ! -s out ]
	grep -q 'EKEYREJECTED: key set 1 .*the answer was no' err
	launcher=$(pgrep -P "$AGENT_PID" ct-launcher)
	[ "$(wc -w <<<"$launcher")" = 1 ]
	kill -9 "$launcher"
	run ! --separate-stderr shimmed head -c 10 "$T/a.safetensors"
	[ -z "$output" ]
	[[ $stderr == *'EKEYREJECTED: key set 1 '*'what starts CT_ASKPASS has ended'* ]]
	run -3 "$CT" add -c "$(keys_of "$KEYS")"
	says "has ended"
	agent_stop
	asking_agent
	shimmed tail -c 10 "$T/a.safetensors" >out 2>err 3>&- &
	JOBS+=($!)
	asked 2
	kill -9 "$AGENT_PID"
	for n in question.*; do
		asker=$(sed -n 5p "$n")
		local i
		for ((i = 0; i < 300; i++)); do [ -e "/proc/$asker" ] || break; sleep 0.1; done
		[ ! -e "/proc/$asker" ]
	done
	unset AGENT_PID
	rm -rf "$AGENT_DIR"
}

# --- ct check ---

# host NAME=VALUE…: a process under the shim that sleeps; sets HOST
host() {
	env LD_PRELOAD="$PRELOAD" ${ASAN_HOST_OPTIONS:+ASAN_OPTIONS="$ASAN_HOST_OPTIONS"} "$@" sleep 1000 3>&- & # not by shimmed(): that is another process
	HOST=$!
	JOBS+=("$HOST")
	local i
	for ((i = 0; i < 300; i++)); do [ "$(cat "/proc/$HOST/comm")" = sleep ] && break; sleep 0.1; done
}

# A readiness probe that says yes lets requests in.
@test "check: covered or not, agent or not, keys or not: each no says what is missing, yes is 0" {
	agent_start
	host A=b
	run -1 "$CT" check "$HOST"
	says "process $HOST: no" "the agent has no keys"
	"$CT" add -q "$(keys_of "$T/a.jwk")"
	run -0 "$CT" check "$HOST"
	[ "$output" = "process $HOST: covered, and the agent has keys" ]
	run -0 "$CT" check "$HOST" "$T/a.safetensors"
	says "covered, and could open"
	run -0 "$CT" check --json "$HOST" "$T/a.safetensors"
	[ "$(jq -c '[.ok, .covered, .agent, .disposition, .constraints, .missing]' <<<"$output")" = '[true,true,true,"serve","none",[]]' ]
	run -0 "$CT" check -q "$HOST"
	[ -z "$output" ]
	run -0 ask '{"v":1,"op":"status"}'
	says '"served":0'
	"$CT" lock <<<secret
	run -1 "$CT" check "$HOST"
	says "the agent is locked"
	"$CT" unlock <<<secret
	host CTSHIM_DISABLE=1
	run -1 "$CT" check "$HOST"
	says "CTSHIM_DISABLE=1"
	sleep 1000 3>&- &
	JOBS+=($!)
	run -1 "$CT" check --json "$!"
	[ "$(jq -c '[.ok, .covered, .agent, (.missing | length)]' <<<"$output")" = '[false,false,true,1]' ]
	says "libctshim.so is not loaded"
	kill "$!"
	wait "$!" || true
	run -1 "$CT" check "$!"
	says "there is no process"
	local bad
	for bad in '' x 0 '1 2 3' -1; do
		# shellcheck disable=SC2086
		run -2 "$CT" check $bad
	done
}

# The agent that counts is the one that the process itself would ask.
@test "check: the agent is the one that the process's environment names" {
	agent_start "$T/a.jwk"
	host CT_AGENT_SOCK="$PWD/none"
	run -1 "$CT" check "$HOST"
	says "no agent at $PWD/none"
	host A=b
	CT_AGENT_SOCK=$PWD/none run -0 "$CT" check "$HOST" "$T/a.safetensors"
}

# With FILE the answer must be about that process, not about ct.
@test "check FILE: rules, constraints, policies and keys are judged as if the process had asked" {
	local sleep
	sleep=$(readlink -f "$(command -v sleep)")
	printf 'keep 3\ndeny exe=%s\n' "$sleep" >conf
	AGENT_OPTS=(-c "$PWD/conf")
	agent_start "$T/a.jwk"
	host A=b
	run -1 "$CT" check "$HOST" "$T/a.safetensors"
	says "EKEYREJECTED: line 2 of the agent's configuration"
	printf 'allow exe=%s\ndeny\n' "$sleep" >conf
	kill -HUP "$AGENT_PID"
	run -0 "$CT" check "$HOST" "$T/a.safetensors"
	run -1 "$CT" verify "$T/a.safetensors"
	run -1 "$CT" check "$HOST" "$M"
	says "ENOKEY: "
	"$CT" add -q --exe "$CAT" "$(keys_of "$T/a.jwk")"
	run -1 "$CT" check "$HOST" "$T/a.safetensors"
	says "key set 1 is not for the program $sleep"
	run -3 "$CT" check "$HOST" "$T/plain.safetensors"
	says EPERM
	run -3 "$CT" check "$HOST" "$PWD/none"
	says ENOENT
	agent_stop
	asking_agent
	host A=b
	run -0 "$CT" check "$HOST" "$T/a.safetensors"
	says "after somebody has said yes"
	[ "$(questions)" = 0 ]
}

# What another process may is nobody else's business; and its groups are those of the kernel.
@test "explain with pid: for the agent's user and root alone; uid, gid and groups are the process's" {
	need setpriv
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, to be two users"
	printf 'allow-uid 12345\n' >conf
	AGENT_OPTS=(-c "$PWD/conf")
	agent_start
	add ''
	chmod 711 "$AGENT_DIR"
	local d=$AGENT_DIR/x head=$AGENT_DIR/x/head size
	mkdir "$d" && cp "$ROOT"/tests/{peer,judge}.py "$d"
	head -c "$(($(od -An -tu8 -N8 "$M") + 8))" "$M" >"$head"
	chmod -R a+rX "$d"
	size=$(stat -c %s "$M")
	setpriv --reuid 12345 --regid 12346 --groups 7,12347 sleep 1000 3>&- &
	local other=$!
	JOBS+=("$other")
	local i
	for ((i = 0; i < 300; i++)); do [ "$(cat "/proc/$other/comm")" = sleep ] && break; sleep 0.1; done
	run -0 ask "{\"v\":1,\"op\":\"explain\",\"size\":$size,\"pid\":$other}" "$head"
	says "\"pid\":$other,\"policy\""
	[ "$(tail -n 1 <<<"$output" | jq -c '.peer | [.uid, .gid, .groups, .pid]')" = "[12345,12346,[7,12347],$other]" ]
	PYTHONPATH=$d PYTHONDONTWRITEBYTECODE=1 run -0 setpriv --reuid 12345 --regid 12345 --clear-groups /usr/bin/python3 "$d/peer.py" ask \
		"{\"v\":1,\"op\":\"explain\",\"size\":$size,\"pid\":$other}" "$head"
	says '"error":"EPERM"'
	setpriv --reuid 12399 --regid 12399 --clear-groups sleep 1000 3>&- &
	other=$!
	JOBS+=("$other")
	for ((i = 0; i < 300; i++)); do [ "$(cat "/proc/$other/comm")" = sleep ] && break; sleep 0.1; done
	run -0 ask "{\"v\":1,\"op\":\"explain\",\"size\":$size,\"pid\":$other}" "$head"
	says '"error":"EKEYREJECTED"' 'does not admit uid 12399'
	kill "$other"
	wait "$other" || true
	run -0 ask "{\"v\":1,\"op\":\"explain\",\"size\":$size,\"pid\":$other}" "$head"
	says '"error":"ESRCH"'
	local bad
	for bad in 0 -1 '"1"' 2147483648; do
		run -0 ask "{\"v\":1,\"op\":\"explain\",\"size\":$size,\"pid\":$bad}" "$head"
		says '"error":"EINVAL"'
	done
	# numbers of another namespace are other processes
	need unshare
	run -0 unshare --pid --fork --kill-child "${PEER[@]}" ask "{\"v\":1,\"op\":\"explain\",\"size\":$size,\"pid\":1}" "$head"
	says '"error":"EINVAL"' 'another pid namespace'
}
