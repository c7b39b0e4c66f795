#!/usr/bin/env bash
# Compares each secure value that was imported from a core Secret with that Secret, byte for byte, and prints no value.
#
#   TOKEN_FILE=shop.token CA_FILE=ca.crt DECRYPT_URL=https://… docs/examples/migrate/verify.sh NAMESPACE [NAMESPACE-OF-VALUES]
#
# kubectl's context has to read Secrets and secure values. TOKEN_FILE holds a token that may open the values: each comparison is a
# line in the decrypt audit log. CONNECT_TO is for curl's flag of that name, when the address is reached through a port-forward.
set -o errexit -o nounset -o pipefail

namespace=${1:?usage: $0 NAMESPACE [NAMESPACE-OF-VALUES]}
values=${2:-${namespace}}
: "${TOKEN_FILE:?}" "${CA_FILE:?}" "${DECRYPT_URL:?}"
imported='{{range .items}}{{.metadata.name}}{{"\t"}}{{index .metadata.annotations "secret.grafana.app/imported-from"}}{{"\n"}}{{end}}'

old() { kubectl --namespace "${namespace}" get secret "$1" --output go-template="{{index .data \"$2\"}}" | base64 --decode | sha256sum; }
new() { # the token comes from a pipe: arguments are for everybody to see
    curl --silent --show-error --fail --cacert "${CA_FILE}" ${CONNECT_TO:+--connect-to "${CONNECT_TO}"} --header 'Accept: text/plain' \
        --header @<(printf 'Authorization: Bearer %s\n' "$(<"${TOKEN_FILE}")") \
        "${DECRYPT_URL}/decrypt/v1/namespaces/${values}/secrets/$1/decrypt" | sha256sum
}

failed=0
list=$(kubectl --namespace "${values}" get securevalues --output go-template="${imported}")
while IFS=$'\t' read -r name origin; do
    [[ ${origin} == secret/*/* ]] || continue
    IFS=/ read -r _ secret key <<<"${origin}"
    result=same
    if ! before=$(old "${secret}" "${key}" 2>/dev/null); then
        result='has no Secret to be compared with'
    elif ! after=$(new "${name}"); then
        result='could not be opened'
    elif [[ ${before} != "${after}" ]]; then
        result=differs
    fi
    echo "${name} (${secret}/${key}): ${result}"
    [[ ${result} == same ]] || failed=1
done <<<"${list}"
exit "${failed}"
