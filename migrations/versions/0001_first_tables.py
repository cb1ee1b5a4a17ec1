"""The first tables: emails, their content, recipients and attachments, and the event log.

Indexes: ``due``, ``leased`` and ``expiring`` answer the releaser's three questions and hold
candidates only; ``account_id`` and ``account_state_id`` serve lists; the log's one serves an
email's history.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "emails",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("release_at", sa.BigInteger(), nullable=True),
        sa.Column("undo_until", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("accepted", sa.Integer(), nullable=False),
        sa.Column("uncertain", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("final_at", sa.BigInteger(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("group_id", sa.Text(), nullable=True),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state IN ('canceled', 'expired', 'failed', 'partially_sent', 'sent', 'unknown')) = (final_at IS NOT NULL)",
            name=op.f("ck_emails_final_has_end"),
        ),
        sa.CheckConstraint(
            "(state IN ('held', 'retrying')) = (due_at IS NOT NULL)",
            name=op.f("ck_emails_waiting_has_timer"),
        ),
        sa.CheckConstraint(
            "state <> 'sending' OR lease_token IS NOT NULL",
            name=op.f("ck_emails_sending_has_lease"),
        ),
        sa.CheckConstraint(
            "state IN ('canceled', 'draft', 'expired', 'failed', 'held', 'partially_sent', 'retrying', 'sending', 'sent', 'unknown')",
            name=op.f("ck_emails_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_emails")),
    )
    op.create_index("ix_emails_account_id", "emails", ["account", "id"], unique=False)
    op.create_index(
        "ix_emails_account_state_id", "emails", ["account", "state", "id"], unique=False
    )
    op.create_index(
        "ix_emails_due",
        "emails",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL AND lease_token IS NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL AND lease_token IS NULL"),
    )
    op.create_index(
        "ix_emails_expiring",
        "emails",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL AND expires_at < 4611686018427387904"),
        postgresql_where=sa.text("due_at IS NOT NULL AND expires_at < 4611686018427387904"),
    )
    op.create_index(
        "ix_emails_leased",
        "emails",
        ["lease_until"],
        unique=False,
        sqlite_where=sa.text("lease_token IS NOT NULL"),
        postgresql_where=sa.text("lease_token IS NOT NULL"),
    )
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("email_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_events_account_email_id_seq", "events", ["account", "email_id", "seq"], unique=False
    )
    op.create_table(
        "attachments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("email_id", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("content_id", sa.Text(), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["email_id"], ["emails.id"], name=op.f("fk_attachments_email_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachments")),
    )
    op.create_index(op.f("ix_attachments_email_id"), "attachments", ["email_id"], unique=False)
    op.create_table(
        "contents",
        sa.Column("email_id", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["email_id"], ["emails.id"], name=op.f("fk_contents_email_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("email_id", name=op.f("pk_contents")),
    )
    op.create_table(
        "recipients",
        sa.Column("email_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("delivery", sa.Text(), nullable=False),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["email_id"], ["emails.id"], name=op.f("fk_recipients_email_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("email_id", "position", name=op.f("pk_recipients")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the tables, and every email with them."""
    op.drop_table("recipients")
    op.drop_table("contents")
    op.drop_index(op.f("ix_attachments_email_id"), table_name="attachments")
    op.drop_table("attachments")
    op.drop_index("ix_events_account_email_id_seq", table_name="events")
    op.drop_table("events")
    op.drop_index(
        "ix_emails_leased",
        table_name="emails",
        sqlite_where=sa.text("lease_token IS NOT NULL"),
        postgresql_where=sa.text("lease_token IS NOT NULL"),
    )
    op.drop_index(
        "ix_emails_expiring",
        table_name="emails",
        sqlite_where=sa.text("due_at IS NOT NULL AND expires_at < 4611686018427387904"),
        postgresql_where=sa.text("due_at IS NOT NULL AND expires_at < 4611686018427387904"),
    )
    op.drop_index(
        "ix_emails_due",
        table_name="emails",
        sqlite_where=sa.text("due_at IS NOT NULL AND lease_token IS NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL AND lease_token IS NULL"),
    )
    op.drop_index("ix_emails_account_state_id", table_name="emails")
    op.drop_index("ix_emails_account_id", table_name="emails")
    op.drop_table("emails")
