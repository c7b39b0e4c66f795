#!/usr/bin/env bash
# Fails when a script does not parse, is not executable, does not stop at its first error, or has lost its twin.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "${root}"
failed=0
complain() { echo "$1" >&2; failed=1; }
while IFS= read -r -d '' file; do
    bash -n "${file}" || complain "${file} does not parse"
    [[ ${file} == hack/lib.sh ]] && continue # sourced, never run
    [[ -x ${file} ]] || complain "${file} is not executable: chmod +x ${file}"
    grep -q '^set -o errexit -o nounset -o pipefail$' "${file}" || complain "${file} does not set errexit, nounset, pipefail"
done < <(list_files '*.sh' .ci/run)
for file in hack/update-*.sh; do
    grep -qx regenerate "${file}" || complain "${file} does not work on a copy: call regenerate of hack/lib.sh"
    [[ -e ${file/update-/verify-} ]] || complain "${file} has no ${file/update-/verify-} beside it"
done
((failed == 0)) && echo "every script is sound"
