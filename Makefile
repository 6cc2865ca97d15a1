# Everything from a bare checkout, with no more than Python 3.11 to 3.13 and make. PYTHON chooses the interpreter:
# `make test PYTHON=python3.12`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
REQUIRE_PYTHON := import sys; v = sys.version_info; \
	v[:2] in ((3, 11), (3, 12), (3, 13)) or sys.exit("error: pgdyn needs Python 3.11 to 3.13, not " + sys.version.split()[0])

.DEFAULT_GOAL := help
.PHONY: help test check reproduce mutants soak clean distclean

help:
	@echo 'make reproduce   run the experiments of the paper, with figures and a report of every claim, into reproduction/'
	@echo 'make test        run the tests'
	@echo 'make check       run the linter, the format check and the type checker'
	@echo 'make mutants     alter one line at a time and see that the tests notice (half an hour or more)'
	@echo 'make soak        kill sweeps, spoil files, pass wrong arguments and extreme numbers, and count what survives (20 minutes)'
	@echo 'make clean       remove what the above leave behind, except the environment'
	@echo 'make distclean   remove the environment in $(VENV) too'

# Whole files go to each core, so that the tests of a file share their compiled code.
test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist loadfile

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

reproduce: $(INSTALLED)
	$(BIN)/python -m paper_repro --out reproduction

mutants: $(INSTALLED)
	$(BIN)/python -m tests.mutants

soak: $(INSTALLED)
	$(BIN)/python -m tests.soak

# The environment is made anew where there is none that works, or where another version of Python is asked for.
PRESENT := $(shell $(BIN)/python -V 2>/dev/null)
ifeq ($(PRESENT),)
REMAKE := yes
else ifneq ($(origin PYTHON),file)
ifneq ($(PRESENT),$(shell $(PYTHON) -V))
REMAKE := yes
endif
endif
ifdef REMAKE
.PHONY: $(INSTALLED)
endif

$(INSTALLED): pyproject.toml constraints.txt
ifdef REMAKE
	@$(PYTHON) -c '$(REQUIRE_PYTHON)'
	$(PYTHON) -m venv --clear $(VENV)
endif
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[dev]' -c constraints.txt
	@touch $@

clean:
	rm -rf reproduction build dist .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
