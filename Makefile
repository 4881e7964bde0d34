# ehrmem: every command a person needs. `make` alone lists them.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
# Tests start some hundred processes: where no bytecode may be kept, each compiles everything again.
unexport PYTHONDONTWRITEBYTECODE
PIP      = $(1) -m pip -qq --disable-pip-version-check
LOCK     = head=$$(grep '^\#' $(1)) && .lockvenv/bin/uv -q pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
  --no-header --no-annotate -c requirements-torch.lock $(2) $(ARGS) -o $(1) >/dev/null && printf '%s\n' "$$head" | cat - $(1) > $(1).new && mv $(1).new $(1)
# -qq hides warnings, never errors. The plain torch wheel for Linux carries CUDA (several GB) on most machines.
# Who wants the CPU-only build says so to pip itself, for example by setting PIP_EXTRA_INDEX_URL to the package index
# that the PyTorch installation page names for CPU; it satisfies the same pin.

NBSTRIPOUT := nbstripout --keep-id
NOTEBOOKS   = $(wildcard notebooks/*.ipynb)

.DEFAULT_GOAL := help
.PHONY: help explore workshop explorable report test lint browser fuzz bench bench-gpu growth evidence samples docs sbom lock clean check-python
.DELETE_ON_ERROR:

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

explore: $(STAMP) ## Open the main screen: what would the model give away about one patient?
	@$(BIN)/ehrmem explore

workshop: $(STAMP) ## Open the lesson of 90 minutes in JupyterLab
	@$(BIN)/ehrmem explore --screen 07_workshop

explorable: $(STAMP) ## Write lesson.html, in which small models are attacked live in a browser, with the network off
	@$(BIN)/ehrmem explorable --out lesson.html

report: $(STAMP) ## Write an example report to reports/example.html (PATIENT=... picks the patient)
	@mkdir -p reports
	@$(BIN)/ehrmem report --out reports/example.html $(if $(PATIENT),--patient $(PATIENT))

test: $(STAMP) browser lint ## Check everything: lint, types, notebooks, tests (PYTEST_ARGS=... narrows the tests, '-n 0' runs one at a time)
	@$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(STAMP) ## Check style, types and that notebooks carry no outputs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(if $(NOTEBOOKS),$(BIN)/$(NBSTRIPOUT) --verify $(NOTEBOOKS),echo "no notebooks to check")

fuzz: $(STAMP) ## Try damaged files, options and answers on every command (ARGS="--inputs 2000 --seed 7"; a part of it is in the tests)
	@$(BIN)/python -m tests.fuzz $(ARGS)

bench: $(STAMP) ## Measure speed on this machine (ARGS="--only attribute" for one part)
	@$(BIN)/python -m tests.benchmarks $(ARGS)

bench-gpu: $(STAMP) ## Run the CUDA tests and measure speed on a CUDA device
	@$(BIN)/python -m pytest -n 0 -q tests/blackbox/test_cuda.py
	@$(BIN)/python -m tests.benchmarks.gpu

growth: $(STAMP) ## Measure how cost grows with patients, events, model and workers (ARGS=--write puts it into docs/cost.md)
	@$(BIN)/python -m tests.benchmarks.growth $(ARGS)

evidence: $(STAMP) ## Recompute the evidence that the probes find what is there and nothing else (ARGS=--write puts it into docs/evidence.md)
	@$(BIN)/python -m tests.benchmarks.evidence $(ARGS)

samples: $(STAMP) ## Rebuild the sample cohort and the sample models
	@$(BIN)/ehrmem build-samples

docs: $(STAMP) ## Build the documentation into docs/_build/html and try its examples (offline, but for the first installation)
	@$(call PIP,$(BIN)/python) install --require-hashes --no-deps -r docs/requirements.lock
	@$(BIN)/python -m sphinx -q -W -b html docs docs/_build/html
	@$(BIN)/python -m sphinx -q -W -b doctest docs docs/_build/doctest
	@echo "Open docs/_build/html/index.html"

sbom: $(STAMP) ## Write the list of parts, sbom.json (CycloneDX)
	@$(call PIP,$(BIN)/python) install --require-hashes --no-deps -r docs/requirements.lock
	@$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o sbom.json $(BIN)/python
	@echo "Wrote sbom.json"

# The stamp is written last, so an interrupted set-up is simply taken up again by the next call.
$(STAMP): requirements.lock requirements-torch.lock pyproject.toml | check-python
	@echo "Setting up $(VENV) from requirements.lock (3 to 5 minutes, once) ..."
	@rm -rf $@ *.egg-info
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(call PIP,$(BIN)/python) install --require-hashes --no-deps -r requirements.lock
	@$(call PIP,$(BIN)/python) install -r requirements-torch.lock
	@$(call PIP,$(BIN)/python) install --no-deps --no-build-isolation -e .
	@touch $@
	@echo "Set up."

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "ehrmem needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)."; \
	  echo "Install a newer Python and name it:  make PYTHON=python3.11 ..."; exit 1; }

# Browser tests use the system's Chromium and Firefox ESR. A machine that lacks one and may not install it still passes: its tests are skipped.
browser:
	@missing=; why=; sudo=; \
	command -v chromium >/dev/null && { ! command -v fc-list >/dev/null || fc-list | grep -qi dejavu; } || missing=chromium; \
	command -v firefox-esr >/dev/null || missing="$$missing firefox-esr"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then why="this machine has no apt-get"; \
	elif [ "$$(id -u)" != 0 ]; then \
	  if sudo -n true 2>/dev/null; then sudo="sudo -n"; else why="only root may use apt-get here"; fi; \
	fi; \
	if [ -z "$$why" ]; then \
	  echo "Installing" $$missing "and fonts-dejavu-core for the browser tests (about 1 minute, once) ..."; \
	  why="apt-get failed (above)"; left=; \
	  if $$sudo apt-get -qq update >/dev/null; then \
	    for one in $$missing; do \
	      $$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
	        $$one fonts-dejavu-core </dev/null >/dev/null || left="$$left $$one"; \
	    done; \
	    missing=$$left; \
	  fi; \
	fi; \
	for one in $$missing; do \
	  echo "!!!! NO $$(echo $$one | tr a-z A-Z): $$why. ITS BROWSER TESTS WILL BE SKIPPED. !!!!"; \
	done

# uv resolves for every system at once and knows the hashes of all files; versions that stand in a lock stay unless ARGS says otherwise.
lock: check-python ## Rebuild the lock files from pyproject.toml (ARGS=--upgrade for the newest versions; then carry them over to environment.yml)
	@$(PYTHON) -m venv --clear .lockvenv
	@$(call PIP,.lockvenv/bin/python) install uv
	@$(call LOCK,requirements.lock,--extra training --extra cluster --extra test --no-emit-package torch)
	@$(call LOCK,docs/requirements.lock,--extra docs -c requirements.lock \
	  $$(sed -nE 's/^([a-z0-9.-]+)==.*/--no-emit-package \1/p' requirements.lock requirements-torch.lock))
	@rm -rf .lockvenv
	@echo "Lock files rebuilt. tests/test_environment.py says what environment.yml needs."

clean: ## Remove caches and build leftovers (keeps .venv and your reports)
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .lockvenv
	@find . -path ./$(VENV) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +
	@echo "Clean. To start over completely: rm -rf $(VENV)"
