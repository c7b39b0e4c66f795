#!/usr/bin/env bash
# Writes docs/reference.md from the generated OpenAPI definitions. Run it after hack/update-codegen.sh.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

generate() { go run ./hack/api-reference >docs/reference.md; }
regenerate
