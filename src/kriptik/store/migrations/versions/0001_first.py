"""The first schema."""

import sqlalchemy as sa
from alembic import op

from kriptik.store import tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes every table."""
    _part_1()
    _part_2()
    _part_3()
    _part_4()
    _part_5()
    _part_6()
    _part_7()


def downgrade() -> None:
    """Drops every table."""
    for table in TABLES:
        op.drop_table(table)


TABLES = (
    "comparisons",
    "test_requests",
    "test_sessions",
    "notifications",
    "checkpoints",
    "jobs",
    "training_plans",
    "resources",
    "web_sessions",
    "login_links",
    "ledger",
    "generations",
    "events",
    "datasets",
    "contracts",
    "api_tokens",
    "users",
    "streams",
    "settings",
)


def _part_1() -> None:
    op.create_table(
        "settings",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "streams",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("last_event_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("preferences", sa.JSON(), nullable=False),
        sa.Column("created_at", tables.UtcTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("created_at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("revoked_at", tables.UtcTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_hash"),
    )
    op.create_index(op.f("ix_api_tokens_user_id"), "api_tokens", ["user_id"], unique=False)
    op.create_table(
        "contracts",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("parent_id", sa.String(length=26), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("locked", sa.Boolean(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=True),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", tables.UtcTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["contracts.id"],
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_contracts_user_id"), "contracts", ["user_id"], unique=False)


def _part_2() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("licence", sa.String(length=200), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("created_at", tables.UtcTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_datasets_user_id"), "datasets", ["user_id"], unique=False)
    op.create_table(
        "events",
        sa.Column("stream_id", sa.String(length=26), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("type", sa.String(length=20), nullable=False),
        sa.Column("severity", sa.String(length=10), nullable=True),
        sa.Column("stage", sa.Integer(), nullable=True),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["stream_id"], ["streams.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("stream_id", "id"),
        sa.UniqueConstraint("stream_id", "generation", "seq", name="uq_event_key"),
    )
    op.create_index("ix_event_type", "events", ["stream_id", "type", "id"], unique=False)
    op.create_table(
        "generations",
        sa.Column("stream_id", sa.String(length=26), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("resume_from", sa.String(length=200), nullable=True),
        sa.Column("desired_version", sa.Integer(), nullable=False),
        sa.Column("desired_state", sa.String(length=10), nullable=False),
        sa.Column("desired_reason", sa.Text(), nullable=False),
        sa.Column("desired_at", tables.UtcTime(timezone=True), nullable=True),
        sa.Column("acked_version", sa.Integer(), nullable=False),
        sa.Column("acked_result", sa.String(length=10), nullable=True),
        sa.Column("acked_checkpoint", sa.String(length=200), nullable=True),
        sa.Column("ack_seq", sa.Integer(), nullable=False),
        sa.Column("worker_state", sa.String(length=20), nullable=True),
        sa.Column("worker_message", sa.JSON(), nullable=True),
        sa.Column("last_contact_at", tables.UtcTime(timezone=True), nullable=True),
        sa.Column("created_at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("gone_at", tables.UtcTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["stream_id"], ["streams.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("stream_id", "number"),
    )


def _part_3() -> None:
    op.create_table(
        "ledger",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("stream_id", sa.String(length=26), nullable=False),
        sa.Column("at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("debit", sa.String(length=100), nullable=False),
        sa.Column("credit", sa.String(length=100), nullable=False),
        sa.Column("amount", tables.DecimalText(length=40), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("price_per_hour", tables.DecimalText(length=40), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["stream_id"], ["streams.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_ledger_stream_id"), "ledger", ["stream_id"], unique=False)
    op.create_table(
        "login_links",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("created_at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("expires_at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("used_at", tables.UtcTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index(op.f("ix_login_links_user_id"), "login_links", ["user_id"], unique=False)
    op.create_table(
        "web_sessions",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("csrf", sa.String(length=64), nullable=False),
        sa.Column("created_at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("expires_at", tables.UtcTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_hash"),
    )
    op.create_index(op.f("ix_web_sessions_user_id"), "web_sessions", ["user_id"], unique=False)
    op.create_table(
        "resources",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("stream_id", sa.String(length=26), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("provider", sa.String(length=40), nullable=False),
        sa.Column("provider_id", sa.String(length=200), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("price_per_hour", tables.DecimalText(length=40), nullable=False),
        sa.Column("intended_at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("metered_at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("terminate_at", tables.UtcTime(timezone=True), nullable=True),
        sa.Column("gone_at", tables.UtcTime(timezone=True), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["stream_id", "number"], ["generations.stream_id", "generations.number"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )


def _part_4() -> None:
    op.create_index(op.f("ix_resources_status"), "resources", ["status"], unique=False)
    op.create_table(
        "training_plans",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("contract_id", sa.String(length=26), nullable=False),
        sa.Column("contract", sa.JSON(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("budget_authorization", sa.JSON(), nullable=True),
        sa.Column("created_at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("updated_at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("approved_at", tables.UtcTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["contract_id"],
            ["contracts.id"],
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_training_plans_contract_id"), "training_plans", ["contract_id"], unique=False)
    op.create_index(op.f("ix_training_plans_status"), "training_plans", ["status"], unique=False)
    op.create_index(op.f("ix_training_plans_user_id"), "training_plans", ["user_id"], unique=False)


def _part_5() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("plan_id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("provider", sa.String(length=40), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("stages", sa.JSON(), nullable=False),
        sa.Column("base_model", sa.String(length=300), nullable=False),
        sa.Column("data", sa.JSON(), nullable=True),
        sa.Column("authorization", sa.JSON(), nullable=False),
        sa.Column("max_budget", tables.DecimalText(length=40), nullable=False),
        sa.Column("budget_status", sa.String(length=30), nullable=False),
        sa.Column("alert_sent", sa.Boolean(), nullable=False),
        sa.Column("storage_metered_at", tables.UtcTime(timezone=True), nullable=True),
        sa.Column("checkpoint_seconds", sa.Double(), nullable=True),
        sa.Column("setup", sa.JSON(), nullable=True),
        sa.Column("metrics", sa.JSON(), nullable=True),
        sa.Column("current_sample", sa.JSON(), nullable=True),
        sa.Column("probe", sa.JSON(), nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("estimate", sa.JSON(), nullable=False),
        sa.Column("freeze_state", sa.JSON(), nullable=True),
        sa.Column("failure", sa.JSON(), nullable=True),
        sa.Column("next_checkpoint", sa.String(length=200), nullable=True),
        sa.Column("fruitless_starts", sa.Integer(), nullable=False),
        sa.Column("start_step", sa.Integer(), nullable=False),
        sa.Column("resumes", sa.JSON(), nullable=False),
        sa.Column("inexact_resumes", sa.Integer(), nullable=False),
        sa.Column("link_nonce", sa.String(length=40), nullable=True),
        sa.Column("disk_bytes", sa.Integer(), nullable=False),
        sa.Column("state_since", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("created_at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("updated_at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("finished_at", tables.UtcTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["id"], ["streams.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["plan_id"],
            ["training_plans.id"],
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("plan_id"),
    )
    op.create_index(op.f("ix_jobs_state"), "jobs", ["state"], unique=False)
    op.create_index(op.f("ix_jobs_user_id"), "jobs", ["user_id"], unique=False)


def _part_6() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("job_id", sa.String(length=26), nullable=False),
        sa.Column("checkpoint_id", sa.String(length=200), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.Column("at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("kept", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "checkpoint_id"),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("job_id", sa.String(length=26), nullable=True),
        sa.Column("once_key", sa.String(length=120), nullable=True),
        sa.Column("type", sa.String(length=40), nullable=False),
        sa.Column("title", sa.String(length=300), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("action_url", sa.String(length=500), nullable=False),
        sa.Column("action_label", sa.String(length=100), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("read", sa.Boolean(), nullable=False),
        sa.Column("created_at", tables.UtcTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("once_key"),
    )
    op.create_index(op.f("ix_notifications_user_id"), "notifications", ["user_id"], unique=False)
    op.create_table(
        "test_sessions",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("job_id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("checkpoint_id", sa.String(length=200), nullable=True),
        sa.Column("provider", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("expiry_minutes", sa.Integer(), nullable=False),
        sa.Column("expires_at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("allowance", tables.DecimalText(length=40), nullable=False),
        sa.Column("created_at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("ended_at", tables.UtcTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["id"], ["streams.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["users.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_test_sessions_job_id"), "test_sessions", ["job_id"], unique=False)
    op.create_index(op.f("ix_test_sessions_state"), "test_sessions", ["state"], unique=False)


def _part_7() -> None:
    op.create_table(
        "test_requests",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("session_id", sa.String(length=26), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", tables.UtcTime(timezone=True), nullable=False),
        sa.Column("answered_at", tables.UtcTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["session_id"], ["test_sessions.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_test_requests_session_id"), "test_requests", ["session_id"], unique=False)
    op.create_table(
        "comparisons",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("session_id", sa.String(length=26), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("base_call", sa.String(length=26), nullable=False),
        sa.Column("tuned_call", sa.String(length=26), nullable=False),
        sa.Column("preferred", sa.String(length=10), nullable=True),
        sa.Column("created_at", tables.UtcTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["base_call"],
            ["test_requests.id"],
        ),
        sa.ForeignKeyConstraint(["session_id"], ["test_sessions.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["tuned_call"],
            ["test_requests.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_comparisons_session_id"), "comparisons", ["session_id"], unique=False)
