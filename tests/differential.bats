# ctshim against the reference implementation (package cryptotensors), on random files and on mutated headers: thousands of each, in
# both directions. tests/differential.py is the judge; docs/FORMAT.md, "Where we differ from the reference", is what it may not find.
# DIFFERENTIAL_SEED draws other files.

load helpers

differential() {
	need_python cryptotensors torch
	"$PY" "$ROOT/tests/differential.py" "${DIFFERENTIAL_SEED:-1}" "$BATS_TEST_TMPDIR" "$@"
}

# Files that others have would be refused or misread: at chunk edges, of odd names, dtypes, versions, partly encrypted.
@test "what the package writes, we read" {
	differential theirs
}

# Files that only we can read, in one of the ways in which we write them.
@test "what we write, the package reads" {
	differential ours
}

# A header that the package refuses would be served, or one that it reads refused, and nobody had decided so.
@test "mutated headers: each verdict is the package's, or a listed difference" {
	differential mutants
}
