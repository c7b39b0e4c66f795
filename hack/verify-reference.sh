#!/usr/bin/env bash
# Fails when hack/update-reference.sh would change docs/reference.md. It works on a copy: the tree stays as it is.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

work=$(mktemp -d)
trap 'rm -rf "${work}"' EXIT
copy_tree "${work}"
"${work}/hack/update-reference.sh"
expect_unchanged "${work}" "hack/update-reference.sh"
echo "the API reference is up to date"
