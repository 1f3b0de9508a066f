# `make help` lists the targets. Nothing here needs more than Go, except where it says so.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO ?= go
# Given to the exporter by `make run`, for example ARGS=--config.file=tcpslo.yml.
ARGS ?=
# Given to `go test` by `make test`, for example TESTFLAGS='-run Reload -count 1'.
TESTFLAGS ?=
PACKAGES ?= ./...
JSONNET = $$(git ls-files -co --exclude-standard -- 'mixin/*.libsonnet' 'mixin/*.jsonnet')
JSONNETFMT = -n 2 --max-blank-lines 2 --string-style s --comment-style s

# What `tcpslo_exporter --version` and tcpslo_exporter_build_info tell. The date is the commit's, so
# that one commit always gives the same bytes.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS = -X github.com/prometheus/common/version.Version=$(VERSION) \
	-X github.com/prometheus/common/version.Revision=$(shell git rev-parse --short HEAD 2>/dev/null) \
	-X github.com/prometheus/common/version.Branch=$(shell git rev-parse --abbrev-ref HEAD 2>/dev/null) \
	-X github.com/prometheus/common/version.BuildDate=$(shell git log -1 --format=%cI 2>/dev/null)

.PHONY: help build plugin plugin-backend plugin-frontend run run-stack demo test bench generate rules lint test-kernels test-matrix test-mutations

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The BPF objects are committed: no clang is needed. -buildvcs=false, because git refuses to tell root
# about another user's clone, and LDFLAGS tells the version anyway.
build: ## Build build/tcpslo_exporter, one static file (GOARCH=arm64 to cross-compile)
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o build/tcpslo_exporter ./exporter

plugin: plugin-frontend plugin-backend ## Build all of the Grafana plugin into grafana-plugin/dist, ready for Grafana's plugin folder

# Grafana looks for EXECUTABLE_OS_ARCH. Without the tag, arrow would bring a second JSON package along.
plugin-backend: ## Build the Grafana plugin's backend for linux amd64 and arm64 into grafana-plugin/dist
	for arch in amd64 arm64; do \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -buildvcs=false -tags arrow_json_stdlib -ldflags '-s -w' \
			-o grafana-plugin/dist/gpx_tcpslo_slo_linux_$$arch ./grafana-plugin/pkg || exit; \
	done

plugin-frontend: ## Build the Grafana plugin's frontend into grafana-plugin/dist (Node 20.19 and npm)
	cd grafana-plugin && npm ci --no-audit --no-fund && npm run build

run: build ## Build it, observe this machine and tell what was found (root; options in ARGS=)
	@if [ "$$(id -u)" = 0 ]; then exec build/tcpslo_exporter run --summary $(ARGS); \
	elif command -v sudo >/dev/null; then exec sudo -E build/tcpslo_exporter run --summary $(ARGS); \
	else echo "make run: loading BPF programs takes root, and there is no sudo here: run it as root" >&2; exit 1; fi

# Not by `go run`, which calls it a failure to be interrupted.
run-stack: ## Start what docker-compose.yml starts, without containers (root, prometheus, prometheus-alertmanager; GRAFANA_HOME=)
	@CGO_ENABLED=0 $(GO) build -o build/run_stack ./lab/stack
	@if [ "$$(id -u)" = 0 ]; then exec build/run_stack; \
	elif command -v sudo >/dev/null; then exec sudo -E env "PATH=$$PATH" build/run_stack; \
	else echo "make run-stack: loading BPF programs takes root, and there is no sudo here: run it as root" >&2; exit 1; fi

demo: ## Fifteen seconds: two services, load, an overflow, and what the exporter saw of it (root)
	@if [ "$$(id -u)" = 0 ]; then $(GO) run ./lab/demo; \
	elif command -v sudo >/dev/null; then CGO_ENABLED=0 $(GO) build -o build/demo ./lab/demo && exec sudo -E env "PATH=$$PATH" build/demo; \
	else echo "make demo: loading BPF programs takes root, and there is no sudo here: run it as root" >&2; exit 1; fi

# One package after the other: the exporter observes the whole machine, so tests would see each other's servers.
test: ## Run all tests; the last lines tell what was skipped, and why (as root, nothing is)
	@$(GO) test -json -p 1 -timeout 20m $(TESTFLAGS) $(PACKAGES) | $(GO) run ./lab/testsummary

bench: ## Run the benchmarks, and measure what the probes cost a server (root)
	$(GO) test -run '^$$' -bench . -benchmem ./bpf/... ./exporter/... ./grafana-plugin/...
	$(GO) run ./lab/bench

generate: rules ## Compile the probes (clang-19, llvm-19, libbpf-dev), write the metric reference and the rules
	bpf/generate.sh
	$(GO) run ./exporter/names/reference

rules: ## Write what mixin/ renders: Prometheus rules and dashboards
	$(GO) run ./mixin/render

lint: ## Check formatting and suspicious code (golangci-lint and shellcheck too, if installed)
	@unformatted=$$(git ls-files -co --exclude-standard -- '*.go' | xargs gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on:" >&2; echo "$$unformatted" >&2; exit 1; fi
	$(GO) vet ./...
	@$(GO) tool jsonnetfmt $(JSONNETFMT) --test $(JSONNET) || { echo "not formatted, run: $(GO) tool jsonnetfmt $(JSONNETFMT) -i" $(JSONNET) >&2; exit 1; }
	@for file in $(JSONNET); do $(GO) tool jsonnet-lint "$$file" || exit 1; done
	@for script in $$(git ls-files -co --exclude-standard -- '*.sh' .ci/run); do bash -n "$$script"; done
	@if command -v shellcheck >/dev/null; then shellcheck $$(git ls-files -co --exclude-standard -- '*.sh' .ci/run); \
	else echo "lint: shellcheck is not installed, shell scripts are only parsed"; fi
	@if command -v golangci-lint >/dev/null; then golangci-lint run; \
	else echo "lint: golangci-lint is not installed, .golangci.yml is not applied"; fi

test-kernels: ## Run the tests on Linux 5.10 to 7.x in virtual machines (qemu-system-x86, qemu-system-arm)
	lab/kernels/test.sh

test-mutations: ## Change each rule and alert in each way, and see a promtool test fail (prometheus)
	$(GO) run ./mixin/mutate

test-matrix: ## Run the tests against every Go from 1.18 to 1.27, plain, stripped, PIE and PGO (root)
	@TCPSLO_MATRIX=full $(GO) test -json -p 1 -timeout 60m -count 1 ./lab/matrix ./exporter/goexe | $(GO) run ./lab/testsummary
