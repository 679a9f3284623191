# Everything that is done with this repository. `make` alone lists the targets.

CARGO_DENY_VERSION := 0.20.2
CARGO_DENY ?= .tools/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny
ARGS ?= --project test-project --subscription scan-sub --consumers 10 --max-outstanding 1000 \
	--dead-letter-topic scan-dead-letter
# One profile and one set of features for demo, tests and servers, so that the dependencies are built once.
BUILD := cargo build --locked
RUN := cargo run --locked --quiet --
CHAOS := cargo test --locked --test it -- --ignored --nocapture --exact
# What must not be in the production program: the embedded servers and what only they need.
LOCAL_ONLY := axum|dynoxide-rs|googleapis-tonic-google-pubsub-v1|libsqlite3-sys|pubsub-local|rusqlite|tonic-build
# A container engine with compose answers.
COMPOSE_ANSWERS := docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the program with the embedded servers
	@$(BUILD)

.PHONY: demo
demo: build ## Servers, 10,000 scans and the consumer in one process; checks that the newest scan won
	@exec $(RUN) demo

# --- the pieces, each in a terminal of its own ---

.PHONY: start-dynamo
start-dynamo: ## Run a DynamoDB on port 8000 until Ctrl-C
	@if $(COMPOSE_ANSWERS); then exec docker compose -f docker-compose.dynamo.yml up; fi; \
	echo "No container engine answers: running the embedded DynamoDB on port 8000 instead."; \
	$(BUILD) && exec $(RUN) local dynamo

.PHONY: start-scanner
start-scanner: ## Run a Pub/Sub on port 8085 and the scanner publishing to it until Ctrl-C
	@if $(COMPOSE_ANSWERS); then exec docker compose up --build scanner; fi; \
	echo "No container engine answers: running the embedded Pub/Sub on port 8085 and the scanner instead."; \
	$(BUILD) && exec scripts/start-scanner.sh

.PHONY: run-consumer
run-consumer: export PUBSUB_EMULATOR_HOST ?= localhost:8085
run-consumer: export AWS_ENDPOINT_URL_DYNAMODB ?= http://localhost:8000
# Other names, for setup and consumer alike, come from the environment; ARGS are the consumer's alone.
run-consumer: export MINI_SCAN_DEAD_LETTER_TOPIC ?= scan-dead-letter
run-consumer: build ## Set up, then run the consumer against both; ARGS="…" are the consumer's flags
	@$(RUN) setup
	@exec $(RUN) consumer $(ARGS)

# --- tests and checks ---

.PHONY: test
test: ## All tests that need only Rust; no network once the crates are there
	cargo test --locked --workspace

.PHONY: test-integration
test-integration: ## Only the integration tests: the program as it is used
	cargo test --locked --test it

.PHONY: check-slow
check-slow: check-instructions ## Tests that last minutes each, such as long outages, and what only a release build shows
	cargo test --locked --test it -- --ignored --test-threads 1 outage:: streams::
	cargo test --locked --package mini-scan --lib -- --ignored --exact consumer::dedup::high_water::tests::an_entry_takes_about_120_bytes

# Every other consumer writes in batches; WRITE_MODE=put or WRITE_MODE=batch holds for all of them.
.PHONY: chaos
chaos: ## A million messages, a hundred kills and faults of every kind, then the truth; SEED=… plays a script again
	$(CHAOS) chaos::a_million_messages_and_a_hundred_kills

.PHONY: chaos-short
chaos-short: ## The same in two minutes, one of them without the store
	$(CHAOS) chaos::two_minutes

.PHONY: simulate
simulate: export MINI_SCAN_SEED = $(SEED)
simulate: export MINI_SCAN_SCHEDULES = $(or $(SCHEDULES),$(if $(SEED),1,1000000))
simulate: ## A million schedules of faults on a simulated clock; SEED=17 replays one
	cargo test --locked --package mini-scan --lib consumer::simulation::random

.PHONY: mutations
mutations: ## Breaks the code in each of tests/mutations; the tests must notice
	tests/mutations.sh

# Payloads for `make fuzz`; half a minute takes a million.
CASES ?= 1000000

.PHONY: fuzz
fuzz: ## Decode CASES faulty payloads beside the rules; keeps what was new in tests/corpus/fuzz
	PROPTEST_CASES=$(CASES) cargo test --locked --test it fuzz::a_long_run -- --ignored --nocapture

.PHONY: test-contract
test-contract: ## The contract suite against Google's emulator and DynamoDB Local, where they can be had
	tests/contract.sh

# --- speed ---

.PHONY: dist
dist: ## Build what is shipped: linked as a whole, stripped, without the embedded servers (11 minutes on two cores)
	cargo build --locked --package mini-scan --profile dist --no-default-features

# What is measured is what is shipped, and the floors beside it are of profile release. A run of all of it, and of nothing
# else, renews docs/performance.md.
.PHONY: bench
bench: $(if $(PROGRAM),,dist) ## What is shipped beside its floors; SCENARIOS="new copies" for some, ROUNDS=1, PROGRAM=… for another build
	@if command -v valgrind >/dev/null; then cargo bench --locked --bench decode -- keep; else \
		rm -f target/bench/decode.json; echo "NOT COUNTED: the instructions of decoding, because valgrind is not there"; fi
	cargo bench --locked --bench pipeline -- --program $(or $(PROGRAM),target/dist/mini-scan) \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(SCENARIOS)

.PHONY: bench-compare
bench-compare: ## The last run of bench beside the one before; BEFORE=… and AFTER=… name other JSON files
	cargo bench --locked --bench pipeline -- compare $(BEFORE) $(AFTER)

# Line tables for our package alone, so that the dependencies are not built again; and the system's allocator, whose
# calls DHAT counts.
.PHONY: profile
profile: ## Instructions a message by function, and allocations by stage (needs valgrind); WRITE_MODE=batch for batches
	cargo bench --locked --package mini-scan --bench pipeline --features system-allocator \
		--config 'profile.release.package.mini-scan.debug="line-tables-only"' \
		-- $(if $(PROGRAM),--program $(PROGRAM)) profile $(if $(WRITE_MODE),--write-mode $(WRITE_MODE))

.PHONY: check-instructions
check-instructions: ## Instructions of a whole message stay within their bound (needs valgrind and a release build)
	@if ! command -v valgrind >/dev/null; then \
		echo "NOT RUN: make check-instructions, because valgrind is not there"; exit; \
	fi; \
	cargo bench --locked --bench pipeline -- check "$$(rustc --version)"

.PHONY: check
check: check-format check-dependencies check-production check-lints check-docs test check-decode ## All that CI asks for, cheapest first

.PHONY: check-format
check-format:
	cargo fmt --all --check

.PHONY: check-dependencies
check-dependencies: $(CARGO_DENY)
	$(CARGO_DENY) --locked check licenses bans sources

.PHONY: check-production
check-production: ## Production features contain no embedded server
	@tree=$$(cargo tree --locked --package mini-scan --no-default-features --edges normal,build --prefix none) && \
	if printf '%s\n' "$$tree" | grep -E '^($(LOCAL_ONLY)) '; then \
		echo "These belong to the feature \`local\` only, but --no-default-features has them too." >&2; exit 1; \
	fi

.PHONY: check-lints
check-lints:
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --package mini-scan --all-targets --no-default-features -- -D warnings

# The decoder is compiled into the bench, so that it is optimized without building the clients again.
.PHONY: check-decode
check-decode: ## Instructions and memory of decoding stay within their bounds (needs valgrind)
	@if ! command -v valgrind >/dev/null; then \
		echo "NOT RUN: make check-decode, because valgrind is not there"; exit; \
	fi; \
	bench=$$(cargo rustc --locked --package mini-scan --bench decode --message-format=json-render-diagnostics -- \
		-C opt-level=3 -C codegen-units=1 | sed -n 's/.*"executable":"\([^"]*\/decode-[^"]*\)".*/\1/p') && \
	"$$bench" check "$$(rustc --version)"

.PHONY: check-docs
check-docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

.PHONY: check-advisories
check-advisories: $(CARGO_DENY) ## Known vulnerabilities in the dependencies (needs the network)
	$(CARGO_DENY) --locked check advisories

.PHONY: check-infra
# MINI_SCAN names a program that is built already.
check-infra: .tools/checkers/installed $(if $(MINI_SCAN),,build) ## Containers, Terraform, Kubernetes, alerts, runbook (needs Python)
	infra/check.sh

# It runs for a second, so a quick build of it serves better than a fast one.
$(CARGO_DENY):
	CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		cargo install --locked cargo-deny --version $(CARGO_DENY_VERSION) --root .tools/cargo-deny-$(CARGO_DENY_VERSION)

.tools/checkers/installed: infra/tests/requirements.txt
	python3 -m venv .tools/checkers
	.tools/checkers/bin/pip install --quiet --requirement $<
	touch $@
