# CI uses the same targets. A new developer needs only `make run` and `make test`.
PY ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Most tests wait more than they compute: four workers keep two cores busy. Each worker has its own Valkey.
WORKERS ?= 4
# No target names a package registry, so that a proxy or a mirror that is configured for pip is used.

# Processes that the tests start would compile all of Callout again each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run web test test-long test-redis test-cluster test-wide test-wheel test-image check check-deploy bench faults mutants lock clean fmt

# What the program needs, and what builds it: `make run` installs no more. Without the npm registry the pages are not built.
$(VENV)/runs: requirements-run.lock pyproject.toml hatch_build.py server/gateway/_send_frame.c
	@command -v $(PY) >/dev/null || { echo "Callout needs $(PY) (or: make PY=python3)"; exit 1; }
	test -x $(BIN)/python || $(PY) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-run.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python web/build.py >/dev/null || true
	@touch $@

# The tests, checks and benchmarks need more.
$(VENV)/ready: $(VENV)/runs requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

run: $(VENV)/runs
	@$(BIN)/python web/build.py >/dev/null || true
	$(BIN)/callout demo

# Build the pages of web/ into server/web/built, if something in web/ has changed, and print how much each loads.
web: $(VENV)/runs
	$(BIN)/python -m server.api.typescript web/shared/schema.ts
	$(BIN)/python web/build.py

test: $(VENV)/ready
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

# Run the random races and models again in full size, which takes about a quarter of an hour.
test-long: $(VENV)/ready
	CALLOUT_TEST_LONG=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile -o timeout=1800 tests/races

# Run the tests of claims, log, gateway, scripts and stories again, on the redis-server of this machine and PostgreSQL.
test-redis: $(VENV)/ready
	CALLOUT_TEST_REDIS=redis-server CALLOUT_TEST_DATABASE=postgresql $(BIN)/python -m pytest --numprocesses $(WORKERS) \
		--dist loadfile tests/lua tests/faults/test_library.py tests/faults/test_lost_reply.py tests/races/test_claim_races.py \
		tests/server/gateway/test_relay.py tests/story

# Run the stories, the zones and the notes of bookings again on a cluster of three primaries with PostgreSQL.
test-cluster: $(VENV)/ready
	CALLOUT_TEST_REDIS=cluster CALLOUT_TEST_DATABASE=postgresql $(BIN)/python -m pytest --numprocesses $(WORKERS) \
		--dist loadfile tests/story tests/zones

# Run the stories again on servers with two workers. With CALLOUT_TEST_SPLIT=1 each other role is a process of its own.
test-wide: $(VENV)/ready
	CALLOUT_TEST_WORKERS=2 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile tests/story \
		tests/server/supervisor/test_shared_zones.py

# Install the wheel into an empty environment, as a user of the package does, and run the demo there for 10 s.
test-wheel: $(VENV)/ready
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir build/wheel . >/dev/null
	$(PY) -m venv build/wheel/env
	build/wheel/env/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.lock build/wheel/*.whl
	cd build/wheel && env/bin/callout demo --data data --port 0 --for 10s

# Do the steps of the Dockerfile in a bare root, and start its server there as the image's user. Needs root and bubblewrap.
test-image: $(VENV)/ready
	$(PY) deploy/docker/run_steps.py

# The last line finds a test that cannot be imported, and compiles what else each worker of `make test` would compile anew.
check: $(VENV)/ready check-deploy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python web/check.py
	$(BIN)/python -m pytest -q tests/test_architecture.py
	@# The workers of `make test` must collect the same names, so none may be random.
	@mkdir -p build
	for number in 1 2; do $(BIN)/python -m pytest -q --collect-only | grep :: >build/collected-$$number; done
	cmp build/collected-1 build/collected-2

# Validate the files of deploy/. The validators have an environment of their own: they are large.
check-deploy: build/validators/ready
	build/validators/bin/python deploy/validate.py

build/validators/ready: deploy/requirements.lock
	test -x build/validators/bin/python || $(PY) -m venv build/validators
	build/validators/bin/python -m pip install --quiet --disable-pip-version-check -r deploy/requirements.lock
	@touch $@

bench: $(VENV)/ready
	$(BIN)/python -m bench

# Kill, stop, cut and fill everything while users act, judge their histories, and write the table of docs/faults.md.
# For example: make faults FAULTS="'Redis killed' --seeds 20"
faults: $(VENV)/ready
	$(BIN)/python -m tests.nemesis $(FAULTS)

# Show that the fault suite catches each mutant of the scripts. `make test` takes some of them.
mutants: $(VENV)/ready
	CALLOUT_TEST_MUTANTS=all $(BIN)/python -m pytest -q --numprocesses $(WORKERS) tests/nemesis/test_mutants.py tests/archive/test_ledger_mutants.py

fmt: $(VENV)/ready
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format . ; $(BIN)/python web/check.py fmt

lock: $(VENV)/ready
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra dev --extra bench \
		--no-header --no-emit-index-url --no-annotate -o requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra build --constraint requirements.lock \
		--no-header --no-emit-index-url --no-annotate -o requirements-run.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--no-header --no-emit-index-url --no-annotate -o deploy/requirements.lock deploy/requirements.in

clean:
	rm -rf $(VENV) .callout dist build server/web/built web/node_modules
