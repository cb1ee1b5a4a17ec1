"""Finding emails by group, Message-ID, tag and word; receipts of requests; the service's secrets.

The emails that are there already are put into the index, a few hundred at a time.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

from undosend.domain.terms import terms_of
from undosend.spool.documents import content_of

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_AT_ONCE = 500


def upgrade() -> None:
    """Create the indexes and tables, and index what is there."""
    for column in ("group_id", "message_id"):
        op.create_index(
            f"ix_emails_account_{column}_id",
            "emails",
            ["account", column, "id"],
            unique=False,
            sqlite_where=sa.text(f"{column} IS NOT NULL"),
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )
    op.create_table(
        "terms",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("term", sa.Text(), nullable=False),
        sa.Column("email_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["email_id"], ["emails.id"], name=op.f("fk_terms_email_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("account", "term", "email_id", name=op.f("pk_terms")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_terms_email_id"), "terms", ["email_id"], unique=False)
    op.create_table(
        "receipts",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("ids", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account", "scope", "key", name=op.f("pk_receipts")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_receipts_at"), "receipts", ["at"], unique=False)
    op.create_table(
        "secrets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_secrets")),
    )
    _index_what_is_there(op.get_bind())


def _index_what_is_there(connection: sa.Connection) -> None:
    some = sa.text(
        "SELECT emails.id, emails.account, contents.document FROM emails "
        "JOIN contents ON contents.email_id = emails.id "
        "WHERE emails.id > :last ORDER BY emails.id LIMIT :most"
    )
    one = sa.text("INSERT INTO terms (account, term, email_id) VALUES (:account, :term, :id)")
    last = ""
    while found := connection.execute(some, {"last": last, "most": _AT_ONCE}).all():
        terms = [
            {"account": account, "term": term, "id": email_id}
            for email_id, account, document in found
            for term in sorted(terms_of(content_of(document)))
        ]
        if terms:
            connection.execute(one, terms)
        last = found[-1][0]


def downgrade() -> None:
    """Drop what the upgrade made."""
    op.drop_table("secrets")
    op.drop_index(op.f("ix_receipts_at"), table_name="receipts")
    op.drop_table("receipts")
    op.drop_index(op.f("ix_terms_email_id"), table_name="terms")
    op.drop_table("terms")
    for name in ("ix_emails_account_message_id_id", "ix_emails_account_group_id_id"):
        op.drop_index(name, table_name="emails")
