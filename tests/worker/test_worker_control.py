"""What is wanted, and the dead-man switch, under a clock of our own: lease, grace, hard stop, sleep, late answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kriptik.spec.events import Desired, Lease
from kriptik.spec.job import ControlLink
from kriptik.worker.control import FENCE_LEAVE_S, LAST_CALL_S, LOST_LEAVE_S, Control, boot_clock
from kriptik.worker.link import FencedError


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def control(clock, hard_stop_in_s=None, lease_s=60, grace_s=900, reserve_s=30):
    times = {"lease_s": lease_s, "grace_s": grace_s, "reserve_s": reserve_s}
    return Control(ControlLink(server_url="http://x", hard_stop_in_s=hard_stop_in_s, **times), clock)


def lease(version=0, state="running", hard_stop_in_s=None, lease_s=60):
    return Lease(ack_seq=0, lease_s=lease_s, hard_stop_in_s=hard_stop_in_s, desired=Desired(version=version, state=state))


def test_the_newest_wish_counts_however_late_an_older_answer_comes(clock):
    it = control(clock)
    it.heard(lease(2, "frozen"), clock.now)
    it.heard(lease(1), clock.now)
    assert (it.desired().state, it.version) == ("frozen", 2)


def test_contact_renews_the_lease(clock):
    it = control(clock)
    for _ in range(100):
        clock.now += 900
        it.heard(lease(), clock.now - 1)
        assert not it.tick() and it.desired().state == "running"


def test_lost_contact_freezes_after_lease_and_grace_and_a_last_call(clock):
    it = control(clock)
    clock.now += 959
    it.missed()
    assert not it.tick() and it.desired().state == "running"
    clock.now += 1
    it.tick()
    assert it.desired().state == "running", "the miss was before: one more call may try"
    clock.now += 1
    it.missed()
    it.tick()
    assert (it.desired().state, it.override) == ("frozen", "lost_contact")
    clock.now += LOST_LEAVE_S - 1
    assert not it.tick()
    clock.now += 1
    assert it.tick(), "an engine that does not obey is ended hard"


def test_a_laptop_that_wakes_up_gets_its_last_call(clock):
    it = control(clock)
    clock.now += 8 * 3600
    assert not it.tick() and it.desired().state == "running"
    it.heard(lease(), clock.now)
    clock.now += LAST_CALL_S + 1
    it.tick()
    assert it.desired().state == "running", "the server answered: nothing was lost"


def test_without_any_call_the_last_call_runs_out(clock):
    it = control(clock)
    clock.now += 961
    it.tick()
    clock.now += LAST_CALL_S
    it.tick()
    assert it.override == "lost_contact"


def test_hard_stop_keeps_the_reserve_and_ends_hard_at_the_end_of_the_money(clock):
    it = control(clock, hard_stop_in_s=100, reserve_s=30)
    clock.now += 69.9
    assert not it.tick() and it.desired().state == "running" and it.seconds_left() == pytest.approx(30.1)
    clock.now += 0.2
    assert not it.tick()
    assert (it.desired().state, it.override) == ("frozen", "hard_stop")
    clock.now += 29.8
    assert not it.tick()
    clock.now += 0.2
    assert it.tick()


def test_a_slow_answer_never_lengthens_the_money(clock):
    it = control(clock, hard_stop_in_s=100)
    sent = clock.now
    clock.now += 50
    it.heard(lease(hard_stop_in_s=100), sent)
    assert it.seconds_left() == pytest.approx(50)
    it.heard(lease(hard_stop_in_s=500), sent - 10)
    assert it.seconds_left() == pytest.approx(50), "an older request's answer came late"


def test_a_new_cap_moves_the_hard_stop_and_none_lifts_it(clock):
    it = control(clock, hard_stop_in_s=100)
    it.heard(lease(hard_stop_in_s=1000), clock.now)
    assert it.seconds_left() == pytest.approx(1000)
    it.heard(lease(hard_stop_in_s=None), clock.now + 1)
    assert it.seconds_left() is None
    clock.now += 900
    it.tick()
    assert it.override is None


def test_sleep_counts_against_the_money(clock):
    it = control(clock, hard_stop_in_s=100)
    clock.now += 3600
    assert it.tick(), "past the end: nothing may go on"
    assert it.override == "hard_stop"


def test_lost_contact_never_outlives_the_money(clock):
    it = control(clock, hard_stop_in_s=1000, lease_s=60, grace_s=900, reserve_s=5)
    clock.now += 961
    it.tick()
    clock.now += 1
    it.missed()
    it.tick()
    assert it.override == "lost_contact"
    clock.now = 1000.0 + 1000
    assert it.tick()


def test_fenced_raises_at_once_and_ends_hard_later(clock):
    it = control(clock)
    it.fence("a newer one")
    for call in (it.desired, it.check):
        with pytest.raises(FencedError, match="a newer one"):
            call()
    assert not it.tick()
    clock.now += FENCE_LEAVE_S
    assert it.tick()


def test_sigterm_is_a_wish_of_this_machine(clock):
    it = control(clock)
    it.ask("frozen", "terminated", 60)
    it.heard(lease(5, "stopped"), clock.now)
    assert (it.desired().state, it.override, it.version) == ("frozen", "terminated", 5)
    clock.now += 60
    assert it.tick()


def test_without_a_server_nothing_ever_happens(clock):
    it = Control(None, clock)
    clock.now += 1e7
    assert not it.tick() and it.desired().state == "running" and it.seconds_left() is None


def test_the_real_clock_goes_forward():
    assert boot_clock() <= boot_clock()


STEPS = st.lists(
    st.tuples(
        st.floats(0, 200),
        st.sampled_from(["tick", "heard", "missed"]),
        st.floats(0, 400),
        st.floats(0, 100),
    ),
    max_size=40,
)


@given(STEPS)
def test_nothing_runs_past_the_last_granted_second(steps):
    """Whatever the order of answers, misses and pauses: once the money last granted is used up, the process must end."""
    clock = Clock()
    it = control(clock, hard_stop_in_s=300)
    newest_sent, stop_at = clock.now, clock.now + 300
    overruled = False
    for pause, what, grant, delay in steps:
        clock.now += pause
        if what == "missed":
            it.missed()
        elif what == "heard":
            sent = clock.now - delay
            it.heard(lease(hard_stop_in_s=grant), sent)
            if sent >= newest_sent:
                newest_sent, stop_at = sent, sent + grant
        must_end = it.tick()
        overruled = overruled or it.override is not None
        assert overruled or clock.now < stop_at - 30 + 1e-6
        if clock.now >= stop_at:
            assert must_end
        assert it.desired().state == ("frozen" if overruled else "running")
