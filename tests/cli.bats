# ct: what users type and what they read: help, exit status, messages, JSON, keys, and the agent's commands.

load helpers

setup() {
	cd "$BATS_TEST_TMPDIR"
}

# key_field FILE KTY FIELD
key_field() {
	python3 -c '
import json, sys
print([k for k in json.load(open(sys.argv[1]))["keys"] if k["kty"].lower() == sys.argv[2]][0].get(sys.argv[3], "none"))' "$@"
}

# A script that checks the status would take a typing error for a bad file.
@test "help, version and usage: status 0 and 2" {
	run -0 "$CT" --help
	for c in keygen encrypt decrypt rewrap inspect policy verify run doctor add list remove lock unlock status; do
		[[ $output == *"  $c "* ]]
	done
	run -0 "$CT" --version
	[[ ${lines[0]} == "ct "[0-9]* && ${lines[1]} == "OpenSSL "[0-9]*", "* ]]
	for c in keygen encrypt decrypt rewrap inspect policy verify run doctor add list remove lock unlock status; do
		run -0 --separate-stderr "$CT" "$c" --help
		[[ $output == "usage: ct $c"* && -z $stderr ]]
		run -0 "$CT" "$c" --version
		[ "$c" = run ] && continue # 125: its own failures must not look like the program's
		run -2 "$CT" "$c" --no-such-option
		[[ $output == "ct $c: unknown or ambiguous option --no-such-option; see ct $c --help" ]]
	done
	run -2 "$CT"
	run -2 "$CT" no-such-command
	run -2 "$CT" encrypt a b
	run -2 "$CT" encrypt --keys k a
	run -2 "$CT" encrypt --keys k --chunk-size 0 a b
	run -2 "$CT" encrypt --keys k --chunk-size 4X a b
	run -2 "$CT" encrypt --keys k --format-version 1 --chunk-size 4 a b
	run -2 "$CT" encrypt --keys k --alg A257GCM a b
	run -2 "$CT" encrypt --keys k -j 0 a b
	run -2 "$CT" encrypt --keys
	run -2 "$CT" decrypt a
	run -2 "$CT" verify
	run -2 "$CT" inspect a b
	run -2 "$CT" doctor a b
	run -2 "$CT" add
	run -2 "$CT" remove
	run -2 "$CT" remove --all 1
	run -2 "$CT" remove x
	run -2 "$CT" policy
	run -2 "$CT" policy judge a
	run -2 "$CT" policy test a
	run -2 "$CT" policy test --policy-engine exec:/e a
	run -2 "$CT" policy test --input i a
	run -2 "$CT" policy test --policy-engine exec:/e --input i
	run -2 "$CT" policy test --policy-engine exec:/e --input i --claim a=b a
	run -2 "$CT" policy explain
	run -2 "$CT" policy explain a b
	run -2 "$CT" policy explain --input i a
	run -2 "$CT" policy explain --claim a b
	run -2 "$CT" policy explain --claim =a b
	run -2 "$CT" policy explain --claim $'a=\n' b
	run -2 "$CT" keygen --from a
	run -2 "$CT" keygen -o a --reader a
	run -2 "$CT" keygen -o a b
}

# Keys that others can read, that overwrite the only ones, or that end up on a screen.
@test "keygen: mode 0600, never over a file, never on a terminal; other keys each time" {
	umask 0
	run -0 "$CT" keygen -o k.jwk
	[[ $output == *"k.jwk: master key enc-"*"signing key sign-"* ]]
	[ "$(stat -c %a k.jwk)" = 600 ]
	sum=$(sha256sum k.jwk)
	run -3 "$CT" keygen -o k.jwk
	[[ $output == *"k.jwk: EEXIST"*--force* ]]
	[ "$(sha256sum k.jwk)" = "$sum" ]
	run -0 "$CT" keygen -q --force -o k.jwk
	[ -z "$output" ]
	[ "$(sha256sum k.jwk)" != "$sum" ]
	"$CT" keygen -q --alg chacha20poly1305 --kid-enc 'my "key"' --kid-sign é >piped.jwk
	[ "$(key_field piped.jwk oct kid)" = 'my "key"' ]
	[ "$(key_field piped.jwk oct alg)" = chacha20poly1305 ]
	[ "$(key_field piped.jwk okp kid)" = é ]
	run -3 "$CT" keygen --kid-enc "$(printf 'a\nb')" -o x
	run -3 "$CT" keygen --kid-enc "$(printf 'a\xff')" -o x
	run -3 "$CT" keygen -o /nonexistent/x
	[[ $output == "ct: /nonexistent/x: ENOENT"* ]]
	run -2 python3 -c '
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], [sys.argv[1], "keygen"])
out = b""
try:
    while part := os.read(fd, 1000):
        out += part
except OSError:
    pass
sys.stdout.write(out.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))' "$CT"
	[[ $output == *terminal*-o* && $output != *'"k"'* ]]
	[ -z "$(find . -name '.*ct-*')" ]
}

# Readers who could sign could replace models; readers without the master key could not read.
@test "keygen --reader: the same keys without the private half, made with the set or from it" {
	plain_model plain.safetensors
	for jose in "" --jose; do
		"$CT" keygen -q --force $jose -o k.jwk --reader r.jwk
		"$CT" keygen -q --force $jose --from k.jwk --reader r2.jwk
		cmp r.jwk r2.jwk
		[ "$(stat -c %a r.jwk)" = 600 ]
		[ "$(key_field k.jwk okp d)" != none ]
		[ "$(key_field r.jwk okp d)" = none ]
		[ "$(key_field r.jwk okp x)" = "$(key_field k.jwk okp x)" ]
		[ "$(key_field r.jwk oct k)" = "$(key_field k.jwk oct k)" ]
		"$CT" encrypt -q --force --keys k.jwk plain.safetensors e.safetensors
		run -0 "$CT" verify --keys r.jwk e.safetensors
	done
	[ "$(key_field k.jwk oct alg)" = A256GCM ]
	[ "$(key_field k.jwk okp alg)" = EdDSA ]
}

# A key file that everyone can read protects nothing; the user must be told how to mend it.
@test "a key file that others can read is refused with the remedy" {
	"$CT" keygen -q -o k.jwk
	chmod 640 k.jwk
	run -3 "$CT" encrypt --keys k.jwk a b
	[[ $output == "ct: k.jwk: EKEYREJECTED: "*"chmod 600"* ]]
	[ "${#lines[@]}" = 1 ]
}

# A program that calls ct would have to read people's text.
@test "--json: one object, for results and for errors" {
	plain_model plain.safetensors
	"$CT" keygen -q --kid-enc ke --kid-sign ks -o k.jwk
	"$CT" encrypt -q --keys k.jwk --chunk-size 64K plain.safetensors e.safetensors
	"$CT" inspect --json e.safetensors >i.json
	"$CT" inspect --json plain.safetensors >p.json
	"$CT" verify --json --keys k.jwk e.safetensors plain.safetensors >v.json && return 1
	"$CT" inspect --json "no
such" >err.json 2>err && return 1
	"$CT" decrypt --json --keys k.jwk plain.safetensors x >err2.json 2>/dev/null && return 1
	python3 - <<-'EOF'
		import json
		i, p, err, err2 = (json.load(open(f)) for f in ("i.json", "p.json", "err.json", "err2.json"))
		assert i["encrypted"] and i["signature_checked"] is False and i["version"] == 2 and i["chunk_size"] == 65536
		assert i["alg"] == "aes256gcm" and i["enc"] == {"kid": "ke"} and i["sign"] == {"kid": "ks"} and i["policy"]["default"] is True
		assert [t["name"] for t in i["tensors"]] == [t["name"] for t in p["tensors"]] and len(i["tensors"]) == 4
		assert all(t["encrypted"] for t in i["tensors"]) and not any(t["encrypted"] for t in p["tensors"])
		assert i["metadata"] == p["metadata"] == {"format": "pt", "note": "\u00e9 \"quoted\""} and not p["encrypted"]
		v = [json.loads(x) for x in open("v.json")]
		assert v[0] == {"file": "e.safetensors", "ok": True, "checked": ["signature", "tags"], "bare_tensors": 0, "faults": []}
		assert v[1]["file"] == "plain.safetensors" and v[1]["ok"] is False and v[1]["error"] == "EPERM" and v[1]["message"]
		assert err["error"] == "ENOENT" and err["file"] == "no\nsuch" and err["message"]
		assert err2["error"] == "EPERM" and err2["file"] == "plain.safetensors"
		assert open("err").read().count("\n") == 1
	EOF
}

# What a stranger wrote into a file would move the cursor, hide text or pretend to be our own words.
@test "foreign strings are escaped, in text and in JSON" {
	python3 - <<-'EOF'
		import json, struct
		evil = "\u202eevil\u009b\x1b[31m\x7f\u2066"
		h = json.dumps({"__metadata__": {evil: evil}, evil: {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}, ensure_ascii=False).encode()
		open("m", "wb").write(struct.pack("<Q", len(h)) + h + b"abc")
	EOF
	name=$(printf 'x\x1b[31m\xe2\x80\xae\xff')
	cp m "$name"
	"$CT" keygen -q --kid-enc "$(printf 'k\xe2\x80\xae\xc2\x9b')" -o k.jwk
	"$CT" encrypt -q --keys k.jwk m e
	agent_start "$PWD/k.jwk"
	for cmd in "inspect m" "inspect e" "inspect --json m" "inspect --json e" "verify --keys k.jwk" "verify --json --keys k.jwk" "list" "list --json"; do
		# shellcheck disable=SC2086 # words
		case $cmd in verify*) "$CT" $cmd "$name" e ;; *) "$CT" $cmd ;; esac >>out 2>&1 || true
	done
	"$CT" decrypt --keys k.jwk "$name/x" y >>out 2>&1 || true
	"$CT" run --agent "$name" true >>out 2>&1 || true
	python3 - <<-'EOF'
		import unicodedata
		text = open("out", "rb").read().decode("utf-8")  # invalid UTF-8 fails here
		bad = [c for c in text if c != "\n" and (unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp"))]
		assert not bad, bad
		assert text.count("evil") >= 6
	EOF
	python3 -c 'import json, subprocess, sys; assert "\u202eevil" in json.loads(subprocess.check_output([sys.argv[1], "inspect", "--json", "e"]))["tensors"][0]["name"]' "$CT"
}

# The private key would be gone: replaced by the set for readers, or by the model.
@test "no output takes the place of the keys or the policy, by whatever name, even with --force" {
	plain_model plain.safetensors
	mkdir d in
	"$CT" keygen -q -o k.jwk
	ln k.jwk hard
	ln -s k.jwk soft
	echo 'package model' >p.rego
	cp k.jwk d/k.jwk
	cp plain.safetensors in/
	echo other >in/k.jwk
	sums=$(sha256sum k.jwk p.rego d/k.jwk)
	for to in k.jwk ./k.jwk hard soft; do
		run -3 "$CT" keygen --from k.jwk --reader "$to" --force
		[[ $output == "ct: $to: EINVAL: "*"name another output" ]]
		run -3 "$CT" keygen --from soft --reader "$to" --force
		run -3 "$CT" encrypt --keys k.jwk --force plain.safetensors "$to"
		[[ $output == *"the output $to is in use by this very command (keys or policy): name another output" ]]
	done
	run -3 "$CT" encrypt --keys soft --force plain.safetensors k.jwk
	run -3 "$CT" encrypt --keys k.jwk --policy p.rego --force plain.safetensors ./p.rego
	[[ $output == *"in use by this very command"* ]]
	run -0 "$CT" encrypt -q --keys k.jwk plain.safetensors e.safetensors
	run -3 "$CT" decrypt --keys k.jwk --force e.safetensors soft
	[[ $output == *"in use by this very command"* ]]
	run -3 "$CT" encrypt --keys d/k.jwk --force in d
	[[ $output == *"in use by this very command"* ]]
	[ "$(sha256sum k.jwk p.rego d/k.jwk)" = "$sums" ]
	run -2 "$CT" keygen -o k.jwk --reader ./k.jwk --force
	run -2 "$CT" keygen -o k.jwk --reader soft --force
	run -2 "$CT" keygen -o d/new --reader ./d/../d/new --force
	run ! ls d/new
	run -3 sh -c '"$1" keygen --reader out.jwk --force >out.jwk' sh "$CT"
	[ "$(sha256sum k.jwk p.rego d/k.jwk)" = "$sums" ]
	run -0 "$CT" keygen -q -o d/new --reader new
	run -0 "$CT" encrypt -q --keys k.jwk --policy p.rego --force plain.safetensors d/new
	[ -z "$(find . -name '.*ct-*')" ]
}

# The shell makes the file by the umask: others could have read the keys, even while they were written.
@test "keygen > FILE: mode 0600 before the first byte" {
	umask 022
	"$CT" keygen -q >k.jwk
	[ "$(stat -c %a k.jwk)" = 600 ]
	plain_model plain.safetensors
	run -0 "$CT" encrypt -q --keys k.jwk plain.safetensors e.safetensors
	"$CT" keygen -q | cat >piped.jwk
	[ "$(stat -c %a piped.jwk)" = 644 ]
	preload nochmod <<-'EOF'
		#include <errno.h>
		#include <sys/stat.h>
		int fchmod(int fd, mode_t mode)
		{
			(void)fd, (void)mode;
			errno = EPERM;
			return -1;
		}
	EOF
	with nochmod run ! --separate-stderr sh -c '"$1" keygen -q >refused.jwk' sh "$CT"
	[[ $stderr == "ct: EPERM: stdout is a file that others can read"*"-o FILE"* ]]
	[ -e refused.jwk ] && [ ! -s refused.jwk ]
	chmod 600 refused.jwk # as with a umask of 077, where nothing needs to be changed
	with nochmod run -0 sh -c '"$1" keygen -q >refused.jwk' sh "$CT"
	[ -s refused.jwk ]
}

# The file that comes out would be one that the very same set cannot open.
@test "encrypt refuses a key that readers would not find" {
	plain_model plain.safetensors
	"$CT" keygen -q -o k.jwk --kid-sign own
	"$CT" keygen -q -o o.jwk --reader other.jwk --kid-sign other
	cat >mix.py <<-'EOF'
		import json, os, sys
		what, to = sys.argv[1:]
		(oct_, own), (_, other) = (json.load(open(f))["keys"] for f in ("k.jwk", "other.jwk"))
		assert "d" in own and "d" not in other
		anonymous = {k: v for k, v in own.items() if k != "kid"}
		public = {k: v for k, v in own.items() if k != "d"}
		sets = {"hidden": [oct_, other, anonymous], "first": [oct_, anonymous, other], "named": [oct_, other, own],
		        "same": [oct_, public, anonymous]}
		with open(os.open(to, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
		    json.dump({"keys": sets[what]}, f)
	EOF
	python3 mix.py hidden hidden.jwk
	run -3 "$CT" encrypt --keys hidden.jwk plain.safetensors hidden.safetensors
	[[ $output == "ct: hidden.jwk: EINVAL: its private signing key has no key id"*"give the key a kid" ]]
	[ ! -e hidden.safetensors ]
	for what in first named same; do
		python3 mix.py "$what" "$what.jwk"
		run -0 "$CT" encrypt -q --keys "$what.jwk" plain.safetensors "$what.safetensors"
		run -0 "$CT" verify --keys "$what.jwk" "$what.safetensors"
	done
}

# A temporary file with plain weights or keys would stay after a timer, a limit or a service manager ended ct.
@test "every signal that ends ct removes the temporary file first; an ignored one stays ignored" {
	preload signalled <<-'EOF'
		#include <signal.h>
		#include <stdlib.h>
		/* called when all is written and nothing has its final name */
		int fsync(int fd)
		{
			(void)fd;
			system("ls -A | grep -q '^[.]k.jwk.ct-' && touch seen");
			return raise(atoi(getenv("SIG")));
		}
	EOF
	ulimit -c 0
	for sig in $(python3 -c '
import signal as s
others = s.SIGKILL, s.SIGSTOP, s.SIGTSTP, s.SIGTTIN, s.SIGTTOU, s.SIGCHLD, s.SIGCONT, s.SIGURG, s.SIGWINCH, s.SIGXFSZ
print(*(int(n) for n in s.valid_signals() if n not in others and n not in (32, 33)))'); do
		echo "signal $sig"
		rm -f seen
		export SIG=$sig
		with signalled run -$((128 + sig)) "$CT" keygen -q -o k.jwk
		[ -e seen ]
		[ -z "$(ls -A | grep k.jwk)" ]
	done
	for sig in HUP PIPE ALRM USR1; do
		SIG=$(kill -l "$sig")
		with signalled run -0 sh -c 'trap "" "$2"; exec "$1" keygen -q --force -o k.jwk' sh "$CT" "$sig"
		[ -s k.jwk ]
	done
}

# A file that someone made meanwhile would be lost although nobody said --force.
@test "an output that appears meanwhile stays, also where the file system cannot rename without replacing" {
	preload odd <<-'EOF'
		#include <errno.h>
		#include <fcntl.h>
		#include <stdio.h>
		#include <stdlib.h>
		#include <string.h>
		#include <unistd.h>
		static int fail(const char *name)
		{
			const char *appear = getenv("APPEAR");
			if (appear && !strcmp(appear, name)) {
				int fd = open("k.jwk", O_WRONLY | O_CREAT | O_EXCL, 0600);
				if (write(fd, "theirs\n", 7) != 7)
					abort();
				close(fd);
			}
			return -1;
		}
		int renameat2(int a, const char *from, int b, const char *to, unsigned int flags)
		{
			(void)a, (void)b, (void)from, (void)to, (void)flags;
			int ret = fail("renameat2");
			errno = getenv("OLD_KERNEL") ? ENOSYS : EINVAL;
			return ret;
		}
		int link(const char *from, const char *to)
		{
			if (!getenv("NO_LINKS"))
				return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
			int ret = fail("link");
			errno = EPERM;
			return ret;
		}
	EOF
	for how in X=1 OLD_KERNEL=1 NO_LINKS=1; do
		for appear in renameat2 link; do
			[ "$appear" = link ] && [ "$how" != NO_LINKS=1 ] && continue
			echo "$how $appear"
			with odd run -3 env "$how" APPEAR=$appear "$CT" keygen -q -o k.jwk
			[[ $output == "ct: k.jwk: EEXIST: "* ]]
			[ "$(cat k.jwk)" = theirs ]
			[ "$(ls -A | grep -c k.jwk)" = 1 ]
			rm k.jwk
		done
		with odd run -0 env "$how" "$CT" keygen -q -o k.jwk
		[ "$(stat -c '%a %h' k.jwk)" = "600 1" ]
		[ "$(key_field k.jwk oct k)" != none ]
		[ "$(ls -A | grep -c k.jwk)" = 1 ]
		with odd run -0 env "$how" "$CT" keygen -q --force -o k.jwk
		rm k.jwk
	done
}

# A user would trust what the file says of itself, or miss what stays readable.
@test "inspect says what is not checked, and what a thief reads" {
	plain_model plain.safetensors
	"$CT" keygen -q -o k.jwk
	"$CT" encrypt -q --keys k.jwk plain.safetensors e.safetensors
	run -0 "$CT" inspect e.safetensors
	[[ $output == *"signature not checked"*"encrypted 4, plain 0"*"no weights"* ]]
	run -0 "$CT" inspect plain.safetensors
	[[ $output == *"not encrypted"*"everything"* ]]
	[[ $output != *"signature"* ]]
	partly=$(python3 -c '
import json, os, sys
sys.path.insert(0, sys.argv[1] + "/tests")
import judge
for e in json.load(open(sys.argv[1] + "/tests/vectors/manifest.json"))["files"]:
    if e["expect"] == "ok" and not e.get("plain"):
        n, head, meta, tensors = judge.split(open(sys.argv[1] + "/tests/vectors/" + e["file"], "rb").read())
        if "__encryption__" in meta and any(t[0] not in json.loads(meta["__encryption__"]) and t[4] > t[3] for t in tensors):
            print(e["file"]); break' "$ROOT")
	[ -n "$partly" ]
	run -0 "$CT" inspect "$VECTORS/$partly"
	[[ $output == *"and the weights of"* ]]
}

# With two links that lead back there are 2^40 ways to each file: the command would not come to an end.
@test "verify: links back to a folder above lead nowhere new" {
	plain_model plain.safetensors 1000
	"$CT" keygen -q -o keys.jwk
	mkdir -p d/sub
	"$CT" encrypt -q --keys keys.jwk plain.safetensors d/a.safetensors
	cp d/a.safetensors d/sub
	ln -s . d/here
	ln -s .. d/sub/up
	ln -s ../sub d/sub/twin
	ln -s sub d/other # another way to it: told of, too
	run -0 timeout 60 "$CT" verify --keys keys.jwk d
	[ "$output" = "d/a.safetensors: ok
d/other/a.safetensors: ok
d/sub/a.safetensors: ok" ]
}

# Half a folder verified, or a bad file among good ones not told.
@test "verify: a line a file, folders too, status 1 if any fails" {
	mkdir -p d/sub
	plain_model plain.safetensors
	"$CT" keygen -q -o k.jwk
	"$CT" keygen -q -o other.jwk
	"$CT" encrypt -q --keys k.jwk plain.safetensors d/a.safetensors
	"$CT" encrypt -q --keys k.jwk plain.safetensors d/sub/b.safetensors
	touch d/readme
	run -0 "$CT" verify --keys k.jwk d
	[ "$output" = "d/a.safetensors: ok
d/sub/b.safetensors: ok" ]
	"$CT" encrypt -q --keys other.jwk plain.safetensors d/c.safetensors
	run -1 --separate-stderr "$CT" verify --keys k.jwk d nothing
	[[ ${lines[0]} == "d/a.safetensors: ok" && ${lines[1]} == "d/c.safetensors: ENOKEY: "* && ${lines[2]} == "d/sub/b.safetensors: ok" ]]
	[[ ${lines[3]} == "nothing: ENOENT: "* ]]
	[ "${#lines[@]}" = 4 ]
	[ -z "$stderr" ]
	run -1 "$CT" verify -q --keys k.jwk d
	[ "${#lines[@]}" = 1 ]
	mkdir empty
	run -1 "$CT" verify --keys k.jwk empty
	run -3 "$CT" verify --keys /no/such/keys d/a.safetensors
}

# The private signing key would reach a process that has no use for it.
@test "add never sends d" {
	"$CT" keygen -q -o k.jwk
	dir=$(mktemp -d /tmp/ctXXXXXX)
	python3 - "$dir/s" >"$dir/got" 3>&- <<-'EOF' &
		import os, socket, struct, sys
		s = socket.socket(socket.AF_UNIX)
		s.bind(sys.argv[1])
		s.listen()
		c, _ = s.accept()
		data = b""
		while len(data) < 8 or len(data) < 8 + sum(struct.unpack("<II", data[:8])):
		    data += c.recv(65536)
		reply = b'{"v":1,"ok":true,"set":5,"keys":2}'
		c.sendall(struct.pack("<II", len(reply), 0) + reply)
		sys.stdout.buffer.write(data)
	EOF
	pid=$!
	while [ ! -S "$dir/s" ]; do sleep 0.02; done
	CT_AGENT_SOCK=$dir/s run -0 "$CT" add -t 77 k.jwk
	[ "$output" = "ct: k.jwk: the agent has its 2 keys as set 5" ]
	wait "$pid"
	grep -qa '"lifetime":77' "$dir/got"
	grep -qaF "$(key_field k.jwk oct k)" "$dir/got"
	grep -qaF "$(key_field k.jwk okp x)" "$dir/got"
	run ! grep -qaF "$(key_field k.jwk okp d)" "$dir/got"
	run ! grep -qa '"d"' "$dir/got"
	rm -rf "$dir"
}

# Keys that stay after "remove", a lock that does not lock, a status that is not true.
@test "add, list, remove, lock, unlock, status" {
	run -3 "$CT" status
	[[ $output == "ct: ENOKEY: no agent"* ]]
	run -3 "$CT" list
	agent_start
	"$CT" keygen -q --kid-enc ke --kid-sign ks -o k.jwk
	plain_model plain.safetensors
	"$CT" encrypt -q --keys k.jwk plain.safetensors e.safetensors
	run -1 "$CT" verify e.safetensors
	[[ $output == "e.safetensors: ENOKEY"* ]]
	run -0 "$CT" list
	[[ $output == *"no keys"* ]]
	run -0 "$CT" add k.jwk
	run -0 "$CT" verify e.safetensors
	run -0 "$CT" decrypt e.safetensors d.safetensors
	run -0 "$CT" list
	[[ $output == *"master key"*aes256gcm*ke*"signing key"*ed25519*ks*sha256* ]]
	[[ $output != *"$(key_field k.jwk oct k)"* ]]
	run -0 "$CT" list --json
	set=$(python3 -c 'import json, sys; s = json.loads(sys.argv[1])["sets"]; assert len(s) == 1; print(s[0]["id"])' "$output")
	run -0 "$CT" status
	[[ $output == "agent "*"key sets:  1"*"locked:    no"* ]]
	run -0 "$CT" status --json
	python3 -c 'import json, sys; s = json.loads(sys.argv[1]); assert s["sets"] == 1 and s["locked"] is False' "$output"
	run -0 "$CT" lock <<<"open sesame"
	run -1 "$CT" verify e.safetensors
	[[ $output == *ENOKEY*locked* ]]
	run -3 "$CT" add k.jwk
	[[ $output == *EPERM* ]]
	run -3 "$CT" unlock <<<"wrong"
	[[ $output == *EKEYREJECTED* ]]
	sleep 1.1
	run -0 "$CT" unlock <<<"open sesame"
	run -3 "$CT" lock <<<""
	run -0 "$CT" verify e.safetensors
	run -3 "$CT" remove 4711
	[[ $output == *"4711: ENOENT"* ]]
	run -0 "$CT" remove "$set"
	run -1 "$CT" verify e.safetensors
	run -0 "$CT" add -t 1 k.jwk
	run -0 "$CT" verify e.safetensors
	sleep 1.5
	run -1 "$CT" verify e.safetensors
	run -0 "$CT" add -q k.jwk
	[ -z "$output" ]
	run -0 "$CT" remove --all
	run -1 "$CT" verify e.safetensors
}

# The bar would end up in logs, or be missing where someone waits.
@test "a bar on a terminal after a second, none in a pipe, none with -q" {
	python3 - <<-'EOF'
		import json, struct
		size = 3 << 30
		h = json.dumps({"t": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
		with open("big", "wb") as f:
		    f.write(struct.pack("<Q", len(h)) + h)
		    f.truncate(8 + len(h) + size)
	EOF
	"$CT" keygen -q -o k.jwk
	cat >bar.py <<-'EOF'
		import os, pty, signal, sys, time
		def said(args, want):
		    pid, fd = pty.fork()
		    if pid == 0:
		        os.execv(sys.argv[1], [sys.argv[1], "encrypt", "-j1", "--force", "--keys", "k.jwk", *args, "big", "out"])
		    out, until = b"", time.time() + 2.2
		    os.set_blocking(fd, False)
		    while time.time() < until and not (want and b"% of" in out):
		        try:
		            out += os.read(fd, 1000)
		        except BlockingIOError:
		            time.sleep(0.05)
		        except OSError:
		            break
		    os.kill(pid, signal.SIGINT)
		    os.waitpid(pid, 0)
		    return out
		if b"% of 3.0 GiB" not in said([], True):
		    sys.exit("no bar")
		if said(["-q"], False):
		    sys.exit("a bar with -q")
	EOF
	python3 bar.py "$CT"
	[ -z "$(find . -name '.*ct-*')" ]
	"$CT" encrypt --keys k.jwk big out2 2>err &
	pid=$!
	sleep 1.5
	kill -TERM "$pid" || true
	wait "$pid" || true
	[ ! -s err ]
}
