#!/usr/bin/env bash
# Regenerates the messages, client and handler of the decrypt service from its .proto file. Needs protoc; the generators
# are those of go.mod. Neither `make run` nor `make test` needs protoc.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

generate() {
    local folder=pkg/decrypt/decryptv1beta1
    go install google.golang.org/protobuf/cmd/protoc-gen-go connectrpc.com/connect/cmd/protoc-gen-connect-go
    find "${folder}" -name '*.pb.go' -delete -o -name '*.connect.go' -delete
    PATH=${GOBIN}:${PATH} protoc --proto_path="${folder}" \
        --go_out="${folder}" --go_opt=paths=source_relative \
        --connect-go_out="${folder}" --connect-go_opt=paths=source_relative \
        decrypt.proto
    # protoc's own version is not part of what is checked in: any version may regenerate.
    sed -i -E '/^\/\/ [-\t ]*protoc +v/d' "${folder}/decrypt.pb.go"
}
need_protoc
regenerate
