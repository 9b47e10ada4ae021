# Mappings that are filled when they are touched, in every way in which they may be: what a program does to its memory must be as with the
# plain file. Each probe runs on the plain file first, without the shim; what it says then is what it must say (lazy_judge.py), but for
# what lazy_exceptions.txt states.

load helpers
load ways

setup_file() {
	local t=$BATS_FILE_TMPDIR
	"$CT" keygen -q -o "$t/keys.jwk"
	ways_start "$t/keys.jwk"
	export T=$t M=$WAYS/m.safetensors VIEW=$WAYS/view V1=$WAYS/v1.safetensors V1_VIEW=$WAYS/v1.view
	judge model "$t/plain.safetensors" 5000000
	"$CT" encrypt -q --keys "$t/keys.jwk" --chunk-size 30011 "$t/plain.safetensors" "$M"
	"$CT" encrypt -q --keys "$t/keys.jwk" --format-version 1 "$t/plain.safetensors" "$V1"
	"$CT" decrypt -q --keys "$t/keys.jwk" "$M" "$VIEW"
	"$CT" decrypt -q --keys "$t/keys.jwk" "$V1" "$V1_VIEW"
	chmod 644 "$M" "$VIEW" "$V1" "$V1_VIEW"
}

teardown_file() {
	ways_stop
}

judge() {
	python3 "$ROOT/tests/lazy_judge.py" "$@"
}

# probed PROBE [-m MODEL VIEW] ARGS… WAY: PROBE FILE REFERENCE ARGS… says on the encrypted file what it says on the plain one.
probed() {
	local probe=$1 how=${*: -1} model=$M view=$VIEW
	shift
	if [[ $1 == -m ]]; then
		model=$2 view=$3
		shift 3
	fi
	set -- "${@:1:$#-1}"
	as "$how" "$WAYS/bin/$probe" "$view" "$view" "$@" >"$WAYS/out/$how.want"
	way "$how" "$WAYS/bin/$probe" "$model" "$view" "$@" >"$WAYS/out/$how.got" || {
		echo "$probe $*: status $?"
		tail -n 3 "$WAYS/out/$how.got"
		return 1
	}
	judge compare "$(way_method "$how")" "$WAYS/out/$how.want" "$WAYS/out/$how.got"
}

# chunks_are COUNT WAY [MOST]: so many chunks were decrypted in the last run. Eager filling decrypts all, however little is touched.
chunks_are() {
	local got
	got=$(way_stat "$2" chunks_decrypted)
	echo "decrypted: $got chunks; with a byte on the pages: $1"
	[[ $(way_method "$2") == eager ]] || { ((got >= $1)) && ((got <= ${3:-$1})); }
}

# ---- the ways themselves, and the probes ----

# Every test below would go the same way four times.
@test "the filter refuses userfaultfd, the ordinary user is one" {
	run -0 as nouffd --can
	[ "$output" = none ]
	run -0 as nouffd id -u
	[ "$output" != 0 ]
	run -0 as nouffd grep -E '^(CapEff|CapPrm):\s*0+$' /proc/self/status
	[ "${#lines[@]}" = 2 ]
	run -0 as user grep '^Seccomp:' /proc/self/status
	[[ $output == *0 ]]
	[[ $(as user --can) != none ]] || skip_or_fail "this kernel has no userfaultfd for ordinary users"
	[[ $EUID == 0 ]] || skip_or_fail "only root can become another user"
	run -0 as user id -u
	[ "$output" = 65534 ]
	[[ $(as root --can) == full ]] || skip_or_fail "userfaultfd is refused on this machine"
}

# A probe that finds ciphertext, or other bytes than the reference's, right would find everything right.
@test "the probes can fail: without the shim, and with another reference" {
	local p
	for p in "lazy_kernel $WAYS/out" lazy_foreign lazy_fork lazy_vma "lazy_order pass private normal" "lazy_end alone"; do
		# shellcheck disable=SC2086
		set -- $p
		"$WAYS/bin/$1" "$VIEW" "$VIEW" "${@:2}" >"$WAYS/out/want"
		timeout -k 5 60 "$WAYS/bin/$1" "$M" "$VIEW" "${@:2}" >"$WAYS/out/got" 2>&1 || true
		run -1 judge compare eager "$WAYS/out/want" "$WAYS/out/got"
		[[ $output == *wrong* || $output == *"child's status"* ]]
		shimmed timeout -k 5 60 "$WAYS/bin/$1" "$M" "$T/plain.safetensors" "${@:2}" >"$WAYS/out/got" 2>&1 || true
		run -1 judge compare eager "$WAYS/out/want" "$WAYS/out/got"
	done
	run -1 "$WAYS/bin/lazy_order" "$M" "$VIEW" touch normal 500
	run -2 "$WAYS/bin/lazy_order" "$M" /nonexistent touch normal 500
	"$WAYS/bin/lazy_damage" "$VIEW" "$VIEW" 100 110 >"$WAYS/out/got"
	judge damaged "$VIEW" 100 110 >"$WAYS/out/want"
	run -1 judge compare eager "$WAYS/out/want" "$WAYS/out/got"
}

# uses_method WAY
uses_method() {
	way "$1" "$WAYS/bin/lazy_order" "$M" "$VIEW" touch normal 5 900
	cat "$WAYS/out/$1.stats"
	[ "$(jq -s -r 'map(.method) | unique | join(" ")' "$WAYS/out/$1.stats")" = "$(way_method "$1")" ]
}

# A method that quietly gives way to another is a slow or hungry server that nobody can explain.
@test "root: userfaultfd in full mode is used" {
	[[ $EUID == 0 ]] || skip_or_fail "this needs root"
	uses_method root
}

# As above.
@test "an ordinary user: userfaultfd in user mode is used" {
	uses_method user
}

# As above.
@test "an ordinary user without userfaultfd: SIGSEGV is used" {
	uses_method nouffd
}

# As above.
@test "CTSHIM_MMAP=eager is obeyed" {
	uses_method eager
}

# ---- verified before visible; memory that goes to the kernel ----

# A server that sends weights from the mapping (write, sendmsg, vmsplice …) would fail, or send zeros.
@test "memory never touched, handed to the kernel: write, send, vmsplice, O_DIRECT; read and recv into it" {
	each_way probed lazy_kernel "$WAYS/out"
}

# A debugger or a profiler would see zeros; or its look would leave a page of zeros for the program itself.
@test "foreign readers: right bytes or an error, and the owner reads on" {
	each_way probed lazy_foreign
}

# gdb_looks WAY
gdb_looks() {
	local how=$1 ready=$WAYS/out/$1.ready i pid a b addr out
	rm -f "$ready" "$WAYS/out/$how.go"
	mkfifo "$WAYS/out/$how.go"
	chmod 666 "$WAYS/out/$how.go"
	way "$how" "$WAYS/bin/lazy_foreign" "$M" "$VIEW" wait "$ready" <>"$WAYS/out/$how.go" >"$WAYS/out/$how.got" &
	for ((i = 0; i < 200; i++)); do [[ -e $ready ]] && break; sleep 0.05; done
	read -r pid a b <"$ready"
	for addr in "$a" "$b"; do
		out=$(as "$how" timeout 60 gdb -nx -batch -p "$pid" -ex "x/16xb $addr + 2000000" 2>&1 |
			grep -E '^0x[0-9a-f]+:|Cannot access' | tr -s '\t ' ' ')
		echo "gdb: $out"
		if [[ $out == *"Cannot access"* ]]; then
			[[ $(way_method "$how") != eager ]]
		else
			[ "$(sed 's/^[^:]*: *//' <<<"$out" | tr -d '\n ')" = \
				"$(od -An -v -tx1 -j 2000000 -N 16 "$VIEW" | sed 's/ /0x/g' | tr -d '\n')" ]
		fi
	done
	echo >"$WAYS/out/$how.go"
	wait $!
	[ "$(sort "$WAYS/out/$how.got")" = $'private right\nshared right' ]
}

# What gdb prints is believed; and a stopped program must not keep it waiting for ever.
@test "gdb: right bytes or 'Cannot access memory'" {
	need gdb
	each_way gdb_looks
}

# damaged_is WHERE WAY
damaged_is() {
	local how=$2 f=$WAYS/out/$2.safetensors from to name chunk
	rm -f "$f" # an ordinary user's
	read -r from to name chunk < <(judge damage "$M" "$f" "$1")
	[ -n "$chunk" ]
	chmod 644 "$f"
	way "$how" "$WAYS/bin/lazy_damage" "$f" "$VIEW" "$from" "$to" >"$WAYS/out/$how.got"
	judge damaged "$VIEW" "$from" "$to" >"$WAYS/out/$how.want"
	judge compare "$(way_method "$how")" "$WAYS/out/$how.want" "$WAYS/out/$how.got"

	way "$how" "$WAYS/bin/lazy_damage" "$f" "$VIEW" "$from" "$to" once 2>"$WAYS/out/$how.err" >/dev/null
	cat "$WAYS/out/$how.err"
	[ "$(grep -c '^ctshim: ' "$WAYS/out/$how.err")" = 1 ]
	grep -qE "^ctshim: $f: .*tensor $name, chunk ${chunk}[ ,]" "$WAYS/out/$how.err"
}

# A page of zeros, half a page, or old plaintext where the file is damaged; or a sound page lost beside it.
@test "a damaged chunk: SIGBUS on its pages, at every touch, in every thread, EFAULT for the kernel, one line" {
	local where
	for where in middle small first last; do
		echo "$where"
		each_way damaged_is "$where"
	done
}

# ---- order, advice ----

# passes WAY
passes() {
	local kind advice
	for kind in private shared; do
		for advice in normal sequential random willneed; do
			way "$1" "$WAYS/bin/lazy_order" "$M" "$VIEW" pass "$kind" "$advice" | grep -x 'pass right'
			chunks_are "$(judge chunks "$M")" "$1"
		done
	done
	way "$1" "$WAYS/bin/lazy_order" "$V1" "$V1_VIEW" pass private normal | grep -x 'pass right'
}

# Reading ahead that decrypts twice, or drops what it has decrypted.
@test "a pass from front to back is right, each chunk is decrypted once" {
	each_way passes
}

# touches WAY
touches() {
	local seed pages n
	for seed in 1 2 3; do
		read -r -a pages < <(judge scattered "$M" $seed)
		n=$(judge chunks "$M" "${pages[@]}")
		[ "$n" -lt "$(($(judge chunks "$M") / 2))" ]
		way "$1" "$WAYS/bin/lazy_order" "$M" "$VIEW" touch random "${pages[@]}" | grep 'pages right'
		chunks_are "$n" "$1"
		way "$1" "$WAYS/bin/lazy_order" "$M" "$VIEW" touch normal "${pages[@]}" | grep 'pages right'
		chunks_are "$n" "$1"
	done
	way "$1" "$WAYS/bin/lazy_order" "$M" "$VIEW" touch random 500 501 502 503 504 505 506 507 | grep 'pages right' # not ahead after RANDOM
	chunks_are "$(judge chunks "$M" 500-507)" "$1"
}

# One row of one tensor would cost the whole tensor.
@test "random touches decrypt the chunks with a byte on a touched page, each once" {
	each_way touches
}

# fills WAY
fills() {
	local how
	for how in willneed posix_willneed populate_read populate_write map_populate; do
		as "$1" "$WAYS/bin/lazy_order" "$VIEW" "$VIEW" fill $how 300 200 >"$WAYS/out/$1.want" # an older kernel: EINVAL
		way "$1" "$WAYS/bin/lazy_order" "$M" "$VIEW" fill $how 300 200 >"$WAYS/out/$1.got"
		judge compare "$(way_method "$1")" "$WAYS/out/$1.want" "$WAYS/out/$1.got"
		grep -q "^$how ok" "$WAYS/out/$1.want" || continue
		chunks_are "$(judge chunks "$M" 300-499)" "$1"
	done
}

# Servers warm up by WILLNEED; a call that does nothing is not noticed until the first request is slow.
@test "WILLNEED, posix_madvise, MADV_POPULATE and MAP_POPULATE fill what they name" {
	each_way fills
}

# goes_on WAY
goes_on() {
	local m=$WAYS/out/$1.layers.safetensors view=$WAYS/out/$1.layers at b
	rm -f "$m" "$view"
	judge layers "$view"
	"$CT" encrypt -q --keys "$T/keys.jwk" --chunk-size 10000 "$view" "$m"
	rm -f "$view"
	"$CT" decrypt -q --keys "$T/keys.jwk" "$m" "$view"
	read -r -a at < <(judge firsts "$view")
	# the one between the two that are awaited is damaged: nobody has asked for it
	printf '\377\377\377\377' | dd of="$m" bs=1 seek=$((at[4] + 5000)) conv=notrunc status=none
	chmod 644 "$m" "$view"
	way "$1" "$WAYS/bin/lazy_order" "$m" "$view" firsts "${at[@]:0:3}" await "${at[3]}" "${at[5]}" >"$WAYS/out/$1.got" 2>"$WAYS/out/$1.err"
	cat "$WAYS/out/$1.got" "$WAYS/out/$1.err"
	diff <(printf 'first right\n%.0s' 1 2 3 && printf 'fill all there\nawaited right\n%.0s' 1 2) "$WAYS/out/$1.got"
	[[ $(way_method "$1") == eager ]] || [ ! -s "$WAYS/out/$1.err" ]

	local -a some=("${at[0]}" "${at[2]}" "${at[3]}" "${at[6]}" "${at[7]}") pages=()
	for b in "${some[@]}"; do pages+=("$((b / $(getconf PAGE_SIZE)))"); done
	way "$1" "$WAYS/bin/lazy_order" "$m" "$view" firsts "${some[@]}" >/dev/null
	chunks_are "$(judge chunks "$m" "${pages[@]}")" "$1"

	# the last tensor begins where the file ends
	MALLOC_PERTURB_=85 way "$1" "$WAYS/bin/lazy_order" "$m" "$view" firsts "${at[@]:5:7}" await "${at[12]}" >"$WAYS/out/$1.got"
	[ "$(grep -c '^first right' "$WAYS/out/$1.got")" = 7 ]
}

# Every model is loaded so: each tensor's first byte would wait for its chunk, while a core has nothing to do. Or a guess that is treated as a touch.
@test "where tensors' first bytes are touched in a row, those of the next are filled before" {
	each_way goes_on
}

# gives_back WAY
gives_back() {
	probed lazy_order dontneed "$1"
	cat "$WAYS/out/$1.stats"
	[[ $(way_method "$1") == eager ]] || [ "$(way_stat "$1" bytes_held)" -le 400000 ]
}

# ComfyUI gives weights back by MADV_DONTNEED: without effect the machine runs out of memory.
@test "MADV_DONTNEED gives the memory back" {
	each_way gives_back
}

# Zeros after DONTNEED or FREE, lost writes, success where a file mapping would refuse.
@test "every advice: returns what it does for a file, and the bytes are right afterwards" {
	each_way probed lazy_order advice
}

# ---- processes ----

# A child that reads zeros, or leaves zeros to its parent.
@test "fork, _Fork, clone, vfork, posix_spawn, threads, orphans: parent and child read right bytes" {
	each_way probed lazy_fork
	each_way probed lazy_fork -m "$V1" "$V1_VIEW"
}

# The end of one fork took memory from the child of another: what had been written was the file's again.
@test "four threads fork at the same time: every child finds what was written" {
	each_way probed lazy_forks
}

# multiprocesses WAY
multiprocesses() {
	way "$1" "$WAY_PYTHON" "$WAYS/out/lazy_mp.py" "$M" "$VIEW" >"$WAYS/out/$1.got"
	cat "$WAYS/out/$1.got"
	[ "$(cat "$WAYS/out/$1.got")" = $'fork right\nforkserver right\nspawn right\nthreads and fork right' ]
}

# DataLoaders and vLLM's workers.
@test "Python's multiprocessing: fork, forkserver, spawn" {
	cp "$ROOT/tests/lazy_mp.py" "$WAYS/out/"
	each_way multiprocesses
}

# ends WAY
ends() {
	local how=$1 mode
	for mode in pthread_exit alone closing; do
		probed lazy_end $mode "$how"
	done
	# its file is gone afterwards, so each run has one of its own
	as "$how" cp "$VIEW" "$WAYS/out/$how.gone"
	as "$how" "$WAYS/bin/lazy_end" "$WAYS/out/$how.gone" "$VIEW" lasting >"$WAYS/out/$how.want"
	as "$how" cp "$M" "$WAYS/out/$how.gone"
	way "$how" "$WAYS/bin/lazy_end" "$WAYS/out/$how.gone" "$VIEW" lasting >"$WAYS/out/$how.got"
	judge compare "$(way_method "$how")" "$WAYS/out/$how.want" "$WAYS/out/$how.got"
}

# Helper threads of ours that keep an ended program alive; pages of zeros once a program has closed "everything".
@test "main() ends by pthread_exit; all descriptors closed; the file removed" {
	each_way ends
}

# ---- what programs do to mappings ----

# A loader that trims, moves or locks what it has mapped would crash, or read zeros.
@test "mprotect, mremap, munmap, MAP_FIXED, mlock, mincore, msync, stores, odd offsets" {
	each_way probed lazy_vma
	each_way probed lazy_vma -m "$V1" "$V1_VIEW"
}
