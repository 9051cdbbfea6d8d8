"""What every provider must do. A test module subclasses `ProviderSuite` and says how to make the provider and its workers.

The work of a resource is a small program of the suite; `spec_for(name, program)` turns it into what the provider starts.
"""

import threading
import time

import pytest

from kriptik.spec.errors import KriptikError

QUIT_ON_TERM = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('up'); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"


class ProviderSuite:
    """Subclasses give the fixtures `provider` (clean, ended after the test) and `spec_for` (name, program, env) -> ResourceSpec."""

    limit_s = 15.0
    tells_exit_codes = True
    """False: the provider shows that a worker ended, not how."""
    keeps_traces = True
    """False: after a terminate nothing of the resource is left to be found."""

    def code(self, expected):
        return expected if self.tells_exit_codes else None

    def until(self, condition):
        end = time.monotonic() + self.limit_s
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.02)
        raise AssertionError("this did not happen in time")

    def exited(self, provider, resource):
        return self.until(lambda: (seen := provider.get(resource.id)) and seen.status == "exited" and seen)

    def said(self, provider, resource, line):
        return self.until(lambda: line in provider.logs(resource.id))

    def test_offers_name_the_provider_and_a_price(self, provider):
        offers = provider.offers()
        assert offers
        assert all(o.provider == provider.name and o.price_per_hour >= 0 and o.cpu_cores >= 1 for o in offers)

    def test_a_worker_runs_and_its_end_is_known(self, provider, spec_for):
        made = provider.create(spec_for("kt-a-1-g1", "print('hello'); print('world')"))
        assert made.status in ("provisioning", "running", "exited")
        ended = self.exited(provider, made)
        assert ended.exit_code == self.code(0)
        assert provider.logs(made.id) == ["hello", "world"]
        assert provider.logs(made.id, tail=1) == ["world"]

    def test_a_failed_worker_shows_code_and_last_words(self, provider, spec_for):
        made = provider.create(spec_for("kt-a-1-g1", "import sys; print('no memory'); sys.exit(3)"))
        ended = self.exited(provider, made)
        assert (ended.exit_code, ended.detail) == (self.code(3), "no memory")

    def test_create_again_gives_the_same_one_whatever_became_of_it(self, provider, spec_for, tmp_path):
        count = tmp_path / "starts"
        spec = spec_for("kt-a-1-g1", f"open({str(count)!r}, 'a').write('x'); {QUIT_ON_TERM}")
        first = provider.create(spec)
        self.until(count.exists)
        assert provider.create(spec).id == first.id
        if not self.keeps_traces:
            return
        provider.terminate(first.id)
        again = provider.create(spec)
        assert again.id == first.id and again.status in ("exited", "gone")
        time.sleep(0.2)
        assert count.read_text() == "x", "the worker was started twice"

    def test_creates_at_the_same_time_start_one_worker(self, provider, spec_for, tmp_path):
        count = tmp_path / "starts"
        spec = spec_for("kt-a-1-g1", f"open({str(count)!r}, 'a').write('x'); {QUIT_ON_TERM}")
        threads = [threading.Thread(target=provider.create, args=(spec,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.until(count.exists)
        time.sleep(0.2)
        assert count.read_text() == "x"
        assert len(provider.list_own("kt-a-")) == 1

    def test_the_token_comes_by_the_environment(self, provider, spec_for):
        program = "import os; print(os.environ['KRIPTIK_WORKER_TOKEN'][::-1])"
        made = provider.create(spec_for("kt-a-1-g1", program, env={"KRIPTIK_WORKER_TOKEN": "terces"}))
        self.exited(provider, made)
        assert provider.logs(made.id) == ["secret"]

    def test_terminate_lets_the_worker_leave(self, provider, spec_for):
        made = provider.create(spec_for("kt-a-1-g1", QUIT_ON_TERM))
        self.said(provider, made, "up")
        provider.terminate(made.id)
        seen = provider.get(made.id)
        assert seen is None or (seen.status in ("exited", "gone") and seen.exit_code in (7, None))
        assert provider.list_own("kt-a-") == []

    def test_terminate_kills_what_does_not_listen(self, provider, spec_for):
        made = provider.create(spec_for("kt-a-1-g1", DEAF))
        self.said(provider, made, "up")
        provider.terminate(made.id)
        seen = provider.get(made.id)
        assert seen is None or (seen.status in ("exited", "gone") and seen.exit_code in (-9, None))

    def test_terminate_twice_and_of_the_unknown_is_nothing(self, provider, spec_for):
        made = provider.create(spec_for("kt-a-1-g1", "print('x')"))
        provider.terminate(made.id)
        provider.terminate(made.id)
        provider.terminate("kt-nobody-0-g9")
        provider.terminate("../../etc")

    def test_the_unknown_is_none_and_says_nothing(self, provider):
        assert provider.get("kt-nobody-0-g9") is None
        assert provider.get("../../etc/passwd") is None
        assert provider.logs("kt-nobody-0-g9") == []
        assert provider.list_own("kt-") == []

    def test_lists_its_own_by_prefix_oldest_first(self, provider, spec_for):
        for name in ("kt-a-2-g1", "kt-a-1-g1", "kt-b-1-g1"):
            provider.create(spec_for(name, QUIT_ON_TERM))
        assert [r.name for r in provider.list_own("kt-a-")] == ["kt-a-2-g1", "kt-a-1-g1"]
        provider.terminate(provider.list_own("kt-a-")[0].id)
        assert [r.name for r in provider.list_own("kt-a-")] == ["kt-a-1-g1"]

    def test_hostile_names_are_refused(self, spec_for):
        for name in ("../up", "a/b", "A", "", "-x", "x" * 64):
            with pytest.raises((ValueError, KriptikError)):
                spec_for(name, "print()")
