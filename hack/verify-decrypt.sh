#!/usr/bin/env bash
# Fails when hack/update-decrypt.sh would change, add or remove any file. It works on a copy. Needs protoc.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

command -v protoc >/dev/null || { echo "protoc is missing: install the package protobuf-compiler" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "${work}"' EXIT
copy_tree "${work}"
"${work}/hack/update-decrypt.sh"
expect_unchanged "${work}" "hack/update-decrypt.sh"
echo "generated decrypt service is up to date"
