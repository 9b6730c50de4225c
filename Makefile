# Every target does its own set-up: an empty clone and Python >= 3.11 are enough.
PYTHON ?= python3
BIN := .venv/bin
SEED ?= 1
HELM := v3.18.6
SIDE_BY_SIDE ?= 3
PROCESSES ?= 2
# What a change is tried on first, and what else there is.
QUICK := tests/unit tests/contract tests/laws tests/properties pipeline tests/integration/test_loop.py
REST := tests $(addprefix --ignore=,$(filter tests/%,$(filter-out %.py,$(QUICK)))) --deselect tests/integration/test_loop.py
# A file's tests share what they start; files go side by side.
PYTEST := $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile

.PHONY: demo test test-rest test-all faults check docs helm sbom audit bench bench-learning peers stream-peers setup lock clean help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: .venv/.installed  ## make .venv/ from the lock file

.venv/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python {v.major}.{v.minor} found, 3.11 or newer needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## the whole loop on simulated visitors, about two minutes
	$(BIN)/pipeline demo

test: setup  ## units, contracts, laws, properties and one loop on a real Kafka: seven minutes on two cores
	@echo "units, contracts, laws, properties, one loop on a real Kafka: about seven minutes on two cores. Not here:"
	@echo "statistics, the other suites on Kafka, browsers, short forms of the faults: make test-all"
	$(PYTEST) $(QUICK)

test-rest: setup  ## what `make test` leaves out: half an hour
	@echo "statistics, suites on a real Kafka, browsers, short forms of the faults: about half an hour on two cores"
	$(PYTEST) --durations 20 $(REST)

test-all: test test-rest  ## every test but the long form of the faults

faults: setup  ## every fault scenario and other test in its long form, and one table: SEED="1 2 3"
	$(BIN)/python -m pytest -m faults --numprocesses $(SIDE_BY_SIDE) --maxschedchunk 1 --seed "$(SEED)" tests

check: setup docs  ## ruff, mypy strict, import layers, and the site of all pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_layers.py

docs: setup  ## the site of all pages, with a search: out/docs/site/index.html
	@$(BIN)/python -m ops.site.pages out/docs
	$(BIN)/zensical build --strict --clean --config-file out/docs/mkdocs.yml

helm: setup  ## Helm for the chart's tests, where the path has none: built by Go, once, into the cache of the tests
	@command -v helm > /dev/null || { folder=$$($(BIN)/python -c 'from pipeline.brokers import default_cache_dir; print(default_cache_dir() / "helm")'); \
	  test -x $$folder/helm || GOBIN=$$folder nice go install helm.sh/helm/v3/cmd/helm@$(HELM); }

sbom: setup  ## bill of materials (CycloneDX) of the lock file, which is what the image holds: dist/sbom.cdx.json
	@mkdir -p dist
	@PYTHONWARNINGS=ignore::UserWarning $(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --output-format JSON --output-file dist/sbom.cdx.json

audit: setup  ## known advisories of the lock file's packages; says so where none can be reached
	@$(BIN)/python ops/advisories.py

bench: stream-peers  ## speed of everything, with right answers checked: half an hour (benchmarks/README.md)
	$(BIN)/python -m benchmarks all

bench-learning: peers  ## how well policies learn, beside MABWiser and Vowpal Wabbit: an hour or two of a core
	$(BIN)/python -m benchmarks learning

peers: setup  ## what the learning bench plays against; their tests are skipped without
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/peers/requirements.lock

stream-peers: .venv-peers/.installed  ## what the pipeline bench plays against, in an environment of its own

.venv-peers/.installed: benchmarks/peers/stream.lock | .venv/.installed
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/peers/stream.lock
	@touch $@

lock:  ## pin every dependency, with hashes, for every platform (needs uv)
	uv pip compile pyproject.toml --group dev --all-extras --universal --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --python-version 3.11 -o requirements.lock
	uv pip compile --group peers --universal --generate-hashes --constraint requirements.lock \
	  --no-header --no-annotate --no-emit-index-url --python-version 3.11 -o benchmarks/peers/requirements.lock
	uv pip compile --group stream-peers --universal --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --python-version 3.11 -o benchmarks/peers/stream.lock

clean:
	rm -rf .venv .venv-peers
