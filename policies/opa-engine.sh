#!/bin/sh
# opa-engine.sh: OPA as a policy engine of ct-agent, an example of how others are put behind the same interface (docs/POLICY.md).
#
#     ct-agent --policy-engine 'exec:/PATH/TO/opa-engine.sh /usr/bin/opa /PATH/TO/capabilities.json'
#
# opa itself is not available where this project is tested: a stand-in is what the tests run. It takes no lock upon itself; the capabilities file must leave out
# http.send, net.lookup_ip_addr and opa.runtime (`opa capabilities --current` prints one to start from; without "allow_net": [] hosts stay open).
# It writes no file, so nothing is left when it is killed.
set -eu
PATH=/usr/bin:/bin
export PATH
[ $# = 2 ] || exit 2
policy=/proc/self/fd/3 # opened anew, so from its beginning, by whoever opens it
# A NUL would end the policy for some reader.
[ "$(tr -dc '\000' <$policy | wc -c)" = 0 ] || { echo 'the policy has a NUL byte' >&2; exit 4; }
# What is no Rego, and has no name that ends in .rego, eval would try as data: JSON or YAML, in which anybody can say that data.model.allow is true.
"$1" parse $policy >/dev/null 4>&- || exit 4
# One value and nothing else; an error is a status other than 0, undefined an empty list of results.
out=$("$1" eval --strict-builtin-errors --capabilities "$2" --stdin-input --format json -d $policy '[data.model.allow]' 4>&-) || exit 5
case $(printf '%s' "$out" | tr -d ' \t\n') in
'{}') printf undefined >&4 ;;
'{"result":[{"expressions":[{"value":[true],'*']}]}') printf true >&4 ;;
'{"result":[{"expressions":[{"value":[false],'*']}]}') printf false >&4 ;;
*) exit 5 ;;
esac
