#!/usr/bin/env bash
# Fails when a linter of .golangci.yml has anything to say.
set -o errexit -o nounset -o pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/lint.sh"
