"""What a sender wrote comes back as it was written, whatever characters are in it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.samples import ACCOUNT, CONTENT, NOW, a_change, a_file, a_row, an_email
from undosend.domain.change import Event
from undosend.domain.email import Address, Content, Delivery, Email, Recipient
from undosend.spool.documents import content_of, document
from undosend.spool.port import Rewrite
from undosend.spool.store import SqlSpool

ODD = (
    "",
    "\0",
    "a\0b",
    "\\u0000",
    '"\\"',
    "\u2028\u2029\x85\x0b\x0c",
    "\x7f\x1f\x1b[0m",
    "\ufeff\ufffe\uffff",
    "e\u0301 é \u1e9b\u0323",
    "👩\u200d👩\u200d👧 🏴\u200d☠️ \U0010ffff",
    "\u202everkehrt\u202c \u200f\u061c",
    "null",
    "[]",
    "{}",
    "1e400",
    "' OR 1=1 --",
    "\r\n.\r\n",
    "%s {0} :rows ?",
)
texts = st.one_of(st.sampled_from(ODD), st.text())
pairs = st.lists(st.tuples(texts, texts), max_size=3).map(tuple)
# SQLite's JSON ends at a NUL, and what is found by an index goes through it: of addresses and tags
# the rules take none.
indexed = texts.filter(lambda text: "\0" not in text)
indexed_people = st.lists(st.builds(Address, indexed, texts), max_size=3).map(tuple)
ids = st.lists(texts, max_size=3).map(tuple)
contents = st.builds(
    Content,
    sender=st.none() | st.builds(Address, indexed, texts),
    to=indexed_people,
    cc=indexed_people,
    bcc=indexed_people,
    reply_to=indexed_people,
    subject=texts,
    text=st.none() | texts,
    html=st.none() | texts,
    headers=pairs,
    tags=st.lists(st.tuples(indexed, indexed), max_size=3).map(tuple),
    in_reply_to=ids,
    references=ids,
    raw=st.none() | texts,
    message_id=st.none() | texts,
)
in_a_spool = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@given(contents)
def test_a_document_reads_back_as_the_content_it_was_written_from(content: Content) -> None:
    assert content_of(document(content)) == content


@given(contents)
def test_a_content_has_one_document(content: Content) -> None:
    assert document(content_of(document(content))) == document(content)


def test_an_empty_content_is_an_empty_document() -> None:
    assert document(Content()) == "{}"
    assert content_of("{}") == Content()


@in_a_spool
@given(written=st.lists(contents, min_size=1, max_size=8))
async def test_contents_come_back_from_the_database_as_they_went_in(
    spool: SqlSpool, written: list[Content]
) -> None:
    emails = [Email(a_row(), content) for content in written]
    await asyncio.gather(*(spool.add([(email, ())]) for email in emails))

    read = await asyncio.gather(*(spool.get(ACCOUNT, email.row.id) for email in emails))

    assert read == emails


@in_a_spool
@given(content=contents)
async def test_an_edit_writes_the_same_document_as_an_add(
    spool: SqlSpool, content: Content
) -> None:
    email = Email(a_row(), CONTENT)
    await spool.add([(email, ())])
    await spool.change(a_change(Event.UNDO, email.row))

    await spool.change(a_change(Event.EDIT, email.row), Rewrite(content=content))

    assert (await spool.get(ACCOUNT, email.row.id)).content == content


def stored(database: Path, email: Email) -> tuple[object, ...]:
    with closing(sqlite3.connect(database)) as connection:
        found: tuple[object, ...] = connection.execute(
            "SELECT typeof(document), CAST(document AS BLOB) FROM contents WHERE email_id = ?",
            (email.row.id,),
        ).fetchone()
    return found


@pytest.mark.parametrize("odd", ODD)
async def test_the_document_of_a_sent_email_is_never_touched(
    spool: SqlSpool, database: Path, odd: str
) -> None:
    content = replace(CONTENT, subject=odd, text=odd, html=odd, headers=((odd, odd),))
    file = a_file(odd.encode(), filename=f"{odd}.txt".replace("\0", ""))
    email = replace(an_email(content=content), attachments=(file.attachment,))
    await spool.add([(email, (file,))])
    before = stored(database, email)

    (claimed,) = await spool.claim(at=NOW, until=NOW + 9, token="t", limit=1)
    begun = await spool.change(a_change(Event.BEGIN, claimed.row, lease_until=NOW + 9))
    accepted = tuple(
        replace(person, delivery=Delivery.ACCEPTED, code=250, reply=odd.replace("\0", ""))
        for person in email.recipients
    )
    sent = await spool.change(a_change(Event.ACCEPT, begun), Rewrite(results=accepted))

    assert stored(database, email) == before == ("text", document(content).encode())
    expected = Email(sent, content, email.attachments, accepted)
    assert await spool.get(ACCOUNT, email.row.id) == expected
    assert list(await spool.files(ACCOUNT, email.row.id)) == [file]


@in_a_spool
@given(
    reply=texts.filter(lambda text: "\0" not in text),
    trouble=texts.filter(lambda text: "\0" not in text),
    filename=texts.filter(lambda text: "\0" not in text),
)
async def test_the_words_of_relays_and_filenames_are_kept(
    spool: SqlSpool, reply: str, trouble: str, filename: str
) -> None:
    file = a_file(filename=filename)
    email = Email(
        a_row(trouble=trouble, group_id=filename),
        CONTENT,
        (file.attachment,),
        (Recipient("bob@example.org", Delivery.REJECTED, 550, reply),),
    )

    await spool.add([(email, (file,))])

    assert await spool.get(ACCOUNT, email.row.id) == email
    assert list(await spool.files(ACCOUNT, email.row.id)) == [file]
