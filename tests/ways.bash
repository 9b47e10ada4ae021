# ways.bash: programs run in every way in which a mapping may be filled. `load ways` after `load helpers`.
#
#   root          as root: userfaultfd serves the kernel's faults, too
#   user          as an ordinary user: userfaultfd serves the program's faults alone
#   nouffd        as an ordinary user whom a filter refuses userfaultfd, as containers do
#   root-nouffd   as root under that filter
#   eager         with CTSHIM_MMAP=eager
#
# What an ordinary user runs and reads lies in $WAYS, a folder that everybody may enter: the checkout may be closed to others.
# shellcheck shell=bash

WAY_UID=65534 # nobody

# ways_start KEYS: for setup_file. Makes $WAYS (bin/: copies of the build; out/: everybody's) and an agent for each user. WAY_PYTHON is an
# interpreter that everybody may run.
ways_start() {
	local i
	WAYS=$(mktemp -d /tmp/ctwXXXXXX)
	export WAYS WAY_SHIM=$WAYS/bin/libctshim.so WAY_SOCK
	chmod 755 "$WAYS"
	mkdir "$WAYS/bin" "$WAYS/out" "$WAYS/user"
	chmod 777 "$WAYS/out"
	cp "$SHIM" "$CT" "$BUILD/ct-agent" "$PROBES"/* "$WAYS/bin/"
	agent_start "$1"
	WAY_SOCK=$CT_AGENT_SOCK
	export WAY_PYTHON=/usr/bin/python3
	[[ -x $WAY_PYTHON ]] || WAY_PYTHON=$(python3 -c 'import sys; print(sys.executable)')
	[[ $EUID == 0 ]] || return 0
	WAY_SOCK=$WAYS/user/s
	install -m 600 -o $WAY_UID -g $WAY_UID "$1" "$WAYS/user/keys.jwk"
	chown $WAY_UID:$WAY_UID "$WAYS/user"
	"$WAYS/bin/refuse" --uid $WAY_UID -- "$WAYS/bin/ct-agent" -f -s "$WAY_SOCK" >"$WAYS/agent.log" 2>&1 3>&- &
	WAY_AGENT_PID=$!
	for ((i = 0; i < 200; i++)); do
		[[ -S $WAY_SOCK ]] && break
		sleep 0.05
	done
	"$WAYS/bin/refuse" --uid $WAY_UID -- env CT_AGENT_SOCK="$WAY_SOCK" "$WAYS/bin/ct" add -q "$WAYS/user/keys.jwk" ||
		{ cat "$WAYS/agent.log" >&2; return 1; }
}

# ways_stop: for teardown_file.
ways_stop() {
	local rc=0
	agent_stop || rc=$?
	if [[ -n ${WAY_AGENT_PID-} ]]; then
		kill "$WAY_AGENT_PID" 2>/dev/null || true
		wait "$WAY_AGENT_PID" 2>/dev/null || true
	fi
	[[ -z ${WAYS-} ]] || rm -rf "$WAYS"
	return $rc
}

# as WAY CMD…: by that user and under that filter, without the preload. WAY_READ_ALL in the environment: may read any file.
as() {
	local -a opts=()
	if [[ $EUID == 0 && $1 != root* && $1 != eager ]]; then
		opts=(--uid "$WAY_UID")
		[[ -z ${WAY_READ_ALL-} ]] || opts+=(--read-all)
	fi
	case $1 in *nouffd) opts+=(userfaultfd ioctl:USERFAULTFD_IOC_NEW) ;; esac
	shift
	[[ $1 == --can ]] || set -- -- "$@"
	"$WAYS/bin/refuse" "${opts[@]}" "$@"
}

# way_unloaded WAY [NAME=VALUE…] CMD…: as `as`, for WAY_SECONDS (90) at most, with all that the shim would need in the environment. What the
# shim then counts: $WAYS/out/WAY.stats, of this run alone.
way_unloaded() {
	local how=$1 sock=$CT_AGENT_SOCK mmap=auto
	shift
	case $how in
	user | nouffd) sock=$WAY_SOCK ;;
	eager) mmap=eager ;;
	esac
	rm -f "$WAYS/out/$how.stats"
	as "$how" timeout -k 5 "${WAY_SECONDS:-90}" env ${ASAN_HOST_OPTIONS:+ASAN_OPTIONS="$ASAN_HOST_OPTIONS"} \
		CT_AGENT_SOCK="$sock" CTSHIM_STATS="$WAYS/out/$how.stats" CTSHIM_MMAP="$mmap" "$@"
}

# way WAY CMD…: the same under the preload.
way() {
	way_unloaded "$1" LD_PRELOAD="${PRELOAD/$SHIM/$WAY_SHIM}" "${@:2}"
}

# way_method WAY: the method that must be in use, by what the kernel allows there.
way_method() {
	[[ $1 != eager ]] || { echo eager; return; }
	case $(as "$1" --can) in
	full) echo userfaultfd ;;
	user) echo userfaultfd-user ;;
	none) echo sigsegv ;;
	esac
}

# way_stat WAY FIELD: of the last run, summed over its processes.
way_stat() {
	jq -s "map(.$2) | add" "$WAYS/out/$1.stats"
}

# each_way FUNCTION ARGS…: FUNCTION ARGS… WAY for every way, side by side; fails if it fails in any. The ways for root need root.
# WAYS_TRIED: for these ways alone.
each_way() {
	local how log rc left_out=
	local -a hows=() pids=() failed=()
	for how in ${WAYS_TRIED:-root user nouffd eager root-nouffd}; do
		if [[ $how == root* && $EUID != 0 ]]; then
			left_out=1
			continue
		fi
		hows+=("$how")
		log=$WAYS/out/$how.log
		(
			set -e
			"$@" "$how"
		) >"$log" 2>&1 &
		pids+=($!)
	done
	for how in "${hows[@]}"; do
		rc=0
		wait "${pids[0]}" || rc=$?
		pids=("${pids[@]:1}")
		[[ $rc == 0 ]] && continue
		echo "== $how ($(way_method "$how")): status $rc"
		head -n 60 "$WAYS/out/$how.log"
		failed+=("$how")
	done
	if [[ ${#failed[@]} -gt 0 ]]; then
		echo "failed: ${failed[*]}"
		return 1
	fi
	[[ -z $left_out ]] || skip_or_fail "right as this user; what only root can do was not run"
}
