# Short names: what they do stands in `ppl/__main__.py` and the docs. All but help and unlock make
# .venv first.
PYTHON ?= python3
JOBS ?= 1
K ?= 5
BIN := .venv/bin

# stages run as `python -m ppl.run NAME`: the environment's python must be found first
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro help status scores diff compare queue seeds folds report annotate-next hold-split unlock test test-long check

repro: $(BIN)/ready unlock ## check all settings, run the pipeline, print the scores
	@python -m ppl check
	dvc repro
	@$(MAKE) --no-print-directory scores

help: ## this list
	@awk -F ':.*## ' '/^[a-z%-]+( [a-z]+)*:.*## / { sub(/%/, "NAME", $$1); printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo '`python -m ppl --help`, after `. $(BIN)/activate`, lists the commands behind them.'

status: $(BIN)/ready ## where the project stands: data, changes, what a run would do, what is next
	@python -m ppl status

scores: $(BIN)/ready ## the scores of the workspace
	@python -m ppl scores

diff: $(BIN)/ready ## the scores against the last commit; REV=HEAD~2: against another
	@python -m ppl diff $(if $(REV),'$(REV)')

compare: $(BIN)/ready ## all experiments since the last commit, in compare/; SINCE=3: since three
	@python -m ppl compare $(if $(SINCE),--since '$(SINCE)')

queue: $(BIN)/ready ## run the queued experiments; JOBS=2: two at a time
	@python -m ppl queue --jobs '$(JOBS)'

seeds: $(BIN)/ready ## K=5 JOBS=2: five seeds, two at a time: how far do scores move?
	@python -m ppl seeds --count '$(K)' --jobs '$(JOBS)'

folds: $(BIN)/ready ## K=5 JOBS=2: five test sets, pooled: every annotated part is tested once
	@python -m ppl folds --count '$(K)' --jobs '$(JOBS)'

report: $(BIN)/ready ## report.html: scores, audit, plots and pictures in one file
	@python -m ppl report

annotate-next: $(BIN)/ready ## copies of masks to correct, for you to edit; TO=/mnt/share/masks: there
	@python -m ppl annotate-next $(if $(TO),--to '$(TO)')

hold-split: $(BIN)/ready ## keep every annotated image in test, or out of it, whatever comes
	@python -m ppl hold-split

data-%: $(BIN)/ready ## fetch a published data set; FROM=/mnt/usb/tiles: from there
	@python -m ppl fetch-data '$*' $(if $(FROM),--from '$(FROM)')

# a kill -9 in the moment in which DVC writes its list of locks leaves it empty, and DVC then refuses to run
unlock: ## remove the empty list of locks that a kill -9 may leave
	@if [ -d .dvc/tmp ]; then find .dvc/tmp -name rwlock -size 0 -delete; fi

test: $(BIN)/ready ## the tests
	python -m pytest -n 2 --dist loadfile -m 'not long'

test-long: $(BIN)/ready ## those that kill trainings or run whole experiments
	python -m pytest -n 2 --dist loadfile -m long

check: $(BIN)/ready ## linter, formatter and types of the code
	ruff check .
	ruff format --check .
	mypy

$(BIN)/ready: requirements.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 10) and f"Python 3.10 or newer is needed, found {sys.version.split()[0]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements.txt
	touch $@
