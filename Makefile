# Pipeline <-> Xero. `make help` lists what there is. Nothing here needs Docker, sudo or a prepared machine.
SHELL := /bin/sh
PYTHON ?= python3
LOCAL := .local
UV := $(shell command -v uv 2>/dev/null || echo $(LOCAL)/uv/bin/uv)
RUN := $(UV) run --frozen --no-sync
STAMP := $(LOCAL)/setup.stamp
BROKER ?= kafka
KILL ?=
SEED ?= 0
SEEDS ?= 1000
FROM ?= 0
SCRIPT ?=
PAIRS ?=
PROCESSES ?=
RUNS ?= 4
FORGED ?= 50000
RACES ?= 100
DROPS ?= 3
KILLS ?= 10
PROBES ?= 2000
SECONDS ?= 20
REPLICAS ?=
PARTS ?=
MINUTES ?= 10
PART ?= sync
RECORD ?=
ONLY ?=
EXTRAS ?=
ENGINE ?= docker
REGISTRY ?=
VERSION ?= 0.0.0
SOURCE ?= unknown
ifeq ($(BROKER),tansu)
EXTRAS += --extra tansu
STAMP := $(LOCAL)/setup-tansu.stamp
endif
.DEFAULT_GOAL := help
.PHONY: help setup audit demo up down test fuzz chaos simulate failpoints planted-bugs attack check fmt lint types walls bench soak profile schemas contracts wheel docs images compose-secrets rotate-keys

help: ## Show every target with what it does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

setup: ## Install everything into this folder (.venv, .local); done by the other targets by themselves
	@PYTHON=$(PYTHON) EXTRAS="$(EXTRAS)" sh deploy/local/bootstrap.sh
	@touch $(STAMP)

$(STAMP): uv.lock pyproject.toml $(wildcard */*/pyproject.toml) $(wildcard */*/*/pyproject.toml) deploy/local/bootstrap.sh
	@$(MAKE) --no-print-directory setup

demo: $(STAMP) ## Connect, sync 200 real sales, pay 55 of them, and check every ledger (KILL=<service> kills it midway)
	@$(RUN) python -m pipeline_local_stack demo --broker $(BROKER) $(if $(KILL),--kill $(KILL))

up: $(STAMP) ## Start the whole system and keep it running until Ctrl-C (REPLICAS=2: two of each service)
	@$(RUN) python -m pipeline_local_stack up --broker $(BROKER) $(if $(REPLICAS),--replicas $(REPLICAS))

down: $(STAMP) ## Stop whatever an earlier `up` or `demo` left running
	@$(RUN) python -m pipeline_local_stack down

test: check ## Run the checks and every test on real Kafka and Postgres (STRICT=1: nothing may be left out)
	@$(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder

fuzz: $(STAMP) ## Search the webhook endpoint and the ledger for inputs that break them (FUZZ_SECONDS=600: longer)
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-60} $(RUN) pytest -q -rP tests/fuzz

chaos: $(STAMP) ## Strike two replicas of everything with seeded faults, heal, and judge (SEED=0 RUNS=4 SECONDS=20 RECORD=1)
	@$(RUN) python -m pipeline_local_stack chaos --seed $(SEED) --runs $(RUNS) --seconds $(SECONDS) $(if $(RECORD),--record)

simulate: $(STAMP) ## Live SEEDS=1000 FROM=0 lives on virtual time with seeded faults, and judge each (SCRIPT=<file>: one, step by step; RECORD=1 keeps it in docs)
	@PYTHONPATH=tests/support:tests/simulation $(RUN) python -m simulated --seeds $(SEEDS) --from $(FROM) \
		$(if $(PROCESSES),--processes $(PROCESSES)) $(if $(RECORD),--record) $(if $(SCRIPT),--script $(SCRIPT))

failpoints: $(STAMP) ## Kill invoice-sync on virtual time at every named step, and judge each (PAIRS=1: at every pair of them)
	@PYTHONPATH=tests/support:tests/simulation $(RUN) python -m simulated.matrix $(if $(PAIRS),--pairs)

planted-bugs: $(STAMP) ## Plant known bugs one by one and see that the judge of `make chaos` finds each (ONLY="key_reused" RECORD=1)
	@$(RUN) python -m pipeline_local_stack planted-bugs $(if $(ONLY),--only $(ONLY)) $(if $(RECORD),--record)

attack: $(STAMP) ## Forge and lose webhooks, race refreshes, kill key rotations, ask for other accounts' things (FORGED=50000 DROPS=3 RACES=100 KILLS=10 PROBES=2000)
	@FORGED=$(FORGED) DROPS=$(DROPS) RACES=$(RACES) KILLS=$(KILLS) PROBES=$(PROBES) $(RUN) pytest -q -rP -o timeout=0 \
		tests/integration/payment_ingest/test_webhooks_over_raw_sockets.py tests/integration/payment_ingest/test_payments_without_kafka_or_postgres.py \
		tests/integration/connector/test_refresh_races.py \
		tests/integration/connector/test_key_rotation.py tests/acceptance/test_cross_account_probes.py

check: lint types walls ## Lint, types and the walls between the parts

lint: $(STAMP)
	@$(RUN) ruff format --check --quiet . || { echo "Formatting differs: run 'make fmt'."; exit 1; }
	@$(RUN) ruff check --quiet .

types: $(STAMP)
	@$(RUN) mypy libs/*/src services/*/src deploy/local/src deploy/cli/src tests/simulators/xero/src

audit: $(STAMP) ## Look the locked packages up among known vulnerabilities (asks osv.dev)
	@$(RUN) uv audit --locked

walls: $(STAMP)
	@$(RUN) lint-imports --no-cache

fmt: $(STAMP) ## Format the code and repair what the linter can
	@$(RUN) ruff format --quiet .
	@$(RUN) ruff check --fix --quiet .

contracts: schemas ## Write what is published about the events: AsyncAPI, the page to read, TypeScript types
	@$(RUN) python -m pipeline_local_stack.contract_docs --write

schemas: $(STAMP) ## Write the JSON Schemas of the events from the code
	@$(RUN) python -m pipeline_contracts.schemas --write

docs: $(STAMP) ## Build the documentation site into .local/site, readable without a network
	@$(RUN) python -m pipeline_local_stack.documentation

wheel: $(STAMP) ## Build the wheel that other services install (dist/pipeline_contracts-*.whl)
	@$(UV) build --quiet --package pipeline-contracts --wheel --out-dir dist

bench: $(STAMP) ## Measure, each figure beside its baseline in the same run (PARTS="sync costs"; RECORD=1 keeps it in docs)
	@$(RUN) python -m pipeline_local_stack bench $(if $(RECORD),--record) $(PARTS)

soak: $(STAMP) ## Load the whole system for MINUTES=10 and see whether memory, descriptors, lag and tables stay flat (RECORD=1)
	@$(RUN) python -m pipeline_local_stack soak --minutes $(MINUTES) $(if $(RECORD),--record)

profile: $(STAMP) ## Show where the processor time of a hot path goes (PART=sync or webhooks)
	@$(RUN) python -m pipeline_local_stack profile $(PART)

rotate-keys: $(STAMP) ## Change the key that seals tokens, while `make up` runs elsewhere (docs/runbooks/rotate-token-keys.md)
	@$(RUN) python -m pipeline_local_stack rotate-keys

images: ## Build the image of every service (ENGINE=podman, REGISTRY=registry.example.com/, VERSION=1.4.0, SOURCE=<address>)
	@set -e; for service in $(notdir $(wildcard services/*)); do \
		$(ENGINE) build --file deploy/Dockerfile --tag "$(REGISTRY)pipeline-xero/$$service:$(VERSION)" \
			--build-arg PACKAGE=pipeline-$$service --build-arg VERSION=$(VERSION) \
			--build-arg REVISION="$$(git rev-parse HEAD)" --build-arg SOURCE=$(SOURCE) .; \
	done

compose-secrets: $(STAMP) ## Make the secrets of deploy/compose.yaml, once (docs/operate/compose.md)
	@$(RUN) python -m pipeline_local_stack.composed.secret_files
