# make demo and make test are all a newcomer needs; both set up what is missing.
.PHONY: help demo test check soak lock clean distclean
.DEFAULT_GOAL := help
PYTHON_BIN := .venv/bin/python

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' Makefile

demo: ## replay the sample drive into a local platform and write the report
	@scripts/bootstrap runtime
	@.venv/bin/qiji demo

test: check ## lint, types, layers and all tests
	@$(PYTHON_BIN) -m pytest -q

check: ## ruff, mypy --strict, imports point down only, one clock
	@scripts/bootstrap dev
	@$(PYTHON_BIN) -m ruff check --quiet .
	@$(PYTHON_BIN) -m ruff format --quiet --check .
	@$(PYTHON_BIN) -m mypy
	@$(PYTHON_BIN) -m pytest -q --durations=0 tests/test_layers.py tests/test_clocks.py

soak: ## the full trials of exactly-once (an hour or more; as root also small disks and power cuts of ext4)
	@scripts/bootstrap dev
	@$(PYTHON_BIN) -m tests.benchmarks.soak --write

lock: ## write requirements.lock and requirements-dev.lock anew (needs uv)
	@scripts/lock

clean: ## remove caches and builds
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find gnss perception models replays uplink vehicle tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## the same and the environment
	@rm -rf .venv
