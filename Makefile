# Everything starts from a machine that has Python 3.11 or newer and make; the first target run also sets up .venv.

VENV := .venv
BIN := $(VENV)/bin
# Changes whenever an installation finished; newer than the files that say what to install.
READY := $(VENV)/.ready
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: help setup demo test check format docs clean

help:
	@echo "make demo    set up, then run the whole method on the packaged world"
	@echo "make test    set up, then run all tests"
	@echo "make check   lint, format, sizes, documentation, changelog, imports, types"
	@echo "make format  format the code and fix what the linter can fix"
	@echo "make docs    write the generated pages again"
	@echo "make setup   only set up: .venv with everything in it"
	@echo "make clean   remove .venv, caches and builds; runs/ stays"

setup: $(READY)

# torch goes first and alone: a torch that is already there keeps pip from fetching a CUDA build for torchvision.
$(READY): pyproject.toml constraints.txt
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "make: AVRT needs Python 3.11 or newer; found: $(or $(PYTHON),none)." \
	         "Install it, or name one: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11" >&2; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || \
	  { echo "make: $(PYTHON) cannot create a virtual environment;" \
	         "on Debian: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 2; }
	$(BIN)/pip install -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --no-deps "$$(grep '^torchvision==' constraints.txt)"
	$(BIN)/pip install -c constraints.txt -e ".[data,train,lora,eval,report,dev]"
	@touch $@

demo: $(READY)
	$(BIN)/avrt demo

test: $(READY)
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/check_sizes.py
	$(BIN)/python tools/check_texts.py
	$(BIN)/python tools/make_config_doc.py --check
	$(BIN)/python tools/check_imports.py
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	$(BIN)/python tools/make_config_doc.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
