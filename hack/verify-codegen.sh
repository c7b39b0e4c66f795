#!/usr/bin/env bash
# Fails when hack/update-codegen.sh would change, add or remove any file. It works on a copy: the tree stays as it is.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

work=$(mktemp -d)
trap 'rm -rf "${work}"' EXIT
copy_tree "${work}"
"${work}/hack/update-codegen.sh"
expect_unchanged "${work}" "hack/update-codegen.sh"
echo "generated code is up to date"
