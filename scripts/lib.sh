# lib.sh: what scripts/test and scripts/demo share: packages of the distribution, a Python environment. Sourced by bash.
# shellcheck shell=bash

say() { printf '== %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# as_root CMD…: as root, through sudo where we are not.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "this needs root: install sudo, or run as root: $*"
	fi
}

# apt_need WHAT:PACKAGE…: installs the packages whose WHAT is missing: a program in PATH, or a file if it has a slash.
apt_need() {
	local pair missing=()
	for pair; do
		case $pair in
		/*) [ -e "${pair%%:*}" ] && continue ;;
		*) command -v "${pair%%:*}" >/dev/null && continue ;;
		esac
		missing+=("${pair#*:}")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null || die "please install: ${missing[*]} (this script can do so on Debian and Ubuntu only)"
	say "installing ${missing[*]}"
	as_root apt-get update -qq
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# What the build needs.
# shellcheck disable=SC2034  # used by those who source this
BUILD_NEEDS=(gcc:gcc make:make /usr/include/stdio.h:libc6-dev /usr/include/openssl/evp.h:libssl-dev /usr/include/jsmn.h:libjsmn-dev)

# venv_make FOLDER REQUIREMENTS: a Python environment with those packages, made anew only when the file has changed.
# Returns 1 and says why where PyPI cannot be reached.
venv_make() {
	local dir=$1 req=$2 stamp
	stamp=$(python3 --version; sha256sum <"$req")
	[ "$(cat "$dir/stamp" 2>/dev/null)" = "$stamp" ] && return 0
	say "installing the packages of $req from PyPI"
	rm -rf "$dir"
	if ! python3 -m venv "$dir" >/dev/null 2>&1; then # Debian splits this part of Python off
		rm -rf "$dir"
		apt_need /nonexistent:python3-venv
		python3 -m venv "$dir" || return 1
	fi
	if ! "$dir/bin/pip" install -q --disable-pip-version-check --retries 2 --timeout 30 -r "$req" >"$dir/pip.log" 2>&1; then
		tail -n 3 "$dir/pip.log"
		say "PyPI is out of reach or lacks a package (above): what needs it is skipped"
		rm -rf "$dir"
		return 1
	fi
	printf '%s\n' "$stamp" >"$dir/stamp"
}
