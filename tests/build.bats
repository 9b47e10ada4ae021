# The build itself, and the walls of the house.

load helpers

# A warning that only a full build shows; a rule that lacks a dependency.
@test "a build from nothing is clean, silent about warnings, and complete" {
	local b=$BATS_TEST_TMPDIR/b
	run -0 make -C "$ROOT" -s -j "$(nproc)" BUILD="$b" SANITIZE=
	echo "$output"
	run ! grep -i warning <<<"$output"
	[ -x "$b/ct" ]
	[ -x "$b/ct-agent" ]
	[ -x "$b/ct-policy-rego" ]
	[ -f "$b/libctshim.so" ]
	run -0 make -C "$ROOT" -q BUILD="$b" SANITIZE=
}

# A header that works only after another one breaks the next file that includes it first.
@test "each header compiles alone" {
	local h
	for h in "$ROOT"/{lib,shim,agent,cli,engine}/*.h; do
		[ -e "$h" ] || continue
		echo "$h"
		echo "#include \"$h\"" | gcc -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Werror -I"$ROOT/lib" -I"${h%/*}" -fsyntax-only -x c -
	done
}

# includes DIR: the names of headers of ours that its files include.
includes() {
	sed -n 's/^#include "\(.*\)"/\1/p' "$ROOT/$1"/*.[ch] | sort -u
}

# One include sideways or upwards and the layers can never be taken apart again.
@test "shim, agent, cli and engine include lib and themselves only; lib includes lib only" {
	local dir name
	for dir in lib shim agent cli engine; do
		[ -n "$(includes "$dir")" ]
		for name in $(includes "$dir"); do
			[ -f "$ROOT/$dir/$name" ] || [ -f "$ROOT/lib/$name" ] || {
				echo "$dir includes $name"
				return 1
			}
			[[ $name != */* ]]
		done
	done
	# one of lib's names in another room would hide it there
	for name in "$ROOT"/lib/*.h; do
		run -0 find "$ROOT/shim" "$ROOT/agent" "$ROOT/cli" "$ROOT/engine" -name "${name##*/}"
		[ -z "$output" ]
	done
}

# lib runs inside other people's processes: it may not speak, end them, or listen to their environment.
@test "lib never logs, exits or reads the environment" {
	local speak='\b(f?printf|puts|perror|syslog|exit|_exit|abort|getenv|secure_getenv)\('
	grep -nE "$speak" "$ROOT"/lib/*.c >"$BATS_TEST_TMPDIR/found" || true
	sed -i '/lib\/launcher\.c:.*[^a-z]_exit(/d' "$BATS_TEST_TMPDIR/found" # processes that it made itself
	cat "$BATS_TEST_TMPDIR/found"
	[ ! -s "$BATS_TEST_TMPDIR/found" ]
}

# Static data in lib would be shared by hosts' threads and forks.
@test "lib has no writable data" {
	need size
	[[ -z $SANITIZE ]] || skip "sanitizers add data of their own"
	run -0 size -A "$BUILD/libct.a"
	# tables of pointers are .data.rel.ro: read-only once relocated
	run ! awk '/ex / { member = $1 } /^\.(data|bss|tdata|tbss)(\.[a-z]*)? / && $1 !~ /rel\.ro/ && $2 > 0 { print member, $0; n++ } END { exit !n }' \
		<<<"$output"
}

# make install is what the README promises to whoever packages this.
@test "make install and uninstall, below DESTDIR" {
	local d=$BATS_TEST_TMPDIR/d
	run -0 make -C "$ROOT" -s install BUILD="$BUILD" SANITIZE="$SANITIZE" DESTDIR="$d" PREFIX=/usr
	[ -x "$d/usr/bin/ct" ]
	[ -x "$d/usr/bin/ct-agent" ]
	[ -x "$d/usr/libexec/ctshim/ct-policy-rego" ]
	[ -f "$d/usr/lib/libctshim.so" ]
	[ -x "$d/usr/libexec/ctshim/ct-tpm-seal" ]
	run -2 "$d/usr/libexec/ctshim/ct-tpm-unseal"
	run -0 make -C "$ROOT" -s uninstall DESTDIR="$d" PREFIX=/usr
	[ -z "$(find "$d" -type f)" ]
}
