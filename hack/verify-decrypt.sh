#!/usr/bin/env bash
# Fails when hack/update-decrypt.sh would change, add or remove any file.
set -o errexit -o nounset -o pipefail
VERIFY=1 exec "$(dirname "${BASH_SOURCE[0]}")/update-decrypt.sh"
