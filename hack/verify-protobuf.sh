#!/usr/bin/env bash
# Fails when hack/update-protobuf.sh would change, add or remove any file.
set -o errexit -o nounset -o pipefail
VERIFY=1 exec "$(dirname "${BASH_SOURCE[0]}")/update-protobuf.sh"
