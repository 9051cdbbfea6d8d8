"""The database: migrations equal the tables, SQLite is set as it must be, sums are exact, writers queue."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from kriptik.spec.base import new_id
from kriptik.spec.events import Event, Log
from kriptik.store import events, jobs, ledger, people
from kriptik.store.db import Database
from kriptik.store.tables import Base, ContractRow, LedgerRow, Stream, TrainingPlan, User

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture
def db(tmp_path):
    made = Database.at(tmp_path / "kriptik.db")
    made.migrate()
    yield made
    made.close()


def add_stream(db, number=1):
    stream_id = new_id()
    with db.write() as session:
        session.add(Stream(id=stream_id, kind="job", last_event_id=0))
        session.flush()
        jobs.add_generation(session, stream_id, number, "train", "hash", None, NOW)
    return stream_id


def test_migrations_make_exactly_the_tables(db):
    db.migrate()  # a second time changes nothing
    with db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_sqlite_is_set_for_safety(db):
    with db.read() as session:
        connection = session.connection()
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() >= 5000
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_training_plans_has_the_promised_columns_and_foreign_keys(db):
    names = {column.name for column in TrainingPlan.__table__.columns}
    assert names == {
        "id",
        "user_id",
        "contract_id",
        "contract",
        "plan",
        "status",
        "budget_authorization",
        "created_at",
        "updated_at",
        "approved_at",
    }
    with pytest.raises(IntegrityError), db.write() as session:
        session.add(
            TrainingPlan(
                id="p", user_id="nobody", contract_id="none", contract={}, plan={}, status="draft", created_at=NOW, updated_at=NOW
            )
        )


def test_times_keep_their_zone_and_money_its_digits(db):
    with db.write() as session:
        session.add(User(id="u", name="A", preferences={}, created_at=NOW))
        session.flush()
        session.add(ContractRow(id="c", user_id="u", version=1, locked=False, body={"x": None}, created_at=NOW))
    with db.read() as session:
        assert session.get_one(User, "u").created_at == NOW
        assert session.get_one(ContractRow, "c").body == {"x": None}
    stream_id = add_stream(db)
    with db.write() as session:
        for _ in range(10):
            session.add(
                LedgerRow(id=new_id(), stream_id=stream_id, at=NOW, kind="adjustment", debit="a", credit="b", amount=Decimal("0.1"))
            )
    with db.read() as session:
        assert ledger.spend(session, stream_id, NOW) == Decimal("1.0")


def test_metering_in_pieces_costs_what_one_piece_costs(db):
    stream_id = add_stream(db)
    with db.write() as session:
        generation = jobs.generation(session, stream_id, 1)
        resource = jobs.add_resource(session, generation, "kt-a-b-g1", "local", Decimal("3.6"), NOW)
        for minutes in (1, 3, 7):
            ledger.meter(session, resource, NOW + timedelta(minutes=minutes), final=False)
        assert ledger.spend(session, stream_id, NOW + timedelta(minutes=10)) == Decimal("0.6")
        ledger.meter(session, resource, NOW + timedelta(minutes=10), final=True)
        resource.gone_at = NOW + timedelta(minutes=10)
        session.flush()
        assert ledger.spend(session, stream_id, NOW + timedelta(days=1)) == Decimal("0.6")
        assert ledger.rate(session, stream_id) == 0
        assert sum(entry.seconds for entry in ledger.entries(session, stream_id)) == 600


def test_the_pace_is_rate_and_spend(db):
    stream_id = add_stream(db)

    def pace(session, minutes):
        at = NOW + timedelta(minutes=minutes)
        session.flush()
        found = ledger.pace(session, stream_id, at)
        assert found == (ledger.rate(session, stream_id), ledger.spend(session, stream_id, at))
        return found

    with db.write() as session:
        assert pace(session, 5) == (0, 0)
        generation = jobs.generation(session, stream_id, 1)
        first, second = (
            jobs.add_resource(session, generation, f"kt-a-{name}-g1", "local", Decimal(price), NOW)
            for name, price in (("b", "3.6"), ("c", "0.0137"))
        )
        ledger.meter(session, first, NOW + timedelta(minutes=3), final=False)
        ledger.post(session, stream_id, "adjustment", Decimal("-0.01"), NOW, "as billed", "provider:local")
        assert pace(session, 7)[0] == Decimal("3.6137")
        second.gone_at = NOW + timedelta(minutes=8)
        assert pace(session, 9)[0] == Decimal("3.6")
        first.gone_at = NOW + timedelta(minutes=9)
        assert pace(session, 60)[0] == 0


def test_a_failed_transaction_leaves_nothing(db):
    with pytest.raises(RuntimeError), db.write() as session:
        session.add(Stream(id="s", kind="job", last_event_id=0))
        raise RuntimeError
    with db.read() as session:
        assert session.get(Stream, "s") is None


def test_writers_queue_and_ids_stay_gapless(db):
    stream_id = add_stream(db)

    def worker():
        for _ in range(20):
            with db.write() as session:
                events.say(session, stream_id, Log(message="x"), NOW)

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with db.read() as session:
        found = events.after(session, stream_id, 0, 1000)
    assert [event.id for event in found] == list(range(1, 81))


def test_the_same_key_is_stored_once(db):
    stream_id = add_stream(db)
    event = Event(generation=1, seq=1, at=NOW, body=Log(message="x"))
    with db.write() as session:
        generation = jobs.generation(session, stream_id, 1)
        assert events.take(session, generation, [event, event]).ack_seq == 1
        assert events.take(session, generation, [event]).fresh == []
        assert events.count(session, stream_id) == 1


def test_links_and_sessions_end(db):
    with db.write() as session:
        user = people.owner(session, NOW)
        secret, expires = people.add_login_link(session, user.id, NOW)
        assert people.use_login_link(session, secret, expires + timedelta(seconds=1)) is None
        assert people.use_login_link(session, secret, NOW) == user.id
        assert people.use_login_link(session, secret, NOW) is None
        cookie, _csrf = people.add_web_session(session, user.id, NOW)
        session.flush()
        assert people.web_session(session, cookie, NOW + timedelta(days=29)) is not None
        assert people.web_session(session, cookie, NOW + timedelta(days=31)) is None
