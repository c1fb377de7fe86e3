# Two commands: `make up` (a running, validated site) and `make test` (everything is tested). Both can be repeated at any time.
# `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
UV := .lock-venv/bin/uv
UV_VERSION := 0.13.9
COMPILE := $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --upgrade --no-header

ifneq ($(words $(CURDIR)),1)
$(error The path of this folder has a space in it ($(CURDIR)); make and virtual environments cannot work there: move it)
endif

# Python 3.11 or newer to make .venv with; the default is the system's.
export PYTHON

.PHONY: help up down test check lint unit bench lock clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

up: ## Install what is missing, start the site, validate it
	@scripts/packages up
	@scripts/venv run
	@$(BIN)/orthweb up
	@$(BIN)/orthweb validate
	@scripts/next-steps

down: ## Stop the site (data and settings stay)
	@$(BIN)/orthweb down

test: ## Install what is missing, then lint, types and all tests
	@scripts/packages test
	@scripts/venv dev
	@scripts/venv checkov
	@$(MAKE) lint
	@scripts/tests

check: ## The fast tier: lint, types, unit and render tests (under a minute)
	@scripts/venv dev
	@$(MAKE) lint
	@$(BIN)/pytest -q -n 2 tests/unit tests/render

lint:
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

bench: ## Measure this machine: cold start, ingest, retrieve, memory
	@scripts/packages test
	@scripts/venv dev
	@$(BIN)/python -m benchmarks.run

lock: ## Write the lock files anew from pyproject.toml (the newest versions it allows)
	@[ -x $(UV) ] || { "$$(scripts/venv find)" -m venv .lock-venv && .lock-venv/bin/pip install -q uv==$(UV_VERSION); }
	@$(COMPILE) -o requirements-build.lock --group build
	@$(COMPILE) -o requirements.lock pyproject.toml -c requirements-build.lock
	@$(COMPILE) -o requirements-dev.lock pyproject.toml --group dev -c requirements.lock -c requirements-build.lock
	@$(COMPILE) -o checkov.lock --group checkov

clean: ## Remove .venv and caches (never the site or its data)
	@rm -rf .venv .checkov-venv .lock-venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
