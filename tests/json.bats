#!/usr/bin/env bats
# Reading of JSON, judged by Python's.

load helpers

# Without it: a document that others read differently than we do, or do not read at all, could pass.
@test "60,000 whole and damaged documents: the same verdict and content as Python's json" {
	run -0 python3 "$BATS_TEST_DIRNAME/json_judge.py" "$BUILD/unit/test_json" 60000
	[[ $output == *" 0 verdicts differ" ]]
}
