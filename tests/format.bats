# docs/FORMAT.md is enough to write another implementation from: its worked example is made by one that was (tests/format_example.py).

load helpers

DOC=$ROOT/docs/FORMAT.md

# from_document: what the document shows, as files, and nothing else.
from_document() {
	cd "$BATS_TEST_TMPDIR"
	umask 077
	python3 "$ROOT/tests/format_example.py" shown "$DOC" "The key set" >keys.jwk
	python3 "$ROOT/tests/format_example.py" shown "$DOC" "The plain file" >plain.safetensors
	python3 "$ROOT/tests/format_example.py" shown "$DOC" "The encrypted file" >e.safetensors
	python3 "$ROOT/tests/format_example.py" shown "$DOC" "The view" >view
	[ "$(stat -c %s e.safetensors)" = "$(stat -c %s view)" ]
}

teardown() {
	agent_stop
}

# An example that is wrong in a byte costs its reader days.
@test "the worked example is what the document's rules give" {
	diff <(python3 "$ROOT/tests/format_example.py" document "$DOC") <(python3 "$ROOT/tests/format_example.py" block)
}

# A document that tells of another format than ours.
@test "ct verifies and decrypts the example to the view that the document shows" {
	from_document
	run -0 "$CT" verify --keys keys.jwk e.safetensors
	[ "$output" = "e.safetensors: ok" ]
	"$CT" decrypt -q --keys keys.jwk e.safetensors d
	cmp d view
	python3 -c '
import sys; sys.path.insert(0, sys.argv[1])
import judge
(n, _, *view), (m, _, *plain) = (judge.split(open(p, "rb").read()) for p in ("view", "plain.safetensors"))
assert view == plain and open("view", "rb").read()[8 + n:] == open("plain.safetensors", "rb").read()[8 + m:]' "$ROOT/tests"
}

# The same for the agent and the shim, which take a file's header from each other.
@test "programs see that view under the preload" {
	from_document
	agent_start "$PWD/keys.jwk"
	shimmed cat e.safetensors >seen
	cmp seen view
}

# A writer of ours that differs from what the document says: of another form, though both can be read.
@test "ct encrypt writes the example's form" {
	from_document
	"$CT" encrypt -q --keys keys.jwk --chunk-size 8 --tensors '!p' --header-reserve 0 plain.safetensors ours.safetensors
	# All that is drawn at random, and what depends on it, is base64 of the same length.
	same_form() { head -c 1184 "$1" | tail -c 1176 | sed -E 's#[A-Za-z0-9+/]{16,}=*#R#g'; }
	[ "$(stat -c %s ours.safetensors)" = "$(stat -c %s e.safetensors)" ]
	diff <(same_form ours.safetensors) <(same_form e.safetensors)
}

# The document would promise other readers what ours refuses, or the other way round; a digest that is wrong beside a right tag would go unseen.
@test "what the document says is accepted is accepted, and what it refuses is refused" {
	python3 "$ROOT/tests/format_cases.py" "$BATS_TEST_TMPDIR"
}
