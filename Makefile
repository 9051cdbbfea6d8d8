# KripTik. Two commands do all the set-up: `make demo` and `make test`.
.DEFAULT_GOAL := help
PY := .venv/bin/python
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
PYTEST := $(TEST_ENV) $(PY) -m pytest
SIDE_BY_SIDE := -n 2 --dist worksteal
suite = @from=$$(date +%s); $(PYTEST) $(3) -m "$(2)" && echo "suite $(1) took $$(($$(date +%s) - from)) s"

.PHONY: help demo serve web web-api web-test web-speed screens test test-unit test-slow test-strategies test-vllm test-vlm conformance check bench bench-doctor bench-doctor-large lock clean bench-control chaos chaos-night bench-estimates

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

.venv/.stamp-run: pyproject.toml requirements.lock scripts/setup.sh
	@scripts/setup.sh run
	@touch $@

.venv/.stamp-dev: pyproject.toml requirements.lock scripts/setup.sh
	@scripts/setup.sh dev
	@touch .venv/.stamp-run $@

demo: .venv/.stamp-run  ## one sentence → a trained model, live, on this machine
	@$(PY) scripts/build_web.py --soft
	@$(PY) -m kriptik.cli.demo

serve: .venv/.stamp-run  ## start the server and its web page
	@$(PY) scripts/build_web.py --soft
	@$(PY) -m kriptik.cli.main up

web: .venv/.stamp-run  ## build the web page if its sources changed
	@$(PY) scripts/build_web.py

web-api: .venv/.stamp-dev  ## rewrite the page's typed client from the server's OpenAPI
	@$(PY) scripts/web_api.py

web-test: .venv/.stamp-dev web  ## the page: types, lint, unit tests; every state and the journeys in a real browser
	@$(PY) scripts/build_web.py --check
	@scripts/chromium.sh
	@KRIPTIK_NEED_BROWSER=1 $(PYTEST) -m "browser and not slow" tests/browser

web-speed: .venv/.stamp-dev web  ## frames per second of four charts over 100,000 steps (needs an idle machine)
	@KRIPTIK_NEED_BROWSER=1 $(PYTEST) -s tests/browser/test_browser_speed.py

screens: .venv/.stamp-dev web  ## a picture of every state of the page, at two widths, into build/screens
	@KRIPTIK_NEED_BROWSER=1 KRIPTIK_SCREENS=build/screens $(PYTEST) tests/browser/test_browser_states.py

test: .venv/.stamp-dev  ## every test that needs no real weights and no browser
	$(call suite,unit,not real_weights and not browser and not slow and not conformance and not exactness and not chaos and not distributed,$(SIDE_BY_SIDE))
	$(call suite,conformance,conformance and not slow,$(SIDE_BY_SIDE))
	$(call suite,exactness,exactness and not slow and not real_weights,$(SIDE_BY_SIDE))
	@from=$$(date +%s); $(TEST_ENV) KRIPTIK_CHAOS_SEED=$${KRIPTIK_CHAOS_SEED:-08b92b0e} $(PY) scripts/chaos.py && echo "suite chaos took $$(($$(date +%s) - from)) s"
	$(call suite,distributed,distributed and not slow and not real_weights and not exactness and not chaos and not conformance)

test-unit: .venv/.stamp-dev  ## the quick part of the tests
	@$(PYTEST) -m "not real_weights and not browser and not slow and not conformance and not exactness and not chaos and not distributed"

test-slow: .venv/.stamp-dev  ## real weights and the slow suites
	@$(PYTEST) -m "(real_weights or slow) and not browser"

test-strategies: .venv/.stamp-dev  ## every strategy over two processes × objective × adaptation (CI runs a pairwise six)
	@$(PYTEST) tests/engine/test_strategies.py

test-vllm: .venv/.stamp-dev  ## rollouts by a real vLLM, in an environment of its own (installs it: minutes, about 2 GB)
	@KRIPTIK_TEST_VLLM=$$(scripts/vllm.sh) $(PYTEST) tests/engine/test_vllm.py

test-vlm: .venv/.stamp-dev  ## models that see, of families whose processors need torchvision (installs it: minutes, about 6 GB)
	@PYTHONPATH=$$(scripts/vlm.sh) $(PYTEST) tests/engine/test_vision.py

chaos: .venv/.stamp-dev  ## what CI runs of the chaos suite, with a fresh seed (KRIPTIK_CHAOS_SEED repeats one)
	@$(TEST_ENV) $(PY) scripts/chaos.py

chaos-night: .venv/.stamp-dev  ## the whole chaos suite, about half an hour on two cores
	@$(TEST_ENV) $(PY) scripts/chaos.py --night

conformance: .venv/.stamp-dev  ## prove every method and rewrite catalogue/proof.json
	@KRIPTIK_WRITE_PROOF=1 $(PYTEST) -m conformance
	@$(PY) scripts/catalogue_docs.py

check: .venv/.stamp-dev  ## lint, types, layers, house rules, stale proofs
	@mkdir -p build
	@.venv/bin/ruff check .
	@.venv/bin/lint-imports --cache-dir .import_linter_cache >/dev/null || .venv/bin/lint-imports
	@.venv/bin/pyright --warnings >build/pyright.log 2>&1 || { tail -40 build/pyright.log; exit 1; }
	@$(PYTEST) tests/house

bench: .venv/.stamp-dev  ## speed against TRL and, after bench/peers.sh, LLaMA-Factory: same rows, one run (needs an idle machine)
	@$(PY) bench/sft_speed.py

bench-doctor: .venv/.stamp-dev  ## defects found and missed by the data doctor, seeds unseen while tuning (some 20 minutes)
	@$(TEST_ENV) $(PY) bench/data_doctor.py > build/data-doctor.json

bench-doctor-large: .venv/.stamp-dev  ## a million rows through the data doctor: seconds and memory (needs an idle machine)
	@$(TEST_ENV) $(PY) bench/data_doctor.py --rows 1000000

bench-estimates: .venv/.stamp-dev  ## how well estimates of time and memory hold: 44 real runs, about 3 hours (needs an idle machine)
	@$(PY) bench/estimates.py

bench-control: .venv/.stamp-dev  ## the control plane: 200 workers and watchers for 5 minutes, a chart of a million points
	@$(PY) bench/control_plane.py

lock: .venv/.stamp-dev  ## rewrite requirements.lock from the environment
	@scripts/lock.sh

clean:  ## remove the environment and everything built
	@rm -rf .venv build dist .pytest_cache .ruff_cache .import_linter_cache web/node_modules src/kriptik/static
