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

# venv_make FOLDER REQUIREMENTS [UNWANTED…]: a Python environment with those packages, made anew only when the file has changed;
# packages UNWANTED that these brought are taken out again. Returns 1 and says why where PyPI cannot be reached.
venv_make() {
	local dir=$1 req=$2 stamp
	shift 2
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
	[ $# = 0 ] || "$dir/bin/pip" uninstall -q -y "$@" >>"$dir/pip.log" 2>&1 || return 1
	printf '%s\n' "$stamp" >"$dir/stamp"
}

# stamped FOLDER WHAT CMD…: makes FOLDER anew by CMD… FOLDER unless it was made from WHAT before.
stamped() {
	local dir=$1 what=$2
	shift 2
	[ "$(cat "$dir/stamp" 2>/dev/null)" = "$what" ] && return 0
	say "fetching $what"
	rm -rf "$dir"
	mkdir -p "$dir"
	if ! "$@" "$dir" >"$dir/log" 2>&1; then
		tail -n 3 "$dir/log"
		rm -rf "$dir"
		return 1
	fi
	printf '%s\n' "$what" >"$dir/stamp"
}

# sdist NAME VERSION BACKEND PATH… FOLDER: those PATHs of a source package of PyPI, into FOLDER. pip asks a package's BACKEND (a Python module)
# for its name and version, for which the real one would want a compiler and more packages: one of ours answers instead. Needs client_env torch.
sdist() {
	local name=$1 version=$2 backend=$3 tmp rc=0
	local dir=${*: -1}
	local -a paths=("${@:4:$#-4}")
	tmp=$(mktemp -d) || return
	mkdir -p "$tmp/backend/${backend//.//}"
	cat >"$tmp/backend/${backend//.//}/__init__.py" <<-EOF
		import os
		def get_requires_for_build_wheel(config_settings=None):
		    return []
		def prepare_metadata_for_build_wheel(folder, config_settings=None):
		    os.mkdir(os.path.join(folder, "${name//-/_}-$version.dist-info"))
		    with open(os.path.join(folder, "${name//-/_}-$version.dist-info", "METADATA"), "w") as f:
		        f.write("Metadata-Version: 2.1\nName: $name\nVersion: $version\n")
		    return "${name//-/_}-$version.dist-info"
	EOF
	PYTHONPATH=$tmp/backend .venvs/torch/bin/pip download -q --disable-pip-version-check -d "$tmp" --no-deps --no-build-isolation --no-binary "$name" \
		"$name==$version" &&
		tar -xzf "$tmp/${name//-/_}-$version.tar.gz" -C "$dir" --strip-components=1 "${paths[@]/#/${name//-/_}-$version/}" || rc=$?
	rm -rf "$tmp"
	return "$rc"
}

# client_env NAME: the Python environment .venvs/NAME of tests/clients/requirements/NAME.txt; those of vLLM for CUDA go again.
client_env() {
	local -a unwanted=()
	[ "$1" != vllm ] || unwanted=(torchvision torchaudio torchcodec triton)
	venv_make ".venvs/$1" "tests/clients/requirements/$1.txt" "${unwanted[@]}"
}

# agent_private FOLDER: a key set FOLDER/keys.jwk and an agent of one's own that has it; sets agent (its process), exports CT_AGENT_SOCK.
# FOLDER has a short path: a socket's has room for 107 bytes.
agent_private() {
	export CT_AGENT_SOCK=$1/s
	[ -s "$1/keys.jwk" ] || build/ct keygen -q -o "$1/keys.jwk" || return
	build/ct-agent -f -s "$CT_AGENT_SOCK" >"$1/agent.log" 2>&1 &
	# shellcheck disable=SC2034  # for the caller, who ends it
	agent=$!
	CT_AGENT_WAIT=30 build/ct add -q "$1/keys.jwk"
}
