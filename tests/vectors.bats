# Every vector gets its verdict by every way into a file. tests/vectors.py is the judge, by the manifest and an independent reader.

load helpers

setup_file() {
	agent_start
}

teardown_file() {
	agent_stop
}

judge() {
	python3 "$ROOT/tests/vectors.py" "$@"
}

# The offline verifier would call a forged or damaged file good, or a good one bad.
@test "ct verify --keys gives every vector its verdict" {
	judge ct-verify-keys
}

# Wrong plaintext, or a half file under the final name, would be written.
@test "ct decrypt --keys gives every vector its view or its error" {
	judge ct-decrypt-keys
}

# The agent would unlock what it must refuse, or refuse what it must unlock.
@test "ct verify and ct decrypt through the agent agree with the manifest" {
	judge ct-agent
}

# A program that reads would see ciphertext, a wrong byte, a wrong errno, or would be left without an explanation.
@test "open and read under the preload give every vector its verdict" {
	judge read
}

# A program that maps would see ciphertext or a wrong page; damage would hide in a page that should raise SIGBUS.
@test "mmap under the preload gives every vector its verdict" {
	judge mmap
}
