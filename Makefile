# `make help` lists the targets. Everything is made by Go from this repository; hack/tools.txt lists the commands that are used.
SHELL := bash
.SHELLFLAGS := -o errexit -o nounset -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build run image release kubectl test test-e2e test-observe test-race fuzz leak overload seeded-bugs models robustness robustness-bugs \
	bench bench-scale bench-profile bench-go bench-programs update update-metrics update-capture verify lint fmt clean

# ARGS are more flags of the program that `make run`, `make bench` and `make release` start: make run ARGS="--secure-port 9443 -v=2".
ARGS ?=
# IMAGE is the name that `make image` gives to the image.
IMAGE ?= secret-apiserver:dev
# AGENT_IMAGE is the name of the image of secret-agent.
AGENT_IMAGE ?= secret-agent:dev
# PKGS are the packages that test-race and bench-go take; TESTFLAGS are more flags of go test.
PKGS ?= ./pkg/...
TESTFLAGS ?=
TEST_TIMEOUT ?= 25m
# FUZZTIME is how long `make fuzz` runs each target; FUZZ is a pattern of target names.
FUZZTIME ?= 10s
FUZZ ?= .
# DURATION is how long `make robustness` breaks things, SEED repeats the choices of a run; 0 draws one.
DURATION ?= 10m
SEED ?= 0
# CLOCKS=true lets the clocks of the servers jump too, for which they are built anew.
CLOCKS ?= false
# CANARIES is how many random values `make leak` sends at least; CANARY_SEED in the environment repeats a run.
CANARIES ?= 100000
# OVERLOAD multiplies the load of `make overload`.
OVERLOAD ?= 10
# MODULES are the nested modules with tests.
MODULES := hack/oracle hack/deploy hack/gitops

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the static binaries of cmd/ into bin/.
	@mkdir -p bin
	flags=$$(hack/version-ldflags.sh); \
		CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$$flags" -o bin/ ./cmd/...

run: build ## Build and run a standalone server on ./data; more flags in ARGS.
	exec bin/secret-apiserver --standalone --data-dir ./data $(ARGS)

image: build ## Build the images IMAGE and AGENT_IMAGE with docker, podman or buildah.
	IMAGE=$(IMAGE) hack/build-image.sh
	IMAGE=$(AGENT_IMAGE) TARGET=agent hack/build-image.sh

release: ## Build archives, SBOMs, manifests and checksums into dist/; ARGS="-platforms linux/amd64" for less (docs/releasing.md).
	go run ./hack/release $(ARGS)

kubectl: ## Build the kubectl that the tests use into bin/.
	hack/build-kubectl.sh

test: build kubectl ## Run every test, those of the nested modules too.
	go test -count=1 -timeout $(TEST_TIMEOUT) $(TESTFLAGS) ./...
	@for module in $(MODULES); do echo "testing $$module"; \
		(cd $$module && go test -count=1 -timeout $(TEST_TIMEOUT) $(TESTFLAGS) ./...); done

test-e2e: kubectl ## Test in a real control plane, the harness of `make bench` too; builds kube-apiserver and its kin first, which takes a while.
	hack/build-controlplane.sh
	cd hack/e2e && go test -count=1 -timeout $(TEST_TIMEOUT) -p 1 $(TESTFLAGS) ./...
	cd hack/bench && go test -count=1 -timeout $(TEST_TIMEOUT) -p 1 $(TESTFLAGS) ./...

test-observe: ## Test metrics, alerts and the dashboard with a real Prometheus (needs prometheus and promtool).
	go test -tags observe -count=1 -timeout $(TEST_TIMEOUT) $(TESTFLAGS) ./pkg/testing/observe

test-race: build kubectl ## Run the tests of PKGS under the race detector (needs a C compiler).
	CGO_ENABLED=1 go test -race -count=1 -timeout 60m $(TESTFLAGS) $(PKGS)

fuzz: ## Run every fuzz target for FUZZTIME each.
	FUZZTIME=$(FUZZTIME) hack/fuzz.sh '$(FUZZ)'

leak: ## Send CANARIES random values through every verb and mistake, and search every output for them.
	CANARIES=$(CANARIES) go test -count=1 -timeout 180m -v -run NoCanary $(TESTFLAGS) ./pkg/testing/leak

overload: ## Flood a server with OVERLOAD times what the tests do, and ask that it stays small and serves others.
	OVERLOAD=$(OVERLOAD) go test -count=1 -timeout 60m -v $(TESTFLAGS) ./pkg/testing/overload

seeded-bugs: ## Show that unit tests find bugs: put in each of hack/seeded-bugs and expect the test that it names to fail.
	hack/seeded-bugs.sh

models: ## Check every state of the protocols in models/, and that each mistake of their mutants is found (needs spin and gcc).
	hack/models.sh

robustness: ## Break two servers and their etcd for DURATION while clients work; look for lost writes (SEED repeats a run).
	go test -count=1 -timeout 24h -v $(TESTFLAGS) ./pkg/testing/robustness -args -duration=$(DURATION) -seed=$(SEED) -clocks=$(CLOCKS)

robustness-bugs: ## Show that the robustness suite finds bugs: build servers with one each, and expect it to fail.
	TEST_ARGS="-args -seed=$${SEED:-1} -duration=$${DURATION:-12s}" hack/seeded-bugs.sh hack/robustness/*.patch

bench: bench-programs ## Measure against kube-apiserver's Secrets, in 15 minutes; ARGS=--quick in 3, ARGS=--help for more.
	hack/build-controlplane.sh etcd kube-apiserver
	cd hack/bench && exec ../../bin/bench/bench $(ARGS)

bench-scale: bench-programs ## Measure 100,000 values in a standalone server; ARGS="--objects 10000" for fewer.
	cd hack/bench && exec ../../bin/bench/bench scale $(ARGS)

bench-profile: ## Print where the server's CPU time goes, by operation; ARGS="--ops get --size 8192" for one.
	hack/build-controlplane.sh etcd
	@mkdir -p bin/bench
	cd hack/bench && export CGO_ENABLED=0 && go build -trimpath -buildvcs=false -o ../../bin/bench/bench . && \
		go build -trimpath -buildvcs=false -o ../../bin/bench/profiled ./profiled && exec ../../bin/bench/bench profile $(ARGS)

bench-programs:
	@mkdir -p bin/bench
	flags=$$(hack/version-ldflags.sh); \
		CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$$flags" -o bin/bench/secret-apiserver ./cmd/secret-apiserver
	cd hack/bench && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o ../../bin/bench/bench .

bench-go: ## Run the Go benchmarks of PKGS; TESTFLAGS="-count=10" makes it fit for benchstat.
	go test -run '^$$' -bench . -benchmem $(TESTFLAGS) $(PKGS)

update: ## Regenerate what is made from the API types: code, protobuf (where protoc is installed), docs/reference.md.
	hack/update-codegen.sh
	if command -v protoc >/dev/null; then hack/update-protobuf.sh; else \
		echo "protoc not found, protobuf code not regenerated: install protobuf-compiler" >&2; fi
	hack/update-reference.sh

update-metrics: ## Regenerate the tables of docs/metrics.md from what a server serves.
	UPDATE_METRICS=1 go test -count=1 -run '^TestMetricsPage$$' ./pkg/testing/observe

update-capture: kubectl ## Redraw docs/images/terminal.svg from what the commands print on a terminal.
	UPDATE_CAPTURE=1 go test -count=1 -run '^TestTerminalPicture$$' ./pkg/testing/docs

verify: ## Run every hack/verify-*.sh (needs protoc) and name those that fail.
	@failed=; for script in hack/verify-*.sh; do echo "== $$script"; "$$script" || failed+=" $$script"; done; \
		if [[ -n $$failed ]]; then echo "failed:$$failed" >&2; exit 1; fi

lint: ## Run the linters of .golangci.yml.
	hack/lint.sh

fmt: ## Format the Go files and sort their imports.
	hack/lint.sh fmt

clean: ## Remove bin/ and dist/. The data folder of `make run` stays.
	rm -rf bin dist
