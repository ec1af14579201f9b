# Two commands: `make repro` runs the pipeline, `make test` runs the tests. Both make .venv first.
PYTHON ?= python3
BIN := .venv/bin
SCORES := metrics/teacher.json metrics/student_1.json metrics/final.json

# stages run as `python -m stages.NAME`: the environment's python must be found first
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro scores test check

repro: $(BIN)/ready
	@python -m ppl.all_settings
	dvc repro
	@$(MAKE) --no-print-directory scores

scores: $(BIN)/ready
	@python -m ppl.score_table $(SCORES)

test: $(BIN)/ready
	python -m pytest -n 2 --dist loadfile

check: $(BIN)/ready
	ruff check .
	ruff format --check .
	mypy

$(BIN)/ready: requirements.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 10) and f"Python 3.10 or newer is needed, found {sys.version.split()[0]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements.txt
	touch $@
