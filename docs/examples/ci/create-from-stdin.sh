#!/usr/bin/env bash
# A CI job that stores a secret: it creates the value NAME from standard input, or writes a new one when there is one already.
#
#   print-token | docs/examples/ci/create-from-stdin.sh NAME DESCRIPTION DECRYPTER...
#
# KUBECONFIG selects the server and the account, which needs get, create and update on securevalues, and can never read the value
# back. The value is not an argument, in no file and not in the log of the job.
set -o errexit -o nounset -o pipefail

if (($# < 3)); then
    echo "usage: $0 NAME DESCRIPTION DECRYPTER... <VALUE" >&2
    exit 2
fi
name=$1 description=$2
shift 2

# --ignore-not-found tells "there is none" (exit code 0, no output) from "could not ask", which ends the job here.
found=$(kubectl get securevalue "${name}" --ignore-not-found --output name)
if [[ -z ${found} ]]; then
    exec kubectl securevalue create "${name}" --description "${description}" "${@/#/--decrypter=}" --from-stdin --trim-newline
fi
# A decrypter that another user added to the list would get the value: the job fails if the list differs.
exec kubectl securevalue set "${name}" --from-stdin --trim-newline "--keep-decrypters=$(IFS=, && echo "$*")"
