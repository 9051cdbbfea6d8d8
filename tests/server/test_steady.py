"""The server's clock: never back, never slower than time itself, forward with the wall."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from kriptik.server.core import open_core
from kriptik.server.runs.naming import resource
from kriptik.server.settings import Settings
from kriptik.server.steady import SteadyClock
from kriptik.store import jobs
from kriptik.store.tables import Stream

START = datetime(2026, 6, 1, tzinfo=UTC)


class Hands:
    """A wall clock that people set, and seconds that only go on."""

    def __init__(self):
        self.seconds, self.set_by = 0.0, 0.0

    def wall(self):
        return START + timedelta(seconds=self.seconds + self.set_by)

    def boot(self):
        return self.seconds


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(-1e6, 1e6)), max_size=20))
def test_between_two_looks_at_least_as_much_passes_as_did(steps):
    hands = Hands()
    clock = SteadyClock(hands.wall, hands.boot)
    before = clock()
    for passed, set_by in steps:
        hands.seconds, hands.set_by = hands.seconds + passed, set_by
        now = clock()
        assert now - before >= timedelta(seconds=passed) - timedelta(milliseconds=1)
        assert now >= hands.wall() - timedelta(milliseconds=1)
        before = now


def test_set_back_it_goes_on_and_set_forward_it_follows():
    hands = Hands()
    clock = SteadyClock(hands.wall, hands.boot)
    hands.seconds, hands.set_by = 10, -3600
    assert clock() == START + timedelta(seconds=10)
    hands.seconds, hands.set_by = 20, 3600
    assert clock() == START + timedelta(seconds=3620)


def test_a_server_restarted_on_a_clock_that_was_set_back_goes_on_from_what_was_metered(tmp_path):
    ahead = Hands()
    ahead.seconds = 7200
    settings = Settings.from_env(home=tmp_path)
    core = open_core(settings, {}, SteadyClock(ahead.wall, ahead.boot))
    with core.db.write() as session:
        session.add(Stream(id="j" * 26, kind="job", last_event_id=0))
        session.flush()
        generation = jobs.add_generation(session, "j" * 26, 1, "train", "x", None, core.clock())
        name, price = resource(core.install, "j" * 26, 1), core.settings.local_price_per_hour
        jobs.add_resource(session, generation, name, "local", price, core.clock())
    core.db.close()
    behind = Hands()
    core = open_core(settings, {}, SteadyClock(behind.wall, behind.boot))
    assert core.clock() == START + timedelta(seconds=7200)
    core.db.close()
