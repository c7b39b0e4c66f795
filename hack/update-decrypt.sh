#!/usr/bin/env bash
# Regenerates the messages, client and handler of the decrypt service from its .proto file. Needs protoc (Debian:
# protobuf-compiler); the generators are those of go.mod. Neither `make run` nor `make test` needs protoc.
set -o errexit -o nounset -o pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "${root}"
command -v protoc >/dev/null || { echo "protoc is missing: install the package protobuf-compiler" >&2; exit 1; }

export GOBIN=${root}/bin/codegen
mkdir -p "${GOBIN}"
go install google.golang.org/protobuf/cmd/protoc-gen-go connectrpc.com/connect/cmd/protoc-gen-connect-go

folder=pkg/decrypt/decryptv1beta1
find "${folder}" -name '*.pb.go' -delete -o -name '*.connect.go' -delete
PATH=${GOBIN}:${PATH} protoc --proto_path="${folder}" \
    --go_out="${folder}" --go_opt=paths=source_relative \
    --connect-go_out="${folder}" --connect-go_opt=paths=source_relative \
    decrypt.proto
# protoc's own version is no part of what is checked in: any version may regenerate.
sed -i -E '/^\/\/ [-\t ]*protoc +v/d' "${folder}/decrypt.pb.go"
