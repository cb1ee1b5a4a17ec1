"""The event log tells all that an event shows, and can be read by account, in order.

Of the lines that are there, group and sender are those that their email has now, and what undo
was good for then is taken from the state: right but for emails of which a part had left.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ADDED = {
    "group_id": sa.Text,
    "sender": sa.Text,
    "release_at": sa.BigInteger,
    "undo_until": sa.BigInteger,
    "undo_status": sa.Text,
    "results": sa.Text,
}


def upgrade() -> None:
    """Add the columns and the index, and fill what can be told of the lines there are."""
    for name, type_ in _ADDED.items():
        op.add_column("events", sa.Column(name, type_(), nullable=True))
    for name in ("group_id", "sender"):
        op.execute(
            f"UPDATE events SET {name} = "  # noqa: S608
            f"(SELECT emails.{name} FROM emails WHERE emails.id = events.email_id)"
        )
    op.execute(
        "UPDATE events SET undo_status = CASE "
        "WHEN state IN ('held', 'retrying') THEN 'pending' "
        "WHEN state = 'canceled' OR (state = 'draft' AND revision > 0) THEN 'canceled' "
        "WHEN state <> 'draft' THEN 'final' END"
    )
    op.create_index("ix_events_account_seq", "events", ["account", "seq"], unique=False)


def downgrade() -> None:
    """Drop what the upgrade made."""
    op.drop_index("ix_events_account_seq", table_name="events")
    for name in reversed(_ADDED):
        op.drop_column("events", name)
