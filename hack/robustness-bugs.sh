#!/usr/bin/env bash
# Shows that the robustness suite finds bugs: puts each of hack/robustness/*.patch into a copy of this tree and runs the suite
# there, which must fail, and for the reason that the patch names. SEED and DURATION are those of the suite; arguments are
# the names of patches, without which all are tried.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

copy=$(mktemp -d)
trap 'rm -rf "${copy}"' EXIT
missed=0
cd "${root}"
if (($# == 0)); then set -- hack/robustness/*.patch; fi
for patch in "$@"; do
    name=$(basename "${patch}" .patch)
    patch=${root}/hack/robustness/${name}.patch
    reason=$(sed -n 's/^Caught by: //p' "${patch}")
    tree=${copy}/${name}
    copy_tree "${tree}"
    git -C "${tree}" apply "${patch}"
    log=${copy}/${name}.log
    if (cd "${tree}" && ROBUSTNESS_ARTIFACTS="${copy}/${name}-artifacts" go test -count=1 -timeout=30m ./pkg/testing/robustness \
        -args -seed="${SEED:-1}" -duration="${DURATION:-12s}") >"${log}" 2>&1; then
        echo "${name}: MISSED, the suite passed"
        missed=1
    elif found=$(grep -m 1 -F -- "${reason}" "${log}"); then
        echo "${name}: caught:${found#*go:*:}"
    else
        echo "${name}: MISSED, the suite failed for another reason:"
        tail -n 20 "${log}"
        missed=1
    fi
done
exit "${missed}"
