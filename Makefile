# Everything a developer types. `make` alone lists it. No target needs root or touches *.db.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NODE := tests/foreign/node
NODE_READY := $(if $(shell command -v npm),$(NODE)/node_modules/.package-lock.json)
PIP := $(BIN)/python -m pip --disable-pip-version-check
WEB_DOCS := undosend/web/docs
VENDORED := LICENSE NOTICE swagger-ui.css swagger-ui-bundle.js swagger-ui-bundle.js.LICENSE.txt
COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

.DEFAULT_GOAL := help
.PHONY: help setup run test test-ui screenshots check chaos soak fuzz conformance lint format docs migrate bench lock vendor clean

help: ## List what can be made
	@echo "make TARGET [ARGS='…'] [PYTHON=python3.12]"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Install everything into .venv; it runs by itself when the requirements change

run: setup ## Serve on http://127.0.0.1:8000 with an SQLite file and a development inbox
	@exec $(BIN)/undosend serve --dev $(ARGS)

test: setup $(NODE_READY) ## Run every test, or some: make test ARGS=tests/domain
	$(BIN)/python -m pytest $(or $(ARGS),-n 2 --dist worksteal)

test-ui: setup $(NODE_READY) ## Run the page's tests in a Chromium: make test-ui ARGS='-k toast'
	$(BIN)/python -m pytest tests/ui $(ARGS)

screenshots: setup ## Take the pictures of the page that the README shows
	$(BIN)/python -m tests.ui.screenshots

conformance: setup ## Let Schemathesis look for answers the contract does not describe: ARGS='--seed 7'
	$(BIN)/python -m tests.conformance.run $(ARGS)

fuzz: setup ## Send it requests that nobody would send on purpose: ARGS='--cases 200000 --seed 7'
	@$(BIN)/python -m tests.fuzz $(ARGS)

chaos: setup ## Kill it again and again and count what went wrong: ARGS='--cycles 60 --seed 7 --mutants'
	@$(BIN)/python -m tests.chaos $(ARGS)

check: lint test ## Do what CI does: format, lint, types, tests

soak: setup ## Ask for four times as much as it can do, and see what is left: ARGS='--seconds 300'
	$(BIN)/python -m bench.overload $(ARGS)

lint: setup ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup ## Format, and mend what can be mended safely
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## Write the parts of the documentation that the code knows best
	$(BIN)/python docs/generate.py

migrate: setup ## Bring the database up to date: make migrate ARGS='--database-url …'
	$(BIN)/undosend migrate $(ARGS)

bench: setup ## Compare with bare references in the same run
	$(BIN)/python bench/accept.py $(ARGS)
	$(BIN)/python bench/drain.py $(ARGS)
	$(BIN)/python bench/page.py
	$(BIN)/python bench/streams.py

# uv does not read pip.conf: a mirror goes into UV_DEFAULT_INDEX. It needs no finished set-up,
# because a changed pyproject.toml has to be locked before it can be installed.
lock: $(BIN)/pip ## Pin the requirements anew with hashes; ARGS=--upgrade takes newer releases
	$(PIP) install -q 'uv>=0.13,<0.14'
	$(COMPILE) pyproject.toml -o requirements/run.txt $(ARGS)
	$(COMPILE) pyproject.toml --group dev -o requirements/dev.txt $(ARGS)

# npm only fetches and checks; what it fetched is unpacked, and nothing of it is run.
vendor: ## Fetch the files of swagger-ui again, in the version that undosend/web/docs/README.md names
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	name=$$(sed -n 's/^    \(swagger-ui-dist@.*\)/\1/p' $(WEB_DOCS)/README.md); \
	hash=$$(sed -n 's/^    sha512-//p' $(WEB_DOCS)/README.md); \
	npm pack --silent --pack-destination "$$folder" "$$name"; \
	found=$$(openssl dgst -sha512 -binary "$$folder"/*.tgz | base64 -w 0); \
	test "$$found" = "$$hash" || { echo "$$name has the hash sha512-$$found, not the one in $(WEB_DOCS)/README.md." >&2; exit 1; }; \
	tar -xzf "$$folder"/*.tgz -C $(WEB_DOCS) --no-same-owner --strip-components 1 $(addprefix package/,$(VENDORED))

clean: ## Remove what the other targets made, except databases
	rm -rf $(VENV) $(NODE)/node_modules dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements/dev.txt pyproject.toml | $(BIN)/pip
	@echo "Installing into $(VENV); this takes a minute, and only once."
	@$(PIP) install -q --require-hashes -r requirements/dev.txt
	@$(PIP) install -q --no-deps --no-build-isolation -e .
	@touch $@

# The SDK for Node that tests/foreign drives; where npm is missing those tests are skipped, but
# not in CI. npm writes the target last.
$(NODE)/node_modules/.package-lock.json: $(NODE)/package-lock.json
	@cd $(NODE) && npm ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@

# pip is the last thing that venv makes: where it is missing, the folder is not to be trusted.
$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || { \
		echo "There is no $(PYTHON) here: install Python 3.11 or newer (Debian: apt-get install python3 python3-venv)." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "undosend needs Python 3.11 or newer, and this is $$($(PYTHON) -V): name a newer one, as in make PYTHON=python3.12." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian: apt-get install python3-venv)." >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
