# ct-agent as a process: its options and configuration, how it starts, where it listens and who believes it, how it ends.

load helpers
load agent

setup_file() {
	agent_setup_file
}

setup() {
	agent_setup
}

teardown() {
	agent_teardown
}

# A wrong path, or CT_AGENT_SOCK of something else: another program's process would be ended.
@test "ct-agent -k leaves a process alone that is no agent" {
	python3 - "$T/other" 3>&- <<-'EOF' &
		import socket, sys
		s = socket.socket(socket.AF_UNIX)
		s.bind(sys.argv[1])
		s.listen()
		while True:
		    c, _ = s.accept()
		    if c.recv(4) == b"end":
		        break
		    c.close()
	EOF
	local i
	for ((i = 0; i < 100; i++)); do [ -S "$T/other" ] && break; sleep 0.1; done
	run -3 "$BUILD/ct-agent" -k -s "$T/other"
	says "ENOKEY"
	python3 -c 'import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.send(b"end")' "$T/other"
	wait $!
}

# Who stops an agent by hand takes the pid from there; the mode keeps other users' clients from even asking.
@test "status names the process; the socket is its user's alone" {
	agent_start
	run -0 ask '{"v":1,"op":"status"}'
	says "\"pid\":$AGENT_PID"
	[ "$(stat -c %a "$CT_AGENT_SOCK")" = 600 ]
}

# Two agents on one socket would each hold half of the keys; a dead one's socket must not stop the next.
@test "a second agent is refused, a dead one's socket is replaced, something else is left alone" {
	agent_start
	run -3 "$BUILD/ct-agent" -s "$CT_AGENT_SOCK"
	says "EADDRINUSE"
	run -0 ask '{"v":1,"op":"ping"}'
	kill_9
	[ -S "$CT_AGENT_SOCK" ]
	run -0 "$BUILD/ct-agent" -s "$CT_AGENT_SOCK"
	run -0 ask '{"v":1,"op":"ping"}'
	run -0 "$BUILD/ct-agent" -k
	echo precious >"$T/file"
	run -3 "$BUILD/ct-agent" -s "$T/file"
	says "is no socket"
	[ "$(cat "$T/file")" = precious ]
}

# Many at once (a host's services at boot): exactly one wins, the others say so.
@test "of ten agents started at once on one stale socket, one serves" {
	local i won=0 rc
	agent_start
	kill_9
	for ((i = 0; i < 10; i++)); do
		(rc=0; "$BUILD/ct-agent" -s "$CT_AGENT_SOCK" >"$T/out.$i" 2>&1 || rc=$?; echo $rc >"$T/rc.$i") 3>&- &
	done
	for ((i = 0; i < 100; i++)); do
		[ "$(cat "$T"/rc.* 2>/dev/null | wc -l)" = 10 ] && break
		sleep 0.1
	done
	for ((i = 0; i < 10; i++)); do
		rc=$(cat "$T/rc.$i")
		[ "$rc" = 0 ] && won=$((won + 1))
		[ "$rc" = 0 ] || [ "$rc" = 3 ]
	done
	[ "$won" = 1 ]
	run -0 ask '{"v":1,"op":"ping"}'
	run -0 "$BUILD/ct-agent" -k
	run -3 "$BUILD/ct-agent" -k
}

# Whoever starts it in a script waits for its descriptors to close; what it prints is what people copy.
@test "to the background: the parent returns when it serves, and keeps no descriptor open" {
	short_dir
	local dir=$DIR
	export CT_AGENT_SOCK=$dir/s
	# fd 9 is a pipe: cat ends only when nobody holds it
	run -0 timeout 10 bash -c '{ "$0" >&8; } 8>"$1/out" 9>&1 | cat' "$BUILD/ct-agent" "$dir"
	run -0 ask '{"v":1,"op":"ping"}'
	run -0 cat "$dir/out"
	says "ct-agent -k"
	[[ $output != *export* ]] # clients find it by themselves
	[ "$(sed -n 's/^# ct-agent: pid \([0-9]*\) .*/\1/p' "$dir/out")" = "$(ask '{"v":1,"op":"status"}' | grep -o '"pid":[0-9]*' | cut -d: -f2)" ]
	run -0 "$BUILD/ct-agent" -k
	[ -z "$(ls "$dir" | grep -v out)" ]
	unset CT_AGENT_SOCK
	cd "$dir"
	run -0 "$BUILD/ct-agent" -s "it's"
	local stop
	stop=$(sed -n 's/.*stop it: //p' <<<"$output")
	eval "$output"
	[ "$CT_AGENT_SOCK" = "$dir/it's" ]
	export CT_AGENT_SOCK
	run -0 ask '{"v":1,"op":"ping"}'
	PATH=$BUILD:$PATH run -0 bash -c "$stop"
	[ ! -e "$CT_AGENT_SOCK" ]
	cd /
}

# A leftover socket would be the first thing that the next client stumbles over.
@test "SIGTERM, SIGINT end it cleanly" {
	local s
	for s in TERM INT; do
		agent_start
		kill -"$s" "$AGENT_PID"
		wait "$AGENT_PID"
		[ ! -e "$CT_AGENT_SOCK" ]
		[ ! -e "$CT_AGENT_SOCK.lock" ]
		unset AGENT_PID
		rm -r "$AGENT_DIR"
	done
}

# ct run relies on it: an agent whose job is gone must not stay with its keys.
@test "-P: it ends with the process that it follows" {
	sleep 100 3>&- &
	local job=$!
	AGENT_OPTS=(-P "$job")
	agent_start
	run -0 ask '{"v":1,"op":"ping"}'
	kill "$job"
	gone "$AGENT_PID"
	wait "$AGENT_PID"
	[ ! -e "$CT_AGENT_SOCK" ]
	run -3 timeout 10 "$BUILD/ct-agent" -f -s "$CT_AGENT_SOCK" -P "$job"
	says "ESRCH"
}

@test "usage errors are status 2, help and version 0" {
	local o
	for o in "-x" "extra" "-t" "-t 0" "-t 5y" "-t 99999999999" "-P 0" "-P x" "-k -f"; do
		# shellcheck disable=SC2086
		run -2 "$BUILD/ct-agent" $o
		says "--help"
	done
	run -2 "$BUILD/ct-agent" -s ""
	run -0 "$BUILD/ct-agent" --help
	says "usage: ct-agent"
	run -0 "$BUILD/ct-agent" --version
	says "ct-agent "
}

# A line that is in no help is one that nobody finds; eleven of them are in three places.
@test "--help and config.h have every line that a configuration may have" {
	echo 'nonsense 1' >"$T/conf"
	run -3 "$BUILD/ct-agent" -f -s "$T/s" -c "$T/conf"
	says "unknown setting: there are keep, "
	local name names=${output##*there are }
	run -0 "$BUILD/ct-agent" --help
	for name in ${names//[,]/}; do
		[ "$name" != and ] || continue
		grep -qE "(^ +|, )$name( |,)" <<<"$output" || { echo "--help: $name"; return 1; }
		grep -qE "^ \*.* $name( |,|:)" "$ROOT/agent/config.h" || { echo "config.h: $name"; return 1; }
	done
}

# A typing error in the file that says who gets keys must never pass for "nobody" or "everybody".
@test "configuration: keep, and errors with their line" {
	printf '# ours\n\nkeep 7 # seconds\nallow-uid 12345\n' >"$T/conf"
	AGENT_OPTS=(-c "$T/conf")
	agent_start
	add aes256gcm.jwk
	run -0 "${PEER[@]}" open "$M"
	says '"keep_s":7'
	[ "$(stat -c %a "$CT_AGENT_SOCK")" = 666 ]
	agent_stop
	local bad
	for bad in 'keep' 'keep x' 'keep -1' 'keep 1 2' 'keep 99999999999' 'allow-uid root' 'allow-uid 4294967295' 'allow_uid 1' 'Keep 1'; do
		printf 'keep 1\n%s\n' "$bad" >"$T/conf"
		run -3 timeout 10 "$BUILD/ct-agent" -f -s "$T/s" -c "$T/conf"
		says "conf:2: "
	done
	printf 'keep 1\n' >"$T/conf"
	chmod 666 "$T/conf"
	run -3 timeout 10 "$BUILD/ct-agent" -f -s "$T/s" -c "$T/conf"
	says "chmod go-w"
	run -3 timeout 10 "$BUILD/ct-agent" -f -s "$T/s" -c "$T/none"
	says "ENOENT"
}

# In a folder that others may write, anybody could put his own socket in the place of ours.
@test "a folder that others may write is refused, a sticky one is not" {
	short_dir
	local dir=$DIR
	chmod 777 "$dir"
	run -3 timeout 10 "$BUILD/ct-agent" -f -s "$dir/s"
	says "others may write"
	[ -z "$(ls -A "$dir")" ]
	chmod 1777 "$dir"
	run -0 "$BUILD/ct-agent" -s "$dir/s"
	run -0 "$BUILD/ct-agent" -k -s "$dir/s"
	run -3 "$BUILD/ct-agent" -s "$dir/none/s"
	says "ENOENT"
	run -3 "$BUILD/ct-agent" -s "$dir/$(printf 'x%.0s' {1..110})"
	says "ENAMETOOLONG"
}

# A stranger's socket that is believed gets the file's header, and may serve keys of its own.
@test "a socket that belongs to another user is not believed" {
	root_needed "to be two users"
	short_dir
	local d=$DIR
	chmod 755 "$d" && mkdir -m 700 "$d/a" && cp "$BUILD"/ct{,-agent} "$d" && chmod 755 "$d"/ct*
	printf 'allow-uid 12346\n' >"$d/conf" && chmod 644 "$d/conf"
	chown 12345 "$d/a"
	chmod 711 "$d/a"
	run -0 as 12345 "$d/ct-agent" -s "$d/a/s" -c "$d/conf"
	export CT_AGENT_SOCK=$d/a/s
	run -3 as 12346 "$d/ct" status
	says "ENOKEY" "runs as uid 12345 and is not believed" "CT_AGENT_UID=12345"
	CT_AGENT_UID=12345 run -0 as 12346 "$d/ct" status
	CT_AGENT_UID=12346 run -3 as 12346 "$d/ct" status
	CT_AGENT_UID=bob run -3 as 12346 "$d/ct" status
	says "CT_AGENT_UID is not a user's number"
	run -0 as 12345 "$d/ct" status
	run -0 as 12345 "$d/ct-agent" -k
	# no session, no runtime folder: ~/.ct is made, and closed to others
	unset CT_AGENT_SOCK XDG_RUNTIME_DIR
	HOME=$d/a run -0 as 12345 "$d/ct-agent"
	[ "$(stat -c '%a %u' "$d/a/.ct")" = "700 12345" ]
	HOME=$d/a run -0 as 12345 "$d/ct" status
	HOME=$d/a run -0 as 12345 "$d/ct-agent" -k
	chmod 755 "$d/a/.ct"
	HOME=$d/a run -3 as 12345 "$d/ct-agent"
	says "chmod 700"
}

# Side-cars start in any order.
@test "CT_AGENT_WAIT waits for an agent that is still starting" {
	short_dir
	local dir=$DIR
	export CT_AGENT_SOCK=$dir/s
	run -3 "$CT" status
	says "no agent at $dir/s: start ct-agent"
	(sleep 1; exec "$BUILD/ct-agent" -s "$dir/s") >/dev/null 3>&- &
	CT_AGENT_WAIT=10 run -0 "$CT" status
	wait $!
	run -0 "$BUILD/ct-agent" -k
	CT_AGENT_WAIT=x run -3 "$CT" status
	says "CT_AGENT_WAIT"
	local start=$SECONDS
	CT_AGENT_WAIT=2 run -3 "$CT" status
	[ $((SECONDS - start)) -ge 1 ]
}
