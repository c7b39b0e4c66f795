#!/usr/bin/env bash
# Regenerates the protobuf marshalers of the served types. Needs protoc; everything else comes from go.mod, the .proto
# files that ship with protoc too. A separate target: neither `make run` nor `make test` needs protoc.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

generate() {
    local module out=${scratch}/out generator
    module=$(go list -m)
    go install k8s.io/code-generator/cmd/go-to-protobuf k8s.io/code-generator/cmd/go-to-protobuf/protoc-gen-gogo \
        golang.org/x/tools/cmd/goimports

    # go-to-protobuf writes below one output folder by import path and reads imports from there.
    mkdir -p "${out}/$(dirname "${module}")" "${out}/k8s.io" "${out}/github.com/gogo"
    ln -s "${root}" "${out}/${module}"
    cp -r "$(go list -m -f '{{.Dir}}' k8s.io/apimachinery)" "${out}/k8s.io/apimachinery"
    generator=$(go list -m -f '{{.Dir}}' k8s.io/code-generator)
    cp -r "$(cd "${generator}" && go list -m -f '{{.Dir}}' github.com/gogo/protobuf)" "${out}/github.com/gogo/protobuf"

    PATH=${GOBIN}:${PATH} "${GOBIN}/go-to-protobuf" \
        --go-header-file hack/boilerplate.go.txt \
        --output-dir "${out}" \
        --proto-import "${out}/github.com/gogo/protobuf/protobuf" \
        --packages "${module}/pkg/apis/secret/v1beta1" \
        --apimachinery-packages "-k8s.io/apimachinery/pkg/util/intstr,-k8s.io/apimachinery/pkg/api/resource,-k8s.io/apimachinery/pkg/runtime/schema,-k8s.io/apimachinery/pkg/runtime,-k8s.io/apimachinery/pkg/apis/meta/v1"
    gofmt -l pkg/apis/secret/v1beta1
}
need_protoc
regenerate
