"""Every table of the control plane. Money is decimal text, times are UTC, documents are JSON in wire form (camelCase).

A *stream* is anything that has numbered events and workers: a training run, a test session, an export. `streams.last_event_id`
is the row whose lock hands out event ids.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, DateTime, Float, ForeignKey, ForeignKeyConstraint, Index, String, Text, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class DecimalText(TypeDecorator[Decimal]):
    """A decimal kept exactly, as text."""

    impl = String(40)
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        return None if value is None else format(value, "f")

    def process_result_value(self, value: str | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class UtcTime(TypeDecorator[datetime]):
    """A time with its zone on both sides; SQLite forgets zones, so UTC is written and read back as such."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """Root of the tables."""

    type_annotation_map = {Decimal: DecimalText, datetime: UtcTime, dict[str, Any]: JSON, list[Any]: JSON}


class Setting(Base):
    """One value of this installation (install id, schema notes)."""

    __tablename__ = "settings"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class User(Base):
    """A person."""

    __tablename__ = "users"
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    preferences: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime]


class ApiToken(Base):
    """A personal token: only its SHA-256 is kept."""

    __tablename__ = "api_tokens"
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    label: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class WebSession(Base):
    """A browser that signed in by a one-time link."""

    __tablename__ = "web_sessions"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    csrf: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class LoginLink(Base):
    """A one-time sign-in link."""

    __tablename__ = "login_links"
    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class ContractRow(Base):
    """A version of a contract; `body` is the whole `TrainingContract`. Locked rows never change."""

    __tablename__ = "contracts"
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("contracts.id"))
    version: Mapped[int]
    locked: Mapped[bool] = mapped_column(default=False)
    hash: Mapped[str | None] = mapped_column(String(64))
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class TrainingPlan(Base):
    """A plan with the contract it was made from, as they stand now."""

    __tablename__ = "training_plans"
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    contract_id: Mapped[str] = mapped_column(ForeignKey("contracts.id"), index=True)
    contract: Mapped[dict[str, Any]]
    plan: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(20), index=True)
    budget_authorization: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    approved_at: Mapped[datetime | None]


class Stream(Base):
    """Something with numbered events; its row lock orders them."""

    __tablename__ = "streams"
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    last_event_id: Mapped[int] = mapped_column(default=0)


class Job(Base):
    """A training run. `state` is a `JobState`; the documents below are the newest of their kind for the run page."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(ForeignKey("streams.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    plan_id: Mapped[str] = mapped_column(ForeignKey("training_plans.id"), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    notes: Mapped[str] = mapped_column(Text, default="")
    state: Mapped[str] = mapped_column(String(20), index=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    provider: Mapped[str] = mapped_column(String(40))
    generation: Mapped[int] = mapped_column(default=0)
    """Newest generation; 0 before the first."""
    stages: Mapped[list[Any]]
    base_model: Mapped[str] = mapped_column(String(300))
    data: Mapped[dict[str, Any] | None]
    authorization: Mapped[dict[str, Any]]
    max_budget: Mapped[Decimal]
    budget_status: Mapped[str] = mapped_column(String(30))
    alert_sent: Mapped[bool] = mapped_column(default=False)
    storage_metered_at: Mapped[datetime | None]
    checkpoint_seconds: Mapped[float | None]
    setup: Mapped[dict[str, Any] | None]
    metrics: Mapped[dict[str, Any] | None]
    current_sample: Mapped[dict[str, Any] | None]
    probe: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    estimate: Mapped[dict[str, Any]]
    freeze_state: Mapped[dict[str, Any] | None]
    failure: Mapped[dict[str, Any] | None]
    next_checkpoint: Mapped[str | None] = mapped_column(String(200))
    """Rollback: the checkpoint the next generation starts from, while the present one is being ended."""
    fruitless_starts: Mapped[int] = mapped_column(default=0)
    """Automatic restarts in a row without a new checkpoint."""
    start_step: Mapped[int] = mapped_column(default=0)
    resumes: Mapped[list[Any]]
    inexact_resumes: Mapped[int] = mapped_column(default=0)
    link_nonce: Mapped[str | None] = mapped_column(String(40))
    """What the signed resume link must name; cleared when it was used."""
    disk_bytes: Mapped[int] = mapped_column(default=0)
    state_since: Mapped[datetime]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class Generation(Base):
    """One life of one worker process. The token's SHA-256, what is wanted of it, and what it said last."""

    __tablename__ = "generations"
    stream_id: Mapped[str] = mapped_column(ForeignKey("streams.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    token_hash: Mapped[str] = mapped_column(String(64))
    resume_from: Mapped[str | None] = mapped_column(String(200))
    desired_version: Mapped[int] = mapped_column(default=1)
    desired_state: Mapped[str] = mapped_column(String(10), default="running")
    desired_reason: Mapped[str] = mapped_column(Text, default="")
    desired_at: Mapped[datetime | None]
    acked_version: Mapped[int] = mapped_column(default=0)
    acked_result: Mapped[str | None] = mapped_column(String(10))
    acked_checkpoint: Mapped[str | None] = mapped_column(String(200))
    ack_seq: Mapped[int] = mapped_column(default=0)
    """Highest contiguous seq stored."""
    worker_state: Mapped[str | None] = mapped_column(String(20))
    worker_message: Mapped[dict[str, Any] | None]
    last_contact_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    gone_at: Mapped[datetime | None]
    """When the provider confirmed that nothing of it runs any more."""


class Resource(Base):
    """A thing that bills. The row is written *before* the create call (status `intended`): the meter starts there."""

    __tablename__ = "resources"
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    stream_id: Mapped[str] = mapped_column(String(26))
    number: Mapped[int]
    provider: Mapped[str] = mapped_column(String(40))
    provider_id: Mapped[str | None] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20), index=True)
    price_per_hour: Mapped[Decimal]
    intended_at: Mapped[datetime]
    metered_at: Mapped[datetime]
    """Up to here the ledger holds what was used."""
    terminate_at: Mapped[datetime | None]
    """When a terminate was first asked for; asked again until confirmed."""
    gone_at: Mapped[datetime | None]
    exit_code: Mapped[int | None]
    detail: Mapped[str] = mapped_column(Text, default="")
    __table_args__ = (
        ForeignKeyConstraint(["stream_id", "number"], ["generations.stream_id", "generations.number"], ondelete="CASCADE"),
    )


class EventRow(Base):
    """A stored event. `id` counts per stream over worker and server events; (stream, generation, seq) is stored once."""

    __tablename__ = "events"
    stream_id: Mapped[str] = mapped_column(ForeignKey("streams.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True)
    generation: Mapped[int]
    seq: Mapped[int]
    at: Mapped[datetime]
    type: Mapped[str] = mapped_column(String(20))
    severity: Mapped[str | None] = mapped_column(String(10))
    stage: Mapped[int | None]
    step: Mapped[int | None]
    body: Mapped[dict[str, Any]]
    __table_args__ = (
        UniqueConstraint("stream_id", "generation", "seq", name="uq_event_key"),
        Index("ix_event_type", "stream_id", "type", "id"),
    )


class CurveChunk(Base):
    """Points of a curve packed, for choosing among them (`store.curves`); the rows of `events` stay what is true."""

    __tablename__ = "curve_chunks"
    stream_id: Mapped[str] = mapped_column(ForeignKey("streams.id", ondelete="CASCADE"), primary_key=True)
    first_id: Mapped[int] = mapped_column(primary_key=True)
    last_id: Mapped[int]
    least_step: Mapped[int]
    most_step: Mapped[int]
    points: Mapped[bytes]


class CheckpointRow(Base):
    """A committed checkpoint."""

    __tablename__ = "checkpoints"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    checkpoint_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    generation: Mapped[int]
    stage: Mapped[int]
    step: Mapped[int]
    bytes: Mapped[int]
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    seconds: Mapped[float] = mapped_column(Float)
    loss: Mapped[float | None]
    reason: Mapped[str] = mapped_column(String(20))
    at: Mapped[datetime]
    kept: Mapped[bool] = mapped_column(default=True)


class LedgerRow(Base):
    """Double entry: `amount` moves from `credit` to `debit`. Rows are only ever added."""

    __tablename__ = "ledger"
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    stream_id: Mapped[str] = mapped_column(ForeignKey("streams.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(20))
    debit: Mapped[str] = mapped_column(String(100))
    credit: Mapped[str] = mapped_column(String(100))
    amount: Mapped[Decimal]
    generation: Mapped[int | None]
    seconds: Mapped[float | None] = mapped_column(Float)
    price_per_hour: Mapped[Decimal | None]
    note: Mapped[str] = mapped_column(Text, default="")


class NotificationRow(Base):
    """An in-app notice."""

    __tablename__ = "notifications"
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    once_key: Mapped[str | None] = mapped_column(String(120), unique=True)
    """Same key, same notice: stored once however often a tick is repeated."""
    type: Mapped[str] = mapped_column(String(40))
    title: Mapped[str] = mapped_column(String(300))
    message: Mapped[str] = mapped_column(Text)
    action_url: Mapped[str] = mapped_column(String(500))
    action_label: Mapped[str] = mapped_column(String(100))
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    read: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]


class Dataset(Base):
    """Uploaded or built-in rows, already checked; `report` is the doctor's report."""

    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(300))
    source: Mapped[str] = mapped_column(String(40))
    path: Mapped[str] = mapped_column(Text)
    rows: Mapped[int]
    bytes: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    licence: Mapped[str] = mapped_column(String(200), default="")
    report: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class TrialRow(Base):
    """A temporary deployment of base and tuned weights."""

    __tablename__ = "test_sessions"
    id: Mapped[str] = mapped_column(ForeignKey("streams.id", ondelete="CASCADE"), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    checkpoint_id: Mapped[str | None] = mapped_column(String(200))
    provider: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(10), index=True)
    error: Mapped[str | None] = mapped_column(Text)
    expiry_minutes: Mapped[int]
    expires_at: Mapped[datetime]
    allowance: Mapped[Decimal]
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class ExportRow(Base):
    """An export of a run: a worker of its own that writes the model out, checks it and ends."""

    __tablename__ = "exports"
    id: Mapped[str] = mapped_column(ForeignKey("streams.id", ondelete="CASCADE"), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    checkpoint_id: Mapped[str | None] = mapped_column(String(200))
    provider: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(10), index=True)
    request: Mapped[dict[str, Any]]
    progress: Mapped[float] = mapped_column(Float, default=0)
    message: Mapped[str] = mapped_column(Text, default="")
    result: Mapped[dict[str, Any] | None]
    code: Mapped[str | None] = mapped_column(String(60))
    error: Mapped[str | None] = mapped_column(Text)
    next_step: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime]
    allowance: Mapped[Decimal]
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class TrialCall(Base):
    """One request to a test session and, once it came, its answer."""

    __tablename__ = "test_requests"
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("test_sessions.id", ondelete="CASCADE"), index=True)
    request: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]


class ComparisonRow(Base):
    """The same input through base and tuned; `preferred` is what a person said."""

    __tablename__ = "comparisons"
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("test_sessions.id", ondelete="CASCADE"), index=True)
    prompt: Mapped[str] = mapped_column(Text)
    base_call: Mapped[str] = mapped_column(ForeignKey("test_requests.id"))
    tuned_call: Mapped[str] = mapped_column(ForeignKey("test_requests.id"))
    preferred: Mapped[str | None] = mapped_column(String(10))
    created_at: Mapped[datetime]
