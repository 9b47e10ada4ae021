# ct encrypt --until 2027-12-31 --grace 14
# Change the number: seconds since 1970 at which it is over, grace included; `date -u -d 2028-01-15 +%s` prints it.

package model

import rego.v1

default allow := false

allow if {
    # before 2028-01-15T00:00:00+00:00, days of grace with it: 14
    input.time.seconds < 1831507200
}
