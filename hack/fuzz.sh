#!/usr/bin/env bash
# Runs every fuzz target of the root module for FUZZTIME each (10s). An argument is a pattern of target names.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "${root}"
ran=0
while IFS=: read -r file line; do
    target=${line#func }
    [[ ${target} =~ ${1:-.} ]] || continue
    go test -run '^$' -fuzz "^${target}\$" -fuzztime "${FUZZTIME:-10s}" -fuzzminimizetime 1s "./$(dirname "${file}")" </dev/null
    ran=$((ran + 1))
done < <(list_files 'cmd/*_test.go' 'pkg/*_test.go' | xargs -0 grep -oHE '^func Fuzz[A-Za-z0-9_]*')
if ((ran == 0)); then
    echo "no fuzz target matches ${1:-.}" >&2
    exit 1
fi
echo "fuzzed ${ran} targets for ${FUZZTIME:-10s} each"
