"""Content goes a while after the end of its email; receipts know their keys by hash only.

Revision ID: 0006
Revises: 0005
"""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_WITH_CONTENT = "final_at IS NOT NULL AND content_deleted_at IS NULL"


def upgrade() -> None:
    """Add the column and its index, and hash the keys of the receipts there are."""
    op.add_column("emails", sa.Column("content_deleted_at", sa.BigInteger(), nullable=True))
    op.create_index(
        op.f("ix_emails_final_at"),
        "emails",
        ["final_at"],
        unique=False,
        sqlite_where=sa.text(_WITH_CONTENT),
        postgresql_where=sa.text(_WITH_CONTENT),
    )
    connection = op.get_bind()
    found = connection.execute(sa.text("SELECT account, scope, key FROM receipts")).fetchall()
    hashed = [
        {
            "account": account,
            "scope": scope,
            "key": key,
            "hash": hashlib.sha256(key.encode()).hexdigest(),
        }
        for account, scope, key in found
    ]
    named = "account = :account AND scope = :scope AND key = :key"
    if hashed:
        connection.execute(sa.text(f"UPDATE receipts SET key = :hash WHERE {named}"), hashed)  # noqa: S608


def downgrade() -> None:
    """Drop both; a request is then no longer known by a key that came before."""
    op.drop_index(op.f("ix_emails_final_at"), table_name="emails")
    op.drop_column("emails", "content_deleted_at")
