"""The relay double does what its script says, and its ledger is the truth."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiosmtplib
import pytest

from tests import relay_double
from tests.certificates import Authority, self_signed
from tests.relay_double import (
    CLOSE,
    DROP,
    FLOOD,
    PATIENCE,
    STALL,
    Accepted,
    RelayDouble,
    Script,
    Steps,
    lenient,
)

RAW = b"Subject: hi\r\nMessage-ID: <1@a.test>\r\n\r\n.dot\r\n"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@asynccontextmanager
async def client(
    relay: RelayDouble,
    *,
    start_tls: bool | None = None,
    use_tls: bool = False,
    trust: ssl.SSLContext | None = None,
    host: str = "localhost",
) -> AsyncIterator[aiosmtplib.SMTP]:
    smtp = aiosmtplib.SMTP(
        hostname=host,
        port=relay.port,
        timeout=PATIENCE,
        start_tls=start_tls,
        use_tls=use_tls,
        tls_context=trust,
    )
    try:
        await smtp.connect()
        yield smtp
    finally:
        smtp.close()


async def send(relay: RelayDouble, *rcpt_to: str, raw: bytes = RAW) -> list[str]:
    """Return who was refused while others were not."""
    async with client(relay) as smtp:
        errors, _ = await smtp.sendmail("ann@a.test", list(rcpt_to) or ["bob@b.test"], raw)
        return list(errors)


async def test_mail_stands_in_the_ledger_as_it_came() -> None:
    began = time.time_ns() // 1000
    async with RelayDouble() as relay:
        await send(relay, "bob@b.test", "eve@e.test")

        [mail] = relay.ledger
        assert began <= mail.at <= time.time_ns() // 1000
        assert mail.mail_from == "ann@a.test"
        assert mail.rcpt_to == ("bob@b.test", "eve@e.test")
        assert mail.raw == RAW
        assert mail.wire == RAW.replace(b".dot", b"..dot")
        assert mail.message_id == "<1@a.test>"
        assert mail.sha256 == hashlib.sha256(RAW).hexdigest()
        assert [line.split(" ")[0] for line in relay.commands[0]] == [
            *("EHLO", "MAIL", "RCPT", "RCPT", "DATA")
        ]


async def test_ledger_is_written_before_the_reply() -> None:
    async with RelayDouble(Script(accepted=STALL)) as relay, asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(send(relay))
        await relay.seen("stalled")

        assert len(relay.ledger) == 1
        assert not sending.done()
        relay.release()


async def test_recipients_are_answered_each_by_its_own_script() -> None:
    script = Script(
        rcpt={
            "bob@b.test": "550 5.1.1 no such user",
            "eve@e.test": ["451 4.2.0 later", None],
            "*": "452 4.2.2 full",
        }
    )
    async with RelayDouble(script) as relay:
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
            await send(relay, "bob@b.test", "eve@e.test", "joe@j.test")
        refused_now = await send(relay, "bob@b.test", "eve@e.test")

        assert [error.code for error in refused.value.recipients] == [550, 451, 452]
        assert refused_now == ["bob@b.test"]
        assert [mail.rcpt_to for mail in relay.ledger] == [("eve@e.test",)]


async def test_each_connection_has_its_script_and_the_last_repeats() -> None:
    async with RelayDouble([Script(mail="451 4.3.0 later"), Script()]) as relay:
        with pytest.raises(aiosmtplib.SMTPSenderRefused):
            await send(relay)
        await send(relay)
        await send(relay)

        assert [mail.connection for mail in relay.ledger] == [1, 2]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (Script(banner="421 4.3.2 not now"), aiosmtplib.SMTPConnectResponseError),
        (Script(banner="what?"), aiosmtplib.SMTPException),
        (Script(ehlo="550 5.7.1 go away"), None),
        (Script(mail="550 5.7.1 not you"), aiosmtplib.SMTPSenderRefused),
        (Script(data="451 4.3.0 later"), aiosmtplib.SMTPDataError),
        (Script(body="421 4.3.2 enough"), aiosmtplib.SMTPException),
        (Script(dot="554 5.6.0 spam"), aiosmtplib.SMTPDataError),
        (Script(dot="\xff what?"), aiosmtplib.SMTPException),
    ],
)
async def test_reply_is_said_and_nothing_accepted(
    script: Script, error: type[Exception] | None
) -> None:
    async with RelayDouble(script) as relay:
        if error is None:
            await send(relay)  # HELO serves too
        else:
            with pytest.raises(error):
                await send(relay)

        assert len(relay.ledger) == (error is None)


@pytest.mark.parametrize("action", [DROP, CLOSE])
@pytest.mark.parametrize(
    "point", ["banner", "ehlo", "mail", "rcpt", "data", "body", "dot", "accepted"]
)
async def test_line_breaks_at_any_point(point: str, action: Steps) -> None:
    script = Script(rcpt={"*": action}) if point == "rcpt" else Script(**{point: action})  # type: ignore[arg-type] # by name
    async with RelayDouble(script) as relay:
        with pytest.raises((aiosmtplib.SMTPException, OSError)):
            await send(relay)

        await relay.seen("closed")
        assert len(relay.ledger) == (point == "accepted")
        assert relay.connections.current == 0


@pytest.mark.parametrize(("action", "resets"), [(DROP, True), (CLOSE, False)])
async def test_drop_is_a_reset_and_close_is_not(action: Steps, *, resets: bool) -> None:
    async with RelayDouble(Script(mail=action)) as relay, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        await reader.readline()
        writer.write(b"MAIL FROM:<>\r\n")

        if resets:
            with pytest.raises(ConnectionResetError):
                await reader.read()
        else:
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("point", ["banner", "mail", "data", "body", "dot"])
async def test_stalled_relay_goes_on_when_released(point: str) -> None:
    async with RelayDouble(Script(**{point: STALL})) as relay, asyncio.TaskGroup() as tasks:  # type: ignore[arg-type] # by name
        tasks.create_task(send(relay))
        await relay.seen("stalled")
        assert relay.ledger == []

        relay.release()

        await relay.accepted(1)


async def test_stalled_relay_accepts_though_the_client_has_gone() -> None:
    async with RelayDouble(Script(dot=STALL)) as relay:
        async with client(relay) as smtp, asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(smtp.sendmail("a@a.test", ["b@b.test"], RAW))
            await relay.seen("stalled")
            sending.cancel()

        relay.release()

        await relay.accepted(1)


async def test_relay_says_421_between_mails() -> None:
    async with RelayDouble([Script(between="421 4.3.2 going down"), Script()]) as relay:
        async with client(relay) as smtp:
            await smtp.sendmail("a@a.test", ["b@b.test"], RAW)
            await relay.seen("closed")
            with pytest.raises((aiosmtplib.SMTPException, OSError)):
                await smtp.sendmail("a@a.test", ["b@b.test"], RAW)
        await send(relay)

        assert [mail.connection for mail in relay.ledger] == [0, 1]


async def test_endless_reply_never_ends() -> None:
    async with RelayDouble(Script(mail=FLOOD)) as relay, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        await reader.readline()
        writer.write(b"MAIL FROM:<>\r\n")

        for _ in range(1000):
            assert await reader.readline() == b"250-and\r\n"
        writer.close()
        await relay.seen("closed")


async def test_starttls_hides_what_follows(authority: Authority) -> None:
    tls = authority.issue("localhost").server_context()
    async with RelayDouble(Script(tls=tls, auth="235 2.7.0 ok")) as relay:
        async with client(relay, start_tls=True, trust=authority.client_context()) as smtp:
            await smtp.login("ann", "secret")
            await smtp.sendmail("a@a.test", ["b@b.test"], RAW)

        [line] = relay.auth_lines
        assert line.tls
        assert base64.b64decode(line.line.split()[-1]) == b"\0ann\0secret"
        assert (0, "tls") in relay.events
        assert len(relay.ledger) == 1


async def test_implicit_tls_serves(authority: Authority) -> None:
    tls = authority.issue("localhost").server_context()
    async with RelayDouble(implicit_tls=tls) as relay:
        async with client(relay, use_tls=True, trust=authority.client_context()) as smtp:
            await smtp.sendmail("a@a.test", ["b@b.test"], RAW)

        assert len(relay.ledger) == 1


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("fault", ["wrong name", "expired", "self-signed", "unknown authority"])
async def test_wrong_certificate_is_refused(
    authority: Authority, fault: str, *, implicit: bool
) -> None:
    certificate = {
        "wrong name": lambda: authority.issue("other.test", "127.0.0.2"),
        "expired": lambda: authority.issue("localhost", expired=True),
        "self-signed": lambda: self_signed("localhost"),
        "unknown authority": lambda: Authority().issue("localhost"),
    }[fault]()
    tls = certificate.server_context()
    trust = authority.client_context()
    script = Script(tls=None if implicit else tls)

    async with RelayDouble(script, implicit_tls=tls if implicit else None) as relay:
        with pytest.raises((aiosmtplib.SMTPException, ssl.SSLError)) as refused:
            async with client(relay, start_tls=not implicit, use_tls=implicit, trust=trust):
                pass

        assert "certificate verify failed" in str(refused.value)
        assert (0, "tls") not in relay.events


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (Script(starttls_hidden=True), aiosmtplib.SMTPException),
        (Script(starttls="454 4.7.0 not now"), aiosmtplib.SMTPResponseException),
        (Script(handshake="this is no TLS"), (aiosmtplib.SMTPException, OSError)),
        (Script(handshake=DROP), (aiosmtplib.SMTPException, OSError)),
        (Script(handshake=CLOSE), (aiosmtplib.SMTPException, OSError)),
    ],
)
async def test_broken_starttls_is_refused(
    authority: Authority, script: Script, error: type[Exception]
) -> None:
    tls = authority.issue("localhost").server_context()
    async with RelayDouble(replace(script, tls=tls)) as relay:
        with pytest.raises(error):
            async with client(relay, start_tls=True, trust=authority.client_context()):
                pass

        assert "MAIL" not in [fact for _, fact in relay.events]


async def test_injected_reply_reaches_the_client_in_clear(authority: Authority) -> None:
    tls = authority.issue("localhost").server_context()
    async with RelayDouble(Script(tls=tls, injected=b"250 EVIL\r\n")) as relay:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(b"STARTTLS\r\n")
            assert await reader.readuntil(b"EVIL\r\n")
            writer.close()
        async with client(relay, start_tls=True, trust=authority.client_context()) as smtp:
            await relay.seen("tls")
            await smtp.ehlo()
            assert not smtp.supports_extension("evil")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_refused_credentials_are_recorded(mechanism: str) -> None:
    script = Script(auth="535 5.7.8 wrong", auth_mechanisms=mechanism)
    async with RelayDouble(script) as relay:
        async with client(relay) as smtp:
            with pytest.raises(aiosmtplib.SMTPAuthenticationError):
                await smtp.login("ann", "secret")

        words = [word for line in relay.auth_lines for word in line.line.split()[-1:]]
        assert b"secret" in b"".join(map(base64.b64decode, words))
        assert not any(line.tls for line in relay.auth_lines)


async def test_leaving_the_relay_ends_what_is_stalled() -> None:
    async with RelayDouble(Script(mail=STALL)) as relay:
        sending = asyncio.ensure_future(send(relay))
        await relay.seen("stalled")

    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await sending
    assert relay.connections.current == 0


async def test_large_mail_comes_whole() -> None:
    raw = b"x" * 998 + b"\r\n"
    async with RelayDouble() as relay:
        await send(relay, raw=raw * 2000)

        assert relay.ledger[0].raw == raw * 2000


async def test_connections_are_counted() -> None:
    async with RelayDouble() as relay:
        async with client(relay), client(relay):
            assert relay.connections.current == 2
        await relay.until(lambda: relay.connections.current == 0)
        await send(relay)

        assert (relay.connections.peak, relay.connections.total) == (2, 3)


async def test_out_of_step_client_is_told() -> None:
    async with RelayDouble() as relay, client(relay) as smtp:
        for command in (b"RCPT TO:<b@b.test>", b"DATA"):
            assert (await smtp.execute_command(command)).code == 503
        await smtp.mail("a@a.test")

        assert (await smtp.execute_command(b"MAIL FROM:<a@a.test>")).code == 503
        assert (await smtp.execute_command(b"DATA")).code == 503
        assert (await smtp.execute_command(b"STARTTLS")).code == 500
        assert (await smtp.noop()).code == 250
        assert (await smtp.quit()).code == 221


@pytest.mark.parametrize("end", [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\r\n.\r\r\n"])
async def test_lenient_parser_sees_the_smuggled_mail_that_the_strict_one_does_not(
    end: bytes,
) -> None:
    smuggled = b"MAIL FROM:<eve@e.test>\r\nRCPT TO:<joe@j.test>\r\nDATA\r\nevil"
    body = b"good" + end + smuggled + b"\r\n.\r\n"
    async with RelayDouble() as relay, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"EHLO x\r\nMAIL FROM:<ann@a.test>\r\nRCPT TO:<bob@b.test>\r\nDATA\r\n")
        await reader.readuntil(b"354")
        writer.write(body)
        await relay.accepted(1)
        writer.close()

        assert len(relay.ledger) == 1
        first, second = relay.messages_lenient()
        assert (first.mail_from, first.lines[0]) == ("ann@a.test", b"good")
        assert (second.mail_from, second.rcpt_to) == ("eve@e.test", ("joe@j.test",))
        assert second.lines == (b"evil",)


def test_both_parsers_agree_on_clean_mail() -> None:
    [seen] = lenient(Accepted(0, 0, "a@a.test", ("b@b.test",), b"..x\r\n\r\ny\r\n"))

    assert seen.lines == (b".x", b"", b"y")


async def test_fact_that_does_not_come_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_double, "PATIENCE", 0)
    async with RelayDouble() as relay:
        with pytest.raises(AssertionError, match="did not come"):
            await relay.seen("DATA")
        with pytest.raises(AssertionError, match="nothing is stalled"):
            relay.release()
