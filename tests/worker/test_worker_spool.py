"""The spool: numbered without gaps, never shortened, mended after a crash, patient with a full disk."""

import json
import multiprocessing
import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kriptik.spec.errors import WorkerError
from kriptik.spec.events import Log, WorkerState
from kriptik.worker import spool as spool_module
from kriptik.worker.spool import Spool, spool_path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events" / "g3.jsonl"


def messages(spool, after=0, **options):
    return [json.loads(line)["body"]["message"] for line in spool.read(after, **options)]


def test_events_are_numbered_and_read_by_cursor(path):
    spool = Spool(path, 3)
    assert [spool.append(Log(message=f"m{n}")) for n in range(5)] == [1, 2, 3, 4, 5]
    assert messages(spool) == ["m0", "m1", "m2", "m3", "m4"]
    assert messages(spool, 2, limit=2) == ["m2", "m3"] and messages(spool, 5) == [] and messages(spool, 9) == []
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [(line["generation"], line["seq"]) for line in lines] == [(3, n) for n in range(1, 6)]
    assert spool.size == path.stat().st_size


def test_a_batch_keeps_to_its_bytes_but_never_stalls(path):
    spool = Spool(path, 3)
    for n in range(20):
        spool.append(Log(message="x" * 1000 + str(n)))
    batch = spool.read(0, max_bytes=5000)
    assert 1 <= len(batch) <= 4 and sum(map(len, batch)) <= 5000
    assert len(spool.read(0, max_bytes=10)) == 1, "one event at least"


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_cut_and_its_number_used_again(path, cut):
    spool = Spool(path, 3)
    for n in range(3):
        spool.append(Log(message=f"m{n}"))
    spool.close()
    whole = path.read_bytes()
    os.truncate(path, len(whole) - cut)
    again = Spool(path, 3)
    assert again.last_seq == 2 and again.append(Log(message="new")) == 3
    assert messages(again) == ["m0", "m1", "new"]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 400), st.binary(max_size=30))
def test_whatever_follows_the_last_whole_event_is_cut(tmp_path_factory, keep, junk):
    path = tmp_path_factory.mktemp("spool") / "g1.jsonl"
    spool = Spool(path, 1)
    for n in range(4):
        spool.append(Log(message=f"m{n}"))
    spool.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:keep] + junk.replace(b"\n", b""))
    kept = whole[:keep].count(b"\n")
    again = Spool(path, 1)
    assert again.last_seq >= kept and path.read_bytes().startswith(whole[:keep][: sum(map(len, whole.splitlines(True)[:kept]))])
    assert again.append(Log(message="on")) == again.last_seq
    seqs = [json.loads(line)["seq"] for line in path.read_bytes().splitlines()]
    assert seqs == list(range(1, len(seqs) + 1))


def test_a_damaged_middle_is_refused_and_left_as_it_is(path):
    spool = Spool(path, 3)
    for n in range(3):
        spool.append(Log(message=f"m{n}"))
    spool.close()
    lines = path.read_bytes().splitlines(keepends=True)
    broken = lines[0] + b'{"half\n' + lines[2]
    path.write_bytes(broken)
    with pytest.raises(WorkerError) as refused:
        Spool(path, 3)
    assert refused.value.code == "spool_damaged" and "Event 2" in refused.value.sentence
    assert path.read_bytes() == broken


def claim(path, answer):
    try:
        Spool(path, 3)
        answer.put("claimed")
    except WorkerError as error:
        answer.put(error.code)


def test_only_one_process_writes(path):
    spool = Spool(path, 3)
    spool.append(Log(message="mine"))
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    other = context.Process(target=claim, args=(path, answer))
    other.start()
    assert answer.get(timeout=30) == "already_running"
    other.join(30)
    assert messages(spool) == ["mine"]


def test_a_full_disk_holds_events_in_memory_and_in_order(path, monkeypatch):
    spool = Spool(path, 3)
    spool.append(Log(message="m0"))
    full, real, chance = True, os.write, random.Random(1)

    def write(handle, data):
        if full:  # a part may still fit, and must not stay behind torn
            real(handle, data[: chance.randrange(len(data))])
            raise OSError(28, "No space left on device")
        return real(handle, data)

    monkeypatch.setattr(spool_module.os, "write", write)
    assert [spool.append(Log(message=f"m{n}")) for n in (1, 2)] == [2, 3]
    assert spool.held == 2 and path.read_bytes().count(b"\n") == 1 and path.read_bytes().endswith(b"\n")
    assert messages(spool, 0) == ["m0"] and messages(spool, 1) == ["m1", "m2"] and messages(spool, 2) == ["m2"]
    full = False
    spool.append(Log(message="m3"))
    assert spool.held == 0 and messages(spool) == ["m0", "m1", "m2", "m3"]


def test_memory_is_no_endless_disk(path, monkeypatch):
    spool = Spool(path, 3)
    monkeypatch.setattr(spool_module, "MOST_HELD", 3)
    monkeypatch.setattr(spool_module.os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    for _ in range(3):
        spool.append(Log(message="x"))
    with pytest.raises(WorkerError, match="takes no more events"):
        spool.append(Log(message="x"))


def test_what_matters_is_on_the_disk_at_once(path, monkeypatch):
    synced = []
    monkeypatch.setattr(spool_module.os, "fsync", lambda handle: synced.append(handle))
    spool = Spool(path, 3)
    spool.append(Log(message="first"))  # more than a second since the last sync
    count = len(synced)
    spool.append(Log(message="soon"))
    assert len(synced) == count
    spool.append(WorkerState(state="completed"))
    assert len(synced) == count + 1


def test_where_the_spool_lies(tmp_path):
    assert spool_path(tmp_path / "run" / "jobs" / "g2.json", tmp_path / "other", 2) == tmp_path / "run" / "events" / "g2.jsonl"
    assert spool_path(tmp_path / "job.json", tmp_path / "run", 2) == tmp_path / "run" / "events" / "g2.jsonl"
