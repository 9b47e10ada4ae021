# Loaded by the tests of ct-agent itself: peer.py, other users, short folders for sockets; what a failed test leaves is ended.

agent_setup_file() {
	export PYTHONPATH=$ROOT/tests M=$VECTORS/aes256gcm_v2_c16.safetensors
}

agent_setup() {
	PEER=(python3 "$ROOT/tests/peer.py")
	T=$BATS_TEST_TMPDIR
	DIRS=()
}

# What a failed test leaves in the background ends here, too.
agent_teardown() {
	local s
	while IFS= read -r -d '' s; do
		as "$(stat -c %u "$s")" "$BUILD/ct-agent" -k -s "$s" || true
	done < <([ ${#DIRS[@]} = 0 ] || find "${DIRS[@]}" -type s -print0)
	[ ${#DIRS[@]} = 0 ] || rm -rf "${DIRS[@]}"
	agent_stop
}

# short_dir: sets DIR, a folder whose name leaves room for a socket's
short_dir() {
	DIR=$(mktemp -d /tmp/ctXXXXXX)
	DIRS+=("$DIR")
}

ask() { # ask JSON [BLOBFILE]: the reply's JSON
	"${PEER[@]}" ask "$@"
}

add() { # add KEYS-IN-VECTORS
	ask '{"v":1,"op":"add"}' "$VECTORS/keys/$1"
}

# root_needed WHY: must stand in the test itself: inside run() a skip would skip nothing.
root_needed() {
	need setpriv
	[ "$(id -u)" = 0 ] || skip_or_fail "needs root, $1"
}

# as UID CMD…: as another user; the programs are copied to where he may run them.
as() {
	if [ "$1" = "$(id -u)" ]; then
		"${@:2}"
		return
	fi
	setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"
}

kill_9() { # the agent, without a chance to clean up; its folder stays
	DIRS+=("$AGENT_DIR")
	kill -9 "$AGENT_PID"
	wait "$AGENT_PID" || true
	unset AGENT_PID
}

gone() { # gone PID: within 5 s
	local i
	for ((i = 0; i < 100; i++)); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.05
	done
	return 1
}
