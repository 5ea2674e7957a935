# Two commands matter: `make run` serves etc/netsvc.ini, `make test` sets up and passes every test.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_TEST := $(VENV)/.ready-test
REFRESH_PLUGINS := $(BIN)/python -c "from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))"

.PHONY: run test quick lint bench fuzz peers docs clean

run: $(READY)
	$(BIN)/twistd -n --pidfile= netsvc --config etc/netsvc.ini

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(READY): $(BIN)/python setup.cfg pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	$(REFRESH_PLUGINS)
	touch $@

$(READY_TEST): $(BIN)/python setup.cfg pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	$(REFRESH_PLUGINS)
	touch $@ $(READY)

# The programs that the live tests and benchmarks talk to; apt-get as root or by sudo.
peers:
	tests/install-peers

# Everything: lint, types, import rules, all tests by pytest with coverage, all but the live tests by trial as well.
test: $(READY_TEST) peers
	tests/run-all $(BIN)

# The inner loop: no live tests, no coverage.
quick: $(READY_TEST)
	$(BIN)/python -m pytest -q -x -n auto --dist loadfile --ignore=tests/live

lint: $(READY_TEST)
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

# With the peers of the benchmarks, servers and libraries.
bench: $(READY_TEST)
	benchmarks/install-peers
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m benchmarks

# Every parser fed with nonsense for SECONDS in all; guided by coverage where atheris has a wheel, else at random.
SECONDS ?= 60
fuzz: $(READY_TEST)
	$(BIN)/pip install --quiet --disable-pip-version-check --only-binary atheris -e '.[fuzz]' || true
	nice -n 19 $(BIN)/python -m tests.fuzz --seconds $(SECONDS)

clean:
	rm -rf $(VENV) build dist .cache *.egg-info .coverage* _trial_temp* .hypothesis

# What is made from the source.
docs: $(READY_TEST)
	$(BIN)/python -m tests.contract.events > docs/events.md
	$(BIN)/netsvc kinds --format markdown > docs/reference.md
