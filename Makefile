VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
BENCH ?= exact --quick
FUZZ ?= --seconds 60
SOAK ?= --minutes 30
MARKED ?= long or not long

.PHONY: soak seeded faults threats watch-check deployment-check sbom help demo run test test-long fuzz lint types proto proto-check deploy-check check bench clean

help:  ## Show the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# The stamp is newer than pyproject.toml exactly if what that asks for is installed.
$(VENV)/.made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later: make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	@echo "Making the environment in $(VENV); this takes a minute or two, once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(VENV)/.made  ## From a delivered list to answered batches, on an embedded Valkey.
	@$(BIN)/python -m deploy.demo

run: $(VENV)/.made  ## Serve on loopback with an embedded Valkey until Ctrl-C.
	@$(BIN)/hashmatch-server --log-format console

# A file's tests share servers, so they stay together.
test: $(VENV)/.made  ## Run the tests, as many at once as there are cores, or four.
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-long: $(VENV)/.made  ## Run the tests that take minutes.
	$(BIN)/python -m pytest -m 'long and not fault'

faults: $(VENV)/.made  ## Try every fault of the matrix and print the table; also in build/faults.json.
	$(BIN)/python -m pytest -q -m fault tests/faults

threats: $(VENV)/.made  ## Take out the guards of SECURITY.md one by one and see their tests fail.
	$(BIN)/python -m pytest -q -m long tests/seeded/test_seeded_threats.py

soak: $(VENV)/.made  ## Random faults, acts and load for half an hour, or make soak SOAK="--minutes 5 --seed 7".
	@$(BIN)/python -m tests.faults.soak $(SOAK)

seeded: $(VENV)/.made  ## Seed bugs against every promise and see a test fail for each.
	$(BIN)/python -m pytest -q tests/seeded

fuzz: $(VENV)/.made  ## Fuzz the parsers, a minute each, or some: make fuzz FUZZ="vics ncmec --seconds 600".
	@$(BIN)/python -m tests.fuzz $(FUZZ)

lint: $(VENV)/.made  ## Check style and the direction of imports.
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

types: $(VENV)/.made  ## Check types.
	$(BIN)/mypy

proto: $(VENV)/.made  ## Make the stubs from the contract.
	$(BIN)/buf format -w && $(BIN)/python -m proto.generate

proto-check: $(VENV)/.made  ## Check the contract, its compatibility and that the stubs are its own.
	$(BIN)/buf lint && $(BIN)/buf format -d --exit-code && $(BIN)/python -m proto.generate --check && $(BIN)/python -m proto.breaking

deploy-check: $(VENV)/.made  ## Check what watches the server: rules, their tests, dashboards, runbook.
	$(BIN)/python -m pytest tests/unit/deploy

check: lint types proto-check test  ## Everything that CI runs, except the demonstration.

bench: $(VENV)/.made  ## Run a benchmark: make bench BENCH="exact --quick".
	@$(BIN)/python -m bench $(BENCH)

watch-check: $(VENV)/.made  ## Watch real servers with a real Prometheus: about eight minutes.
	$(BIN)/python -m pytest -q -m long tests/watching

DEPLOYED := deployment rendered compose systemd store_settings image

deployment-check: $(VENV)/.made  ## Check all of deploy/, and run what the image runs as it does (as root).
	$(BIN)/hadolint deploy/container/Containerfile
	$(BIN)/python -m pytest -q -m '$(MARKED)' $(DEPLOYED:%=tests/packaging/test_%.py)

sbom: $(VENV)/.made  ## Write what is in the image to build/sbom.json.
	mkdir -p build && $(BIN)/cyclonedx-py requirements deploy/container/requirements.txt --pyproject pyproject.toml \
	  --output-reproducible -o build/sbom.json

clean:  ## Remove what was made.
	rm -rf $(VENV) .demo build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -prune -exec rm -rf {} +
