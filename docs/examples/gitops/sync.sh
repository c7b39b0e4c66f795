#!/usr/bin/env bash
# One turn of GitOps with nothing but kubectl: applies each file whose dry run differs from what is live, and leaves the others alone.
#
#   docs/examples/gitops/sync.sh FILE...
#   sops decrypt FILE | docs/examples/gitops/sync.sh -
#
# The comparison comes first because an apply with a value writes a new version each time, and one without a change must write none.
# A decrypted manifest is in no file and no argument.
set -o errexit -o nounset -o pipefail

manager=${FIELD_MANAGER:-gitops}
flags=(--server-side --force-conflicts "--field-manager=${manager}" --filename -)
for file in "$@"; do
    manifest=$(cat -- "${file}")
    # Exit code 0: no difference, 1: differences, more: an error. The output contains no value: the server returns none.
    code=0
    printf '%s\n' "${manifest}" | kubectl diff "${flags[@]}" || code=$?
    case ${code} in
        0) echo "${file}: unchanged" ;;
        1) printf '%s\n' "${manifest}" | kubectl apply "${flags[@]}" ;;
        *) echo "${file}: could not be compared" >&2; exit "${code}" ;;
    esac
done
