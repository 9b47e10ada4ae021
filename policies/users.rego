# ct encrypt --user 1000 --user 1001
# Change the numbers: `id -u NAME` prints one.

package model

import rego.v1

default allow := false

allow if {
    input.peer.uid in {1000, 1001}
}
