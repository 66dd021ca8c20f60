# make demo   builds everything and carries a voice message through the daemon
# make test   runs every test against real peers
# make check  formatting, lints, documentation, dependencies
#
# `make help` lists the rest.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: help demo build test test-api openapi check cuda-check setup setup-speech setup-tests setup-fuzz setup-browser test-console console-picture chaos chaos-short bench bench-peer fuzz fuzz-short fmt clippy doc deny lint-container fixtures demo-model export-setup test-export parity release

export ORT_DYLIB_PATH ?= $(CURDIR)/.local/onnxruntime/libonnxruntime.so
CARGO_FLAGS := --locked

help: ## Shows this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 18

demo: build setup-speech ## Builds, starts a daemon, submits a sample voice message, writes the MP3s
	@target/debug/translator demo

build: setup ## Builds the binary into target/debug
	cargo build $(CARGO_FLAGS)

test: setup setup-tests ## Runs every test: units, engines, and the daemon against foreign peers
	PYTHONPATH=$(CURDIR)/.local/python FERRETDB=$(CURDIR)/.local/bin/ferretdb cargo test $(CARGO_FLAGS)
	python3 models/export/tests/test_plain.py
	python3 models/demo/test_pairs.py
	tests/http/schemathesis.sh --max-examples 10 --seed 1

test-api: build setup-tests ## Asks a daemon all that /openapi.json says, for ten minutes
	REQUIRE_SCHEMATHESIS=1 tests/http/schemathesis.sh --max-time 600

openapi: build ## Writes docs/openapi.json anew, from the code
	target/debug/translator openapi >docs/openapi.json

test-console: build setup-browser ## Uses the console in a browser, with the daemon behind it
	python3 -m unittest discover --start-directory tests/console

console-picture: build setup-browser ## Makes docs/images/console.png again
	python3 tests/console/picture.py

CHAOS = PYTHONPATH=$(CURDIR)/.local/python FERRETDB=$(CURDIR)/.local/bin/ferretdb cargo test $(CARGO_FLAGS) --test chaos --
CHAOS_CHOICE = $(addprefix --scenario ,$(SCENARIO)) $(addprefix --seed ,$(SEED))

# Optimised as what users run, but with the faults that only builds with debug assertions have.
chaos: export CARGO_PROFILE_DEV_OPT_LEVEL = 2
chaos: setup setup-tests ## Kills, starves, floods and attacks a daemon (about an hour; SCENARIO=kill-loop SEED=2 for one)
	@$(CHAOS) $(CHAOS_CHOICE)

chaos-short: setup setup-tests ## The same with fewer jobs, in under three minutes
	@$(CHAOS) --short $(CHAOS_CHOICE)

bench: release ## Measures times and costs of messages on this machine, with the tiny models
	MODELS_PATH=models/fixtures target/release/translator bench

bench-peer: setup ## Compares the engines with the Python references (13 GB, an hour; CASES=xtts,marian THREADS=2)
	benches/peer/run.sh $(addprefix --cases ,$(CASES)) $(addprefix --threads ,$(THREADS))

check: setup fmt clippy doc deny lint-container ## Runs every check that needs no test

cuda-check: ## Proves on a machine with an NVIDIA GPU that the engines run there, prints figures (MODELS_PATH=models-store)
	scripts/cuda-check.sh

fmt: ## Formatting
	cargo fmt --check

clippy: ## Lints, warnings are errors
	cargo clippy $(CARGO_FLAGS) --all-targets -- --deny warnings
	cargo clippy $(CARGO_FLAGS) --test chaos -- --deny warnings

doc: ## Documentation, warnings are errors
	RUSTDOCFLAGS='--deny warnings --allow rustdoc::private_intra_doc_links' cargo doc $(CARGO_FLAGS) --no-deps --document-private-items

deny: ## Licences, bans and sources of all dependencies
	python3 scripts/check_dependencies.py

lint-container: ## Dockerfile
	scripts/lint-container.sh

setup: ## Installs what a build needs and is not there yet
	@scripts/setup.sh

setup-speech: ## Installs espeak-ng, which speaks where XTTS does not, if it can
	@scripts/setup-speech.sh

setup-tests: setup setup-speech ## Installs what the tests need and is not there yet
	@scripts/setup-tests.sh

setup-browser: ## Installs the browser that the console is tested with
	@scripts/setup-browser.sh

setup-fuzz: setup setup-tests ## Installs what fuzzing needs and is not there yet
	@scripts/setup-fuzz.sh

SECONDS ?= 3600
fuzz: setup-fuzz ## Fuzzes for long: make fuzz TARGET=decode SECONDS=3600, all targets without one
	fuzz/run.sh $(SECONDS) $(TARGET)

fuzz-short: setup-fuzz ## Fuzzes every target for 20 s
	fuzz/run.sh 20

fixtures: ## Makes the tiny models again (needs 6 GB of Python packages; their output is committed)
	models/fixtures/make.sh

demo-model: ## Trains the demo's translation model again (PAIRS=fra-eng.zip of manythings.org/anki; most of an hour)
	models/demo/make.sh "$(PAIRS)"

export-setup: ## Installs what models/export needs to read original checkpoints (6 GB of Python packages)
	@models/export/environment.sh

test-export: build ## Exports random checkpoints and runs them in the engines (needs export-setup's packages)
	models/export/test.sh

parity: setup ## Compares the engines with the Python references at real dimensions, writes docs/fidelity.md (an hour, 13 GB)
	models/export/parity.sh

release: setup ## Builds the optimised binary into target/release
	cargo build $(CARGO_FLAGS) --release
