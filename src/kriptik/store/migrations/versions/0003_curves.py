"""Packed points of curves."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table of chunks; they are filled as the server finds the time."""
    op.create_table(
        "curve_chunks",
        sa.Column("stream_id", sa.String(length=26), nullable=False),
        sa.Column("first_id", sa.Integer(), nullable=False),
        sa.Column("last_id", sa.Integer(), nullable=False),
        sa.Column("least_step", sa.Integer(), nullable=False),
        sa.Column("most_step", sa.Integer(), nullable=False),
        sa.Column("points", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["stream_id"], ["streams.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("stream_id", "first_id"),
    )


def downgrade() -> None:
    """Drops it; the event rows hold everything."""
    op.drop_table("curve_chunks")
