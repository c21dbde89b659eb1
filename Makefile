# Everything that a person does with this project. Each target does its own set-up.

VENV ?= .venv
# Tests at a time: they wait for servers more than they work. A server of yours is for one test after the other.
JOBS ?= $(if $(FLUXA_FAST_TEST_URL),1,6)
BIN = $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
BUILT_FROM = pyproject.toml setup.py src/fluxa_fast/_version.py \
	$(wildcard src/fluxa_fast/protocol/compiled/*.pyx src/fluxa_fast/protocol/compiled/*.pxd)

# Left out are files whose tests ask for an implementation by name, and have had the pure one in `make test`, or for none.
PURE = tests/unit $(addprefix --ignore=tests/unit/test_,faces.py hostile.py msgpack.py registry.py resuming.py wires.py) \
	$(addprefix tests/integration/test_,publish.py flush.py consume.py) -k 'not redis and not asyncio'

QUICK = $(addprefix tests/integration/test_,publish.py consume.py acknowledge.py)

.DEFAULT_GOAL := help
.PHONY: help demo dev test test-quick test-pure ledger fuzz bench micro lint types docs coverage dist check clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

dev: $(VENV)/.installed-dev ## Make an environment to work in, and build what has changed in .pyx files

demo: $(VENV)/.installed-embedded ## Publish and consume a million events on an embedded server
	$(BIN)/fluxa-fast demo

test-quick: $(VENV)/.installed-test ## Run the unit tests, and a few against servers: about a minute
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup tests/unit $(QUICK) $(ARGS)

test: $(VENV)/.installed-test ## Run all tests, on every implementation that is there: about 12 minutes; JOBS=1: one after the other
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(ARGS)

test-pure: $(VENV)/.installed-test ## Run all tests on the pure-Python implementation only
	FLUXA_FAST_IMPL=python $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(ARGS)

ledger: $(VENV)/.installed-test ## Producers, consumers and faults in the large; ARGS="--seconds 1800", or ARGS="use --total 600"
	$(BIN)/python -m tests.ledger $(ARGS)

fuzz: $(VENV)/.installed-$(if $(findstring guided,$(ARGS)),fuzz,dev) ## Made-up replies and bodies under sanitizers; ARGS="guided replies 3600" (needs gcc, or clang)
	PYTHON=$(BIN)/python tools/fuzz $(or $(ARGS),60000)

bench: $(VENV)/.installed-peers ## Compare with peers and ceilings; ARGS=--quick for a minute's worth
	$(BIN)/python -m benchmarks compare $(ARGS)

micro: $(VENV)/.installed-benchmark ## Time the parts, against msgpack, msgspec, hiredis and redis-py
	$(BIN)/python -m pytest benchmarks/micro $(ARGS)

lint: $(VENV)/.installed-dev ## Check style, spelling and workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(abspath $(BIN)):$$PATH" cython-lint src  # it looks for pycodestyle on PATH
	$(BIN)/codespell
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml

types: $(VENV)/.installed-dev ## Check types, and the .pyi files against the compiled modules
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --ignore-disjoint-bases --ignore-unused-allowlist --allowlist tests/typing/stubtest-allowlist.txt \
		$(patsubst src/fluxa_fast/protocol/compiled/%.pyx,fluxa_fast.protocol.compiled.%,$(wildcard src/fluxa_fast/protocol/compiled/*.pyx))
	PATH="$(abspath $(BIN)):$$PATH" pyright --project tests/typing
	PATH="$(abspath $(BIN)):$$PATH" pyright --verifytypes fluxa_fast --ignoreexternal

docs: $(VENV)/.installed-docs ## Build the docs into build/docs; a warning is an error
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs build/docs

coverage: $(VENV)/.installed-dev ## Which lines of .py and .pyx files the tests run, into build/coverage/html
	PYTHON=$(BIN)/python tools/coverage $(ARGS)

dist: ## Build sdist, pure and compiled wheel into dist, reproducibly
	rm -rf dist
	tools/build-distributions dist sdist pure wheel

# Tests start some hundred processes: without bytecode, each of them would compile the package again.
test test-quick test-pure check: export PYTHONDONTWRITEBYTECODE =

check: lint types docs test ## Everything that CI checks, in one go: about 15 minutes
	# What FLUXA_FAST_IMPL=python changes: `make test` has the pure implementation with everything else.
	$(MAKE) test-pure ARGS="$(PURE)"
	$(MAKE) micro ARGS="--quiet --benchmark-disable"  # that they still run; what they measure here means nothing
	tools/check-oldest
	$(MAKE) fuzz ARGS=8000  # the compiled core under sanitizers
	tools/check-pure-install  # as a machine without a compiler gets it

clean: ## Remove what was built
	rm -rf $(VENV) build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src -name '*.so' -o -name '*.pyd' -o -name '*.egg-info' -prune | xargs rm -rf

$(VENV)/.installed-%: $(BUILT_FROM) tools/environment
	tools/environment $(VENV) $*
