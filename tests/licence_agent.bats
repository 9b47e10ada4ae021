# Licences in the agent: which it takes, what it lets them open and until when, what it is told of time and of revocation.

load helpers
load licence

setup() {
	licence_setup
}

# The agent is the one that counts: whoever may add keys talks to it without ct.
@test "the agent itself: a licence of other keys, and another licence's file" {
	agent
	issue A
	issue B
	for x in A B; do
		judge check "$x/$x.licence" k.jwk c.jwk "$x.jwk" >/dev/null
	done
	"$CT" keygen -q -o other.jwk
	ask() { # ask SET LICENCE [MEMBER]
		python3 "$ROOT/tests/peer.py" ask "$(jq -cn --rawfile l "$2" "{v: 1, op: \"add\", licence: \$l${3:+,$3}}")" "$1"
	}
	run ask other.jwk A/A.licence
	[[ $output == *'"EKEYREJECTED"'*'is not signed by a verification key of the set that it came with'* ]]
	no_sets
	run -0 ask A.jwk B/B.licence # the key of A under the conditions of B
	[[ $output == *'"licensed":true'* || $output == *'"licensed": true'* ]]
	refused 'licence "B" does not open it: the file is under licence "A"' A/m.safetensors
	run -1 "$CT" policy explain --json A/m.safetensors
	[[ $output == *'"licence":"file"'* ]]
	# a set that was there keeps what it had, its lifetime too
	run ask other.jwk A/A.licence
	refused 'licence "B" does not open it' A/m.safetensors
	"$CT" encrypt -q --keys other.jwk plain o.safetensors
	"$CT" licence request -q --publisher "$(fingerprint other.jwk)" --keys o.jwk -o o.json
	"$CT" licence issue -q --keys other.jwk --to o.json --id A --until 2099-12-31 -o O o.safetensors
	run ask A.jwk O/A.licence '"lifetime":60'
	[[ $output == *'"EKEYREJECTED"'*'is not signed by a verification key of the set that it came with'* ]]
	refused 'licence "B" does not open it' A/m.safetensors
	run -0 "$CT" list --json
	[ "$(jq -c '[.sets[].expires_in]' <<<"$output")" = '[null]' ]
	run -0 ask A.jwk A/A.licence
	opens A/m.safetensors
	run -0 "$CT" policy explain --json A/m.safetensors
	[[ $output == *'"licence":"good"'* ]]
	# a file without the entry, under the licence's own keys
	"$CT" remove -q --all
	"$CT" encrypt -q --keys k.jwk plain n.safetensors
	jq -c --slurpfile k k.jwk '.keys[1] = ($k[0].keys[1])' A.jwk >both.jwk
	chmod 600 both.jwk
	"$CT" rewrap -q --keys k.jwk --new-keys both.jwk n.safetensors
	add -q A/A.licence
	refused 'licence "A" does not open it: the file is under no licence' n.safetensors
	# who has keys without a licence needs none
	chmod 600 A.jwk
	"$CT" add -q A.jwk
	opens A/m.safetensors
	opens n.safetensors
	run -0 "$CT" policy explain --json A/m.safetensors
	[[ $output == *'"licence":"none"'* ]]
	run -1 grep -q licence <("$CT" status)
}

# An agent that knows nothing of licences would serve their keys for ever.
@test "an agent that is too old to know licences is not left with the keys" {
	issue A
	export CT_AGENT_SOCK=$BATS_TEST_TMPDIR/old
	timeout 120 python3 - 3>&- <<-'EOF_PY' &
		import json, os, socket, struct
		s = socket.socket(socket.AF_UNIX)
		s.bind(os.environ["CT_AGENT_SOCK"])
		s.listen()
		for answer in ({"v": 1, "ok": True, "set": 7, "keys": 2}, {"v": 1, "ok": True, "removed": 1}):
		    c, _ = s.accept()
		    j, b = struct.unpack("<II", c.recv(8, socket.MSG_WAITALL))
		    print(c.recv(j, socket.MSG_WAITALL).decode()[:40], file=open("asked", "a"))
		    c.recv(b, socket.MSG_WAITALL)
		    text = json.dumps(answer).encode()
		    c.sendall(struct.pack("<II", len(text), 0) + text)
		    c.close()
	EOF_PY
	CT_AGENT_WAIT=30 run -3 add A/A.licence
	wait
	[[ $output == "ct: A/A.licence: EPROTO: this agent is too old to know licences"* ]]
	run -0 tail -n 1 asked
	[[ $output == *'"op":"remove","set":7'* ]]
}

# A licence for one machine, or one user, would open everywhere.
@test "machine and user: all that are given must hold; --machine request takes the customer's" {
	local id
	agent "allow-uid 65534"
	id=$(cat /etc/machine-id 2>/dev/null || true)
	[[ ${#id} == 32 ]] || skip_or_fail "this machine has no /etc/machine-id"
	issue M --machine 0123456789abcdef0123456789abcdef
	issue U --user 4294967294
	issue X --machine 0123456789abcdef0123456789abcdef --machine "$id" --user 4294967294 --user "$(id -u)"
	add -q M/M.licence U/U.licence X/X.licence
	refused 'licence "M" is not for this machine' M/m.safetensors
	refused "licence \"U\" is not for uid $(id -u)" U/m.safetensors
	opens X/m.safetensors
	run -3 "$CT" licence issue --keys k.jwk --to r.json --id R --until 2099-01-01 --machine request -o R m.safetensors
	[[ $output == "ct: r.json: ENOENT: has no machine in it (ct licence request --machine)" ]]
	"$CT" licence request -q --publisher "$FINGERPRINT" --keys c.jwk -o r.json --force --machine
	issue R --machine request
	"$CT" licence show R/R.licence | grep -q "machine:    $id"
	add -q R/R.licence
	opens R/m.safetensors
}

# A server that runs would be cut off, or one that starts be let in, or the line not say what to do.
@test "the end, in an agent that runs: what is open goes on, what is opened is refused" {
	local until i
	agent "keep 60"
	until=$(($(date +%s) + 8))
	issue A --until "$(date -u -d "@$until" +%FT%TZ)"
	add -q A/A.licence
	shimmed python3 -c 'import mmap, os, sys, time
f = open(sys.argv[1], "rb")
m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
open("opened.now", "w").close()
for i in range(6000):
    if os.path.exists("go"): break
    time.sleep(0.02)
sys.stdout.buffer.write(m[-50000:])' A/m.safetensors >late 2>late.err 3>&- &
	for ((i = 0; i < 1200; i++)); do
		run "$CT" decrypt -q --force A/m.safetensors x
		[ "$status" = 0 ] || break
		sleep 0.05
	done
	[[ $output == "ct: A/m.safetensors: EKEYREJECTED: licence \"A\" ended on $(date -u -d "@$((until - 1))" '+%F %T') UTC: ask the publisher for a renewal, and ct add it" ]]
	[ "$(date +%s)" -ge "$until" ]
	touch go
	wait "$!" || [ ! -e opened.now ] # a machine may be too slow to open it in time
	[ ! -e opened.now ] || cmp late <(tail -c 50000 plain)
	grep -q '"event":"licence","licence":"A",.*"state":"1 day"' audit
	grep -q '"event":"licence","licence":"A",.*"state":"over"' audit
	[ "$(grep -c '"event":"licence"' audit)" = 2 ]
	"$CT" status | grep -q "licence:   A for ACME GmbH (set 1): over, "
	run -1 "$CT" policy explain --json A/m.safetensors
	[[ $output == *'"licence":"over"'* ]]
}

# The way to a longer time would need new files, or quietly lose a condition; an old licence would come back.
@test "renewal: same key, same file, other terms only where they are given; an older one is not taken" {
	agent
	issue A --until 2001-01-01 --grace 5 --machine 0123456789abcdef0123456789abcdef --user 1 --user 2
	add -q A/A.licence
	refused 'licence "A" ended on 2001-01-01 23:59:59 UTC (with 5 days of grace on 2001-01-06 23:59:59 UTC): ask the publisher' A/m.safetensors
	before=$(sha256sum A/m.safetensors)
	"$CT" licence issue -q --keys k.jwk --renew A/A.licence --until 2099-01-01 --licence two
	python3 - "$(judge check A/A.licence k.jwk c.jwk one.jwk)" "$(judge check two k.jwk c.jwk two.jwk)" <<-'EOF_PY'
		import json, sys
		a, b = map(json.loads, sys.argv[1:])
		assert b.pop("issued") > a.pop("issued") and b.pop("until") == 4070995200 and a.pop("until")
		assert a == b, (a, b)
	EOF_PY
	# the later one, also where the publisher's clock was ahead when he signed the first
	judge make A/A.licence k.jwk 'p["issued"] = 4000000000' >ahead
	"$CT" licence issue -q --keys k.jwk --renew ahead --until 2099-01-01 --licence later
	[ "$("$CT" licence show --json later | jq .issued)" = 4000000001 ]
	jq -e -n --slurpfile a one.jwk --slurpfile b two.jwk '$a == $b'
	add -q two
	refused 'licence "A" is not for this machine' A/m.safetensors
	"$CT" licence issue -q --keys k.jwk --renew two --until 2099-01-01 --grace 0 --machine "$(cat /etc/machine-id)" --user "$(id -u)" --licence three
	add -q three
	opens A/m.safetensors
	for old in A/A.licence two; do
		run -3 add "$old"
		[[ $output == "ct: $old: EKEYREJECTED: licence \"A\" of "*" is an old one: that of "*" is here already" ]]
		opens A/m.safetensors
	done
	add three
	[ "$(sha256sum A/m.safetensors)" = "$before" ]
	# what is documented: an agent that does not know the new one takes the old one, as long as that runs
	"$CT" remove -q --all
	add -q two
	refused 'licence "A" is not for this machine' A/m.safetensors
	"$CT" keygen -q -o other.jwk
	run -3 "$CT" licence issue --keys other.jwk --renew two --until 2099-01-01 --licence x
	[ "$output" = "ct: two: EKEYREJECTED: is not signed by these keys" ]
	run -3 "$CT" licence issue --keys k.jwk --renew two --until 2099-01-01 --licence three
	[[ $output == "ct: three: EEXIST: "* ]]
	for options in "--id A" "-o x" "--machine request" "--to r.json"; do
		# shellcheck disable=SC2086
		run -2 "$CT" licence issue --keys k.jwk --renew two --until 2099-01-01 --licence x $options
	done
	run -2 "$CT" licence issue --keys k.jwk --renew two --until 2099-01-01 --licence x m.safetensors
	run -2 "$CT" licence issue --keys k.jwk --renew two --licence x
	run -2 "$CT" licence issue --keys k.jwk --to r.json --id "a b" --until 2099-01-01 -o x m.safetensors
	run -3 "$CT" licence issue --keys k.jwk --to two --id x --until 2099-01-01 -o x m.safetensors
	[[ $output == "ct: two: EBADMSG: not a request"* || $output == "ct: two: EBADMSG: "* ]]
	[ ! -e x ]
}

# What was revoked would open on, or a list that anybody puts there decide, or a list that is gone set everybody free.
@test "revocation: lists are read when they change; older, foreign, broken ones and none are not taken" {
	"$CT" keygen -q -o other.jwk
	issue A
	issue B
	agent "revoked $PWD/list" "revoked $PWD/second"
	add -q A/A.licence B/B.licence
	refused "licence \"A\": the agent's configuration names a list of revoked licences that was never there" A/m.safetensors
	"$CT" status | grep -q "2 LISTS OF REVOKED ONES WERE NEVER THERE"
	"$CT" licence revoke -q --keys k.jwk -o list
	refused 'licence "A": the agent' A/m.safetensors
	"$CT" licence revoke -q --keys other.jwk -o second A B # another publisher's: nothing to these
	opens A/m.safetensors
	"$CT" licence revoke -q --keys k.jwk -o list OTHER
	cp list two
	"$CT" licence revoke -q --keys k.jwk -o list A
	refused 'licence "A" was revoked by its publisher' A/m.safetensors
	opens B/m.safetensors
	[ "$(jq -c . <(judge_payload list))" = "$(jq -c . <(judge_payload list) | jq -c '.seq = 3 | .ids = ["OTHER","A"]')" ]
	for broken in two second none garbage; do
		case $broken in
		none) rm list ;;
		garbage) echo "not a list" >list ;;
		*) cp "$broken" list ;;
		esac
		refused 'licence "A" was revoked by its publisher' A/m.safetensors
		opens B/m.safetensors
		"$CT" status | grep -q "1 lists of revoked ones are not sound: the ones before them count"
	done
	grep -q "not taken: is list 2, and 3 was here already; the one before it stays" "$AGENT_DIR/log"
	grep -q "not taken: is by another publisher than the list that was there" "$AGENT_DIR/log"
	grep -q "not taken: .*No such file or directory" "$AGENT_DIR/log"
	grep -q "not taken: not a list of revoked licences: " "$AGENT_DIR/log"
	run -3 "$CT" licence revoke --keys k.jwk -o list C # never over what it cannot go on with
	[[ $output == "ct: list: EBADMSG: not a list of revoked licences"* ]]
	run -3 "$CT" licence revoke --keys k.jwk -o second C
	[ "$output" = "ct: second: EKEYREJECTED: is not signed by these keys" ]
	run -2 "$CT" licence revoke --keys k.jwk -o list "a b"
	# an older list counts for an agent that knows no newer one, as documented
	cp two list
	agent "revoked $PWD/list"
	add -q A/A.licence
	opens A/m.safetensors
	for payload in '{"v":1,"issued":1,"seq":9,"ids":["A"],"more":1}' '{"v":1,"issued":1,"seq":9,"ids":["A b"]}' '{"v":1,"issued":1,"seq":0,"ids":["A"]}' \
		'{"v":1,"issued":1,"seq":9,"ids":["A"],"seq":9}' '{"v":2,"issued":1,"seq":9,"ids":["A"]}' '{"v":1,"issued":1,"seq":9}' '{"v":1,"issued":1,"seq":9,"ids":"A"}'; do
		judge list k.jwk "$payload" >list
		opens A/m.safetensors
		run -3 "$CT" licence show list
		[[ $output == "ct: list: EBADMSG: not a sound list of revoked licences: "* ]]
	done
	judge list k.jwk '{"v":1,"issued":1,"seq":9,"ids":["A"]}' >list
	refused 'licence "A" was revoked by its publisher' A/m.safetensors
	"$CT" licence show list --publisher "$FINGERPRINT" | grep -q "revoked:    A"
}

judge_payload() {
	cut -d. -f2 "$1" | python3 -c 'import base64, sys; t = sys.stdin.read().strip(); print(base64.urlsafe_b64decode(t + "=" * (-len(t) % 4)).decode())'
}

# A clock that is set back would give time that was not paid for; one that was ahead for an hour would lock everybody out for ever.
# bats test_tags=plain-build
@test "time never goes back behind what was seen, by this process, in the file, or by the publisher; the file is the remedy" {
	need faketime
	local so today
	so=$(faketime -f '2027-01-01 00:00:00' printenv LD_PRELOAD)
	today=$(date -u +%F)
	at() { # at DAYS: the agent is started anew, so many days from today
		agent_stop
		AGENT_OPTS=(-c conf --audit "$PWD/audit")
		TZ=UTC FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME="@$(date -u -d "$today + $1 days" '+%F 12:00:00')" LD_PRELOAD=$so agent_start
		add -q A/A.licence
	}
	issue A --until "$(date -u -d "$today + 10 days" +%F)"
	echo "clock $PWD/clock" >conf
	at 5
	opens A/m.safetensors
	run -0 cat clock
	[[ $output =~ ^[0-9]{20}$ ]]
	[ "$((10#$output))" -ge "$(date -u -d "$today + 5 days" +%s)" ]
	run -1 grep -q "CLOCK IS BEHIND" <("$CT" status)
	at 20
	refused 'licence "A" ended on ' A/m.safetensors
	[[ $output != *"the clock says"* ]]
	at 6
	refused 'licence "A" ended on ' A/m.safetensors
	[[ $output == *"the clock says it has not, but $(date -u -d "$today + 20 days" +%F) 12:00:"*" UTC was seen already"* ]]
	"$CT" status | grep -q "THE CLOCK IS BEHIND what was seen before: they are judged by $(date -u -d "$today + 20 days" +%F)"
	grep -q "the clock is more than a day behind what was seen before" "$AGENT_DIR/log"
	echo garbage >clock
	at 6
	grep -q "clock: no time in it: it is begun anew" "$AGENT_DIR/log"
	opens A/m.safetensors
	# what the publisher signed says that it is later; what another one signed does not
	"$CT" keygen -q -o other.jwk
	judge list other.jwk '{"v":1,"issued":9999999999,"seq":1,"ids":[]}' >list
	echo "revoked $PWD/list" >>conf
	at 6
	opens A/m.safetensors
	judge list k.jwk "{\"v\":1,\"issued\":$(date -u -d "$today + 12 days" +%s),\"seq\":1,\"ids\":[]}" >list
	at 6
	refused 'licence "A" ended on ' A/m.safetensors
	rm list clock
	echo "clock $PWD/clock" >conf
	at 6
	opens A/m.safetensors
	# a file that others may write, or that cannot be made, is an error where it is named
	agent_stop
	chmod 666 clock
	run -3 timeout -k 9 60 "$BUILD/ct-agent" -f -s "$PWD/s" -c conf
	[[ $output == *"others may write $PWD/clock"* ]]
	echo "clock /nonexistent/clock" >conf
	run -3 timeout -k 9 60 "$BUILD/ct-agent" -f -s "$PWD/s" -c conf
	[[ $output == *"/nonexistent/clock: No such file or directory"* ]]
	for line in "clock x" "revoked x" $'clock /a\nclock /b' "revoked"; do
		echo "$line" >conf
		run -3 timeout -k 9 60 "$BUILD/ct-agent" -f -s "$PWD/s" -c conf
		[[ $output == *"EBADMSG: conf:"* ]]
	done
}

# A user without a configuration would have no memory of the time, or it would lie where others write.
@test "where the time is kept unless told; nothing is written there before a licence is" {
	[[ $EUID == 0 ]] || need setpriv
	local dir
	dir=$(mktemp -d /tmp/ctlXXXXXX)
	issue A
	cp "$CT" "$BUILD/ct-agent" c.jwk A/A.licence k.jwk "$dir/"
	[[ $EUID != 0 ]] || chown -R 65534:65534 "$dir"
	as() { if [[ $EUID == 0 ]]; then setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; else "$@"; fi; }
	(
		cd "$dir"
		unset XDG_STATE_HOME
		export HOME=$dir CT_AGENT_SOCK=$dir/s CT_AGENT_WAIT=30
		as ./ct-agent -f -s "$dir/s" >log 2>&1 3>&- &
		pid=$!
		trap 'kill $pid; wait $pid || true' EXIT
		as ./ct add -q k.jwk
		[ "$(stat -c '%a %s' .local/state/ct-agent/clock)" = "600 0" ]
		as ./ct add -q --licence-key c.jwk A.licence
		as ./ct status
		[ "$(stat -c '%a %s' .local/state/ct-agent/clock)" = "600 21" ]
		[ "$(stat -c %a .local/state/ct-agent)" = 700 ]
	)
	rm -rf "$dir"
}

# Licences of one id for two keys, as after the loss of the first, would be in each other's way: the one that is over would answer for both.
@test "one id for two customers' keys: each opens his own copy, whatever the other's licence says" {
	agent
	issue A --until 2001-01-01
	cp r.json old.json
	"$CT" licence request -q --publisher "$FINGERPRINT" --keys d.jwk -o r.json --force
	"$CT" licence issue -q --keys k.jwk --to r.json --id A --until 2099-01-01 -o D m.safetensors
	add -q A/A.licence
	KEY=d.jwk add -q D/A.licence
	opens D/m.safetensors
	refused 'licence "A" ended on 2001-01-01' A/m.safetensors
	run -1 "$CT" policy explain --json A/m.safetensors
	[[ $output == *'"licence":"over"'* ]]
	# in the other order, too
	"$CT" remove -q --all
	KEY=d.jwk add -q D/A.licence
	add -q A/A.licence
	opens D/m.safetensors
	refused 'licence "A" ended on 2001-01-01' A/m.safetensors
}

# A program that opens a file again within keep_s would not be asked about the end.
@test "keep_s ends with the licence" {
	agent "keep 3600"
	issue A --until "$(date -u -d '+600 seconds' +%FT%TZ)"
	issue B
	add -q A/A.licence B/B.licence
	keep_of() {
		python3 "$ROOT/tests/peer.py" open "$1" | grep -o '"keep_s": *[0-9]*' | tr -dc 0-9
	}
	[ "$(keep_of A/m.safetensors)" -le 600 ]
	[ "$(keep_of A/m.safetensors)" -gt 0 ]
	[ "$(keep_of B/m.safetensors)" = 3600 ]
}

# A publisher's long names would leave everybody without a status, ct run and CT_AGENT_WAIT among them.
@test "licences whose names do not fit into a reply together leave status its answer" {
	agent
	local odd n
	odd=$(printf '\1%.0s' {1..240}).safetensors
	cp m.safetensors "$odd"
	for n in {1..45}; do
		"$CT" licence issue -q --keys k.jwk --to r.json --id "L$n" --until 2099-01-01 -o "L$n" "$odd"
		add -q "L$n/L$n.licence"
	done
	run -0 "$CT" status --json
	[ "$(jq .sets <<<"$output")" = 45 ]
	n=$(jq '.licences | length' <<<"$output")
	[ "$n" -ge 20 ] && [ "$n" -lt 45 ]
}

# A set that the old configuration passed over would stay passed over for who waits, whatever the new one says.
@test "SIGHUP: an open that waits for a person about another set is judged anew from the first set on" {
	local job i n
	export CT_ASKPASS=$ROOT/tests/askpass.sh ASKPASS_DIR=$PWD
	agent "revoked $PWD/not-there"
	issue A
	judge check A/A.licence k.jwk c.jwk A.jwk >/dev/null
	"$CT" keygen -q -o other.jwk
	jq -c --slurpfile o other.jwk '.keys += $o[0].keys' A.jwk >two.jwk
	chmod 600 two.jwk
	add -q A/A.licence
	"$CT" add -q -c two.jwk
	for n in 1 2 3 4 5; do # on a machine that is so slow that the open's 8 s are over before the signal came
		rm -f question.*
		python3 "$ROOT/tests/peer.py" open A/m.safetensors >out 3>&- & # once: ct would come again, with a new open
		job=$!
		for ((i = 0; i < 300; i++)); do compgen -G 'question.*' >/dev/null && break; sleep 0.1; done
		compgen -G 'question.*' >/dev/null
		printf '%s\n' "clock $PWD/clock" >conf
		kill -HUP "$AGENT_PID"
		wait "$job" # nobody has answered
		grep -q EAGAIN out || break
		printf '%s\n' "clock $PWD/clock" "revoked $PWD/not-there" >conf
		kill -HUP "$AGENT_PID"
	done
	run -0 cat out
	[[ $output == *'"disposition":"serve"'* ]]
}
