# Every command of the project. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WAREHOUSE ?= embedded
DRUID_URL ?= http://127.0.0.1:8888
PORT ?= 8088
DATA ?= .data

.DEFAULT_GOAL := help
.PHONY: help install run demo druid druid-stop test check format vectors reference bench crash bad-network browser pictures clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# The stamp is as old as the last install: a changed pyproject.toml installs again.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Headrace needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[fast,dev]'
	@touch $@

install: $(VENV)/.installed ## make the virtual environment and install into it

run: install ## serve on port 8088 (PORT, WAREHOUSE, DRUID_URL, DATA)
	$(BIN)/headrace serve --port $(PORT) --warehouse $(WAREHOUSE) --druid-url $(DRUID_URL) --data-dir $(DATA)

demo: install ## stream 336,776 real flights through a gateway (WAREHOUSE=embedded|druid)
	$(BIN)/python deploy/demo/flights.py --warehouse $(WAREHOUSE) --druid-url $(DRUID_URL)

druid: ## assemble and boot a real Apache Druid on loopback, and keep it running
	$(PYTHON) deploy/druid/cluster.py start

druid-stop: ## stop the Druid that `make druid` started
	$(PYTHON) deploy/druid/cluster.py stop

# Side by side, a process each: what needs the real Druid, and all else.
test: check ## everything that CI runs
	@$(BIN)/python -m pytest -m druid & druid=$$!; \
	$(BIN)/python -m pytest -m "not druid"; others=$$?; \
	wait $$druid && exit $$others

check: install ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## put every file into the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

vectors: install ## write tests/clients/README.md, the page of compatibility vectors
	$(BIN)/python -m tests.clients.page

reference: install ## write deploy/configuration.md, the page of all configuration keys
	$(BIN)/python -m gateway.config.reference > deploy/configuration.md

bad-network: install ## the client over a network that breaks, ten seeds (SEEDS=…)
	@for seed in $${SEEDS:-1 2 3 4 5 6 7 8 9 10}; do \
	  echo "seed $$seed"; \
	  BAD_NETWORK_SEED=$$seed $(BIN)/python -m pytest -q tests/server/bad_network_campaign.py || exit 1; \
	done

browser: ## install Debian's Chromium, which the tests of the live page drive (as root)
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; }

pictures: install ## draw the live page for the README, into deploy/pictures/
	$(BIN)/python -m tests.page.pictures

bench: install ## measure, in ratios within one run
	$(BIN)/python -m tests.bench

crash: install ## kill the gateway 300 times, then 40 times on the real Druid, and count every row
	$(BIN)/python -m tests.crash embedded --kills 300
	$(BIN)/python -m tests.crash druid --kills 40

clean: ## remove what the other commands made, except the Druid that may run
	rm -rf $(VENV) .data .demo .clients build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
