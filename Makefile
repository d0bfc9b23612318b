# Everything a developer or the CI does, by name. `make` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# The newest Go that is installed does the work; none is downloaded.
export GOTOOLCHAIN := local

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# How long one fuzz target runs: FUZZTIME in `make fuzz`, FUZZSHORT in `make test`.
FUZZTIME := 2m
FUZZSHORT := 3s
# How often the kill tests kill in `make torture`.
TORTURE := 300
# Where `make loadtest` and `make loadtest-scale` write their tables.
REPORT := bin/loadtest.md
SCALE_REPORT := bin/loadtest-scale.md
AUDIT_REPORT := bin/loadtest-audit.md

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## ?/\1\t/' | expand -t 18

.PHONY: build
build: ## Build the program: ./tallystick, static, stripped
	CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X main.release=$$(git describe --always --dirty)" -o tallystick ./cmd/tallystick

.PHONY: test
test: deps lint test-race fuzz-short e2e-tools e2e ## Everything that must pass: lint, unit tests, short fuzz, real clients
	@echo "make test: everything passed"

.PHONY: deps
deps: ## See that PostgreSQL, a C compiler, Chromium and Node are here; as root on Debian, install them
	@.ci/deps

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, on both modules
	@echo "lint: gofmt"; unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "gofmt -w wanted: $$unformatted"; exit 1; }
	@for module in . e2e; do \
		echo "lint: go vet and staticcheck in $$module"; \
		(cd $$module && go vet -tags kubernetes ./... && go run $(STATICCHECK) -tags kubernetes ./...); \
	done

.PHONY: test-unit
test-unit: deps ## Unit tests of the root module
	go test ./...

.PHONY: test-race
test-race: deps ## Unit tests of the root module with the race detector
	@echo "test-race: unit tests, storage suites, kill loops, with the race detector"
	go test -race -timeout 15m ./...

.PHONY: fuzz-short
fuzz-short: ## Every fuzz target for a few seconds (FUZZSHORT=3s)
	@.ci/fuzz $(FUZZSHORT)

.PHONY: fuzz
fuzz: ## Every fuzz target for longer (FUZZTIME=2m each)
	@.ci/fuzz $(FUZZTIME)

.PHONY: e2e-tools
e2e-tools: ## Build the client programs for e2e once a version (15 minutes cold) into TALLYSTICK_TOOLS
	@e2e/build-tools.sh

.PHONY: e2e
e2e: deps e2e-tools ## Real clients and other projects' verifiers against the real program
	@echo "e2e: cosign 2, cosign 3, rekor-cli, Fulcio, timestamp-server, notation, Chromium, rekor's Go packages and sigstore-go against ./cmd/tallystick"
	cd e2e && go test -count=1 -timeout 20m ./...

.PHONY: differential
differential: ## 60,000 altered bundles: verify accepts none that sigstore-go refuses; and both timed (a short run is in e2e)
	cd e2e && TALLYSTICK_DIFFERENTIAL=60000 go test -count=1 -v -timeout 30m -run TestDifferential -bench . ./differential

.PHONY: e2e-kubernetes
e2e-kubernetes: deps e2e-tools ## A Kubernetes API server, and admission engines' own programs (an hour to build, once)
	e2e/build-engines.sh
	cd e2e/gatekeeper && go vet ./...
	cd e2e && go test -tags kubernetes -count=1 -timeout 30m -run 'PolicyController|Kyverno|Ratify|Gatekeeper|Kubernetes' .

.PHONY: torture
torture: deps ## The kill tests, longer (TORTURE=300 kills)
	TALLYSTICK_TORTURE=$(TORTURE) go test -count=1 -timeout 12h -v -run 'Kill|Crash|Torture' ./sequencer/... ./cmd/... ./storage/...

.PHONY: loadtest
loadtest: deps build ## Load on SQLite and on PostgreSQL; writes a Markdown table (REPORT=file)
	@mkdir -p $(dir $(REPORT))
	go run ./loadtest -program ./tallystick -report $(REPORT)

.PHONY: loadtest-scale
loadtest-scale: deps build ## Throughput at 10 k entries and at 2 M in one run (SCALE_REPORT=file)
	@mkdir -p $(dir $(SCALE_REPORT))
	go run ./loadtest -program ./tallystick -scale -report $(SCALE_REPORT)

.PHONY: loadtest-audit
loadtest-audit: deps build ## How fast a monitor reads logs, and the memory that it takes (AUDIT_REPORT=file)
	@mkdir -p $(dir $(AUDIT_REPORT))
	go run ./loadtest -program ./tallystick -audit -large 500000 -report $(AUDIT_REPORT)

.PHONY: clean
clean: ## Remove what was built here (not the cached client programs)
	rm -f tallystick $(REPORT) $(SCALE_REPORT) $(AUDIT_REPORT)
	go clean ./...
