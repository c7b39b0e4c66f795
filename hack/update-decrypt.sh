#!/usr/bin/env bash
# Regenerates the messages, clients and handlers of the decrypt port and of the CSI provider from their .proto files. Needs
# protoc; the generators are those of go.mod. Neither `make run` nor `make test` needs protoc.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

generate() {
    local proto folder
    go install google.golang.org/protobuf/cmd/protoc-gen-go connectrpc.com/connect/cmd/protoc-gen-connect-go
    for proto in pkg/decrypt/*/*.proto pkg/agent/*/*.proto; do
        folder=$(dirname "${proto}")
        find "${folder}" -name '*.pb.go' -delete -o -name '*.connect.go' -delete
        PATH=${GOBIN}:${PATH} protoc --proto_path="${folder}" \
            --go_out="${folder}" --go_opt=paths=source_relative \
            --connect-go_out="${folder}" --connect-go_opt=paths=source_relative \
            "$(basename "${proto}")"
        # protoc's own version is not part of what is checked in: any version may regenerate.
        sed -i -E '/^\/\/ [-\t ]*protoc +v/d' "${proto%.proto}.pb.go"
    done
}
need_protoc
regenerate
