#!/usr/bin/env bash
# Fails when `go mod tidy` would change go.mod or go.sum of any module, or the modules disagree on a Kubernetes version.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "${root}"
failed=0
while IFS= read -r -d '' file; do
    if ! (cd "$(dirname "${file}")" && go mod tidy -diff); then
        echo "${file} is not tidy: run go mod tidy in $(dirname "${file}")" >&2
        failed=1
    fi
done < <(list_files go.mod '*/go.mod')

# v0.0.0 is what Kubernetes itself requires of its parts; a replacement, which is looked at too, says what is meant.
versions=$(list_files go.mod '*/go.mod' | xargs -0 grep -ohE 'k8s\.io/(api|apimachinery|apiserver|client-go|kubectl) v[0-9.]+' |
    sort -u | grep -v ' v0\.0\.0$')
if (($(cut -d' ' -f2 <<<"${versions}" | sort -u | wc -l) != 1)); then
    printf 'the modules pin different versions of Kubernetes:\n%s\n' "${versions}" >&2
    failed=1
fi
((failed == 0)) && echo "every go.mod is tidy"
