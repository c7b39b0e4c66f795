#!/usr/bin/env bash
# Fails when a bug of `make seeded-bugs` or `make robustness-bugs` can no longer be put into the code, or its test is gone.
set -o errexit -o nounset -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
VERIFY=1 exec hack/seeded-bugs.sh hack/seeded-bugs/*.patch hack/robustness/*.patch
