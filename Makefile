# Each target sets up what it needs. Required: Python 3.11 or newer, and make.

PYTHON ?= python3
# Unless it was named, look for newer ones too.
ifeq ($(origin PYTHON),file)
PYTHONS := $(PYTHON) python3.13 python3.12 python3.11
else
PYTHONS := $(PYTHON)
endif
BIN := .venv/bin
# One folder a run. `make demo RUN=runs/mine` names it.
RUN := runs/nyc-departures-$(shell date -u +%Y%m%dT%H%M%SZ)
# Two processes suit two cores; `make test WORKERS=8` where there are more.
WORKERS ?= 2

# Threads that rest while they wait: two test processes would else hold each other up.
export OMP_WAIT_POLICY := PASSIVE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test test-slow test-all coverage mutants lint docs clean

help:  ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/installed  ## create .venv and install mmts with its tools

demo: .venv/installed  ## train, evaluate and forecast on the shipped data
	$(BIN)/mmts train configs/nyc_departures.yaml --run-dir $(RUN)
	$(BIN)/mmts evaluate $(RUN)/best.mmts --output $(RUN)/evaluation
	$(BIN)/mmts forecast $(RUN)/best.mmts --output forecast.csv --plot forecast.png
	@echo
	@echo "forecast:    $(CURDIR)/forecast.csv"
	@echo "picture:     $(CURDIR)/forecast.png"
	@echo "evaluation:  $(CURDIR)/$(RUN)/evaluation"
	@echo "experiments: $(BIN)/mmts ui"

test: lint  ## lint, types and the fast tests
	$(BIN)/pytest -n $(WORKERS) -m "not slow and not gpu"

test-slow: .venv/installed  ## the slow tests alone
	$(BIN)/pytest -n $(WORKERS) -m "slow and not gpu"

test-all: test test-slow  ## everything that needs no GPU

coverage: .venv/installed  ## lines and branches that no test reaches
	$(BIN)/pytest -n $(WORKERS) -m "not gpu" --cov --cov-report=term-missing

mutants: .venv/installed  ## change the code of windows, line by line, to see what no test notices
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[mutants]' -c constraints.txt
	OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children $(WORKERS)
	$(BIN)/mutmut results

lint: .venv/installed  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed  ## the pages as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site: $(CURDIR)/build/site/index.html"

clean:  ## remove .venv, caches and build folders; runs and forecasts stay
	rm -rf .venv build mutants dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Else a program that is started beside this folder would take it for the package, if it is called
# mmts: Python looks there first, and what it finds of that name hides an editable installation.
FOUND_ANYWHERE := import pathlib, sysconfig; \
    pathlib.Path(sysconfig.get_path('purelib'), 'mmts-checkout.pth').write_text(f'{pathlib.Path.cwd()}\n')

# The stamp is written last, so that a set-up that was broken off is done again.
IS_FIT := import sys; sys.exit(sys.version_info < (3, 11))
.venv/installed: pyproject.toml setup.py constraints.txt Makefile
	@if ! $(BIN)/python -c 'import pip; $(IS_FIT)' 2> /dev/null; then \
	    python=; for candidate in $(PYTHONS); do \
	        if $$candidate -c '$(IS_FIT)' 2> /dev/null; then python=$$candidate; break; fi; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo "mmts needs Python 3.11 or newer; none of these is: $(PYTHONS)"; \
	        echo "  Install one, or say where it is: make setup PYTHON=/path/to/python3.11"; \
	        exit 1; \
	    fi; \
	    echo "Creating .venv with $$python"; \
	    $$python -m venv --clear .venv; \
	fi
	@echo "Installing: some minutes and about 2 GB (more where torch comes with CUDA)"
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@$(BIN)/python -c "$(FOUND_ANYWHERE)"
	@touch $@
