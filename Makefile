# What people and CI run. `make` alone lists it.

GO ?= go
FUZZTIME ?= 1m
COUNT ?= 20

# The race detector needs a C compiler. Where there is none the tests run without
# it, unless FLIGHTRULES_TEST_STRICT=1.
ifeq ($(FLIGHTRULES_TEST_STRICT),1)
RACE := -race
else
RACE := $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)
endif

# The race detector leaves out what is translated from C, SQLite and its libc: it
# keeps to C's rules and not to Go's, and watching it takes more than half of the
# time of all tests. The driver above it is watched.
UNWATCHED := $(if $(RACE),-gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-race=false)

# All packages share one throw-away PostgreSQL.
TEST := $(GO) run ./internal/dbtest/withpostgres $(GO) test $(RACE) $(UNWATCHED) -shuffle=on -timeout=30m

.PHONY: help build test fmt fmt-check vet lint generate generate-check bench fuzz soak thorough demo

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

build: ## build the binary, ./flightrules
	CGO_ENABLED=0 $(GO) build -trimpath -o flightrules ./cmd/flightrules

test: ## run all tests; what the machine lacks is skipped
	$(if $(RACE),,@echo "make: no C compiler, so the tests run without the race detector")
	$(TEST) ./...

fmt: ## format the code
	gofmt -w .

fmt-check: ## fail if code is not formatted
	@unformatted=$$(gofmt -l .) && if [ -n "$$unformatted" ]; then echo "not formatted, run make fmt:"; echo "$$unformatted"; exit 1; fi

vet: ## go vet
	$(GO) vet ./...

lint: ## staticcheck
	$(GO) tool staticcheck ./...

generate: ## write the generated files anew
	$(GO) generate ./...

generate-check: ## fail if generated files or go.mod are not up to date
	.ci/generate-check

bench: ## measure the engine against baselines of the same run
	$(GO) run ./cmd/flightrules bench

fuzz: ## fuzz every target for FUZZTIME (1m)
	.ci/fuzz $(FUZZTIME)

soak: ## run all tests COUNT (20) times over, in a new order each time
	@i=1; while [ $$i -le $(COUNT) ]; do echo "== round $$i of $(COUNT)"; $(TEST) ./... || exit 1; i=$$((i+1)); done

thorough: ## crash the engine at every moment of a run, draw its properties 200 times, and repeat tests of rules 1,000 times
	$(TEST) ./engine -run 'TestACrashAnywhere' -moments
	$(TEST) ./engine -run 'TestEveryMatch|TestPruning|TestNoRunIsEverStuck' -rapid.checks=200
	$(TEST) ./internal/ruletest -run 'TestATest' -repetitions=1000 -timelines=100

demo: ## the main job on one screen
	$(GO) run ./cmd/flightrules demo
