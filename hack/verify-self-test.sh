#!/usr/bin/env bash
# Fails when hack/verify-codegen.sh would not notice damage: a changed, a deleted and a stale generated file,
# hack/verify-reference.sh a changed page, hack/verify-tools.sh an undeclared command, hack/verify-seeded-bugs.sh a bug
# that does not fit or whose test is gone; or when a generator that fails leaves changes. On a copy.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

work=$(mktemp -d)
trap 'rm -rf "${work}"' EXIT
copy_tree "${work}/tree"
cd "${work}/tree"

changed=pkg/apis/secret/zz_generated.deepcopy.go
deleted=pkg/generated/listers/secret/v1beta1/securevalue.go
stale=pkg/generated/listers/secret/v1beta1/stale.go
sed -i 's/DeepCopyInto is /DeepCopyInto was /' "${changed}"
cp "${deleted}" "${stale}"
rm "${deleted}"

if hack/verify-codegen.sh >"${work}/output" 2>&1; then
    echo "hack/verify-codegen.sh passes on damaged generated code" >&2
    exit 1
fi
for file in "${changed}" "${deleted}" "${stale}"; do
    if ! grep -qE "^[AMD]\s+${file}\$" "${work}/output"; then
        cat "${work}/output" >&2
        echo "hack/verify-codegen.sh does not name ${file}, which was damaged" >&2
        exit 1
    fi
done

sed -i 's/Write-only/Readable/' docs/reference.md
if hack/verify-reference.sh >"${work}/output" 2>&1 || ! grep -qE '^M\s+docs/reference.md$' "${work}/output"; then
    cat "${work}/output" >&2
    echo "hack/verify-reference.sh does not notice that docs/reference.md was changed" >&2
    exit 1
fi

cp hack/fuzz.sh "${work}/fuzz.sh"
echo 'if grep -q x | xargs -0 sponge; then echo "$(lost-tool)"; fi' >>hack/fuzz.sh
if hack/verify-tools.sh >"${work}/output" 2>&1 || (($(grep -cE 'starts (sponge|lost-tool),' "${work}/output") != 2)); then
    cat "${work}/output" >&2
    echo "hack/verify-tools.sh does not notice commands that are not declared" >&2
    exit 1
fi
cp "${work}/fuzz.sh" hack/fuzz.sh

sed -i 's/^Test: /&No/' hack/seeded-bugs/pace-removed.patch
sed -i 's/^-\t/&x/' hack/seeded-bugs/batch-canceled.patch
if hack/verify-seeded-bugs.sh >"${work}/output" 2>&1 || (($(grep -cE '^(pace-removed|batch-canceled): MISSED' "${work}/output") != 2)); then
    cat "${work}/output" >&2
    echo "hack/verify-seeded-bugs.sh does not notice bugs that cannot be put in" >&2
    exit 1
fi

git add --all
echo 'message Unfinished {' >>pkg/decrypt/decryptv1beta1/decrypt.proto
if hack/update-decrypt.sh >"${work}/output" 2>&1 || [[ $(git diff --name-only) != pkg/decrypt/decryptv1beta1/decrypt.proto ]]; then
    cat "${work}/output" >&2
    git diff --name-only >&2
    echo "hack/update-decrypt.sh changes files although protoc fails" >&2
    exit 1
fi
echo "the verifiers notice damage, and a generator that fails changes nothing"
