#!/bin/sh
# askpass.sh QUESTION: what ct-agent's CT_ASKPASS is in sets.bats. The folder comes in ASKPASS_DIR: each question is a file there; the answer is the
# status that stands in "answer" (waited for), unless that says "hang".
n=$(mktemp "$ASKPASS_DIR/question.XXXXXX")
printf '%s\n' "$*" "$#" "$SSH_ASKPASS_PROMPT" "${LD_LIBRARY_PATH-none}" "$$" >"$n"
while [ ! -s "$ASKPASS_DIR/answer" ]; do
	sleep 0.05
done
[ "$(cat "$ASKPASS_DIR/answer")" != hang ] || exec sleep 1000
exit "$(cat "$ASKPASS_DIR/answer")"
