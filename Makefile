# ehrmem: every command a person needs. `make` alone lists them.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
# Tests start some hundred processes: where no bytecode may be kept, each compiles everything again.
unexport PYTHONDONTWRITEBYTECODE
PIP      = $(1) -m pip -qq --disable-pip-version-check
TORCH   := 2.13.0
# -qq hides warnings, never errors. The plain torch wheel for Linux carries CUDA (several GB) on most machines.
# Who wants the CPU-only build says so to pip itself, for example by setting PIP_EXTRA_INDEX_URL to the package index
# that the PyTorch installation page names for CPU; it satisfies the same pin.

NBSTRIPOUT := nbstripout --keep-id
NOTEBOOKS   = $(wildcard notebooks/*.ipynb)

.DEFAULT_GOAL := help
.PHONY: help explore report test lint browser bench evidence samples docs sbom lock clean check-python
.DELETE_ON_ERROR:

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

explore: $(STAMP) ## Open the main screen: what would the model give away about one patient?
	@$(BIN)/ehrmem explore

report: $(STAMP) ## Write an example report to reports/example.html (PATIENT=... picks the patient)
	@mkdir -p reports
	@$(BIN)/ehrmem report --out reports/example.html $(if $(PATIENT),--patient $(PATIENT))

test: $(STAMP) browser lint ## Check everything: lint, types, notebooks, tests (PYTEST_ARGS=... narrows the tests, '-n 0' runs one at a time)
	@$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

lint: $(STAMP) ## Check style, types and that notebooks carry no outputs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(if $(NOTEBOOKS),$(BIN)/$(NBSTRIPOUT) --verify $(NOTEBOOKS),echo "no notebooks to check")

bench: $(STAMP) ## Measure speed on this machine (ARGS="--only attribute" for one part)
	@$(BIN)/python -m tests.benchmarks $(ARGS)

evidence: $(STAMP) ## Recompute the evidence that the probes find what is there and nothing else (ARGS=--write puts it into docs/evidence.md)
	@$(BIN)/python -m tests.benchmarks.evidence $(ARGS)

samples: $(STAMP) ## Rebuild the sample cohort and the sample models
	@$(BIN)/ehrmem build-samples

docs: $(STAMP) ## Build the documentation into docs/_build/html and try its examples (offline, but for the first installation)
	@$(call PIP,$(BIN)/python) install --no-deps -r docs/requirements.lock
	@$(BIN)/python -m sphinx -q -W -b html docs docs/_build/html
	@$(BIN)/python -m sphinx -q -W -b doctest docs docs/_build/doctest
	@echo "Open docs/_build/html/index.html"

sbom: $(STAMP) ## Write the list of parts, sbom.json (CycloneDX)
	@$(call PIP,$(BIN)/python) install --no-deps -r docs/requirements.lock
	@$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o sbom.json $(BIN)/python
	@echo "Wrote sbom.json"

# The stamp is written last, so an interrupted set-up is simply taken up again by the next call.
$(STAMP): requirements.lock pyproject.toml | check-python
	@echo "Setting up $(VENV) from requirements.lock (3 to 5 minutes, once) ..."
	@rm -f $@
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(call PIP,$(BIN)/python) install -r requirements.lock
	@$(call PIP,$(BIN)/python) install --no-deps -e .
	@touch $@
	@echo "Set up."

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "ehrmem needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)."; \
	  echo "Install a newer Python and name it:  make PYTHON=python3.11 ..."; exit 1; }

# Browser tests use the system's Chromium. A machine that has none and may not install it still passes: they are skipped.
browser:
	@if command -v chromium >/dev/null && { ! command -v fc-list >/dev/null || fc-list | grep -qi dejavu; }; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then why="this machine has no apt-get"; \
	else \
	  if [ "$$(id -u)" = 0 ]; then sudo=; \
	  elif sudo -n true 2>/dev/null; then sudo="sudo -n"; \
	  else sudo=no; fi; \
	  if [ "$$sudo" = no ]; then why="only root may use apt-get here"; \
	  else \
	    echo "Installing chromium and fonts-dejavu-core for the browser tests (about 1 minute, once) ..."; \
	    if $$sudo apt-get -qq update >/dev/null && \
	       $$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
	         chromium fonts-dejavu-core </dev/null >/dev/null; \
	    then exit 0; fi; \
	    why="apt-get failed (above)"; \
	  fi; \
	fi; \
	echo "!!!! NO CHROMIUM: $$why. BROWSER TESTS WILL BE SKIPPED. !!!!"

lock: check-python ## Rebuild requirements.lock from pyproject.toml (then carry the versions over to environment.yml)
	@echo "Resolving pyproject.toml in a fresh environment (about 4 minutes) ..."
	@$(PYTHON) -m venv --clear .lockvenv
	@$(call PIP,.lockvenv/bin/python) install torch==$(TORCH)
	@$(call PIP,.lockvenv/bin/python) install torch==$(TORCH) '.[test]'
	@rm -rf build *.egg-info
	@.lockvenv/bin/python -m pip freeze --exclude ehrmem-widgets | sed 's/^\(torch==[^+]*\)+.*/\1/' > .lockvenv/pins
	@! grep -nEi '^-|://| @ |^nvidia|^cuda' .lockvenv/pins || { \
	  echo "requirements.lock left as it was: these lines are no plain CPU pins (see the note on torch in the Makefile)"; exit 1; }
	@{ sed '/^[^#]/,$$d' requirements.lock; cat .lockvenv/pins; } > .lockvenv/lock && mv .lockvenv/lock requirements.lock
	@$(call PIP,.lockvenv/bin/python) install '.[docs]'
	@rm -rf build *.egg-info
	@.lockvenv/bin/python -m pip freeze --exclude ehrmem-widgets | grep -vxFf .lockvenv/pins | grep -v '^torch==' > .lockvenv/docs
	@{ sed '/^[^#]/,$$d' docs/requirements.lock; cat .lockvenv/docs; } > .lockvenv/lock && mv .lockvenv/lock docs/requirements.lock
	@rm -rf .lockvenv
	@echo "requirements.lock rebuilt. tests/test_environment.py says what environment.yml needs."

clean: ## Remove caches and build leftovers (keeps .venv and your reports)
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .lockvenv
	@find . -path ./$(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +
	@echo "Clean. To start over completely: rm -rf $(VENV)"
