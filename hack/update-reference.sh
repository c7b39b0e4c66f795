#!/usr/bin/env bash
# Writes docs/reference.md anew from the generated OpenAPI definitions. Run it after hack/update-codegen.sh.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "${root}"
page=$(mktemp)
trap 'rm -f "${page}"' EXIT
go run ./hack/api-reference >"${page}"
cat "${page}" >docs/reference.md
