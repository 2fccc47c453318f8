# Everything starts from a machine that has Python 3.11 or newer and make; the first target run also sets up .venv.

VENV := .venv
BIN := $(VENV)/bin
# Changes whenever an installation finished; newer than the files that say what to install.
READY := $(VENV)/.ready
LOWEST := .venv-lowest
LATEST := .venv-latest
WHEEL := .venv-wheel
# A minute of tests that reach every dependency but those of the extra `train`.
LOWEST_TESTS := tests/test_runs.py tests/config/test_load.py tests/config/test_files.py tests/prompts \
	tests/datasets/test_readers.py tests/datasets/test_parquet.py tests/media/test_frames.py \
	tests/media/test_picture.py tests/media/test_waveform.py tests/media/test_probe.py \
	tests/ask/test_ledger.py tests/engines/test_openai.py \
	tests/generate/test_trace.py tests/generate/test_decontaminate.py \
	tests/exchange/test_round_trips.py tests/evaluate/test_results.py \
	tests/evaluate/test_statistics.py tests/report/test_page.py
# What a release of transformers, TRL or peft breaks first.
LATEST_TESTS := tests/engines/test_encode.py tests/engines/test_transformers.py tests/checkpoints \
	tests/train/test_data.py tests/train/test_rewards.py tests/train/test_rollout.py \
	tests/train/test_shared_prefix.py tests/train/test_lora.py tests/train/test_sft.py \
	tests/train/test_grpo.py tests/exchange/test_exports.py \
	tests/full_size/test_sizes.py tests/full_size/test_prompts.py
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

# Processes that run tests side by side; a file's tests stay in one, slow files come first.
JOBS := $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))

# The page that gets the section of `make gpu-smoke`; ARGS are options and settings of the script.
PAGE := docs/performance.md
ARGS :=

.PHONY: help setup deepspeed demo test check wheel lowest latest full-size gpu-smoke web format docs clean

help:
	@echo "make demo       set up, then run the whole method on the packaged world"
	@echo "make experiment-NAME  run an experiment, such as stages, and write it into docs/experiments.md"
	@echo "make test       set up, then run all tests"
	@echo "make check      lint, format, sizes, documentation, changelog, imports, types"
	@echo "make wheel      build the package, install it alone without the tested versions, run its demo"
	@echo "make lowest     run a part of the tests with the lowest versions of all packages"
	@echo "make latest     say which tests the newest transformers and TRL still pass"
	@echo "make full-size  take a model of full width through every command on a CPU, in 10 minutes"
	@echo "make gpu-smoke  train a 3B model with random weights on a GPU; write down what that took"
	@echo "make web        check, test and build the page's script and style; needs Node 20 or newer"
	@echo "make format     format the code and fix what the linter can fix"
	@echo "make docs       write the generated pages again"
	@echo "make setup      only set up: .venv with everything in it"
	@echo "make deepspeed  set up, and add DeepSpeed, so that its tests run"
	@echo "make clean      remove .venv*, caches and builds; runs/ stays"

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
	$(BIN)/pip install -c constraints.txt -e ".[data,train,lora,eval,report,ray,dev]"
	@touch $@

# DeepSpeed compiles what it needs when it first runs, with a C++ compiler.
deepspeed: $(VENV)/.deepspeed

$(VENV)/.deepspeed: $(READY)
	$(BIN)/pip install -c constraints.txt -e ".[deepspeed]"
	@touch $@

demo: $(READY)
	$(BIN)/avrt demo

experiment-%: $(READY)
	$(BIN)/avrt experiment $* --write docs/experiments.md

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/check_sizes.py
	$(BIN)/python tools/check_texts.py
	$(BIN)/python tools/make_config_doc.py --check
	$(BIN)/python tools/check_web.py
	$(BIN)/python tools/check_imports.py
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright

# A user's way to AVRT: the wheel in an environment of its own, with the newest versions that it allows,
# and a demo in another folder. torch comes first, as in `make setup`; bytecode is made as it is needed.
wheel:
	rm -rf dist
	$(PYTHON) -m venv --clear $(WHEEL)
	$(WHEEL)/bin/pip wheel -q --no-deps -w dist .
	$(WHEEL)/bin/pip install -q --no-compile "$$(grep '^torch==' constraints.txt)"
	$(WHEEL)/bin/pip install -q --no-compile --no-deps "$$(grep '^torchvision==' constraints.txt)"
	$(WHEEL)/bin/pip install -q --no-compile "$$(ls dist/avrt-*.whl)[data,train,eval,report]"
	tools/try_wheel.sh $(CURDIR)/$(WHEEL)/bin/avrt

lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/python -m pytest -q -p no:cacheprovider -m "not slow" $(LOWEST_TESTS)

$(LOWEST)/.ready: pyproject.toml constraints-lowest.txt
	test -x $(LOWEST)/bin/pip || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install -c constraints-lowest.txt -e ".[data,eval,report]" hypothesis pytest soundfile
	@touch $@

# In place of the versions in pyproject.toml the newest of all; torch stays. It always ends well: its
# output is what it is for.
latest:
	test -x $(LATEST)/bin/pip || $(PYTHON) -m venv $(LATEST)
	$(LATEST)/bin/pip install -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(LATEST)/bin/pip install --no-deps "$$(grep '^torchvision==' constraints.txt)"
	$(LATEST)/bin/pip install -c constraints.txt -e ".[data,train,lora,eval,report]" hypothesis pytest soundfile \
	  webdataset
	$(LATEST)/bin/pip install --upgrade accelerate datasets peft transformers trl
	-$(LATEST)/bin/python -m pytest -q -p no:cacheprovider -m "not slow" -W default $(LATEST_TESTS)
	@$(LATEST)/bin/pip list | grep -E '^(accelerate|datasets|peft|torch|transformers|trl) '

full-size: $(READY)
	$(BIN)/python benchmarks/full_size.py $(ARGS)

gpu-smoke: $(READY)
	$(BIN)/python benchmarks/gpu_smoke.py --write $(PAGE) $(ARGS)

# What a report's page loads. Its result is committed, so that a Python user never needs Node.
web: web/node_modules/.ready
	cd web && npm run --silent lint && npm run --silent types && npm test --silent && npm run --silent build

web/node_modules/.ready: web/package-lock.json
	cd web && npm ci
	@touch $@

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	$(BIN)/python tools/make_config_doc.py

clean:
	rm -rf $(VENV) $(LOWEST) $(LATEST) $(WHEEL) web/node_modules web/.tests build dist .pytest_cache .ruff_cache .hypothesis
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
