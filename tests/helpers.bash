# helpers.bash: what every .bats file here loads first (`load helpers`).
#
# Rules of the suite: a comment line beside every test says what could break unnoticed without it; exact status (`run -0`,
# `run -3`); whatever needs a tool asks for it with `need`; an agent is private to its test or file.
# shellcheck shell=bash

bats_require_minimum_version 1.5.0

ROOT=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
SANITIZE=${SANITIZE-}
BUILD=${BUILD:-build${SANITIZE:+-${SANITIZE//,/-}}}
[[ $BUILD == /* ]] || BUILD=$ROOT/$BUILD
CT=$BUILD/ct
SHIM=$BUILD/libctshim.so
PROBES=$BUILD/probes
VECTORS=$ROOT/tests/vectors
CLIENTS=$ROOT/tests/clients
PY=$ROOT/.venv/bin/python # what needs packages of PyPI; plain scripts use python3
export ROOT SANITIZE BUILD CT SHIM PROBES VECTORS CLIENTS PY

# What the caller's shell has set must not decide a test; the agent that may run for this user is never met.
unset "${!CTSHIM_@}" CT_AGENT_UID CT_AGENT_WAIT CT_ASKPASS NOTIFY_SOCKET LISTEN_PID LISTEN_FDS LD_PRELOAD
[[ -n ${AGENT_DIR-} ]] || export CT_AGENT_SOCK=/nonexistent/ct-agent.sock # AGENT_DIR: setup_file started one

# The sanitizer's run time must be loaded before the shim that needs it. The hosts (CPython above all) were not built with it and
# leak by design, so only their leaks are not looked for; ct, ct-agent and the unit tests run with everything on.
PRELOAD=$SHIM
if [[ $SANITIZE == *address* ]]; then
	PRELOAD="$(gcc -print-file-name=libasan.so) $SHIM"
	export ASAN_HOST_OPTIONS=detect_leaks=0:${ASAN_OPTIONS-}
fi
export PRELOAD

# shimmed CMD…: CMD as a user would run it under the preload.
shimmed() {
	if [[ -n ${ASAN_HOST_OPTIONS-} ]]; then
		ASAN_OPTIONS=$ASAN_HOST_OPTIONS LD_PRELOAD=$PRELOAD "$@"
	else
		LD_PRELOAD=$PRELOAD "$@"
	fi
}

# skip_or_fail REASON: a machine of a user may lack a tool; the one that decides what lands may not.
skip_or_fail() {
	if [[ ${CI-} == true ]]; then
		echo "under CI=true nothing may be skipped: $1" >&2
		return 1
	fi
	skip "$1"
}

# need TOOL…: programs in PATH.
need() {
	local t
	for t; do
		command -v "$t" >/dev/null || skip_or_fail "$t is not installed"
	done
}

# need_python MODULE…: modules in the test venv (scripts/test makes it).
need_python() {
	local m
	[[ -x $PY ]] || skip_or_fail "no .venv: packages from PyPI are missing" || return
	for m; do
		"$PY" -c "import importlib.util as u, sys; sys.exit(not u.find_spec('$m'))" ||
			skip_or_fail "$m is not in .venv" || return
	done
}

# scratch: the running test's folder (the file's inside setup_file).
scratch() {
	printf '%s\n' "${BATS_TEST_TMPDIR:-$BATS_FILE_TMPDIR}"
}

# key_file NAME|PATH: prints the path of a copy with mode 600; NAME is one in tests/vectors/keys.
key_file() {
	local from=$1 to
	[[ $from == /* ]] || from=$VECTORS/keys/$from
	to=$(mktemp "$(scratch)/key.XXXXXX") # mktemp: 0600 from the start
	cat "$from" >"$to"
	printf '%s\n' "$to"
}

# says TEXT…: $output contains each. (Not "says A && says B": a failed A would not end the test.)
says() {
	local text
	echo "output: $output"
	for text; do
		[[ $output == *"$text"* ]] || return
	done
}

# agent_start [KEYS…]: a private ct-agent; exports CT_AGENT_SOCK, sets AGENT_PID, AGENT_DIR (its log: $AGENT_DIR/log).
# AGENT_OPTS=(…) beforehand adds options, AGENT_VIA=(CMD …) puts a command before it, which executes it. The folder is a short one: a socket's path has room for 107 bytes.
# Started in setup_file it serves all tests of the file and is stopped by `teardown_file() { agent_stop; }`.
agent_start() {
	local k i
	AGENT_DIR=$(mktemp -d /tmp/ctXXXXXX)
	export AGENT_DIR CT_AGENT_SOCK=$AGENT_DIR/s
	"${AGENT_VIA[@]}" "$BUILD/ct-agent" -f -s "$CT_AGENT_SOCK" "${AGENT_OPTS[@]}" >"$AGENT_DIR/log" 2>&1 3>&- &
	AGENT_PID=$! # not exported: only the process that started it may stop it
	for ((i = 0; i < 200; i++)); do
		[[ -S $CT_AGENT_SOCK ]] && break
		if ! kill -0 "$AGENT_PID" 2>/dev/null; then
			echo "ct-agent ended at its start:" >&2
			cat "$AGENT_DIR/log" >&2
			return 1
		fi
		sleep 0.05
	done
	[[ -S $CT_AGENT_SOCK ]] || { echo "ct-agent made no socket in 10 s" >&2; return 1; }
	for k; do
		"$CT" add -q "$(key_file "$k")" || return
	done
}

# keeper: the pid of the process of that agent that holds its keys
keeper() {
	pgrep -x -P "$AGENT_PID" ct-keeper
}

# agent_stop: ends it by SIGTERM and waits; fails if a sanitizer or a signal ended it instead. Fine without an agent.
agent_stop() {
	local rc=0
	if [[ -n ${AGENT_PID-} ]]; then
		kill "$AGENT_PID" 2>/dev/null || true
		wait "$AGENT_PID" 2>/dev/null || rc=$?
		unset AGENT_PID
		if grep -aE 'ERROR: .*Sanitizer|runtime error:' "$AGENT_DIR/log" >&2; then
			cat "$AGENT_DIR/log" >&2
			rc=99
		fi
		rm -rf "$AGENT_DIR"
		unset AGENT_DIR
	fi
	[[ $rc == 0 || $rc == 143 ]]
}

# The default; a file that defines its own calls agent_stop in it.
teardown() {
	agent_stop
}

# plain_model PATH [BYTES]: a small plain model, deterministic, by a few lines of Python without packages: four tensors (one
# empty, one with a non-ASCII name) and user metadata. BYTES: size of the biggest tensor, default 100000.
plain_model() {
	python3 - "$1" "${2:-100000}" <<-'EOF'
		import hashlib, json, struct, sys
		path, big = sys.argv[1], int(sys.argv[2]) // 4 * 4
		tensors = [("big", "F32", [big // 4], big), ("h", "F16", [3, 5], 30), ("\u00e9\u4e2d", "U8", [7], 7), ("none", "F32", [0, 4], 0)]
		head, at = {"__metadata__": {"format": "pt", "note": "\u00e9 \"quoted\""}}, 0
		for name, dtype, shape, n in tensors:
		    head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
		    at += n
		h = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
		h += b" " * (-len(h) % 8)
		with open(path, "wb") as f:
		    f.write(struct.pack("<Q", len(h)) + h)
		    for name, _, _, n in tensors:
		        f.write(hashlib.shake_256(name.encode()).digest(n))
	EOF
}

# preload NAME <SOURCE: makes NAME.so, which takes the place of C library functions; with NAME CMD…: CMD with it in what it starts.
preload() {
	need gcc
	gcc -shared -fPIC -D_GNU_SOURCE -Wall -Werror -o "$1.so" -x c -
}

with() {
	local so=$PWD/$1.so
	shift
	# The sanitizers would take signals for themselves. The run time comes first, and in programs without it as well.
	LD_PRELOAD="${SANITIZE:+${PRELOAD% *}:}$so" \
		ASAN_OPTIONS=handle_segv=0:handle_sigbus=0:handle_sigill=0:handle_sigfpe=0:handle_sigtrap=0:handle_abort=0:detect_leaks=0 "$@"
}
