"""Whom an email is from, in its row, so that a token can be for one sender only; API keys.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, filled from the content, and the table."""
    op.add_column("emails", sa.Column("sender", sa.Text(), nullable=True))
    from_ = (
        "json_extract(document, '$.from[0]')"
        if op.get_bind().dialect.name == "sqlite"
        else "document::jsonb -> 'from' ->> 0"
    )
    op.execute(
        f"UPDATE emails SET sender = (SELECT {from_} FROM contents WHERE email_id = emails.id)"  # noqa: S608
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("senders", sa.Text(), nullable=True),
        sa.Column("default_delay_seconds", sa.Integer(), nullable=True),
        sa.Column("max_delay_seconds", sa.Integer(), nullable=True),
        sa.Column("rate_per_minute", sa.Integer(), nullable=True),
        sa.Column("daily_quota", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.Column("used_day", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keys")),
    )


def downgrade() -> None:
    """Drop both; nobody can get in with a key any more, and the service serves loopback only."""
    op.drop_table("keys")
    op.drop_column("emails", "sender")
