#!/usr/bin/env bash
# Fails when a script or a make target starts a command that hack/tools.txt does not declare. It reads the words in
# the place of a command and runs nothing; the tests of .ci/run have no other commands on their PATH.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "${root}"
# words prints "FILE WORD" for the words of the script FILE on standard input that are in the place of a command.
# Comments, text in single quotes, here documents and variables are removed first.
words() {
    sed -zE -e 's/\\\n/ /g' -e 's/(^|[[:space:]])#[^\n]*/\1/g' -e 's/\x27[^\x27]*\x27//g' \
        -e 's/\$\{[^}]*\}/X/g' -e 's/\(\([^)]*\)\)//g' |
        awk -v file="$1" '
            document != "" { if ($0 == document) document = ""; if ($0 !~ /\$\(/) next }
            match($0, /<<[A-Z]+/) { document = substr($0, RSTART + 2, RLENGTH - 2) }
            {
                gsub(/[|&;`!]/, "\n")
                gsub(/\(/, "\n( ")
                count = split($0, commands, "\n")
                for (i = 1; i <= count; i++) {
                    fields = split(commands[i], field)
                    for (j = 1; j <= fields; j++) {
                        if (field[1] == "(") sub(/[)"].*/, "", field[j]) # elsewhere "word)" is a pattern of a case
                        if (field[j] == "(") continue
                        if (field[j] ~ /^(if|while|until|then|do|else|elif|exec|command|xargs|-.*|[A-Za-z_]+=.*)$/) continue
                        if (field[j] ~ /^[a-z][a-z0-9_.+-]*$/) print file, field[j]
                        break
                    }
                }
            }'
}

known=" $(compgen -b | tr '\n' ' ') $(compgen -k | tr '\n' ' ')"
known+=" $(declared_tools | cut -d: -f2- | tr '\n' ' ')"
known+=" $(list_files '*.sh' .ci/run | xargs -0 sed -nE 's/^ *([a-z_]+)\(\) .*/\1/p' | tr '\n' ' ')"
known+=" kubectl " # bin/kubectl, which hack/build-kubectl.sh makes
failed=0
while read -r file word; do
    [[ ${known} == *" ${word} "* ]] || { echo "${file} starts ${word}, which hack/tools.txt does not declare" >&2; failed=1; }
done < <(
    while IFS= read -r -d '' file; do words "${file}" <"${file}"; done < <(list_files '*.sh' .ci/run)
    # A recipe is a script once make has read it: $$ is $, and its own variables are text.
    sed -zE 's/\\\n/ /g' Makefile | sed -nE -e '/^\t/ { s/^\t@?//; s/\$\$/\x24/g; s/\$\(([A-Z_]+)\)/\1/g; p' -e '}' | words Makefile
)
((failed == 0)) && echo "every command is declared"
