# Every target sets up what it needs in this folder; a machine needs Python 3.11 or newer, make and git.
# `make help` lists the targets. ARGS is handed on: make test ARGS="-k replay -x"

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:

ARGS ?=
JOBS ?= auto
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(firstword $(foreach name,python3 python3.11 python3.12 python3.13 python3.14,\
	$(shell command -v $(name) >/dev/null && $(name) -c '$(IS_NEW_ENOUGH)' 2>/dev/null && echo $(name))))
endif

UV := .tools/uv/bin/uv
READY := .venv/.ready
BIN := .venv/bin

# uv goes where this machine's pip goes: it reads its own settings, and here it is told pip's.
FROM_PIP = \
	pip_setting() { $(PYTHON) -m pip config get "$$1" 2>/dev/null || true; }; \
	index="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$${PIP_INDEX_URL:-$$(pip_setting global.index-url)}}}"; \
	cert="$${SSL_CERT_FILE:-$${PIP_CERT:-$$(pip_setting global.cert)}}"; \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	if [ -n "$$cert" ]; then export SSL_CERT_FILE="$$cert"; fi

.PHONY: help venv demo test check bench chaos versions docs fmt lock clean python

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z.]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(READY) ## set up .venv from requirements.lock, every file checked by its hash
.venv: $(READY)

demo: $(READY) ## see a real flow run to its end: the licences of what is installed here
	$(BIN)/perdure demo $(ARGS)

test: $(READY) ## all tests but chaos; with CI=true a skipped one is an error
	$(BIN)/pytest -n $(JOBS) $(ARGS)

check: $(READY) ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports --no-logo

bench: $(READY) ## measure against the budgets and the limits of this machine
	$(BIN)/perdure bench $(ARGS)

chaos: $(READY) ## kill processes, fill disks, move clocks
	$(BIN)/pytest -m chaos $(ARGS)

versions: $(READY) ## the store's tests on PostgreSQL 14 to 17 too (needs npm); ARGS=15 for one of them
	$(BIN)/python scripts/postgres_versions.py $(ARGS)

docs: $(READY) ## renew what is made from the code: parts of docs/, the sync client
	$(BIN)/python -m scripts.references
	$(BIN)/python -m scripts.scale simulate
	$(BIN)/python scripts/generate_cli_reference.py
	$(BIN)/python scripts/generate_sync_client.py

fmt: $(READY) ## repair what can be repaired
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(UV) ## renew requirements.lock after a change of pyproject.toml; ARGS=--upgrade for newer versions
	@$(FROM_PIP); $(UV) pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --quiet --output-file requirements.lock $(ARGS)

clean: ## remove what was made here: environments, caches, builds
	rm -rf .venv .tools .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed; name it with make PYTHON=…" >&2; exit 1; }

# uv's own version and hashes are those of the lock file.
$(UV): | python
	rm -rf .tools/uv
	$(PYTHON) -m venv .tools/uv
	awk '/^uv==/ { on = 1 } on { print } on && !/\\$$/ { exit }' requirements.lock > .tools/uv/uv.lock
	.tools/uv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .tools/uv/uv.lock

$(READY): requirements.lock pyproject.toml | $(UV)
	[ -x $(BIN)/python ] || $(UV) venv --quiet --python $(PYTHON) .venv
	@$(FROM_PIP); $(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline --editable .
	touch $@
