"""The quick way of plain posts leaves what the slow way leaves; followers are told what was stored, once, whoever tells them."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_server_events import line, open_generation

from kriptik.server.bus import MOST, Bus
from kriptik.server.routes import worker
from kriptik.server.runs import hot, spool
from kriptik.spec.events import Event, EventBatch, Log, StoredEvent
from kriptik.store import events, jobs
from kriptik.store.tables import EventRow, Job


def metrics(seq, step):
    body = {
        "type": "metrics", "stage": 0, "step": step, "totalSteps": 9, "epoch": 0, "totalEpochs": 1, "loss": 1.5, "tokens": 7,
        "learningRate": 1e-4, "gradientNorm": 1.0, "tokensPerSecond": 2.0, "samplesProcessed": 1, "totalSamples": 9,
        "elapsedS": 1.0,
    }  # fmt: skip
    return {**line(seq), "body": body}


def sample(seq):
    return {**line(seq), "body": {"type": "current_sample", "index": seq, "content": "x", "source": "rows"}}


def made(kind, seq):
    return {"log": line(seq), "metrics": metrics(seq, seq), "sample": sample(seq)}[kind]


def slow(session, core, job_id, token, batch):
    row = worker._known(session, job_id, 1, token)
    spool.take(session, core, row, batch.events)
    return worker._contact(session, core, row)


def left(core, job_id, first_id):
    with core.db.read() as session:
        job, generation = session.get_one(Job, job_id), jobs.generation(session, job_id, 1)
        rows = session.query(EventRow).filter_by(stream_id=job_id, generation=1).order_by(EventRow.id)
        stored = [(row.id - first_id, row.seq, row.type, row.stage, row.step, row.severity, row.body) for row in rows]
        return job.metrics, job.current_sample, generation.ack_seq, generation.last_contact_at is not None, stored


POSTS = st.lists(st.lists(st.tuples(st.sampled_from(["log", "metrics", "sample"]), st.integers(1, 12)), max_size=5), max_size=6)


@given(posts=POSTS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_quick_way_leaves_what_the_slow_way_leaves(server, posts):
    core, found = server.core, []
    for quick in (True, False):
        job_id = server.train()
        token = open_generation(core, job_id)
        with core.db.read() as session:
            first = events.last_id(session, job_id)
        acknowledged = []
        with core.db.write() as session:
            for post in posts:
                batch = EventBatch.model_validate({"events": [made(kind, seq) for kind, seq in post]})
                assert hot.plain(batch.events)
                if quick:
                    lease, fresh = hot.take(session, core, job_id, 1, token, batch.events)
                    assert all(event.job_id == job_id for event in fresh)
                else:
                    lease = slow(session, core, job_id, token, batch)
                acknowledged.append((lease.ack_seq, lease.lease_s, lease.hard_stop_in_s is None, lease.desired))
        found.append((acknowledged, left(core, job_id, first)))
    assert found[0] == found[1]


def test_both_ways_in_one_transaction(server):
    job_id = server.train()
    token = open_generation(server.core, job_id)
    state = {**line(3), "body": {"type": "worker", "state": "restored", "exact": True}}
    whole = EventBatch.model_validate({"events": [state]})
    with server.core.db.write() as session:
        assert hot.take(session, server.core, job_id, 1, token, [Event.model_validate(line(n)) for n in (1, 2)])[0].ack_seq == 2
        assert not hot.plain(whole.events)
        assert slow(session, server.core, job_id, token, whole).ack_seq == 3
        assert hot.take(session, server.core, job_id, 1, token, [Event.model_validate(line(4))])[0].ack_seq == 4
    assert [row[1] for row in left(server.core, job_id, 0)[-1]] == [1, 2, 3, 4]


@pytest.mark.parametrize("wrong", ["token", "generation", "unknown", "gone"])
def test_what_is_not_as_usual_is_left_to_the_slow_way(server, wrong):
    job_id = server.train()
    token = open_generation(server.core, job_id)
    if wrong == "gone":
        with server.core.db.write() as session:
            jobs.generation(session, job_id, 1).gone_at = server.core.clock()
    if wrong == "generation":
        open_generation(server.core, job_id, 2)
    with server.core.db.write() as session:
        asked = "x" if wrong == "unknown" else job_id
        given_token = "y" if wrong == "token" else token
        assert hot.take(session, server.core, asked, 1, given_token, [Event.model_validate(line(1))]) is None
    assert left(server.core, job_id, 0)[-1] == []


def told(*ids):
    return [StoredEvent(id=n, job_id="r", generation=1, seq=n, at="2026-01-01T00:00:00Z", body=Log(message="x")) for n in ids]


def heard(act):
    """What a waiter that has read up to id 2 is sure of after `act(bus)`."""

    async def run():
        bus = Bus()
        with bus.listen("r") as waiter:
            assert waiter.fresh(2) is None, "at first it must read"
            act(bus)
            await waiter.wait(0.01)
            return waiter.fresh(2)

    found = asyncio.run(run())
    return None if found is None else [event.id for event in found]


def test_a_follower_is_sure_only_of_what_has_no_gap():
    assert heard(lambda bus: bus.tell("r", told(3, 4))) == [3, 4]
    assert heard(lambda bus: [bus.tell("r", told(2, 3)), bus.tell("r", told(4))]) == [3, 4], "what was read before is passed over"
    assert heard(lambda bus: bus.tell("r", told(4, 5))) is None, "3 is missing"
    assert heard(lambda bus: [bus.tell("r", told(4)), bus.tell("r", told(3))]) is None, "out of order"
    assert heard(lambda bus: [bus.tell("r", told(3)), bus.wake("r")]) is None, "something else was said"
    assert heard(lambda bus: None) is None, "another process may have written"
    assert heard(lambda bus: bus.tell("other", told(3))) is None
    assert heard(lambda bus: bus.tell("r", told(*range(3, 4 + MOST)))) is None, "a slow one keeps nothing"


def test_who_waits_for_wishes_is_not_woken_by_events():
    async def run():
        bus = Bus()
        with bus.listen("r", told=False) as waiter:
            bus.tell("r", told(1))
            await asyncio.sleep(0)
            assert not waiter._event.is_set()
            bus.wake("r")
            await waiter.wait(5)

    asyncio.run(asyncio.wait_for(run(), 4))
