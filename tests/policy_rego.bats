# ct-policy-rego, alone but for one test, with librego of the package regopy: its verdicts, what it refuses, and what it can still do once it is locked in.
# The judges are the vectors' manifest, the kernel (/proc, strace) and an engine of our own that does its worst (standins/librego.c).

load helpers

setup_file() {
	LIBREGO=$(ls "$ROOT"/.venv/lib/python3*/site-packages/regopy/librego_shared.so 2>/dev/null) || true
	export LIBREGO HOSTILE=$BUILD/standins/librego.so
}

setup() {
	REGO=$BUILD/ct-policy-rego T=$BATS_TEST_TMPDIR
	need_python regopy
}

# ask POLICY [INPUT]: sets status, verdict, said (stderr). ENGINE: another library; UNDER=(…): runs it under that.
ask() {
	printf '%s' "${2-"{}"}" >"$T/input"
	status=0
	"${UNDER[@]}" timeout 60 "$REGO" --librego "${ENGINE:-$LIBREGO}" <"$T/input" 3<"$1" 4>"$T/verdict" >"$T/stdout" 2>"$T/stderr" || status=$?
	verdict=$(<"$T/verdict") said=$(<"$T/stderr")
}

# model TEXT: a policy of that text behind "package model"; prints its path.
model() {
	printf 'package model\n%s\n' "$1" >"$T/policy"
	printf '%s\n' "$T/policy"
}

# gives VERDICT RULES [INPUT]: to the byte, and without a word.
gives() {
	ask "$(model "$2")" "${@:3}"
	echo "$2 -> $status '$verdict' $said"
	[ "$status" = 0 ]
	printf '%s' "$1" | cmp - "$T/verdict"
	[ -z "$said" ]
	[ ! -s "$T/stdout" ]
}

# refuses STATUS WORD RULES [INPUT]: no verdict, one line for people that has the word.
refuses() {
	ask "$(model "$3")" "${@:4}"
	refused "$1" "$2"
}

refused() {
	echo "${3-} -> $status '$verdict' $said"
	[ "$status" = "$1" ]
	[ ! -s "$T/verdict" ]
	[ "$(wc -l <"$T/stderr")" -le 1 ]
	[[ $said == *"$2"* ]]
}

# dies RULES [INPUT]: its own limits end it, or the engine gives up; never a verdict.
dies() {
	ask "$(model "$1")" "${@:2}"
	echo "${1:0:60} -> $status '$verdict' $said"
	[ "$status" = 137 ] || [ "$status" = 159 ] || [ "$status" = 139 ] || [ "$status" = 5 ]
	[ ! -s "$T/verdict" ]
}

# does ACTION [STATUS…]: what the hostile engine tried failed (its verdict is false), or ended it by SIGSYS, or by one of these.
does() {
	ENGINE=$HOSTILE ask "$(model "do := \`$1\`")"
	echo "$1 -> $status '$verdict' $said"
	[ -z "$said" ]
	if [ "$status" = 0 ]; then
		[ "$verdict" = false ]
	else
		[ "$status" = 159 ] || [[ " ${*:2} " == *" $status "* ]]
		[ ! -s "$T/verdict" ]
	fi
}

# The verdicts themselves: an engine that disagrees with the format's authors opens what they closed.
@test "every policy vector has the manifest's verdict, but for the engine's named faults" {
	local file expect want fault n=0
	python3 - "$VECTORS" "$T" <<-'EOF'
		import json, struct, sys
		vectors, out = sys.argv[1:]
		with open(vectors + "/manifest.json") as f:
		    files = [e for e in json.load(f)["files"] if e["class"] == "policy"]
		lines = open(out + "/list", "w")
		for e in files:
		    with open(vectors + "/" + e["file"], "rb") as f:
		        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
		    with open(out + "/" + e["file"] + ".rego", "w", newline="") as f:
		        f.write(json.loads(header["__metadata__"]["__policy__"])["local"])
		    assert e["expect"] == "ok" or e["errno"] == "EKEYREJECTED"
		    print(e["file"], e["expect"], file=lines)
	EOF
	while read -r file expect; do
		ask "$T/$file.rego"
		[ "$status" = 0 ] || verdict=error
		want=$(awk -F'\t' -v f="$file" '$1 == f { print $2 }' "$ROOT/tests/policy_exceptions.txt")
		echo "$file: expected $expect${want:+, excepted: $want}; $verdict $said"
		if [ -n "$want" ]; then
			[ "$expect" = ok ] # no fault may open a file
			[ "$verdict" = "$want" ]
			[ "$want" != true ]
		elif [ "$expect" = ok ]; then
			[ "$verdict" = true ]
		else
			[ "$verdict" != true ]
		fi
		n=$((n + 1))
	done <"$T/list"
	[ "$n" -ge 35 ]
	while IFS=$'\t' read -r file want fault; do # an exception for a vector that is gone
		[[ -n $file && $file != \#* ]] || continue
		grep -q "^$file " "$T/list"
		[ -n "$fault" ]
	done <"$ROOT/tests/policy_exceptions.txt"
}

# The engine alone is right, and what hands it policy and input, or takes its verdict, is not.
@test "every policy vector is served or refused by an agent that has this engine" {
	AGENT_OPTS=(--policy-engine "exec:$REGO --librego $LIBREGO")
	agent_start
	PYTHONPATH=$ROOT/tests run -0 python3 - "$VECTORS" "$ROOT/tests/policy_exceptions.txt" <<-'EOF'
		import json, sys, peer
		vectors, exceptions = sys.argv[1:]
		faults = {line.split("\t")[0] for line in open(exceptions) if not line.startswith("#")}
		files = [e for e in json.load(open(vectors + "/manifest.json"))["files"] if e["class"] == "policy"]
		bad = 0
		for e in files:
		    peer.exchange(peer.frame({"v": 1, "op": "remove", "all": True}))
		    peer.exchange(peer.frame({"v": 1, "op": "add"}, open(vectors + "/" + e["keys"]["file"], "rb").read()))
		    reply, _ = peer.exchange(peer.open_frame(vectors + "/" + e["file"]))
		    got = reply.get("error") or reply["disposition"]
		    want = "serve" if e["expect"] == "ok" and e["file"] not in faults else "refuse"
		    if got != want:
		        bad += 1
		        print(e["file"], got, "not", want, reply.get("reason"))
		print(len(files), "seen")
		sys.exit(bad > 0 or len(files) < 35)
	EOF
	echo "$output"
}

# One byte more, a line end, a word on stdout: whoever reads the verdict takes the exact text only.
@test "verdicts are exact, and depend on the input" {
	gives true 'allow := true'
	gives false 'allow := false'
	gives undefined 'allow if input.x'
	gives true 'allow if input.x == 1' '{"x": 1}'
	gives false $'default allow := false\nallow if input.x == 1' '{"x": 2}'
	gives true 'allow if { input.a.b[_] == "é \" \\"; not input.c }' '{"a": {"b": [1, "é \" \\"]}}'
	gives true 'allow if { print("printed"); true }'
	gives true 'allow if 18446744073709551617 > 18446744073709551616'
	gives true $'deny contains "x" if input.x\nallow if count(deny) == 0'
	gives false 'allow := regex.match(`^/models/[a-z]+\d$`, "/models/x")'
	gives true $'allow := "#" == `#` # a comment\n# allow := false\n#'
	refuses 5 'neither true nor false' 'allow := "true"'
	refuses 5 'neither true nor false' 'allow := {"a": true}'
	refuses 5 'neither true nor false' 'allow := [true]'
	refuses 5 '' 'allow := 1'
	refuses 5 '' 'allow := null'
}

# An offset is shared: who fills a memfd and hands it on has left it at its end, and the policy would be empty.
@test "the policy is read from its beginning, from a pipe too, and the verdict may be a file that has something" {
	printf 'package model\nallow := true' >"$T/p"
	exec 7<>"$T/p"
	cat <&7 >/dev/null
	"$REGO" --librego "$LIBREGO" 3<&7 4>"$T/v" <<<'{}'
	[ "$(<"$T/v")" = true ]
	exec 7>&-
	"$REGO" --librego "$LIBREGO" 3< <(cat "$T/p") 4>"$T/v" <<<'{}'
	[ "$(<"$T/v")" = true ]
	head -c 100000 /dev/zero >"$T/v"
	"$REGO" --librego "$LIBREGO" 3<"$T/p" 4>>"$T/v" <<<'{}'
	[ "$(tail -c 4 "$T/v")" = true ]
}

# What the engine gets wrong without a word has to be refused before it is asked (the whole list: tests/unit/engine_screen.c).
@test "policies and inputs that the engine would misjudge are refused by name" {
	refuses 4 semver 'allow if semver.compare("2.10.0", "2.9.1") > 0'
	refuses 4 max 'allow if max([9, 10]) == 10'
	refuses 4 '\u' 'allow if "\u00e9" == "é"'
	refuses 4 'twice' 'allow := true' '{"a": 1, "a": 2}'
	refuses 4 '\u' 'allow := true' '{"a": "\u0041"}'
	refuses 4 '\/' 'allow := true' '{"a": "\/"}'
	refuses 4 'input' 'allow := true' '[1]'
	refuses 4 'input' 'allow := true' ''
	refuses 4 'input' 'allow := true' $'{"a": "\xff"}'
	refuses 4 '`if`' 'allow { true }'
	refuses 4 'denied' $'deny if input.x\nallow if not denied'
	refuses 4 'regex' 'allow if regex.match("^.$", input.x)' '{"x": "é"}'
}

# A list that has too much on it is as bad: nobody finds out that a fault is gone. What the engine does with such policies, unrefused.
@test "the faults for which policies are refused are there" {
	local text n=0
	cat >"$T/raw.py" <<-'EOF'
		# What librego says to "[data.model.allow]" for the policy in argv[2], through its C API alone.
		import ctypes as c, sys
		lib = c.CDLL(sys.argv[1])
		for f in "regoNew", "regoQuery":
		    getattr(lib, f).restype = c.c_void_p
		r = c.c_void_p(lib.regoNew())
		lib.regoSetStrictBuiltInErrors(r, c.c_ubyte(1))
		assert lib.regoAddModule(r, b"m", ("package model\n" + sys.argv[2]).encode()) == 0
		assert lib.regoSetInputTerm(r, b"{}") == 0
		o = c.c_void_p(lib.regoQuery(r, b"[data.model.allow]"))
		b = c.create_string_buffer(lib.regoOutputJSONSize(o) + 1)
		lib.regoOutputJSON(o, b, len(b) - 1)
		print(b.value.decode())
	EOF
	while IFS= read -r text; do
		run -0 python3 "$T/raw.py" "$LIBREGO" "$text"
		echo "$text: $output"
		[ "$output" = '{"expressions":[[true]]}' ] # each of these is false, undefined or an error in OPA
		ask "$(model "$text")"
		refused 4 ''
		n=$((n + 1))
	done <<-'EOF'
		allow if semver.compare("2.10.0", "2.9.1") < 0
		allow if max([9, 10]) == 9
		allow if min([9, 10]) == 10
		allow if sort([10, 9]) == [10, 9]
		allow if not sum(["a"]) > 5
		allow if not product(["a"]) > 5
		allow if to_number("3x") == 3
		allow if format_int(-5.5, 10) == "-6"
		allow if ceil(1e30) < 0
		allow if floor(1e30) < 0
		allow if round(1e30) < 0
		allow if bits.lsh(1, 63) < 0
		allow if object.union({"a": {"x": 1}}, {"a": {"y": 2}}) == {"a": {"y": 2}}
		allow if object.union_n([{"a": {"x": 1}}, {"a": {"y": 2}}]) == {"a": {"y": 2}}
		allow if urlquery.encode("a b") == "a%20b"
		allow if base64.decode("YQ") == "a"
		allow if base64.is_valid("YQ")
		allow if yaml.unmarshal("a: yes").a == "yes"
		allow if time.parse_duration_ns("1d") > 0
		allow if time.format(1700000000000000000) == "2023-11-14T22:13:20.000000000Z"
		allow if time.diff(1700000000000000000, 1600000000000000000)[5] == 28
		allow if not regex.match("^.$", "é")
		allow if not regex.match("^\t$", "\t")
		allow if regex.match(`(?!x)y`, "y")
		allow if not regex.match(`\Aab`, "ab")
		allow if not regex.match(`^[^]a]$`, "b")
		allow if not glob.match("a\\*b", [], "a*b")
		allow if sprintf("%q", ["a"]) == "%q"
		allow if upper("é") == "é"
		allow if contains("a\n", "n")
		allow if endswith("a\n", "n")
		allow if indexof("\n", "n") == 1
		allow if "\u00e9" != "é"
		allow if "\/" != "/"
		allow if not misspelt
		allow { true }
		allow
		allow if { input := 1; input == 1 }
	EOF
	[ "$n" = 38 ]
}

# Whatever a policy does, the agent has its answer soon, and it is no.
@test "policies that never end, or eat memory, end by the program's own limits" {
	dies 'allow if count(numbers.range(1, 100000000)) > 1'
	dies 'allow if { every x in numbers.range(1, 100000000) { x > 0 } }'
	dies 'allow if count({[a, b, c] | some a in numbers.range(1, 300); some b in numbers.range(1, 300); some c in numbers.range(1, 300)}) > 0'
	dies 'allow if count([x | some a in numbers.range(1, 10000); some b in numbers.range(1, 10000); x := a * b]) > 0'
	dies 'allow if regex.match("^(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab")'
	dies "$(for ((i = 0; i < 5000; i++)); do echo "r$i if { r$((i + 1)); input.x == $i }"; done; echo $'r5000 := true\nallow if r0')"
	dies "$(python3 -c 'print("s0 := \"" + "a" * 64 + "\""); [print(f"s{i + 1} := concat(\"\", [s{i}, s{i}, s{i}, s{i}])") for i in range(20)]
print("allow if s20 != \"\"")')"
	dies 'allow if replace("abc", "", "x") == ""'
	dies "allow := $(printf '1 + %.0s' {1..20000}) 1 > 0"
	dies $'f(x) := f(x + 1)\nallow if f(1)'
	dies 'allow if glob.match("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", [], "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")'
}

# Policies and inputs that are no text, or too much of it.
@test "rubbish is refused: NUL, not UTF-8, too long, 20,000 parentheses, not Rego, two rules that disagree" {
	printf 'package model\nallow := true\n\0\nallow := false\n' >"$T/p"
	ask "$T/p"
	refused 4 NUL
	printf 'package model\nallow := true # \xff\n' >"$T/p"
	ask "$T/p"
	refused 4 UTF-8
	{ printf 'package model\nallow := true\n#'; head -c 1048576 /dev/zero | tr '\0' x; } >"$T/p"
	ask "$T/p"
	refused 4 'too long'
	{ printf 'package model\nallow := true\n#'; head -c 900000 /dev/zero | tr '\0' x; } >"$T/p"
	ask "$T/p" "{\"a\": \"$(head -c 100000 /dev/zero | tr '\0' x)\"}"
	echo "long: $status/$verdict $said"
	[ "$status/$verdict" = 0/true ]
	refuses 4 'too deeply' "allow := $(printf '(%.0s' {1..20000})1$(printf ')%.0s' {1..20000})"
	refuses 4 'nested' 'allow := true' "{\"a\": $(printf '[%.0s' {1..20000})$(printf ']%.0s' {1..20000})}"
	refuses 5 '' 'allow = = true'
	refuses 5 '' $'allow := true\nallow := false'
	refuses 5 '' $'default allow := false\ndefault allow := true'
	refuses 5 '' 'allow := 1e400 > 1'
	refuses 5 '' 'allow if input.a > 0' '{"a": 1e400}'
	refuses 5 'nosuch' 'allow if not nosuch(1)'
	refuses 5 '' 'allow if not startswith(1, "a")'
	: >"$T/p"
	ask "$T/p"
	refused 5 ''
}

# A policy that reads files, asks servers or sees the environment tells others what it saw, or decides by what no auditor saw.
@test "policies reach no server and no file, and see no environment" {
	refuses 5 '' 'allow if http.send({"method": "get", "url": "http://127.0.0.1:1/"}).status_code == 200'
	refuses 5 '' 'allow if not http.send({"method": "get", "url": "http://127.0.0.1:1/"})'
	refuses 5 '' 'allow if net.lookup_ip_addr("localhost") == {"127.0.0.1"}'
	refuses 5 '' 'allow if not time.clock([1700000000000000000, "Europe/Berlin"]) == []'
	UNDER=(env SECRET=hunter2)
	gives true 'allow if opa.runtime().env == {}'
}

# The filter is what stands between a fault in the engine and the agent's files: each way out once, by a library that wants it.
@test "a hostile engine cannot open, create, connect, fork, execute, kill, trace or map code" {
	local action
	cd "$T"
	ENGINE=$HOSTILE gives true 'do := `nothing`' # so that a true would be seen
	for action in open create socket fork vfork thread exec kill ptrace read-parent write-1 write-2 write-3 read-4 run-data map-code limits \
		dumpable memfd io_uring userfaultfd alarm crash abort; do
		does "$action"
	done
	[ ! -e made-by-the-engine ]
	if [ "$(uname -m)" = x86_64 ]; then
		does int80
		does x32
	fi
	UNDER=(env SECRET=hunter2)
	does environment
	UNDER=()
	does eat
	does spin 137
}

# An answer that only looks like one; a library that says "fine" and has nothing.
@test "an engine's answer counts to the byte" {
	local answer
	ENGINE=$HOSTILE gives true 'do := `say {"expressions":[[true]]}`'
	ENGINE=$HOSTILE gives undefined 'do := `say undefined`'
	for answer in true '{"expressions":[[true]]} ' '{"expressions":[[true,true]]}' '{"expressions":[[true],[true]]}' '{"expressions":[true]}' \
		'{"expressions": [[true]]}' 'not ok' 'too much' ''; do
		ENGINE=$HOSTILE refuses 5 'neither true nor false' "do := \`say $answer\`"
	done
	ENGINE=$HOSTILE refuses 5 'does not compile: a\x1b[1m' 'x := 1' # its words are escaped
}

# What the kernel says of the locked process; the filter alone would hide that nothing else holds.
@test "locked in: descriptors, limits, no dumps, no new privileges, Landlock" {
	local d pid i who=() data
	need setpriv strace
	d=$(mktemp -d /tmp/ctXXXXXX)
	chmod 755 "$d"
	cp "$REGO" "$HOSTILE" "$d"
	printf 'package model\ndo := `wait`\n' >"$d/p"
	[ "$(id -u)" != 0 ] || who=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	"${who[@]}" "$d/ct-policy-rego" --librego "$d/librego.so" 3<"$d/p" 4>"$T/v" 8</dev/null 99</dev/null >"$T/out" 2>&1 <<<'{}' &
	pid=$!
	for ((i = 0; i < 200; i++)); do
		grep -q 'Seccomp:.2' "/proc/$pid/status" 2>/dev/null && break
		sleep 0.02
	done
	[ -d "/proc/$pid" ] || cat "$T/out"
	cat "/proc/$pid/status" "/proc/$pid/limits" >"$T/seen"
	stat -c %u "/proc/$pid/environ" >"$T/owner"
	[ "$(id -u)" != 0 ] || ls -x "/proc/$pid/fd" >"$T/fds"
	kill -9 "$pid"
	wait "$pid" || true
	rm -rf "$d"
	cat "$T/seen"
	grep -q 'NoNewPrivs:.1' "$T/seen"
	grep -q 'Seccomp:.2' "$T/seen"
	[ "$(<"$T/owner")" = 0 ] # not dumpable: /proc is root's
	[ ! -e "$T/fds" ] || [ "$(tr -s ' \n' ' ' <"$T/fds")" = '0 3 4 5 ' ]
	grep -qE '^Max cpu time +1 +1 ' "$T/seen"
	grep -qE '^Max core file size +0 +0 ' "$T/seen"
	grep -qE '^Max processes +0 +0 ' "$T/seen"
	grep -qE '^Max open files +0 +0 ' "$T/seen"
	grep -qE '^Max locked memory +0 +0 ' "$T/seen"
	data=$(awk '/^VmData/ { print $2 * 1024 }' "$T/seen")
	awk -v had="$data" '/^Max data size/ { exit !($4 == $5 && $4 <= had + 64 * 1048576 && $4 > had) }' "$T/seen"
	printf 'package model\nallow := true' >"$T/p"
	strace -f -o "$T/calls" "$REGO" --librego "$LIBREGO" 3<"$T/p" 4>"$T/v" <<<'{}'
	[ "$(<"$T/v")" = true ]
	grep -q 'landlock_restrict_self(.*= 0' "$T/calls" || grep -q 'landlock_create_ruleset(NULL.*-1 E\(NOSYS\|OPNOTSUPP\)' "$T/calls"
	# after the filter: nothing that a policy of one line needs but memory, reading and the verdict
	run -0 sed -n '/seccomp(SECCOMP_SET/,$p' "$T/calls"
	run ! grep -vE ' (seccomp|read|write|mmap|munmap|brk|madvise|mremap|futex|mprotect|exit_group)\(|\+\+\+ exited' <<<"$output"
}

# Half a lock is none: where a step fails there must be no verdict. A kernel without Landlock is named, and goes on.
@test "what cannot be applied stops it, but for Landlock that the kernel lacks" {
	local call
	need strace
	for call in seccomp prctl prlimit64 landlock_restrict_self landlock_create_ruleset; do
		UNDER=(strace -f -o /dev/null -e "inject=$call:error=EPERM")
		refuses 3 'lock itself in' 'allow := true'
	done
	UNDER=()
	ENGINE=$BUILD/standins/librego-thread.so refuses 3 threads 'do := `nothing`'
	UNDER=(strace -f -o /dev/null -e inject=landlock_create_ruleset:error=ENOSYS)
	ask "$(model 'allow := true')"
	[ "$status/$verdict" = 0/true ]
	[[ $said == *Landlock* ]]
	UNDER=(strace -f -o /dev/null -e inject=close_range:error=ENOSYS) # Linux before 5.9
	gives true 'allow := true'
}

# Usage errors must not look like verdicts, nor be taken for refusals.
@test "usage, missing descriptors, libraries that are none" {
	printf 'package model\nallow := true' >"$T/p"
	run -0 "$REGO" --help
	[[ $output == *--librego* ]]
	run -0 "$REGO" --version
	run -2 "$REGO" 3<"$T/p" 4>/dev/null
	run -2 "$REGO" --librego librego_shared.so 3<"$T/p" 4>/dev/null
	run -2 "$REGO" --librego "$LIBREGO" more 3<"$T/p" 4>/dev/null
	run -2 "$REGO" --librego "$LIBREGO" 3<&- 4>/dev/null
	run -2 "$REGO" --librego "$LIBREGO" 3<"$T/p" 4>&-
	run -2 sh -c '"$1" --librego "$2" 3<"$3" 4>/dev/null <&-' - "$REGO" "$LIBREGO" "$T/p"
	run -3 "$REGO" --librego "$T/none.so" 3<"$T/p" 4>&1 </dev/null
	[[ $output == *none.so* ]]
	run -3 "$REGO" --librego "$T/p" 3<"$T/p" 4>&1 </dev/null
	run -3 "$REGO" --librego "$BUILD/standins/libcuda.so.1" 3<"$T/p" 4>&1 </dev/null
	[[ $output == *'has no regoNew'* ]]
	run -3 "$REGO" --librego "$LIBREGO" 3<"$T/p" 4<"$T/p" <<<'{}' # nowhere to write it
}
