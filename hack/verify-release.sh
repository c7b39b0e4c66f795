#!/usr/bin/env bash
# Fails when `make release` is not reproducible: builds the release of a commit of this tree for linux/amd64 twice, in folders of
# different names, the second time with empty caches of the compiler and with other settings around it, and compares. Also looks
# that it refuses a tree with changes, that its checksums are right, and that the programs compile for darwin/arm64.
# PLATFORMS and PROGRAMS name what is built twice, as PLATFORMS=linux/amd64,darwin/arm64 PROGRAMS=secret-apiserver; the plugin alone
# shows the same of the same compiler, in a fifth of the time.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

release=(go run ./hack/release -platforms "${PLATFORMS:-linux/amd64}" -programs "${PROGRAMS:-kubectl-securevalue}")
work=$(mktemp -d)
trap 'rm -rf "${work}"' EXIT
fail() { echo "verify-release: $1" >&2; exit 1; }

copy_tree "${work}/one"
git -C "${work}/one" -c user.name=nobody -c user.email=nobody@example.com -c commit.gpgsign=false commit --quiet --message "Try a release"
git -C "${work}/one" tag v0.0.1-verify
mkdir "${work}/another"
git clone --quiet "${work}/one" "${work}/another/folder"
# The kubectl that renders install.yaml is not part of a release: any build works. Its date says that it is not outdated.
mkdir "${work}/one/bin" "${work}/another/folder/bin"
"${root}/hack/build-kubectl.sh"
cp "${root}/bin/kubectl" "${work}/one/bin/"
cp "${root}/bin/kubectl" "${work}/another/folder/bin/"

cd "${work}/one"
touch surprise
if "${release[@]}" 2>"${work}/refused"; then fail "a tree with changes is released"; fi
grep -q '?? surprise' "${work}/refused" || fail "the refusal does not name the change: $(cat "${work}/refused")"
rm surprise
"${release[@]}"
[[ -z $(git status --porcelain) ]] || fail "a release leaves files: $(git status --porcelain)"

cd "${work}/another/folder"
GOCACHE=${work}/cache GOFLAGS="-buildvcs=true -ldflags=-w" GOAMD64=v2 CGO_ENABLED=1 SOURCE_DATE_EPOCH=1 TZ=Asia/Tokyo LC_ALL=C.UTF-8 \
    "${release[@]}"

diff "${work}/one/dist/SHA256SUMS" "${work}/another/folder/dist/SHA256SUMS" >&2 || fail "two builds of one commit differ"
cd "${work}/one/dist"
sha256sum --check --quiet SHA256SUMS
(($(wc -l <SHA256SUMS) == $(find . -type f ! -name SHA256SUMS | wc -l))) || fail "SHA256SUMS does not list every file"

# Of the other platforms, one of another system and another processor, and only that the packages compile.
cd "${root}"
mapfile -t packages < <(go list -f '{{join .Imports "\n"}}' ./cmd/... | sort -u)
GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 go build -trimpath -buildvcs=false "${packages[@]}" ||
    fail "the programs do not compile for darwin/arm64"
echo "the release is reproducible"
