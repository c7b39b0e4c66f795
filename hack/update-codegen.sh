#!/usr/bin/env bash
# Regenerates deepcopy, conversion, defaults, OpenAPI, clientset, listers, informers and apply configurations.
# The generators are those of the k8s.io/code-generator version in go.mod. Protobuf has its own script.
set -o errexit -o nounset -o pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "${root}"
module=$(go list -m)
boilerplate=${root}/hack/boilerplate.go.txt

export GOBIN=${root}/bin/codegen
mkdir -p "${GOBIN}"
go mod download k8s.io/code-generator # on a fresh machine go list below names no folder before
# shellcheck disable=SC1091 # resolved from go.mod at run time
source "$(go list -m -f '{{.Dir}}' k8s.io/code-generator)/kube_codegen.sh"

# The reviews come ready made: openapi-gen must not write into the module cache.
KUBE_CODEGEN_READONLY_PKGS+=(k8s.io/api/authorization/v1 k8s.io/api/authentication/v1)

kube::codegen::gen_helpers --boilerplate "${boilerplate}" "${root}/pkg/apis"

kube::codegen::gen_openapi \
    --output-dir "${root}/pkg/generated/openapi" \
    --output-pkg "${module}/pkg/generated/openapi" \
    --report-filename "${root}/hack/openapi-violations.txt" --update-report \
    --extra-pkgs k8s.io/api/authorization/v1 \
    --extra-pkgs k8s.io/api/authentication/v1 \
    --output-model-name-file zz_generated.model_name.go \
    --boilerplate "${boilerplate}" \
    "${root}/pkg/apis"

kube::codegen::gen_client \
    --with-watch --with-applyconfig \
    --output-dir "${root}/pkg/generated" \
    --output-pkg "${module}/pkg/generated" \
    --boilerplate "${boilerplate}" \
    "${root}/pkg/apis"
