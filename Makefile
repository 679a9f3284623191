# All tasks of this repository. `make` without a target lists them.

CARGO_DENY_VERSION := 0.20.2
CARGO_DENY ?= .tools/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny
ARGS ?= --project test-project --subscription scan-sub --consumers 10 --max-outstanding 1000 \
	--dead-letter-topic scan-dead-letter
# The demo, the tests and the servers share one profile and one set of features, so dependencies are built only once.
BUILD := cargo build --locked
RUN := cargo run --locked --quiet --
CHAOS := cargo test --locked --test it -- --ignored --nocapture --exact
# What must not be in the production program: the embedded servers and what only they need. `axum` is not among it, because
# `mini-scan api` uses it as well.
LOCAL_ONLY := demo|dynamodb-local|dynoxide-rs|googleapis-tonic-google-pubsub-v1|libsqlite3-sys|pubsub-local|rusqlite|sqs-local|tonic-build
# Succeeds if a container engine with compose is running.
COMPOSE_ANSWERS := docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the program with the embedded servers
	@$(BUILD)

.PHONY: demo
demo: build ## Run servers, 10,000 scans and the consumer in one process, and verify the records
	@exec $(RUN) demo

.PHONY: demo-changes
demo-changes: build ## Scan services twice, kill a reader of the changes, and verify the history and webhooks; DYNAMODB=http://… for its tables
	@exec $(RUN) demo changes $(if $(DYNAMODB),--dynamodb $(DYNAMODB))

.PHONY: demo-events
demo-events: build ## Run event-pipeline with two sinks on embedded servers, and verify where each message ends; SQS=… and DYNAMODB=… name other servers
	@exec target/debug/event-pipeline demo $(if $(SQS),--sqs-endpoint $(SQS)) $(if $(DYNAMODB),--dynamo-endpoint $(DYNAMODB)) $(DEMO_ARGS)

.PHONY: demo-widgets
demo-widgets: build ## Run two instances of widget-registry and 16 clients on an embedded DynamoDB, and verify every answer; DYNAMODB=http://… for its tables
	@exec target/debug/widget-registry demo $(if $(DYNAMODB),--dynamo-endpoint $(DYNAMODB)) $(DEMO_ARGS)

.PHONY: demo-picture
demo-picture: build ## Run the demo and draw its output in docs/demo.svg
	@output=$$($(RUN) demo) && printf '%s\n' "$$output" | scripts/draw-terminal.sh '$$ make demo' >docs/demo.svg

# --- the parts, each in its own terminal ---

.PHONY: start-dynamo
start-dynamo: ## Run a local DynamoDB on port 8000 until Ctrl-C; DATA=dir keeps the table there
	@if [ -n "$(DATA)" ]; then \
		echo "The embedded DynamoDB on port 8000 keeps its tables in $(DATA)."; \
	elif $(COMPOSE_ANSWERS); then exec docker compose -f docker-compose.dynamo.yml up; \
	else echo "No container engine is running, so this starts the embedded DynamoDB on port 8000."; fi; \
	$(BUILD) && exec $(RUN) local dynamo $(if $(DATA),--data "$(DATA)")

.PHONY: start-scanner
start-scanner: ## Run a local Pub/Sub on port 8085 and a scanner that publishes to it until Ctrl-C
	@if $(COMPOSE_ANSWERS); then exec docker compose up --build scanner; fi; \
	echo "No container engine is running, so this starts the embedded Pub/Sub on port 8085 and the scanner."; \
	$(BUILD) && exec scripts/start-scanner.sh

.PHONY: run-consumer
run-consumer: export PUBSUB_EMULATOR_HOST ?= localhost:8085
run-consumer: export AWS_ENDPOINT_URL_DYNAMODB ?= http://localhost:8000
run-consumer: export MINI_SCAN_DEAD_LETTER_TOPIC ?= scan-dead-letter
# Both get the same flags, so that setup creates exactly what the consumer uses.
run-consumer: build ## Create the resources, then run the consumer on both; ARGS="…" sets the consumer's flags
	@$(RUN) setup $(ARGS)
	@exec $(RUN) consumer $(ARGS)

.PHONY: run-api
run-api: export AWS_ENDPOINT_URL_DYNAMODB ?= http://localhost:8000
# Without the consumer's flags, because the API reads the table alone.
run-api: build ## Create the table, then serve its API on port 8080; API_ARGS="…" sets the API's flags
	@$(RUN) setup table
	@exec $(RUN) api $(API_ARGS)

.PHONY: run-changes
run-changes: export AWS_ENDPOINT_URL_DYNAMODB ?= http://localhost:8000
run-changes: build ## Create the tables, then keep the history of changes; CHANGES_ARGS="…" sets the flags of changes
	@$(RUN) setup table
	@$(RUN) setup changes
	@exec $(RUN) changes $(CHANGES_ARGS)

.PHONY: run-widgets
run-widgets: build ## Serve the registry of widgets on port 8080 until Ctrl-C, on an embedded DynamoDB, or on DYNAMODB=http://…; WIDGETS_ARGS="…" sets flags
ifdef DYNAMODB
	@target/debug/widget-registry setup --dynamo-endpoint $(DYNAMODB)
	@exec target/debug/widget-registry serve --dynamo-endpoint $(DYNAMODB) $(WIDGETS_ARGS)
else
	@exec target/debug/widget-registry local --dynamo-port 0 $(WIDGETS_ARGS)
endif

.PHONY: run-events
run-events: build ## Run event-pipeline on embedded servers with a sink until Ctrl-C
	@exec scripts/run-events.sh

# --- tests and checks ---

.PHONY: test
test: ## Run all tests that need only Rust, without network after the crates are downloaded
	cargo test --locked --workspace

# A test fails if the page differs from the flags of the program, or a document from the endpoints.
.PHONY: settings
settings: ## Write docs/settings.md from the flags of the program, and docs/openapi.json and docs/widgets-openapi.json from the endpoints
	MINI_SCAN_BLESS=1 cargo test --locked --package mini-scan --test it -- settings_page:: api::documents::
	MINI_SCAN_BLESS=1 cargo test --locked --package widget-registry --test it -- api::documents::

.PHONY: test-integration
test-integration: ## Run only the integration tests
	cargo test --locked --workspace --test it

# Succeeds if the browser and its driver are installed.
BROWSER_EXISTS := command -v chromium >/dev/null && command -v chromedriver >/dev/null

.PHONY: test-browser
test-browser: ## Drive the web page of the API in a real Chromium (needs chromium and chromedriver)
	@if ! { $(BROWSER_EXISTS); }; then \
		echo "NOT RUN: make test-browser, because chromium and chromedriver are not installed"; exit; \
	fi; \
	cargo test --locked --test it -- --ignored --test-threads 2 browser::

.PHONY: screenshots
screenshots: export MINI_SCAN_SCREENSHOTS = $(CURDIR)/docs
screenshots: ## Draw the web page of the API in docs/page-*.png (needs chromium and chromedriver)
	cargo test --locked --test it -- --ignored browser::screenshots::

.PHONY: check-slow
check-slow: test-slow check-containers ## Run everything that takes long: the slow tests, and the containers

.PHONY: test-slow
test-slow: check-instructions test-browser ## Run the tests that take minutes each, e.g. long outages, and those of a release build
	cargo test --locked --test it -- --ignored --test-threads 1 outage:: streams:: export:: api::fuzz:: kills::
	cargo test --locked --package mini-scan --lib -- --ignored --exact consumer::dedup::high_water::tests::an_entry_takes_about_120_bytes
	cargo test --locked --package event-pipeline --test it -- --ignored --test-threads 1 kills::
	cargo test --locked --package widget-registry --test it -- --ignored --test-threads 1 api::fuzz:: kills::

# By default, every second instance writes in batches. WRITE_MODE=put or WRITE_MODE=batch applies to all of them.
.PHONY: chaos
chaos: ## Process a million messages despite a hundred kills and other faults; SEED=… replays a run
	$(CHAOS) chaos::a_million_messages_and_a_hundred_kills

.PHONY: chaos-short
chaos-short: ## Run a two-minute version of chaos, with DynamoDB unavailable for one minute
	$(CHAOS) chaos::two_minutes

.PHONY: chaos-mutations
chaos-mutations: ## Break the code with each patch in tests/mutations/chaos, and verify that chaos fails within a minute
	tests/chaos-mutations.sh

.PHONY: simulate
simulate: export MINI_SCAN_SEED = $(SEED)
simulate: export MINI_SCAN_SCHEDULES = $(or $(SCHEDULES),$(if $(SEED),1,1000000))
simulate: ## Run a million schedules of faults on a simulated clock; SEED=17 replays one
	cargo test --locked --package mini-scan --lib consumer::simulation::random

.PHONY: simulate-streams
simulate-streams: export DYNAMODB_STREAMS_SEED = $(SEED)
simulate-streams: export DYNAMODB_STREAMS_SCHEDULES = $(or $(SCHEDULES),$(if $(SEED),1,100000))
simulate-streams: ## Run 100,000 schedules of faults against readers of a DynamoDB stream; SEED=17 replays one
	cargo test --locked --package dynamodb-streams --lib simulation::random

.PHONY: simulate-webhooks
simulate-webhooks: export WEBHOOKS_SEED = $(SEED)
simulate-webhooks: export WEBHOOKS_SCHEDULES = $(or $(SCHEDULES),$(if $(SEED),1,10000))
simulate-webhooks: ## Run 10,000 schedules of faults against the delivery of webhooks; SEED=17 replays one
	cargo test --locked --package webhooks --lib simulation::random

.PHONY: simulate-events
simulate-events: export EVENT_PIPELINE_SEED = $(SEED)
simulate-events: export EVENT_PIPELINE_SCHEDULES = $(or $(SCHEDULES),$(if $(SEED),1,5000))
simulate-events: ## Run 5,000 schedules of faults against the processors of events; SEED=17 replays one
	cargo test --locked --package event-pipeline --lib processor::simulation::random

.PHONY: simulate-widgets
simulate-widgets: export WIDGET_REGISTRY_SEED = $(SEED)
simulate-widgets: export WIDGET_REGISTRY_SCHEDULES = $(or $(SCHEDULES),$(if $(SEED),1,100000))
simulate-widgets: ## Run 100,000 schedules of faults against the registry of widgets; SEED=17 replays one
	cargo test --locked --package widget-registry --lib simulation::random

.PHONY: mutations
mutations: ## Break the code with each patch in tests/mutations, and verify that the tests fail
	tests/mutations.sh

# The number of payloads for `make fuzz`. A million take 30 s.
CASES ?= 1000000

.PHONY: fuzz
fuzz: ## Compare the decoder with the rules on CASES payloads, and keep new kinds of results in tests/corpus/fuzz
	PROPTEST_CASES=$(CASES) cargo test --locked --test it fuzz::a_long_run -- --ignored --nocapture

.PHONY: test-contract
test-contract: ## Run the contract suites on Google's emulator, DynamoDB Local, moto and ElasticMQ, if they are available
	tests/contract.sh

# --- performance ---

.PHONY: dist
dist: ## Build the production program with fat LTO, without the embedded servers (11 minutes on two cores)
	cargo build --locked --package mini-scan --profile dist --no-default-features

# The same build settings as for the shipped program, whose dependencies are therefore not built again.
.PHONY: baselines
baselines: ## Build the bare loops of the clients, which `make bench` compares with the production program
	cargo build --locked --package mini-scan --profile dist --no-default-features --features baselines --bin baselines

# Only a run of all scenarios updates the documents.
.PHONY: bench
bench: $(if $(PROGRAM),,dist) $(if $(BASELINES),,baselines) ## Measure the shipped program and its baselines; optional: SCENARIOS="new copies", ROUNDS=1, PROGRAM=…, BASELINES=…
	@if command -v valgrind >/dev/null; then cargo bench --locked --bench decode -- keep; else \
		rm -f target/bench/decode.json; echo "NOT RUN: the instruction counts of the decoder, because valgrind is not installed"; fi
	cargo bench --locked --bench pipeline -- --program $(or $(PROGRAM),target/dist/mini-scan) \
		--baselines $(or $(BASELINES),target/dist/baselines) $(if $(ROUNDS),--rounds $(ROUNDS)) $(SCENARIOS)

.PHONY: bench-api
bench-api: $(if $(PROGRAM),,dist) $(if $(BASELINES),,baselines) ## Measure reads of a host by the API, and by the bare SDK; optional: ROUNDS=1, PROGRAM=…, BASELINES=…
	cargo bench --locked --bench api -- --program $(or $(PROGRAM),target/dist/mini-scan) \
		--baselines $(or $(BASELINES),target/dist/baselines) $(if $(ROUNDS),--rounds $(ROUNDS))

.PHONY: bench-changes
bench-changes: ## Measure the reader of streams beside a bare loop of GetRecords; optional: ROUNDS=1, or DYNAMODB=http://… for its tables
	cargo bench --locked --bench changes -- $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(DYNAMODB),--dynamodb $(DYNAMODB))

# The end-to-end part runs PROGRAM, which needs the embedded servers.
.PHONY: bench-webhooks
bench-webhooks: ## Measure the delivery of webhooks beside a bare loop of the same client; optional: ROUNDS=1, PROGRAM=…
	$(if $(PROGRAM),,cargo build --locked --release --package mini-scan)
	cargo bench --locked --package webhooks --bench webhooks -- --program $(abspath $(or $(PROGRAM),target/release/mini-scan)) \
		$(if $(ROUNDS),--rounds $(ROUNDS))

# PROGRAM needs the embedded servers.
.PHONY: bench-events
bench-events: ## Measure event-pipeline beside bare loops of the same clients; optional: ROUNDS=1, PROGRAM=…
	$(if $(PROGRAM),,cargo build --locked --release --package event-pipeline)
	cargo bench --locked --package event-pipeline --bench events -- --program $(abspath $(or $(PROGRAM),target/release/event-pipeline)) \
		$(if $(ROUNDS),--rounds $(ROUNDS))

.PHONY: bench-widgets
bench-widgets: ## Measure widget-registry beside a bare loop of its transaction; optional: ROUNDS=1, PROGRAM=…, or FILL=600 to create widgets for 600 s and audit them
	$(if $(PROGRAM),,cargo build --locked --release --package widget-registry)
	cargo bench --locked --package widget-registry --bench widgets -- --program $(abspath $(or $(PROGRAM),target/release/widget-registry)) \
		$(if $(FILL),--fill $(FILL),$(if $(ROUNDS),--rounds $(ROUNDS)))

.PHONY: bench-compare
bench-compare: ## Compare the last run of bench with the one before; BEFORE=… and AFTER=… name other JSON files
	cargo bench --locked --bench pipeline -- compare $(BEFORE) $(AFTER)

# Only our package gets line tables, so that the dependencies are not rebuilt. DHAT can count only the calls of the system
# allocator.
.PHONY: profile
profile: ## Show instructions per message by function, and allocations by stage (needs valgrind); optional: WRITE_MODE=batch
	cargo bench --locked --package mini-scan --bench pipeline --features system-allocator \
		--config 'profile.release.package.mini-scan.debug="line-tables-only"' \
		-- $(if $(PROGRAM),--program $(PROGRAM)) profile $(if $(WRITE_MODE),--write-mode $(WRITE_MODE))

.PHONY: check-instructions
check-instructions: ## Check the bound on instructions per message (needs valgrind and a release build)
	@if ! command -v valgrind >/dev/null; then \
		echo "NOT RUN: make check-instructions, because valgrind is not installed"; exit; \
	fi; \
	cargo bench --locked --bench pipeline -- check "$$(rustc --version)"

.PHONY: check
check: check-format check-dependencies check-production check-lints check-docs check-prose test check-decode ## Run all checks that a change must pass, cheapest first

.PHONY: check-format
check-format:
	cargo fmt --all --check

.PHONY: check-dependencies
check-dependencies: $(CARGO_DENY)
	$(CARGO_DENY) --locked check licenses bans sources

.PHONY: check-production
check-production: ## Check that the production features contain no embedded server
	@for package in mini-scan event-pipeline widget-registry; do \
		tree=$$(cargo tree --locked --package $$package --no-default-features --edges normal,build --prefix none) || exit 1; \
		if printf '%s\n' "$$tree" | grep -E '^($(LOCAL_ONLY)) '; then \
			echo "These crates belong to the feature \`local\` of $$package, but --no-default-features also has them. Make them optional." >&2; exit 1; \
		fi; \
	done

.PHONY: check-lints
check-lints:
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --package mini-scan --all-targets --no-default-features --features baselines -- -D warnings

# The bench contains the decoder, so that cargo optimizes it without rebuilding the clients.
.PHONY: check-decode
check-decode: ## Check the bounds on instructions and memory of the decoder (needs valgrind)
	@if ! command -v valgrind >/dev/null; then \
		echo "NOT RUN: make check-decode, because valgrind is not installed"; exit; \
	fi; \
	bench=$$(cargo rustc --locked --package mini-scan --bench decode --message-format=json-render-diagnostics -- \
		-C opt-level=3 -C codegen-units=1 | sed -n 's/.*"executable":"\([^"]*\/decode-[^"]*\)".*/\1/p') && \
	"$$bench" check "$$(rustc --version)"

.PHONY: check-docs
check-docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

.PHONY: check-prose
check-prose: ## Check that documents, help, comments and test names are plain technical English
	cargo test --locked --test it prose::

.PHONY: check-advisories
check-advisories: $(CARGO_DENY) ## Check the dependencies for known vulnerabilities (needs the network)
	$(CARGO_DENY) --locked check advisories

.PHONY: check-infra
# MINI_SCAN=… uses a program that is already built.
check-infra: .tools/checkers/installed $(if $(MINI_SCAN),,build) ## Check containers, workflows, Terraform, Kubernetes, alerts and runbook (needs Python)
	infra/check.sh

.PHONY: check-containers
check-containers: .tools/checkers/installed ## Build and run every image, and start every profile of docker compose (needs docker, or podman with podman-compose)
	@.tools/checkers/bin/python infra/tests/containers.py

# It runs for only one second, so a quick build matters more than a fast program.
$(CARGO_DENY):
	CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		cargo install --locked cargo-deny --version $(CARGO_DENY_VERSION) --root .tools/cargo-deny-$(CARGO_DENY_VERSION)

.tools/checkers/installed: infra/tests/requirements.txt
	python3 -m venv .tools/checkers
	.tools/checkers/bin/pip install --quiet --requirement $<
	touch $@
