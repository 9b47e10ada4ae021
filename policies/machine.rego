# ct encrypt --machine 0123456789abcdef0123456789abcdef
# Change the id: `cat /etc/machine-id` on the machine; more of them go between the braces, with commas.

package model

import rego.v1

default allow := false

allow if {
    input.machine_id in {"0123456789abcdef0123456789abcdef"}
}
