# syntax=docker/dockerfile:1
# The images: static binaries and nothing else, so nothing to log in to and nothing to patch but them. The last one has both
# servers; `docker build --target agent .` builds that of secret-agent.
#
# `docker build .` compiles in the stage below. `make image` compiles on the host and gives bin/ in its place
# (--build-context binaries=bin), which needs no image of Go.
FROM golang:1.26 AS binaries
WORKDIR /src
COPY . .
RUN make build && mv bin/* /

FROM scratch AS agent
COPY --from=binaries secret-agent /
USER 65532:65532
ENTRYPOINT ["/secret-agent"]

FROM scratch
COPY --from=binaries secret-apiserver secret-controller-manager /
# nobody's number, in passwd of no image: with a read-only root there is nothing that it could write.
USER 65532:65532
ENTRYPOINT ["/secret-apiserver"]
