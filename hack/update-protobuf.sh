#!/usr/bin/env bash
# Regenerates the protobuf marshalers of the served types. Needs protoc (Debian: protobuf-compiler); everything else
# comes from go.mod. A target of its own: neither `make run` nor `make test` needs protoc.
set -o errexit -o nounset -o pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "${root}"
command -v protoc >/dev/null || { echo "protoc is missing: install the package protobuf-compiler" >&2; exit 1; }
module=$(go list -m)
package=${module}/pkg/apis/secret/v1beta1

export GOBIN=${root}/bin/codegen
mkdir -p "${GOBIN}"
go install k8s.io/code-generator/cmd/go-to-protobuf k8s.io/code-generator/cmd/go-to-protobuf/protoc-gen-gogo \
    golang.org/x/tools/cmd/goimports

# go-to-protobuf writes below one output folder by import path and reads imports from there, so it works on a copy.
work=$(mktemp -d)
trap 'chmod -R u+w "${work}" && rm -rf "${work}"' EXIT
mkdir -p "${work}/$(dirname "${module}")" "${work}/k8s.io"
ln -s "${root}" "${work}/${module}"
cp -r "$(go list -m -f '{{.Dir}}' k8s.io/apimachinery)" "${work}/k8s.io/apimachinery"
generator=$(go list -m -f '{{.Dir}}' k8s.io/code-generator)
mkdir -p "${work}/github.com/gogo"
cp -r "$(cd "${generator}" && go list -m -f '{{.Dir}}' github.com/gogo/protobuf)" "${work}/github.com/gogo/protobuf"

PATH=${GOBIN}:${PATH} "${GOBIN}/go-to-protobuf" \
    --go-header-file "${root}/hack/boilerplate.go.txt" \
    --output-dir "${work}" \
    --packages "${package}" \
    --apimachinery-packages "-k8s.io/apimachinery/pkg/util/intstr,-k8s.io/apimachinery/pkg/api/resource,-k8s.io/apimachinery/pkg/runtime/schema,-k8s.io/apimachinery/pkg/runtime,-k8s.io/apimachinery/pkg/apis/meta/v1"
gofmt -l pkg/apis/secret/v1beta1
