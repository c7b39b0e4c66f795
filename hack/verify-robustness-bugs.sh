#!/usr/bin/env bash
# Fails when a bug of hack/robustness can no longer be put into the code, so that `make robustness-bugs` would show
# nothing.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "${root}"
failed=0
for patch in hack/robustness/*.patch; do
    git apply --check "${patch}" || failed=1
    grep -q '^Caught by: ' "${patch}" || { echo "${patch} does not say what catches it" >&2; failed=1; }
done
((failed == 0)) && echo "every bug can be put in"
