#!/usr/bin/env bash
# Fails when a doc comment names an identifier that no Go code has.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "${root}"
go run ./hack/doc-names
echo "every identifier in a doc comment exists"
