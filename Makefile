# Targets a newcomer can guess. `make` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOFLAGS_BUILD := -trimpath -ldflags "-s -w -X main.version=$(VERSION)"
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT := mvdan.cc/gofumpt@v0.12.0
FUZZTIME ?= 30s
PORT ?= 8080

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/sluice
	go build $(GOFLAGS_BUILD) -o bin/sluice ./cmd/sluice

.PHONY: run
run: build ## start sluice on PORT (8080) in front of a built-in demo origin
	@exec bin/sluice run --from :$(PORT) --demo --log-level warning

.PHONY: test
test: build ## run every test; peers that are not installed are skipped and named
	go test -count=1 -p 1 -timeout 20m ./...

.PHONY: race
race: ## tests of everything with goroutines under the race detector
	go test -race -count=1 -p 1 -timeout 20m ./engine/... ./pool/... ./proxy/... ./codec/...

.PHONY: debug
debug: ## tests with the sluicedebug build: poisoned slabs, owner and generation checks
	go test -tags sluicedebug -count=1 -p 1 -timeout 20m ./engine/... ./pool/... ./proxy/... ./codec/...

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (30s) each
	@bash .ci/fuzz $(FUZZTIME)

.PHONY: allocs
allocs: ## the zero-allocation tests alone
	go test -count=1 -run 'Alloc' ./codec/... ./engine/... ./pool/... ./proxy/...

.PHONY: wire
wire: build ## the conformance corpus against sluice, and nginx and haproxy where installed
	go test -count=1 -v ./bench/wire/...

.PHONY: bench
bench: build ## CPU per request beside nginx, haproxy, h2o and net/http (about half an hour)
	go run ./bench/cmd/bench --full

.PHONY: bench-quick
bench-quick: build ## the same in about five minutes
	go run ./bench/cmd/bench

.PHONY: rules
rules: ## which tests name which rules: make rules SPEC="routing.md RT-90" RESULTS=output-of-go-test-json
	@test -n "$(SPEC)" || { echo 'SPEC is missing: rule ids, and files that define them'; exit 2; }
	@go run ./bench/cmd/rules $(if $(RESULTS),--results $(RESULTS)) $(SPEC)

.PHONY: lint
lint: ## formatting, vet, staticcheck, cross-builds
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "not formatted: $$out"; exit 1; fi
	go vet ./...
	go vet -tags sluicedebug ./engine/... ./pool/... ./proxy/...
	go run $(STATICCHECK) ./...
	GOOS=darwin GOARCH=arm64 go vet ./engine/... ./pool/... ./codec/... ./proxy/... ./cmd/...
	GOOS=freebsd GOARCH=amd64 go vet ./engine/... ./pool/... ./codec/... ./proxy/... ./cmd/...

.PHONY: cross
cross: ## build the command for the other systems
	GOOS=darwin GOARCH=arm64 go build -o /dev/null ./cmd/sluice
	GOOS=freebsd GOARCH=amd64 go build -o /dev/null ./cmd/sluice
	GOOS=linux GOARCH=arm64 go build -o /dev/null ./cmd/sluice

.PHONY: peers
peers: ## install the peers that tests and benchmarks use (Debian, root)
	apt-get update -qq
# The servers among them are for tests to start, each with its own port and data: while policy-rc.d
# says 101, no package starts its service.
	@if [ ! -e /usr/sbin/policy-rc.d ]; then \
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT; \
		printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d; \
	fi; \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		nginx-light libnginx-mod-stream haproxy h2o wrk nghttp2-client apache2-utils hey curl git python3 util-linux \
		iperf3 redis-server redis-tools postgresql postgresql-client memcached openssh-server openssh-client openssl chromium >/dev/null

.PHONY: all
all: lint test race debug allocs ## everything but benchmarks and fuzzing
