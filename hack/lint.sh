#!/usr/bin/env bash
# Runs golangci-lint at the version pinned in hack/lint/go.mod over the root module and then over every nested one, with the same
# rules, and fails when it has anything to say about any. Arguments replace `run ./...`, and are for the root module only.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "${root}/hack/lint"
tool=github.com/golangci/golangci-lint/v2
version=$(sed -n "s|^.*${tool} v\([^ ]*\).*|\1|p" go.mod)
build_tool golangci-lint "${tool}/cmd/golangci-lint" "-X main.version=${version}"

cd "${root}"
if (($# > 0)); then exec bin/golangci-lint "$@"; fi
failed=0
bin/golangci-lint run ./... || failed=1
while IFS= read -r -d '' file; do
    module=$(dirname "${file}")
    echo "linting ${module}"
    # Exceptions for paths of the root module are unused in the other modules, which is expected.
    (cd "${module}" && "${root}/bin/golangci-lint" run ./... 2> >(grep -v 'Skipped 0 issues by rules' >&2)) || failed=1
done < <(list_files '*/go.mod')
exit "${failed}"
