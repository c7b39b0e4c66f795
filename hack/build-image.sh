#!/usr/bin/env bash
# Builds the image IMAGE from the binaries in bin/, with the first builder there is: docker, podman or buildah. OUTPUT writes
# it to a file as well (OCI archive; buildah and podman only). TARGET is a stage of the Dockerfile instead of the last one.
set -o errexit -o nounset -o pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "${root}"
image=${IMAGE:-secret-apiserver:dev}
# works says whether a builder can build: docker needs its daemon and buildx, the others need nothing else.
works() {
    case $1 in
    docker) docker buildx version >/dev/null 2>&1 && docker info >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null ;;
    esac
}
for builder in ${BUILDER:-docker podman buildah}; do
    if works "${builder}"; then break; fi
    builder=
done
if [[ -z ${builder} ]]; then
    echo "none of docker with buildx and its daemon, podman and buildah works here: BUILDER names another" >&2
    exit 1
fi
stage=(${TARGET:+--target "${TARGET}"})
for binary in bin/secret-agent bin/secret-apiserver bin/secret-controller-manager; do
    if ! go version -m "${binary}" | grep -q 'CGO_ENABLED=0$'; then
        echo "${binary} may not be static and would not start in an empty image: run make build" >&2
        exit 1
    fi
done
case ${builder} in
docker) docker buildx build "${stage[@]}" --load --build-context binaries=bin --tag "${image}" . ;;
podman) podman build "${stage[@]}" --build-context binaries=bin --tag "${image}" . ;;
buildah)
    # Without a daemon and without a container to run in: nothing is run while this image is built.
    export STORAGE_DRIVER=${STORAGE_DRIVER:-vfs} BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot}
    buildah build "${stage[@]}" --build-context binaries=bin --tag "${image}" .
    ;;
esac
if [[ -n ${OUTPUT:-} ]]; then
    case ${builder} in
    podman) podman save --format oci-archive --output "${OUTPUT}" "${image}" ;;
    buildah) buildah push --quiet "${image}" "oci-archive:${OUTPUT}:${image}" ;;
    *) echo "OUTPUT needs podman or buildah" >&2; exit 1 ;;
    esac
fi
echo "built ${image} with ${builder}"
