"""Changes of many coroutines in one transaction: all committed before anybody is answered, a bad one undone alone."""

import asyncio
import threading

import pytest
from sqlalchemy import event

from kriptik.store.db import Database
from kriptik.store.tables import Setting
from kriptik.store.writer import Writer


@pytest.fixture
def db(tmp_path):
    made = Database.at(tmp_path / "k.db")
    made.migrate()
    made.commits = []
    event.listen(made.engine, "commit", lambda connection: made.commits.append(connection))
    yield made
    made.close()


def put(key):
    return lambda session: session.add(Setting(key=key, value="1")) or session.flush() or key


def bad(key):
    def change(session):
        put(key)(session)
        raise ValueError(key)

    return change


def stored(db):
    with db.read() as session:
        return {row.key for row in session.query(Setting)}


def held(db):
    """A transaction of somebody else: what comes meanwhile gathers."""
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with db.write():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(10)
    return leave, thread


def test_what_gathers_is_committed_together_and_a_bad_one_alone_is_undone(db):
    writer = Writer(db)

    async def many():
        leave, thread = held(db)
        tasks = [asyncio.create_task(writer.do(bad(f"k{n}") if n == 7 else put(f"k{n}"))) for n in range(40)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in tasks), "nobody is answered before the commit"
        leave.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        thread.join(10)
        return results

    before = len(db.commits)
    results = asyncio.run(many())
    writer.close()
    assert isinstance(results[7], ValueError) and [r for r in results if not isinstance(r, ValueError)][:3] == ["k0", "k1", "k2"]
    assert stored(db) == {f"k{n}" for n in range(40) if n != 7}
    assert len(db.commits) - before <= 4, "one for the holder, and few for forty changes"


def test_a_commit_that_fails_is_heard_by_all_and_the_next_succeeds(db, monkeypatch):
    writer, plain, tried = Writer(db), db.write, []

    def failing():
        tried.append(1)
        if len(tried) == 2:  # together, then apart
            monkeypatch.setattr(db, "write", plain)
        raise OSError("the disk is gone")

    monkeypatch.setattr(db, "write", failing)

    async def one(key):
        return await writer.do(put(key))

    with pytest.raises(OSError, match="disk is gone"):
        asyncio.run(one("a"))
    assert asyncio.run(one("b")) == "b" and stored(db) == {"b"}
    writer.close()


def test_closing_writes_what_waits(db):
    writer = Writer(db)

    async def some():
        leave, thread = held(db)
        tasks = [asyncio.create_task(writer.do(put(f"k{n}"))) for n in range(5)]
        await asyncio.sleep(0.05)
        leave.set()
        await asyncio.to_thread(writer.close)
        thread.join(10)
        return await asyncio.gather(*tasks)

    assert asyncio.run(some()) == [f"k{n}" for n in range(5)] and len(stored(db)) == 5
