#!/bin/sh
# opa-engine.sh: OPA as a policy engine of ct-agent, an example of how others are put behind the same interface (docs/POLICY.md).
#
#     ct-agent --policy-engine 'exec:/PATH/TO/opa-engine.sh /usr/bin/opa /PATH/TO/capabilities.json'
#
# No test of this project runs it: opa is not available where they run. It takes no lock upon itself; the capabilities file must leave out
# http.send, net.lookup_ip_addr and opa.runtime (`opa capabilities --current` prints one to start from; without "allow_net": [] hosts stay open).
set -eu
PATH=/usr/bin:/bin
export PATH
[ $# = 2 ] || exit 2
dir=$(mktemp -d /tmp/ct-opa.XXXXXX)
trap 'rm -rf "$dir"' EXIT
trap 'exit 3' HUP INT TERM
# A NUL would end the policy for some reader; opa wants a file with a name.
cat <&3 >"$dir/policy.rego"
[ "$(tr -dc '\000' <"$dir/policy.rego" | wc -c)" = 0 ] || exit 4
# One value and nothing else; an error is a status other than 0, undefined an empty list of results.
"$1" eval --strict-builtin-errors --capabilities "$2" --stdin-input --format json -d "$dir/policy.rego" '[data.model.allow]' >"$dir/out" 4>&- || exit 5
case $(tr -d ' \t\n' <"$dir/out") in
'{}') printf undefined >&4 ;;
'{"result":[{"expressions":[{"value":[true],'*']}]}') printf true >&4 ;;
'{"result":[{"expressions":[{"value":[false],'*']}]}') printf false >&4 ;;
*) exit 5 ;;
esac
