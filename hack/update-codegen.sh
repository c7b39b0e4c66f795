#!/usr/bin/env bash
# Regenerates deepcopy, conversion, defaults, OpenAPI, clientset, listers, informers and apply configurations.
# The generators are those of the k8s.io/code-generator version in go.mod. Protobuf has its own script.
set -o errexit -o nounset -o pipefail

# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

generate() {
    local module boilerplate schema by_path by_name
    module=$(go list -m)
    boilerplate=${root}/hack/boilerplate.go.txt

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

    # Without a schema the apply configurations know no field, and the fake clientset refuses every object. The
    # generator looks types up by their Go path, the clients by the name they have in the OpenAPI document: it gets
    # the one and leaves the other.
    schema=${scratch}/schema.json
    by_path=com.github.securevalue.secret-apiserver.pkg.apis.secret.v1beta1
    by_name=app.grafana.secret.v1beta1
    go run ./hack/openapi-schema | sed "s/${by_name}/${by_path}/g" >"${schema}"

    kube::codegen::gen_client \
        --with-watch --with-applyconfig --applyconfig-openapi-schema "${schema}" \
        --output-dir "${root}/pkg/generated" \
        --output-pkg "${module}/pkg/generated" \
        --boilerplate "${boilerplate}" \
        "${root}/pkg/apis"

    find pkg/generated/applyconfiguration -name '*.go' -exec sed -i "s/${by_path}/${by_name}/g" {} +
}
regenerate
