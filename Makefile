# make demo    the daemon, a switch to watch, and live calls: the two-minute tour
# make test    everything that has to hold: check, then the tests, two rooms at a time
# make check   style, types, and whether a dependency is known to be vulnerable
# make audit   the last of these alone
# make bench   the measurements in benchmarks/, into build/bench; `python benchmarks/keep.py` keeps them in docs/
# make docs    the pages of docs/ as a site, in build/site
# make lock    requirements.lock anew, from pyproject.toml
# make clean   what these commands left behind
#
# Needs Python 3.11 or newer with its venv module; the rest is installed into .venv from requirements.lock, and again
# whenever that, pyproject.toml or _sieve.c changes. Where there is a C compiler, _sieve.c is built; it needs none.

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
DEPENDENCIES := $(VENV)/.dependencies
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet

# A PYTHONPATH of somebody's shell must not decide what is tested.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP

USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
FIND_PYTHON = for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	if "$$python" -c '$(USABLE)' >/dev/null 2>&1; then break; fi; python=; \
	done; \
	if [ -z "$$python" ]; then \
	echo 'callengine needs Python 3.11 or newer with its venv module, and found none.' >&2; \
	echo 'On Debian or Ubuntu: apt install python3-venv. Elsewhere: make PYTHON=/path/to/python3' >&2; \
	exit 1; \
	fi

.PHONY: help demo test check audit bench docs lock clean venv

help:
	@sed -n 's/^# make/make/p' Makefile

demo: venv
	@exec $(BIN)/callengine demo

test: check
	@$(BIN)/python -m tests.side_by_side

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/python tests/audit.py

audit: venv
	@$(BIN)/python tests/audit.py

bench: venv
	@for file in benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

docs: venv
	$(BIN)/mkdocs build --strict --quiet
	@echo build/site/index.html

venv: $(INSTALLED)

# greenswitch comes as source only: it is built by the setuptools of the lock, not by whichever is newest today.
# The lock is whole, so nothing is resolved: an older pip would look for the newest release of what another one requires
# with an extra, and then refuse it, since that one has no hash here.
$(DEPENDENCIES): requirements.lock
	@$(FIND_PYTHON); \
	echo "Setting up $(VENV) with $$("$$python" --version), once; this takes a minute."; \
	rm -rf $(VENV); \
	"$$python" -m venv $(VENV)
	@awk '/^[^ ]/ { keep = /^setuptools==/ } keep' requirements.lock >$(VENV)/setuptools.lock
	@$(PIP) --require-hashes --requirement $(VENV)/setuptools.lock
	@$(PIP) --require-hashes --no-deps --no-build-isolation --use-pep517 --no-compile --requirement requirements.lock
	@$(BIN)/python -m pip --disable-pip-version-check check >/dev/null
	@touch $@

# Most of what is installed never runs here, so only what the daemon imports is compiled: by importing it. Without that,
# and where Python may not write bytecode, each start would compile for a second.
$(INSTALLED): $(DEPENDENCIES) pyproject.toml callengine/esl/_sieve.c
	@$(PIP) --quiet --no-deps --no-build-isolation --editable .
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c 'import callengine.patched, callengine.daemon'
	@touch $@

# All platforms' hashes, so that one file serves every machine; without a registry's name, so that any mirror does.
lock:
	@$(FIND_PYTHON); \
	"$$python" -m venv build/lock
	build/lock/bin/python -m pip --disable-pip-version-check install --quiet 'uv>=0.9'
	build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --system-certs \
		--no-header --no-annotate --strip-extras --no-emit-index-url --no-emit-find-links \
		--extra ai --extra otel --extra postgres --extra s3 --extra docs --extra dev --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) build dist callengine.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis callengine/esl/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
