# `make repro` runs the pipeline, `make test` the tests, `make queue JOBS=2` the queued experiments,
# `make data-magnetic_tile` fetches a published data set.
# All make .venv first.
PYTHON ?= python3
JOBS ?= 1
K ?= 5
BIN := .venv/bin
SCORES := metrics/copycat.json metrics/teacher.json metrics/student_1.json metrics/final.json

# stages run as `python -m stages.NAME`: the environment's python must be found first
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro unlock scores queue compare report seeds folds test test-long check

repro: $(BIN)/ready unlock
	@python -m ppl.all_settings
	dvc repro
	@$(MAKE) --no-print-directory scores

# a kill -9 in the moment in which DVC writes its list of locks leaves it empty, and DVC then refuses to run
unlock:
	@if [ -d .dvc/tmp ]; then find .dvc/tmp -name rwlock -size 0 -delete; fi

scores: $(BIN)/ready
	@python -m ppl.judge.table $(SCORES)

queue: $(BIN)/ready
	@python -m ppl.tools.queue $(JOBS)

# a table and a plot of all experiments since the last commit, in compare/; SINCE=3: since the last three
compare: $(BIN)/ready
	@python -m ppl.tools.compare compare $(SINCE)

# one HTML file of scores, audit, plots and pictures that needs no network
report: $(BIN)/ready
	@python -m ppl.tools.report report.html

# the pipeline with K seeds, or K folds, as experiments, and one table of all: make seeds K=5
seeds folds: $(BIN)/ready
	@python -m ppl.tools.repeat $@ $(K) $(JOBS)

# a published data set at its pinned revision into data/raw/; FROM=... names a repository or a folder
# that is used in place of the published URL
data-%: $(BIN)/ready
	@python -m ppl.tools.fetch_data '$*' $(if $(FROM),'$(FROM)')

test: $(BIN)/ready
	python -m pytest -n 2 --dist loadfile -m 'not long'

test-long: $(BIN)/ready
	python -m pytest -n 2 --dist loadfile -m long

check: $(BIN)/ready
	ruff check .
	ruff format --check .
	mypy

$(BIN)/ready: requirements.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 10) and f"Python 3.10 or newer is needed, found {sys.version.split()[0]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements.txt
	touch $@
