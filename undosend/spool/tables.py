"""The tables of the spool.

Instants are integer microseconds UTC: SQLite would drop the offset of a DateTime without a
word. Everything belongs to an account, from the first migration on.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

from undosend.domain.email import FINAL, NEVER, WAITING, State

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _listed(states: frozenset[State]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


# Narrow and hot: all that a race or a timer looks at, and nothing else.
emails = Table(
    "emails",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("release_at", BigInteger),
    Column("undo_until", BigInteger),
    Column("due_at", BigInteger),
    Column("expires_at", BigInteger, nullable=False),
    Column("lease_token", Text),
    Column("lease_until", BigInteger, nullable=False),
    Column("claims", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("accepted", Integer, nullable=False),
    Column("uncertain", Integer, nullable=False),
    Column("sent_at", BigInteger),
    Column("final_at", BigInteger),
    Column("content_deleted_at", BigInteger),
    Column("message_id", Text),
    Column("group_id", Text),
    Column("sender", Text),
    Column("trouble", Text),
    CheckConstraint(f"state IN ({_listed(frozenset(State))})", name="state"),
    CheckConstraint(
        f"(state IN ({_listed(FINAL)})) = (final_at IS NOT NULL)", name="final_has_end"
    ),
    CheckConstraint(
        f"(state IN ({_listed(WAITING)})) = (due_at IS NOT NULL)", name="waiting_has_timer"
    ),
    CheckConstraint("state <> 'sending' OR lease_token IS NOT NULL", name="sending_has_lease"),
)

# The releaser's three questions, each answered from an index that holds only candidates, so
# that a look costs the same over ten waiting emails and over a million.
Index(
    "ix_emails_due",
    emails.c.due_at,
    sqlite_where=(emails.c.due_at.is_not(None)) & (emails.c.lease_token.is_(None)),
    postgresql_where=(emails.c.due_at.is_not(None)) & (emails.c.lease_token.is_(None)),
)
Index(
    "ix_emails_leased",
    emails.c.lease_until,
    sqlite_where=emails.c.lease_token.is_not(None),
    postgresql_where=emails.c.lease_token.is_not(None),
)
Index(
    "ix_emails_expiring",
    emails.c.expires_at,
    sqlite_where=(emails.c.due_at.is_not(None)) & (emails.c.expires_at < NEVER),
    postgresql_where=(emails.c.due_at.is_not(None)) & (emails.c.expires_at < NEVER),
)
# Whose content is still there though they have ended, the longest ended first.
Index(
    "ix_emails_final_at",
    emails.c.final_at,
    sqlite_where=(emails.c.final_at.is_not(None)) & (emails.c.content_deleted_at.is_(None)),
    postgresql_where=(emails.c.final_at.is_not(None)) & (emails.c.content_deleted_at.is_(None)),
)
# Lists: an id sorts by time.
Index("ix_emails_account_id", emails.c.account, emails.c.id)
Index("ix_emails_account_state_id", emails.c.account, emails.c.state, emails.c.id)
Index(
    "ix_emails_account_group_id_id",
    emails.c.account,
    emails.c.group_id,
    emails.c.id,
    sqlite_where=emails.c.group_id.is_not(None),
    postgresql_where=emails.c.group_id.is_not(None),
)
Index(
    "ix_emails_account_message_id_id",
    emails.c.account,
    emails.c.message_id,
    emails.c.id,
    sqlite_where=emails.c.message_id.is_not(None),
    postgresql_where=emails.c.message_id.is_not(None),
)

contents = Table(
    "contents",
    metadata,
    Column("email_id", Text, ForeignKey("emails.id", ondelete="CASCADE"), primary_key=True),
    Column("document", Text, nullable=False),
)

recipients = Table(
    "recipients",
    metadata,
    Column("email_id", Text, ForeignKey("emails.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("address", Text, nullable=False),
    Column("delivery", Text, nullable=False),
    Column("code", Integer),
    Column("reply", Text),
    sqlite_with_rowid=False,
)

attachments = Table(
    "attachments",
    metadata,
    Column("id", Text, primary_key=True),
    Column(
        "email_id", Text, ForeignKey("emails.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("filename", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("content_id", Text),
    Column("size", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

# One line per transition, written in the transition's own transaction; outlives its email.
events = Table(
    "events",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("account", Text, nullable=False),
    Column("email_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("due_at", BigInteger),
    Column("trouble", Text),
    Column("group_id", Text),
    Column("sender", Text),
    Column("release_at", BigInteger),
    Column("undo_until", BigInteger),
    Column("undo_status", Text),
    Column("results", Text),
    Index("ix_events_account_email_id_seq", "account", "email_id", "seq"),
    Index("ix_events_account_seq", "account", "seq"),
    sqlite_autoincrement=True,
)

# The inverted index of tags and words: what a search asks for is read in the order of ids.
terms = Table(
    "terms",
    metadata,
    Column("account", Text, primary_key=True),
    Column("term", Text, primary_key=True),
    Column(
        "email_id", Text, ForeignKey("emails.id", ondelete="CASCADE"), primary_key=True, index=True
    ),
    sqlite_with_rowid=False,
)

# What requests with an Idempotency-Key came to: hashes and ids, no content.
receipts = Table(
    "receipts",
    metadata,
    Column("account", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("at", BigInteger, nullable=False, index=True),
    Column("status", Integer, nullable=False),
    Column("ids", Text, nullable=False),
    sqlite_with_rowid=False,
)

# Whom to tell of events. secrets: JSON. types: each between spaces; NULL means all of them.
webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("types", Text),
    Column("secrets", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("failing_since", BigInteger),
    Column("failed_at", BigInteger),
    Column("rest_until", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    Column("disabled_reason", Text),
    Index("ix_webhooks_account_id", "account", "id"),
    sqlite_with_rowid=False,
)

# One line for each event and endpoint that wants it. No foreign keys: an endpoint's end must not
# wait for the deletion of a million lines, and the event log has its own time to forget.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("webhook_id", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("seq", BigInteger),
    Column("email_id", Text),
    Column("status", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger),
    Column("lease_token", Text),
    Column("attempts", Integer, nullable=False),
    Column("tried_at", BigInteger),
    Column("result", Text),
    Column("code", Integer),
    Column("detail", Text),
    Column("data", Text),
    CheckConstraint("(status = 'pending') = (due_at IS NOT NULL)", name="pending_has_time"),
)
# What is due to one endpoint; what a dead owner had; the pages of lists, and the oldest pending.
Index(
    "ix_webhook_deliveries_due",
    webhook_deliveries.c.webhook_id,
    webhook_deliveries.c.due_at,
    sqlite_where=webhook_deliveries.c.due_at.is_not(None),
    postgresql_where=webhook_deliveries.c.due_at.is_not(None),
)
Index(
    "ix_webhook_deliveries_leased",
    webhook_deliveries.c.lease_token,
    sqlite_where=webhook_deliveries.c.lease_token.is_not(None),
    postgresql_where=webhook_deliveries.c.lease_token.is_not(None),
)
Index(
    "ix_webhook_deliveries_page",
    webhook_deliveries.c.webhook_id,
    webhook_deliveries.c.created_at,
    webhook_deliveries.c.id,
)
Index(
    "ix_webhook_deliveries_status_page",
    webhook_deliveries.c.webhook_id,
    webhook_deliveries.c.status,
    webhook_deliveries.c.created_at,
    webhook_deliveries.c.id,
)

# Endpoints that are gone and whose deliveries are still to be forgotten.
removed_webhooks = Table(
    "removed_webhooks", metadata, Column("id", Text, primary_key=True), sqlite_with_rowid=False
)

# What the service made for itself, such as the key that signs links.
secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

# API keys: digests only. scopes and senders are JSON lists.
keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("senders", Text),
    Column("default_delay_seconds", Integer),
    Column("max_delay_seconds", Integer),
    Column("rate_per_minute", Integer),
    Column("daily_quota", Integer),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Column("last_used_at", BigInteger),
    Column("used_day", Integer, nullable=False),
    Column("used", Integer, nullable=False),
)
