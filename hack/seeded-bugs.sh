#!/usr/bin/env bash
# Shows that tests find bugs: puts each of hack/seeded-bugs/*.patch, or of the patches that are the arguments, into a
# copy of this tree and runs the test that the patch names, which must fail. TEST_ARGS are more arguments of go test.
# With VERIFY=1 no test runs: it fails when a bug can no longer be put into the code, or its test is gone.
#
# A patch begins with what the bug does, and has the lines
#   Package: where the test is
#   Test: the test that must fail
#   Args: more arguments of the test after those of TEST_ARGS, or no such line
#   Caught by: what the test says, when it could fail for other reasons too
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "${root}"
if (($# == 0)); then set -- hack/seeded-bugs/*.patch; fi
scratch=$(mktemp -d)
trap 'rm -rf "${scratch}"' EXIT
tree=${scratch}/tree
log=${scratch}/log
export ROBUSTNESS_ARTIFACTS=${scratch}/artifacts # which a failed suite leaves
copy_tree "${tree}"
cd "${tree}"
read -ra more <<<"${TEST_ARGS:-}"
missed=0

# miss TEXT says that the bug of this turn was not caught, and shows the end of the log.
miss() {
    echo "${name}: MISSED, $1" >&2
    tail -n 20 "${log}" >&2
    missed=1
}

for patch in "$@"; do
    name=$(basename "${patch}" .patch)
    package=$(sed -n 's/^Package: //p' "${patch}")
    test=$(sed -n 's/^Test: //p' "${patch}")
    read -ra own <<<"$(sed -n 's/^Args: //p' "${patch}")"
    reason=$(sed -n 's/^Caught by: //p' "${patch}")
    if ! git apply "${patch}" >"${log}" 2>&1; then
        miss "the patch does not fit the code"
    elif ! grep -q "^func ${test:-?}(" "${package:-?}"/*_test.go 2>"${log}"; then
        miss "test ${test} does not exist in ${package}"
    elif [[ -n ${VERIFY:-} ]]; then
        :
    elif go test -count=1 -timeout=30m -run "^${test}\$" "${package}" "${more[@]}" "${own[@]}" >"${log}" 2>&1; then
        miss "${test} passed"
    elif found=$(grep -m 1 -F -- "${reason:---- FAIL: ${test} }" "${log}"); then
        echo "${name}: caught: ${found#*go:*: }"
    else
        miss "${test} failed for another reason"
    fi
    git checkout --quiet -- .
done
((missed == 0)) && [[ -n ${VERIFY:-} ]] && echo "every bug can be put in"
exit "${missed}"
