# Set-up and every-day commands; `make` alone lists them. The workflow itself needs only Snakemake: see README.md.
#
#   FLAVOUR      cpu or gpu: which locked environment to build and use, .venv or .venv-gpu; `make prove-gpu`: gpu
#   PYTHON       the Python to build it with, 3.11 to 3.13; default: the first one found, else one that uv fetches
#   CORES        cores for Snakemake
#   CONFIG       `make preflight`: the configuration; default: the paper's
#   PROFILE      `make preflight`: the Snakemake profile whose jobs SLURM is asked about; empty: SLURM is not asked
#   FETCH        --fetch: `make preflight` downloads the models that are not here yet
#   ARGS         `make prove-gpu`: options, such as --parts training; --help lists them
#   UPGRADE      --upgrade: `make lock` takes the newest versions that the requirements allow

ifneq ($(filter prove-gpu,$(MAKECMDGOALS)),)
FLAVOUR ?= gpu
endif
FLAVOUR ?= cpu
ifeq ($(filter cpu gpu,$(FLAVOUR)),)
$(error FLAVOUR is cpu or gpu, not $(FLAVOUR))
endif
CORES ?= all
CONFIG ?= config/paper.yaml
PROFILE ?= profiles/slurm
export PYTHON

include envs/settings.env
export $(shell sed -n 's/=.*//p' envs/settings.env)

VENV := $(if $(filter gpu,$(FLAVOUR)),.venv-gpu,.venv)
# Named by what it was built from, and made last: a changed lock or a broken-off set-up builds the environment anew.
BUILT := $(VENV)/built-from-$(shell cat envs/create.sh envs/install.sh envs/$(FLAVOUR).lock | cksum | cut -d ' ' -f 1)
IN_ENV = PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
ifdef PYTHON
ifneq ($(shell $(PYTHON) --version),$(shell $(VENV)/bin/python --version 2>/dev/null))
.PHONY: $(BUILT) # an environment of another Python is built anew
endif
endif

.PHONY: help env demo preflight doctor prove-gpu test test-unit test-cluster lint schema lock bench clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r target does; do \
		printf 'make %-12s %s\n' "$$target" "$$does"; done

env: $(BUILT) ## build the locked environment (FLAVOUR=cpu or gpu)

$(BUILT):
	@sh envs/create.sh $(VENV) envs/$(FLAVOUR).lock
	@touch $@

demo test test-unit test-cluster bench: export HF_HUB_OFFLINE = 1

demo: $(BUILT) ## run the embedded default and show its scores (CORES=all)
	$(IN_ENV) snakemake --cores $(CORES)
	@cat results/report/scores.md
	@echo "Report: results/report/report.html"

preflight: $(BUILT) ## look before a long run: corpus, models, disk, SLURM (CONFIG, PROFILE, FETCH=--fetch)
	@$(IN_ENV) python workflow_scripts/preflight.py --config $(CONFIG) $(if $(PROFILE),--profile $(PROFILE)) $(FETCH)

doctor: $(BUILT) ## on a node with a GPU: check what jobs need of it (FLAVOUR=gpu)
	@$(IN_ENV) python workflow_scripts/doctor.py

prove-gpu: export HF_HUB_OFFLINE = 1
prove-gpu: $(BUILT) ## on a machine with a GPU: prove correctness, speed and memory there (ARGS)
	@$(IN_ENV) PYTHONPATH=workflow_scripts:benchmarks python -m prove_gpu $(ARGS)

# Jobs on SLURM mostly wait, so one test process more than cores. Each file stays in one process, which shares its fixtures.
test: $(BUILT) ## run every test; where SLURM is missing and cannot be installed, all but those that need it
	@sh tests/cluster/install.sh; case $$? in \
		0) set -- tests/cluster ;; \
		3) set --; echo "left out: the tests in tests/cluster; reason above" ;; \
		*) exit 1 ;; esac; \
	cores=$$(nproc); processes=$$((cores < 8 ? cores + 1 : 8)); \
	$(IN_ENV) python -m pytest --numprocesses $$processes --dist loadfile --no-loadscope-reorder \
		"$$@" tests/workflow tests/unit

test-unit: $(BUILT) ## run the unit tests
	$(IN_ENV) python -m pytest --numprocesses auto --maxprocesses 8 -m 'not slow' tests/unit

test-cluster: $(BUILT) ## run the tests on a private SLURM, which apt installs where it is missing
	@sh tests/cluster/install.sh
	$(IN_ENV) python -m pytest tests/cluster

lint: $(BUILT) ## check style: ruff, snakefmt, snakemake --lint
	$(IN_ENV) ruff check
	$(IN_ENV) ruff format --check
	$(IN_ENV) snakefmt --check Snakefile rules
	$(IN_ENV) snakemake --lint

schema: $(BUILT) ## write the JSON Schema and the tables of docs/configuration.md anew, after a change of its models
	$(IN_ENV) python workflow_scripts/document_config.py

lock: ## resolve envs/*.in into envs/*.lock and conda's scripts (UPGRADE=--upgrade)
	@[ -x .cache/uv/bin/uv ] || { $(or $(PYTHON),python3) -m venv --clear .cache/uv && \
		.cache/uv/bin/python -m pip install --quiet --quiet uv==0.13.9; }
	@PATH="$(CURDIR)/.cache/uv/bin:$$PATH" .cache/uv/bin/python envs/lock.py $(UPGRADE)
	@for flavour in cpu gpu; do sh envs/post-deploy.sh $$flavour > envs/$$flavour.post-deploy.sh; done

bench: $(BUILT) ## run the benchmarks
	@for script in benchmarks/*.py; do echo "$$script"; \
		$(IN_ENV) PYTHONPATH=workflow_scripts python "$$script" || exit 1; done

clean: ## remove the environment and the caches; results stay
	rm -rf .venv .venv-gpu .cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
