# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The tests start hundreds of processes: without bytecode each of them would compile the program anew.
export PYTHONDONTWRITEBYTECODE :=
# One more than there are processors, because many tests wait for a process.
WORKERS ?= $(shell expr $$(nproc 2>/dev/null || echo 2) + 1)

# Constraints for pip: `make test-lowest` pins what is installed.
CONSTRAINTS ?=

.PHONY: demo demo-delivery test test-long hostile test-pythons test-agents test-lowest lint verify mutants check bench cassettes cassettes-live clean
.DEFAULT_GOAL := test

$(VENV)/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "wavekeeper needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS)) -e '.[dev,verify]'
	touch $@

demo: $(VENV)/ready
	$(BIN)/wavekeeper demo

demo-delivery: $(VENV)/ready
	$(BIN)/python -m examples.delivery

test: $(VENV)/ready
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not long"

test-long: $(VENV)/ready
	$(BIN)/python -m pytest -q -m long

# Ends with how many of the waves were accepted wrongly, and how many honest ones were accepted.
hostile: $(VENV)/ready
	$(BIN)/python -m pytest -q -m hostile tests/acceptance/test_hostile_waves.py

# Each Python has an environment of its own; all are tried, so that one run names every one that fails.
test-pythons: $(VENV)/ready
	@own=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	.ci/pythons | { failed=; \
	while read -r version python; do \
		test "$$version" != "$$own" || continue; \
		echo "the suite on Python $$version: $$python"; \
		$(MAKE) test PYTHON="$$python" VENV="$(VENV)/pythons/$$version" </dev/null || failed="$$failed $$version"; \
	done; \
	test -z "$$failed" || { echo "the suite fails on Python:$$failed" >&2; exit 1; }; }

# With the real Codex, which is 140 MB, and with Claude Code if it is on PATH.
test-agents: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[agents]'
	$(BIN)/python -m pytest -q tests/adapters/test_real_codex.py tests/adapters/test_real_claude.py

test-lowest: $(VENV)/ready
	$(BIN)/python .ci/lowest.py >$(VENV)/lowest.txt
	@$(MAKE) lint test PYTHON=$(BIN)/python VENV=$(VENV)/lowest CONSTRAINTS=$(VENV)/lowest.txt || \
		{ echo "lint or the suite fails with the lowest declared versions: $(VENV)/lowest.txt" >&2; exit 1; }

# The types are checked twice: what is deprecated is so only from some Python on.
lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.14
	$(BIN)/lint-imports

verify: $(VENV)/ready
	$(BIN)/python -m pytest -q -m "long or not long" tests/core/test_cedar.py
	$(BIN)/python benchmarks/policy_edits.py

mutants: $(VENV)/ready
	$(BIN)/python benchmarks/mutants.py

bench: $(VENV)/ready
	$(BIN)/python benchmarks/tick.py
	$(BIN)/python benchmarks/decide.py
	$(BIN)/python benchmarks/guard.py
	$(BIN)/python benchmarks/reviewer_safety.py

cassettes: $(VENV)/ready
	$(BIN)/python -m tests.model.record standin

cassettes-live: $(VENV)/ready
	$(BIN)/python -m tests.model.record live

check: lint test

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
