#!/usr/bin/env bash
# Prints the linker flags that stamp this version. It is appended to the Kubernetes version, as build metadata
# (v1.37.2+v0.3.0): the libraries take the version for that of Kubernetes and switch features off below 1.31, and
# kubectl warns about the skew.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "${root}"
kubernetes=$(sed -n 's|^.*k8s.io/apiserver v0\.|v1.|p' go.mod)
version=$(git describe --tags --dirty --match 'v[0-9]*' 2>/dev/null || echo v0.0.0-dev)
version=${version//[^0-9A-Za-z.-]/-}
flags="-s -w -X k8s.io/component-base/version.gitVersion=${kubernetes}+${version}"
flags+=" -X github.com/securevalue/secret-apiserver/pkg/agent.version=${version}" # it links no Kubernetes libraries
if commit=$(git rev-parse HEAD 2>/dev/null); then
    state=clean
    [[ -z $(git status --porcelain) ]] || state=dirty
    flags+=" -X k8s.io/component-base/version.gitCommit=${commit} -X k8s.io/component-base/version.gitTreeState=${state}"
    flags+=" -X k8s.io/component-base/version.buildDate=$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)"
fi
echo "${flags}"
