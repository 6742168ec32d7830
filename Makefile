# Every task there is: run install test bench lint docs lock stop clean. `make run` on a fresh machine needs Python 3.11, git, make, c++.
.DEFAULT_GOAL := run
.PHONY: run install test bench lint docs lock stop clean
PYTHON ?= python3.11
BIN := .venv/bin
# Set on some machines; without bytecode each process would compile TensorFlow anew.
unexport PYTHONDONTWRITEBYTECODE

run: install          ## from a fresh clone to a served prediction
	@$(BIN)/updraft demo

install: .venv/installed
	@$(BIN)/python docker/horovod/build_wheel.py --install

.venv/installed: requirements.lock setup.cfg docker/bootstrap.py
	@command -v $(PYTHON) >/dev/null || { echo "error: there is no $(PYTHON) on this machine"; \
	  echo "  fix: install Python 3.11, or run: make run PYTHON=/path/to/python3.11"; exit 2; } >&2
	@$(PYTHON) docker/bootstrap.py

test: install         ## everything, in three streams: whole pipelines and jobs of several processes wait a lot
	@mkdir -p build; for part in pipeline training; do \
	    { $(BIN)/pytest tests/$$part >build/$$part.txt 2>&1; echo $$? >build/$$part.status; } & \
	  done; $(BIN)/pytest --ignore=tests/pipeline --ignore=tests/training; status=$$?; wait; \
	  cat build/pipeline.txt build/training.txt; \
	  exit $$((status | $$(cat build/pipeline.status) | $$(cat build/training.status)))

bench: install        ## tables of measurements; ONLY=area for one of them
	@$(BIN)/python -m benchmarks $(ONLY)

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy

docs: install         ## the pages that follow from the code
	@$(BIN)/python -m docs.generate

lock: install         ## a new requirements.lock from setup.cfg
	@$(BIN)/uv pip compile setup.cfg --all-extras --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command 'make lock' --upgrade --quiet --output-file requirements.lock

stop:
	@[ ! -x $(BIN)/updraft ] || $(BIN)/updraft down

clean: stop           ## removes what was made here; keeps .updraft, which holds your models
	@rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
