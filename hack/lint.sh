#!/usr/bin/env bash
# Runs golangci-lint at the version pinned in hack/lint/go.mod over the root module. Arguments replace `run ./...`.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "${root}/hack/lint"
tool=github.com/golangci/golangci-lint/v2
version=$(sed -n "s|^.*${tool} v\([^ ]*\).*|\1|p" go.mod)
build_tool golangci-lint "${tool}/cmd/golangci-lint" "-X main.version=${version}"

cd "${root}"
if (($# == 0)); then set -- run ./...; fi
exec bin/golangci-lint "$@"
