#!/usr/bin/env bash
# Fails when the value of a secure value changed since BASE and its value-revision did not: no tool would roll that out. For a
# pre-commit hook or a job on pull requests; values are expected encrypted, on one line each, as SOPS writes them.
#
#   docs/examples/gitops/check-revision.sh BASE
set -o errexit -o nounset -o pipefail

base=${1:?usage: $0 BASE}
lines() { git show "$1" | grep -E "^ *$2" || true; }
failed=0
while IFS= read -r -d '' file; do
    [[ $(lines ":${file}" 'value:') != "$(lines "${base}:${file}" 'value:')" ]] || continue # quoted, or ENC[…] is a pattern
    revision='"?secret\.grafana\.app/value-revision"?:'
    if [[ $(lines ":${file}" "${revision}") == "$(lines "${base}:${file}" "${revision}")" ]]; then
        echo "${file}: the value changed, annotation secret.grafana.app/value-revision did not: give it another text" >&2
        failed=1
    fi
done < <(git diff --cached --name-only --diff-filter=M -z "${base}" -- '*.yaml' '*.yml')
exit "${failed}"
