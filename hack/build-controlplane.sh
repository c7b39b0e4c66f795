#!/usr/bin/env bash
# Builds the control plane that the end-to-end tests run against: kube-apiserver, kube-controller-manager and etcd, or
# those of them that the arguments name, at the versions that hack/e2e/go.mod pins, as bin/e2e/NAME-VERSION. What is there already is kept: a name says its version, so a
# change of other dependencies builds nothing. From an empty build cache this takes ten minutes or more.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# build NAME PACKAGE MODULE [LDFLAGS] builds one of them, and moves it into place whole.
build() {
    local version out
    [[ ${wanted} == *" $1 "* ]] || return 0
    version=$(go list -m -f '{{.Version}}' "$3")
    out=${root}/bin/e2e/$1-${version}
    if [[ ! -x ${out} ]]; then
        echo "building $1 ${version}"
        CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w ${4:-}" -o "${out}.new.$$" "$2"
        mv -f "${out}.new.$$" "${out}"
    fi
    ln -sfn "${out##*/}" "${root}/bin/e2e/$1"
}

wanted=" ${*:-etcd kube-apiserver kube-controller-manager} "
cd "${root}/hack/e2e"
mkdir -p "${root}/bin/e2e"
kubernetes=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
stamp=
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    stamp+=" -X ${package}.gitVersion=${kubernetes} -X ${package}.gitTreeState=clean -X ${package}.gitCommit="
done
build etcd go.etcd.io/etcd/server/v3 go.etcd.io/etcd/server/v3
build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes "${stamp}"
build kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager k8s.io/kubernetes "${stamp}"
