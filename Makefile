# One verb per need; `make` alone prints them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build run test check soak chaos lint format bench sim schemathesis

help:
	@echo 'make run      install what is missing, build, serve the demo, print a usage table (Ctrl-C stops)'
	@echo 'make test     set up and pass all tests'
	@echo 'make check    the quick suite'
	@echo 'make soak     every bit of a 1 MiB log flipped, every byte cut off, parsers fuzzed (hours)'
	@echo 'make chaos    real processes killed, frozen, starved and restored at random [SEED= KILLS= RESTARTS= MINUTES=]'
	@echo 'make sim      the seeded simulation: SEED=… repeats a failure, STEPS=… goes on for so long'
	@echo 'make build    the release binary: .build/release/sluice'
	@echo 'make setup    install what building and running need'
	@echo 'make lint     format and shell checks;  make format  rewrites'
	@echo 'make schemathesis  the query API against schemas/openapi.yaml, at random (a minute)'
	@echo 'make bench    the benchmarks behind docs/performance.md'

setup:
	@scripts/setup.sh build

build: setup
	swift build --configuration release --product sluice

run: build
	@scripts/run-demo.sh

test:
	@scripts/setup.sh test
	@scripts/test.sh

check:
	@scripts/setup.sh test
	@scripts/test.sh --quick

soak:
	@scripts/setup.sh test
	SLUICE_SOAK=1 swift test --configuration release --filter EveryBitTests
	SLUICE_FUZZ=300 swift test --configuration release --skip-build --filter "FuzzTests\.(FuzzTests|LogFuzzTests|HTTPFuzzTests)"
	SLUICE_FUZZ=300 swift test --configuration release --skip-build --filter FileSinkFuzzTests

chaos: build
	@scripts/setup.sh test
	.venv/bin/python Tests/Acceptance/chaos.py $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) \
	    $(if $(RESTARTS),--restarts $(RESTARTS)) $(if $(MINUTES),--minutes $(MINUTES))

# Sets and dictionaries keep one order, so that a seed decides everything.
sim:
	@scripts/setup.sh test
	SWIFT_DETERMINISTIC_HASHING=1 $(if $(SEED),SLUICE_SIM_SEED=$(SEED)) SLUICE_SIM_STEPS=$(or $(STEPS),2000) \
	    swift test --configuration release --filter SimulationTests/everything

lint:
	@scripts/lint.sh

format:
	swift format --in-place --recursive Package.swift Sources Tests Benchmarks

bench: build
	@scripts/bench.sh

schemathesis: build
	@scripts/schemathesis.sh
