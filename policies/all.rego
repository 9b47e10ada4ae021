# ct encrypt --until 2027-12-31 --grace 14 --machine 0123456789abcdef0123456789abcdef --user 1000 --user 1001
# Change the values as in until.rego, machine.rego and users.rego; what is not needed can be left out, a line each.

package model

import rego.v1

default allow := false

allow if {
    # before 2028-01-15T00:00:00+00:00, days of grace with it: 14
    input.time.seconds < 1831507200
    input.machine_id in {"0123456789abcdef0123456789abcdef"}
    input.peer.uid in {1000, 1001}
}
