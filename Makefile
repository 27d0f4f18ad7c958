# `make demo` and `make test` need git, make and Python 3.11. CONTRIBUTING.md describes the targets.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Tests start hundreds of Python processes, each of which would compile the package and pytest again.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: setup demo sdk test test-all coverage lint docs reference migration screenshots pictures lowest nightly bench nox release compatibility audit clean

setup: $(VENV)/.ready

# pyproject.toml lists the dependencies, constraints.txt pins their versions.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=25.1"
	$(PIP) install -c constraints.txt --group dev -e ".[server,postgres,redis,xdist,mcp,otel]"
	touch $@

# Some tests of the example shop fail on purpose, so exit status 1 is expected.
demo: setup
	@cd examples/shop && TMS_SERVER_DATA_DIR="$(CURDIR)/.tms/demo" \
	  "$(CURDIR)/$(BIN)/python" -m pytest --tms-url local --tms-suite smoke || test $$? -eq 1

# The tests that take a few seconds at most and need no package registry.
test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not nightly and not plugins and not suites"

# What CI runs.
test-all: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not nightly"

# Run the tests and print the lines that no test runs. Takes half as long again as `make test`.
coverage: setup
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n 4 --dist worksteal -m "not nightly"
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.docs_site

# The site of docs/, in build/site: without warnings, broken links and anything from other servers.
docs: setup
	$(BIN)/python -m tools.docs_site

# Run the tests with more fault schedules, kills and random suites than CI has time for.
nightly: setup
	FAULT_SCHEDULES=1000 KILLS=200 WEBHOOK_EVENTS=10000 RANDOM_SUITES=1000 API_CASES=10000 STATEFUL_EXAMPLES=500 PLAN_ROWS=100000 $(BIN)/python -m pytest -n 2 --dist worksteal

bench: setup
	$(BIN)/python -m bench

# The next revision of the database's schema, after a change of store/tables.py: make migration m="add …".
migration: setup
	$(BIN)/python tools/new_migration.py "$(m)"
	$(BIN)/ruff check --quiet --fix src/pytest_tms/server/store/migrations/versions
	$(BIN)/ruff format --quiet src/pytest_tms/server/store/migrations/versions

# A picture of every page in both themes and three widths, in screenshots/. Needs Chromium.
screenshots: setup
	$(BIN)/python -m tools.screenshots

# The parts of docs/ that are made from the code: commands, endpoints, errors.
reference: setup
	$(BIN)/python -m tools.reference

# The pictures of the documentation, in docs/images. Needs Chromium.
pictures: setup
	$(BIN)/python -m tools.pictures

# A client in another language, in sdk/: make sdk LANGUAGE=go. Needs Java 11; docs/sdks.md lists the languages.
sdk: setup
	$(PIP) install -c constraints.txt --group sdk
	$(BIN)/python -m tools.sdk $(LANGUAGE) $(if $(URL),--url $(URL))

# Test with the lowest supported version of every direct dependency.
lowest: setup
	$(BIN)/nox --session lowest

# Build the sdist, the wheel and the SBOM in dist/, check them, and try them in clean environments.
release: setup
	$(BIN)/nox --session release -- $(ARGUMENTS)

# The plugin with the server of the release before, and the other way round: make compatibility BEFORE=COMMIT.
compatibility: setup
	$(BIN)/nox --session compatibility -- $(BEFORE)

# Look for known vulnerabilities of the dependencies. Needs the internet.
audit: setup
	$(BIN)/nox --session audit

nox: setup
	$(BIN)/nox

clean:
	rm -rf $(VENV) .nox .tms build dist .coverage*
