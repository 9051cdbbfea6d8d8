"""The link's reading of answers, and the outbox over a real server: contiguous, once, patient, fenced."""

import itertools
import time

import pytest
from worker_server import WorkerServer

from kriptik.spec.events import DesiredAck, Log
from kriptik.spec.job import ControlLink
from kriptik.worker.control import Control, acknowledge, boot_clock
from kriptik.worker.link import AwayError, FencedError, Link, RefusedError
from kriptik.worker.outbox import MOST_EVENTS, Outbox
from kriptik.worker.spool import Spool


@pytest.fixture
def server():
    made = WorkerServer()
    yield made
    made.stop()


@pytest.fixture
def control():
    return Control(ControlLink(server_url="http://x"))


@pytest.fixture
def link(server, control):
    made = Link(server.url, "job", 2, "secret", boot_clock, control.heard, control.missed, timeout_s=5)
    yield made
    made.close()


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "g2.jsonl", 2)


@pytest.fixture
def outbox(spool, link, control):
    return Outbox(spool, link, control)


def say(spool, count):
    for n in range(count):
        spool.append(Log(message=f"m{n}"))


def drain(outbox, spool, steps=60):
    for _ in range(steps):
        outbox.step()
        if outbox.acked >= spool.last_seq:
            return
    raise AssertionError(f"stuck at {outbox.acked} of {spool.last_seq}")


def test_an_answer_is_a_lease_and_reaches_control(server, link, control):
    server.money_for(77)
    server.want("frozen", "budget")
    assert link.desired(0, 0).desired.state == "frozen"
    assert control.desired().reason == "budget" and control.seconds_left() == pytest.approx(77, abs=2)
    assert server.calls[0] == ("GET", "desired?since=0&wait=0", "Bearer secret")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("hang up", AwayError),
        (("status", 500), AwayError),
        (("status", 503, "busy"), AwayError),
        (("status", 404), AwayError),
        (("status", 409, "wrong_state"), AwayError),
        (("status", 409, "stale_generation"), FencedError),
        (("status", 422, "invalid_input"), RefusedError),
        (("status", 413), RefusedError),
        (("status", 200), AwayError),
    ],
)
def test_what_an_answer_means(server, link, control, answer, error):
    server.next_answers = [answer]
    with pytest.raises(error):
        link.post_events([b"{}"])


def test_nobody_there_is_away(control):
    gone = WorkerServer()
    gone.stop()
    link = Link(gone.url, "job", 2, "t", boot_clock, control.heard, control.missed)
    with pytest.raises(AwayError):
        link.desired(0, 0)


def test_an_unknown_token_is_given_time(server, link):
    server.next_answers = [("status", 401)] * (Link.MOST_401 - 1)
    for _ in range(Link.MOST_401 - 1):
        with pytest.raises(AwayError):
            link.post_events([b"{}"])
    link.desired(0, 0)  # one good answer, and the count starts again
    server.next_answers = [("status", 401)] * Link.MOST_401
    for _ in range(Link.MOST_401 - 1):
        with pytest.raises(AwayError):
            link.post_events([b"{}"])
    with pytest.raises(FencedError):
        link.post_events([b"{}"])


def test_a_long_poll_ends_when_something_new_is_wanted(server, link):
    began = time.monotonic()
    server.want("stopped")
    assert link.desired(0, 20).desired.state == "stopped" and time.monotonic() - began < 1


def test_everything_arrives_once_and_in_order(server, spool, outbox):
    say(spool, 1200)
    drain(outbox, spool)
    assert server.ack_seq() == 1200 == len(server.events)
    assert [batch[0] for batch in server.batches] == [1, 501, 1001] and max(map(len, server.batches)) <= MOST_EVENTS
    assert [body["message"] for body in server.bodies()] == [f"m{n}" for n in range(1200)]


def test_a_lost_answer_is_sent_again_and_stored_once(server, spool, outbox):
    say(spool, 10)
    server.next_answers = ["lose the answer", "hang up", ("status", 502)]
    drain(outbox, spool)
    assert len(server.events) == 10 and len(server.batches) == 2


def test_a_server_that_kept_only_a_part_gets_the_rest(server, spool, outbox):
    say(spool, 10)
    server.next_answers = ["forget"]
    drain(outbox, spool)
    assert server.batches[1][0] == 2, "from the mark, not from the end"
    assert server.ack_seq() == 10


def test_a_server_restored_from_an_old_copy_gets_it_all_again(server, spool, outbox):
    say(spool, 10)
    drain(outbox, spool)
    for seq in range(4, 11):
        del server.events[seq]
    say(spool, 1)
    drain(outbox, spool)
    assert server.ack_seq() == 11


def test_a_server_that_is_away_comes_back(server, spool, outbox, control):
    say(spool, 5)
    server.away = True
    delays = [outbox.step() for _ in range(6)]
    assert all(later > earlier * 0.9 for earlier, later in itertools.pairwise(delays)) and 0 < delays[-1] <= 15
    assert outbox.acked == 0 and control.desired().state == "running", "training goes on"
    server.away = False
    drain(outbox, spool)
    assert server.ack_seq() == 5


def test_fenced_means_silence(server, spool, outbox, control):
    say(spool, 5)
    server.fenced = True
    outbox.step()
    assert control.fenced
    calls = len(server.calls)
    outbox.step()
    assert len(server.calls) == calls and server.events == {}


def test_a_server_that_knows_more_than_was_written_is_not_ours(server, spool, outbox, control):
    say(spool, 2)
    server.events = {n: {"seq": n, "body": {"type": "log"}} for n in range(1, 9)}
    server.take = lambda request, events, special: server.send(request, 200, server.lease())
    outbox.step()
    assert control.fenced


def test_one_event_that_is_refused_does_not_stop_the_others(server, spool, outbox):
    from kriptik.spec.events import WorkerState

    say(spool, 20)
    spool.append(WorkerState(state="ready"))
    say(spool, 20)
    server.refuse_types = {"worker"}
    drain(outbox, spool)
    assert server.ack_seq() == 41
    assert "worker was refused by the server: 422" in server.events[21]["body"]["message"]


def test_the_thread_sends_what_comes_and_flushes_at_the_end(server, spool, outbox):
    outbox.start()
    say(spool, 3)
    assert outbox.flush(10) and server.ack_seq() == 3
    server.away = True
    say(spool, 1)
    assert not outbox.flush(0.3), "it says so when it could not"
    server.away = False
    assert outbox.flush(20)
    outbox.stop()
    assert server.ack_seq() == 4


def test_ten_thousand_events_through_five_lives_of_the_server(server, spool, outbox):
    outbox.start()
    for life in range(5):
        say(spool, 2000)
        port, events = server.port, server.events
        server.stop()
        server.start(port)
        server.events = events
        assert life < 5
    assert outbox.flush(60)
    outbox.stop()
    assert server.ack_seq() == 10_000 == len(server.events)


def test_acknowledging_a_wish(server, link, control):
    assert acknowledge(control, link, DesiredAck(version=0, result="done", checkpoint_id="s0-1"))
    assert server.acks == [{"version": 0, "result": "done", "checkpointId": "s0-1"}]
    server.away = True
    assert not acknowledge(control, link, DesiredAck(version=0, result="done"), tries=2)
    server.away, server.fenced = False, True
    assert not acknowledge(control, link, DesiredAck(version=0, result="done")) and control.fenced
