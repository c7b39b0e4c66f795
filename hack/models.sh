#!/usr/bin/env bash
# Checks the protocols of models/*.pml, or of the files that are the arguments: every state of each model, which must keep
# its invariant, and each of its mutants, which must break it. A mutant is a mistake that the model is compiled with; the
# header of a model lists them in the line "Mutants: M1 M2 ...". An incomplete search fails.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "${root}"
command -v spin >/dev/null || { echo "spin is missing: install the Debian package spin" >&2 && exit 1; }
command -v gcc >/dev/null || { echo "gcc is missing: install the Debian package gcc" >&2 && exit 1; }
if (($# == 0)); then set -- models/*.pml; fi
scratch=$(mktemp -d)
trap 'rm -rf "${scratch}"' EXIT
log=${scratch}/log
failed=0

# search MODEL [FLAG] looks at every state of a model. Its report is in the log.
search() {
    cp "$1" "${scratch}/model.pml"
    (
        cd "${scratch}"
        spin "${@:2}" -a model.pml && gcc -w -O2 -o pan pan.c && ./pan -a -m1000000 -N safe
    ) >"${log}" 2>&1
}

# number PATTERN prints the number in brackets of the first line of the report that matches PATTERN.
number() { sed -nE "s/$1.*/\1/p" "${log}" | head -n 1; }

# fail TEXT says what is wrong with this model, and shows the end of the report.
fail() {
    echo "${name}: FAILED, $1" >&2
    tail -n 20 "${log}" >&2
    failed=1
}

for model in "$@"; do
    name=$(basename "${model}" .pml)
    mutants=$(sed -nE 's/.*Mutants: ((M[0-9]+ ?)+).*/\1/p' "${model}")
    if ! search "${model}"; then
        fail "it does not compile or run"
        continue
    elif grep -qE 'max search depth too small|not completed|out of memory' "${log}"; then
        fail "the search is incomplete"
        continue
    elif ! grep -q 'errors: 0$' "${log}"; then
        fail "the invariant does not hold: look at the trail with spin -t -p -g"
        continue
    fi
    result="holds in $(number "^ *([0-9]+) states, stored") states, depth $(number ".*depth reached ([0-9]+)")"
    caught=()
    for mutant in ${mutants}; do
        if ! grep -qE "(if|ifn?def|defined).*\b${mutant}\b" "${model}"; then
            fail "there is no ${mutant} in it"
        elif ! search "${model}" "-D${mutant}"; then
            fail "with ${mutant} it does not compile or run"
        elif grep -q 'assertion violated' "${log}"; then
            caught+=("${mutant}")
        else
            fail "the invariant holds although ${mutant} is in it"
        fi
    done
    ((${#caught[@]} >= 2)) || fail "it needs a line 'Mutants: M1 M2 ...' with two or more mutants that break the invariant"
    echo "${name}: ${result}; caught: ${caught[*]}"
done
exit "${failed}"
