# Every target first makes the environment it needs (.venv/); the second time that costs nothing.
#
#   make PYTHON=/path/to/python3.12 ...   the Python to make .venv/ with
#   make TORCH=cuda ...                   the build of torch; without it, the CPU build unless there is an NVIDIA GPU
#   make PIP_EXTRA="..." ...              more options for pip, used when .venv/ is made
#   make test ARGS="-k cluster"           options for the command that the target runs

PYTHON ?=
PIP_EXTRA ?=
TORCH ?=
ARGS ?=
export PYTHON PIP_EXTRA TORCH

.DEFAULT_GOAL := help
.PHONY: help lab demo test bench site constraints clean environment

help:
	@echo "make lab          open the labs in JupyterLab (your copies are in my_labs/)"
	@echo "make demo         train digits in both frameworks, compare; the page is in demo/"
	@echo "make test         run the tests          make test ARGS=\"-k cluster\""
	@echo "make bench        measure speed and fidelity"
	@echo "make site         the labs as pages to read; they are in site/"
	@echo "make clean        remove what was made here; never my_labs/ or .lablib/"
	@echo "make constraints  take the newest versions of all packages, write constraints.txt"

lab: environment
	@.venv/bin/python -P -m lablib lab $(ARGS)

# The plain ways, and a task whose steps are long enough for a speed-up. `python -m lablib compare`
# without --strategies takes all that there are.
DEMO = single,ddp,pipeline_split,multi_worker_mirrored,device_split

demo: environment
	@.venv/bin/python -P -m lablib compare --task digits-cnn --steps 50 --out demo --strategies $(DEMO) $(ARGS)

# Three tests at a time, because ranks often wait; those of a file on one worker, because they share
# its fixtures.
IN_PARALLEL = -n 3 --dist loadfile --no-loadscope-reorder --durations 10

test: environment
	@.venv/bin/python setup_env.py ops
	@.venv/bin/python setup_env.py test-packages
	@.venv/bin/python -m ruff check
	@.venv/bin/python -m ruff format --check
	@.venv/bin/python -m pytest $(IN_PARALLEL) $(ARGS)

site: environment
	@.venv/bin/python -P -m lablib site $(ARGS)

bench: environment
	@missed=0; for bench in benchmarks/[!_]*.py; do \
		.venv/bin/python "$$bench" $(ARGS) || missed=1; \
	done; exit $$missed

# The python that is tried first wins, if it suits and can make environments. If none does,
# setup_env.py runs all the same, to say why not.
WITH_A_PYTHON = found="$(PYTHON)"; \
	if [ -z "$$found" ]; then \
		for found in python3 python3.13 python3.12 python3.11 none; do \
			"$$found" setup_env.py suits 2>/dev/null && break; \
		done; \
		if [ "$$found" = none ]; then found=python3; fi; \
	fi; \
	if ! command -v "$$found" >/dev/null; then \
		echo "There is no Python." >&2; \
		echo "  saw: no command $$found" >&2; \
		echo "  do:  sudo apt install python3 python3-venv   (Debian, Ubuntu), then make again" >&2; \
		exit 1; \
	fi; \
	"$$found" setup_env.py

environment:
	@if [ -n "$(PYTHON)" ] || ! .venv/bin/python -I -S setup_env.py current 2>/dev/null; then \
		$(WITH_A_PYTHON); \
	fi

constraints:
	@$(WITH_A_PYTHON) constraints

clean:
	rm -rf .venv demo site build .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -not -path "./my_labs/*" -prune -exec rm -rf {} +
