#!/usr/bin/env bash
# Builds bin/kubectl, the upstream client at the version pinned in hack/kubectl/go.mod, when it is missing or outdated.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "${root}/hack/kubectl"
version=$(sed -n 's|^.*k8s.io/kubectl v0\.|v1.|p' go.mod) # k8s.io/kubectl v0.N.P is kubectl v1.N.P
stamp=
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    stamp+=" -X ${package}.gitVersion=${version} -X ${package}.gitTreeState=clean -X ${package}.gitCommit="
done
build_tool kubectl . "${stamp}"
