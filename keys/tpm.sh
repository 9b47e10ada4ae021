# tpm.sh: what ct-tpm-seal and ct-tpm-unseal share. Sourced by a POSIX sh that has set ME.
# shellcheck shell=sh
#
# A folder of theirs holds
#
#     set                      the key set, each master key replaced by @ and its length: no secret
#     sealed.pub, sealed.priv  the TPM's object: the master keys, then the SHA-256 of `set`, which vouches for the verification keys in there
#     primary.name             the name of the key in the TPM under which it is sealed
#     pcrs                     the bank, and what the PCRs were: for messages alone, the TPM has them in the object's policy
#
# One tool speaks to the TPM at a time, and each leaves it empty: a TPM without a resource manager has room for three objects.

LC_ALL=C
export LC_ALL
umask 077

fail() {
	printf '%s: %s\n' "$ME" "$*" >&2
	exit 3
}

need() {
	for tool; do
		command -v "$tool" >/dev/null || fail "$tool is not installed (Debian: tpm2-tools, coreutils, gawk or mawk)"
	done
}

# A folder in memory: what is in it is never written to a disk, but for swap.
begin() {
	work=$(mktemp -d /dev/shm/ct-tpm.XXXXXX) || fail "no folder could be made in /dev/shm"
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' HUP INT TERM
	[ "$(stat -f -c %T "$work")" = tmpfs ] || fail "/dev/shm is no tmpfs: keys would be written to a disk"
}

# tpm TOOL ARG…: what it complains about goes to $work/said.
tpm() {
	status=0
	"$@" 2>"$work/said" || status=$?
	tpm2_flushcontext -Q -t 2>/dev/null || :
	return $status
}

# The tools' last ERROR line but the one that says which tool it was.
complaint() {
	sed -n 's/^ERROR: //p' "$work/said" | grep -v '^Unable to run' | tail -n 1
}

# The same template has the same key in a TPM until the owner's seed is changed.
primary() {
	tpm tpm2_createprimary -Q -C o -g sha256 -G ecc256:aes128cfb -c "$work/primary" ||
		fail "no key can be made in the TPM: $(complaint) (is there one, may you use it – group tss – and has its owner hierarchy no password?)"
	tpm tpm2_readpublic -Q -c "$work/primary" -n "$work/name" || fail "the TPM's key cannot be read: $(complaint)"
}

# pcr_values BANK LIST: lines "INDEX HEX"
pcr_values() {
	tpm tpm2_pcrread "$1:$2" >"$work/read" || return
	sed -n 's/^ *\([0-9][0-9]*\) *: *0x\([0-9A-Fa-f][0-9A-Fa-f]*\) *$/\1 \2/p' "$work/read"
}

# digest FILE: its SHA-256, 64 digits
digest() {
	sha256sum <"$1" | cut -c 1-64
}
