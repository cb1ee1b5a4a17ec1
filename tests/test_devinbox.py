"""The development inbox takes mail as a strict server does, and still has it after a crash."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import sys
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from io import FileIO
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from undosend import devinbox
from undosend.devinbox import DevInbox
from undosend.devmail import Entry
from undosend.domain.clock import ManualClock, rfc3339

PATIENCE = 10.0
HELLO = b"EHLO client.test\r\nMAIL FROM:<ann@a.test>\r\nRCPT TO:<bob@b.test>\r\nDATA\r\n"

CRASHING = """
import asyncio, pathlib, sys
from undosend.devinbox import DevInbox
from undosend.domain.clock import SystemClock

async def main():
    inbox = DevInbox(pathlib.Path(sys.argv[1]), SystemClock())
    print(await inbox.start(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[DevInbox]:
    inbox = DevInbox(tmp_path / "inbox.jsonl", ManualClock())
    yield inbox
    await inbox.stop()


@pytest.fixture
async def port(inbox: DevInbox) -> int:
    return await inbox.start()


async def send(port: int, raw: bytes, rcpt_to: list[str] | None = None) -> Any:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, timeout=PATIENCE) as client:
        return await client.sendmail("ann@a.test", rcpt_to or ["bob@b.test"], raw)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        yield reader, writer
        writer.close()
        await writer.wait_closed()


async def talk(port: int, octets: bytes) -> list[int]:
    """Send everything at once, then QUIT; return the code of each reply."""
    async with connected(port) as (reader, writer):
        writer.write(octets + b"QUIT\r\n")
        lines = (await reader.read()).decode().splitlines()
    return [int(line[:3]) for line in lines if line[3:4] == " "]


def entry(raw: bytes) -> Entry:
    return Entry("in_1", 0, "ann@a.test", ("bob@b.test",), raw)


async def test_mail_is_kept_with_envelope_and_octets(inbox: DevInbox, port: int) -> None:
    raw = b"Subject: hi\r\n\r\n.dot\r\n..\r\n \r\n"

    errors, reply = await send(port, raw, ["bob@b.test", "eve@e.test"])

    [kept] = inbox.entries()
    assert errors == {}
    assert kept.id in reply
    assert kept.received_at == ManualClock().now()
    assert kept.mail_from == "ann@a.test"
    assert kept.rcpt_to == ("bob@b.test", "eve@e.test")
    assert kept.raw == raw


async def test_extensions_are_announced(port: int) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port) as client:
        await client.ehlo()

        assert client.supports_extension("pipelining")
        assert client.supports_extension("8bitmime")
        assert client.esmtp_extensions["size"] == str(devinbox.SIZE_LIMIT)


async def test_one_connection_carries_many_mails_newest_last(inbox: DevInbox, port: int) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port) as client:
        for number in range(3):
            await client.sendmail("a@a.test", ["b@b.test"], b"Subject: %d\r\n\r\n" % number)

    assert [kept.view()["subject"] for kept in inbox.entries()] == ["0", "1", "2"]


async def test_pipelined_commands_and_mails_are_answered_in_order(
    inbox: DevInbox, port: int
) -> None:
    mail = HELLO + b"one\r\n.\r\n" + HELLO.partition(b"\r\n")[2] + b"two\r\n.\r\nNOOP\r\n"

    replies = await talk(port, mail)

    assert replies == [220, 250, 250, 250, 354, 250, 250, 250, 354, 250, 250, 221]
    assert [kept.raw for kept in inbox.entries()] == [b"one\r\n", b"two\r\n"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.x\r\n.\r\n", b".\r\nx\r\n"),
        (b"a\n.\nb\r.\rc\r\n.\nd\n.\r\ne\r\n.\r\n", b"a\n.\nb\r.\rc\r\n\nd\n.\r\ne\r\n"),
        (b"\xff\x00\r\n.\r\n", b"\xff\x00\r\n"),
    ],
)
async def test_only_crlf_dot_crlf_ends_a_mail(
    inbox: DevInbox, port: int, sent: bytes, kept: bytes
) -> None:
    await talk(port, HELLO + sent)

    assert [entry.raw for entry in inbox.entries()] == [kept]


async def test_terminator_cut_anywhere_is_found(inbox: DevInbox, port: int) -> None:
    async with connected(port) as (reader, writer):
        for octet in HELLO + b"x\r\n.\r\nQUIT\r\n":
            writer.write(bytes([octet]))
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    assert [entry.raw for entry in inbox.entries()] == [b"x\r\n"]


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        (b"MAIL FROM:<a@a.test>\r\n", [503]),
        (b"EHLO x\r\nRCPT TO:<b@b.test>\r\n", [250, 503]),
        (b"EHLO x\r\nDATA\r\n", [250, 503]),
        (b"EHLO x\r\nMAIL FROM:<>\r\nDATA\r\n", [250, 250, 503]),
        (b"EHLO x\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\n", [250, 250, 503]),
        (b"EHLO x\r\nMAIL FROM:<>\r\nRSET\r\nRCPT TO:<b@b.test>\r\n", [250, 250, 250, 503]),
        (b"helo x\r\nmail from:<a@a.test> body=8bitmime SIZE=9\r\n", [250, 250]),
        (b"HELO x\r\nMAIL FROM:<a@a.test> SIZE=99999999\r\n", [250, 552]),
        (b"HELO x\r\nMAIL FROM:<a@a.test> SMTPUTF8\r\n", [250, 555]),
        (b"HELO x\r\nMAIL FROM:a@a.test\r\n", [250, 501]),
        (b"HELO x\r\nMAIL FROM:<\xc3\xa4@a.test>\r\n", [250, 501]),
        (b'HELO x\r\nMAIL FROM:<"a> SIZE=1"@a.test>\r\n', [250, 250]),
        (b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<>\r\n", [250, 250, 501]),
        (b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@b.test> NOTIFY=NEVER\r\n", [250, 250, 555]),
        (b"VRFY bob\r\nNOOP\r\nSTARTTLS\r\n\r\n", [252, 250, 500, 500]),
        (b"NOOP\nNOOP\r\n", [500]),
        (b"NOOP " + b"x" * 5000 + b"\r\nNOOP\r\n", [500, 250]),
        (b"x" * 1_000_000 + b"\r\nNOOP\r\n", [500, 250]),
    ],
)
async def test_commands_are_answered_as_rfc_5321_asks(
    port: int, commands: bytes, expected: list[int]
) -> None:
    assert await talk(port, commands) == [220, *expected, 221]


async def test_recipients_are_bounded(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devinbox, "_RCPT_LIMIT", 1)

    replies = await talk(port, HELLO.replace(b"DATA", b"RCPT TO:<c@c.test>"))

    assert replies == [220, 250, 250, 250, 452, 221]


@pytest.mark.parametrize("size", [101, 1_000_000])
async def test_too_large_a_mail_is_refused_and_the_connection_lives(
    inbox: DevInbox, port: int, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(devinbox, "SIZE_LIMIT", 100)
    small, large = b"s" * 98 + b"\r\n.\r\n", b"l" * size + b"\r\n.\r\n"

    replies = await talk(port, HELLO + large + HELLO + small)

    assert replies == [220, 250, 250, 250, 354, 552, 250, 250, 250, 354, 250, 221]
    assert [len(entry.raw) for entry in inbox.entries()] == [100]


async def test_large_mail_is_kept_whole_and_nothing_of_it_in_memory(
    inbox: DevInbox, port: int
) -> None:
    raw = (b'."\\\xff' * 249 + b"\r\n") * 5000
    tracemalloc.start()
    try:
        await send(port, raw)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert kept < len(raw) / 5
    [entry] = inbox.entries()
    assert entry.raw == raw


async def test_newest_are_read_when_asked_for_and_what_was_dropped_is_left_out(
    inbox: DevInbox, port: int
) -> None:
    for raw in (b"one\r\n", b"two\r\n", b"six\r\n"):
        await send(port, raw)
    asked, more = inbox.entries(2), inbox.entries()
    first = next(asked)

    inbox.clear()

    assert [first.raw, *(entry.raw for entry in asked)] == [b"two\r\n", b"six\r\n"]
    assert list(more) == []
    assert inbox.kept == 0
    await send(port, b"new\r\n")
    assert [entry.raw for entry in inbox.entries()] == [b"new\r\n"]


async def test_stop_ends_open_connections(inbox: DevInbox, port: int) -> None:
    async with connected(port) as (reader, _):
        await reader.readline()

        await inbox.stop()

        assert await reader.read() == b""
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_line_lost_in_the_middle_of_a_mail_keeps_nothing(inbox: DevInbox, port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(HELLO + b"half\r\n")
        await reader.readuntil(b"354")
    await inbox.stop()

    assert list(inbox.entries()) == []


async def test_acknowledged_mail_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "inbox.jsonl"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CRASHING, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    port = int(await asyncio.wait_for(process.stdout.readline(), PATIENCE))

    await send(port, b"Subject: kept\r\n\r\n\xff\r\n")
    process.send_signal(signal.SIGKILL)
    await process.communicate()

    inbox = DevInbox(path, ManualClock())
    await inbox.start()
    await inbox.stop()
    assert [kept.raw for kept in inbox.entries()] == [b"Subject: kept\r\n\r\n\xff\r\n"]


async def test_torn_last_line_is_skipped_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "inbox.jsonl"
    inbox = DevInbox(path, ManualClock())
    await send(await inbox.start(), b"one\r\n")
    await inbox.stop()
    whole = path.read_bytes()

    for cut in (whole[:-1], whole[: len(whole) // 2], b'{"id": 1}\n', b"\xff\n", b"7\n"):
        path.write_bytes(whole + cut)
        await send(await inbox.start(), b"two\r\n")
        await inbox.stop()

        assert [kept.raw for kept in inbox.entries()] == [b"one\r\n", b"two\r\n"]
        assert path.read_bytes().startswith(whole)
        assert path.read_bytes().count(b"\n") == 2


async def test_file_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    inbox = DevInbox(tmp_path / "inbox.jsonl", ManualClock())
    await inbox.start()
    await inbox.stop()

    assert stat.S_IMODE((tmp_path / "inbox.jsonl").stat().st_mode) == 0o600


@pytest.mark.parametrize(("limit", "value"), [("KEPT_ENTRIES", 2), ("KEPT_OCTETS", 11)])
async def test_only_the_newest_are_kept_and_the_file_is_compacted_at_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(devinbox, limit, value)
    path = tmp_path / "inbox.jsonl"
    inbox = DevInbox(path, ManualClock())
    port = await inbox.start()
    for raw in (b"one\r\n", b"two\r\n", b"six\r\n"):
        await send(port, raw)
    await inbox.stop()
    written = path.read_bytes().splitlines(keepends=True)

    await inbox.start()
    await inbox.stop()

    assert [kept.raw for kept in inbox.entries()] == [b"two\r\n", b"six\r\n"]
    assert path.read_bytes() == b"".join(written[1:])
    assert not path.with_name("inbox.jsonl.new").exists()


async def test_cleared_mail_does_not_come_back(tmp_path: Path) -> None:
    inbox = DevInbox(tmp_path / "inbox.jsonl", ManualClock())
    port = await inbox.start()
    await send(port, b"old\r\n")

    inbox.clear()
    await send(port, b"new\r\n")
    await inbox.stop()
    await inbox.start()
    await inbox.stop()

    assert [kept.raw for kept in inbox.entries()] == [b"new\r\n"]


class HalfFull(FileIO):
    """A file on a disk that is full after ten more octets."""

    def write(self, octets: Any, /) -> int:
        return super().write(octets[:10])


async def test_full_disk_refuses_the_mail_for_now(tmp_path: Path) -> None:
    path = tmp_path / "inbox.jsonl"
    inbox = DevInbox(path, ManualClock())
    port = await inbox.start()
    await send(port, b"one\r\n")
    whole = path.read_bytes()
    assert inbox._file is not None
    inbox._file.close()

    for file in (HalfFull(path, "ab"), FileIO("/dev/full", "wb")):
        inbox._file = file
        with pytest.raises(aiosmtplib.SMTPDataError) as refusal:
            await send(port, b"two\r\n")
        file.close()
        assert refusal.value.code == 452
    await inbox.stop()

    assert path.read_bytes() == whole
    assert [kept.raw for kept in inbox.entries()] == [b"one\r\n"]


def test_view_shows_what_people_want_to_see() -> None:
    message = EmailMessage()
    message["From"] = "Änn <ann@a.test>"
    message["To"] = "Bob <bob@b.test>, eve@e.test"
    message["Subject"] = "Grüße"
    message.set_content("Hällo\n")
    message.add_alternative("<p>Hällo <img src='cid:1'></p>\n", subtype="html")
    page = message.get_payload(1)
    assert isinstance(page, EmailMessage)
    page.add_related(b"PNG", "image", "png", cid="<1>", filename="dot.png")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="ä.pdf")
    inner = EmailMessage()
    inner["Subject"] = "inner"
    inner.set_content("inner text\n")
    message.add_attachment(inner)

    view = entry(message.as_bytes()).view()

    assert view["received_at"] == rfc3339(0)
    assert view["envelope"] == {"mail_from": "ann@a.test", "rcpt_to": ["bob@b.test"]}
    assert view["headers"][2] == {"name": "Subject", "value": "Grüße"}
    assert view["from"] == "Änn <ann@a.test>"
    assert view["to"] == "Bob <bob@b.test>, eve@e.test"
    assert view["subject"] == "Grüße"
    assert view["text"] == "Hällo"
    assert view["html"].startswith("<p>Hällo")
    assert view["attachments"] == [
        {"filename": "dot.png", "content_type": "image/png", "size": 3},
        {"filename": "ä.pdf", "content_type": "application/pdf", "size": 4},
        {"filename": None, "content_type": "message/rfc822", "size": len(inner.as_bytes())},
    ]
    assert view["size"] == len(message.as_bytes())
    assert view["raw"] == message.as_bytes().decode()


ODD = [
    b"",
    b"no header at all",
    b"Subject: \xff\xfe\r\nFrom: \xc3\xa4\r\n\r\n\xff",
    b"Subject: =?utf-8?b?!!!?= =?x-none?q?=E4?=\r\n\r\n",
    b"To: <a@[b\r\nContent-Type: text/plain; charset=x-none\r\n\r\n\xe4",
    b"Content-Type: text/plain; charset=utf-7\r\n\r\n+2AA-",
    b"Content-Type: text/plain; charset=hex\r\n\r\n00",
    b"Content-Type: multipart/mixed\r\n\r\nnothing",
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" * 300,
    b"Content-Type: message/rfc822\r\n\r\n" * 300,
    b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n????",
    b"Content-Disposition: attachment; filename*=x'y'%ff; filename*0*=utf-8''%ed%a0%80\r\n\r\n",
    b"From: a: b;, <>;\r\nMIME-Version: \r\nDate: yesterday\r\nMessage-ID: <\r\n\r\n",
    b"X: " + b"(" * 2000 + b"\r\nTo: " + b"(" * 2000 + b"\r\n\r\n",
    b"To: " + b"a@a.test, " * 20_000 + b"\r\n\r\n",
]


@pytest.mark.parametrize("raw", ODD, ids=range(len(ODD)))
def test_odd_mail_is_shown_all_the_same(raw: bytes) -> None:
    view = entry(raw).view()

    assert view["size"] == len(raw)
    assert json.dumps(view, ensure_ascii=False).encode()


def test_what_cannot_be_decoded_is_shown_raw() -> None:
    view = entry(b"Content-Type: text/plain; charset=hex\r\n\r\n\xe4").view()

    assert view["text"] == view["raw"][-4:] == "\\xe4"


WORDS = (
    b"Content-Type Content-Disposition Content-Transfer-Encoding From To Date Subject Message-ID "
    b"MIME-Version text/plain multipart/mixed message/rfc822 base64 boundary charset filename*0* "
    b"filename utf-8'' =?utf-8?q? ?= ; = \" \\ < > @ ( , [ -- a.test %ff \xe4 \0 1".split()
)
GLUE = [b": ", b"\r\n", b"\r\n\r\n", b"\n ", b""]


@given(st.lists(st.sampled_from(WORDS + GLUE) | st.binary(max_size=3), max_size=40).map(b"".join))
def test_no_mail_at_all_makes_the_view_fail(raw: bytes) -> None:
    assert json.dumps(entry(raw).view(), ensure_ascii=False).encode()
