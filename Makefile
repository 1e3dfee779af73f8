SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

BIN := $(CURDIR)/bin
LINT_VERSION := v2.15.0
LINT := $(BIN)/golangci-lint-$(LINT_VERSION)
FUZZTIME ?= 2s
# Go's fuzzer sometimes fails with nothing but the end of its own time (golang/go#48591).
FUZZ_ENDED = { grep -q 'context deadline exceeded' $(BIN)/fuzz.log && ! grep -q 'Failing input' $(BIN)/fuzz.log; }
# Files differ by system and never by architecture, so one of each system shows what there is to see.
PLATFORMS ?= darwin/arm64 windows/amd64

.PHONY: help
help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: build
build: ## build bin/headrace
	go build -buildvcs=auto -trimpath -o $(BIN)/headrace .

.PHONY: demo
demo: ## real MLflow model servers, Headrace, and answers to look at; Ctrl-C ends it
	e2e/demo/demo.sh

.PHONY: run
run: build ## Headrace alone, with gateway.toml
	$(BIN)/headrace up

.PHONY: test
test: tidy lint race rules fuzz cross e2e ## everything; what CI runs

.PHONY: unit
unit: ## unit and integration tests of what has changed, for every day: about a minute for all of them
	go test -parallel 8 $$(go list ./... | grep -v '/e2e$$')

.PHONY: race
race: ## all unit and integration tests with the race detector, in any order
	go test -race -shuffle=on -parallel 4 $$(go list ./... | grep -v '/e2e$$')

.PHONY: rules
rules: ## the sample configuration for Prometheus, read by Prometheus' own code
	cd docs/rules && go vet ./... && go test ./...

.PHONY: tidy
tidy: # go.mod names just what is used
	go mod tidy -diff

$(LINT):
	mkdir -p $(BIN)
	GOFLAGS=-buildvcs=false GOBIN=$(BIN)/lint.d go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv $(BIN)/lint.d/golangci-lint $@
	rmdir $(BIN)/lint.d

.PHONY: lint
lint: $(LINT) ## format and lint, the import walls included
	$(LINT) fmt --diff
	$(LINT) run
	LINT=$(LINT) go test -count=1 -run '^TestEachWallBites$$' ./internal/house
	go run ./internal/house -check

.PHONY: house
house: ## how large packages and types are, what is explained and tested
	go run ./internal/house

.PHONY: fmt
fmt: $(LINT) ## format the code
	$(LINT) fmt

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (2s)
	@mkdir -p $(BIN) .cache/fuzz
	@grep -rlE --include='*_test.go' '^func Fuzz' api bench broker internal worker | xargs -n 1 dirname | sort -u | while read -r package; do \
		go test -c -fuzz . -o $(BIN)/fuzz.test ./$$package; \
		grep -hoE '^func Fuzz[A-Za-z0-9]+' $$package/*_test.go | cut -c 6- | while read -r target; do \
			echo "fuzz $$package $$target"; \
			(cd $$package && $(BIN)/fuzz.test -test.run '^$$' -test.fuzz "^$$target$$" -test.fuzztime $(FUZZTIME) -test.fuzzcachedir $(CURDIR)/.cache/fuzz) \
				> $(BIN)/fuzz.log 2>&1 || $(FUZZ_ENDED) || { cat $(BIN)/fuzz.log; exit 1; }; \
			tail -n 2 $(BIN)/fuzz.log | head -n 1; \
		done; \
	done; rm -f $(BIN)/fuzz.test $(BIN)/fuzz.log

.PHONY: cross
cross: ## build and vet for macOS and Windows
	@for platform in $(PLATFORMS); do \
		echo "build and vet $$platform"; \
		GOOS=$${platform%/*} GOARCH=$${platform#*/} CGO_ENABLED=0 go build -o /dev/null . ; \
		GOOS=$${platform%/*} GOARCH=$${platform#*/} CGO_ENABLED=0 go vet . ./api/... ./broker/... ./worker/... ./internal/... ; \
	done

.PHONY: e2e
e2e: ## the built binary with real MLflow servers and real clients
	go test -count=1 -timeout 12m ./e2e/...

.PHONY: browser
browser: ## the dashboard in Chromium; AXE=axe.min.js tries the rules of accessibility, too
	cd e2e/browser && go vet ./... && go test -count=1 -timeout 10m ./...

.PHONY: pictures
pictures: ## the pictures of docs/dashboard.md, taken in Chromium
	cd e2e/browser && PICTURES=$(CURDIR)/docs/pictures go test -count=1 -timeout 15m -run '^TestPictures$$' ./...

.PHONY: soak
soak: ## everything bad at once for SOAK (10m), with figures
	SOAK=$${SOAK:-10m} go test -count=1 -timeout 60m -v -run '^TestSoak$$' ./e2e

.PHONY: chaos
chaos: ## kills, stops, cuts and a full disk under durable jobs, for CHAOS (5m) with SEED (random), KILLS, JOBS
	CHAOS=$${CHAOS:-5m} go test -count=1 -timeout 3h -v -run '^TestChaos$$' ./e2e

.PHONY: routes
routes: ## 10,000 routes, a call and a job on 2,000 of them within a minute
	ROUTES=1 go test -count=1 -v -run '^TestTenThousandRoutes$$' ./broker/runner

.PHONY: purged
purged: ## 100,000 jobs whose entries in the work queue are purged: all run
	PURGED=100000 go test -count=1 -v -run '^TestPurgedQueue$$' ./broker/runner

.PHONY: cluster
cluster: ## three NATS servers killed, stopped and frozen under load, with figures; CLUSTER=kill,stop takes some
	CLUSTER="$${CLUSTER:-1}" go test -count=1 -timeout 20m -v -run '^TestOutages$$' ./broker

.PHONY: mutants
mutants: ## break one promise after the other, and see that a short chaos run catches each; MUTANT=name takes one
	MUTANTS=1 go test -count=1 -timeout 40m -v -run '^TestMutants$$'$(if $(MUTANT),'/^$(MUTANT)$$') ./e2e/mutants

.PHONY: bench
bench: ## Headrace, a bare reverse proxy and direct calls in one run
	go run ./bench

.PHONY: bench-batching
bench-batching: ## real MLflow servers asked directly and through Headrace
	go run ./bench -only batching

.PHONY: bench-jobs
bench-jobs: ## durable jobs: accepted, run and read a second; a restart, 10,000 long polls, 1,000,000 waiting jobs
	go run ./bench -only jobs
	go run ./bench -only jobscale

.PHONY: clean
clean: ## drop what was built, not what was downloaded
	rm -rf $(BIN)/headrace data
