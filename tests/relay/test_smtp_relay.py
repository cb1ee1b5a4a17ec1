"""What a relay does, or fails to do, becomes the right value, and no line is used out of step."""

from __future__ import annotations

import asyncio
import base64
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.certificates import Authority, Certificate, self_signed
from tests.relay_double import (
    CLOSE,
    DROP,
    FLOOD,
    PATIENCE,
    STALL,
    Action,
    RelayDouble,
    Script,
    Step,
)
from undosend.domain import octets
from undosend.domain.clock import SECOND, ManualClock
from undosend.domain.octets import Base64, Message
from undosend.domain.retry import Reply
from undosend.relay import data
from undosend.relay.port import Lost, Offered, Unreached
from undosend.relay.smtp import Patience, SmtpDialogue, SmtpRelay
from undosend.relay.url import RelayAddress

ANN, BOB, EVE, JOE = "ann@a.test", "bob@b.test", "eve@e.test", "joe@j.test"
USER, PASSWORD = "postmaster-login", "s3cr3t-w0rd"
RAW = b"Subject: hi\r\nMessage-ID: <1@a.test>\r\n\r\nhello\r\n"
OTHER = b"Subject: other\r\n\r\nbye\r\n"

WELL = Script()

SHORT = Patience(command=0.25, data=0.25)
"""For dialogues in which the relay says nothing more at some point."""


@dataclass(frozen=True)
class Outcome:
    """What a dialogue came to."""

    offered: Offered | Unreached
    last: Reply | Lost | Unreached | None = None

    @property
    def by_recipient(self) -> dict[str, int | type]:
        """Return for each recipient the code that decides, or the kind of trouble."""
        assert isinstance(self.offered, Offered)
        refused = {address: reply.code for address, reply in self.offered.refused.items()}
        last = self.last.code if isinstance(self.last, Reply) else type(self.last)
        return {**dict.fromkeys(self.offered.taken, last), **refused}

    @property
    def reason(self) -> str:
        """Return why it was not reached or lost; no secret and no address may stand there."""
        trouble = self.last or self.offered
        assert isinstance(trouble, Unreached | Lost)
        for secret in (USER, PASSWORD, ANN, BOB, EVE, "@"):
            assert secret not in trouble.reason
        return trouble.reason


async def talk(dialogue: SmtpDialogue, rcpt_to: Sequence[str], raw: bytes) -> Outcome:
    async with asyncio.timeout(PATIENCE):
        message = Message([raw])
        offered = await dialogue.offer(ANN, rcpt_to, message)
        if isinstance(offered, Unreached) or not offered.taken:
            return Outcome(offered)
        return Outcome(offered, await dialogue.transmit(message))


async def send(relay: SmtpRelay, *rcpt_to: str, raw: bytes = RAW) -> Outcome:
    async with relay.dialogue() as dialogue:
        return await talk(dialogue, rcpt_to or (BOB,), raw)


def address_of(double: RelayDouble, **how: Any) -> RelayAddress:
    how = {"implicit_tls": False, "start_tls": False, **how}
    return RelayAddress("127.0.0.1", double.port, **how)


@asynccontextmanager
async def relay_to(
    double: RelayDouble, *, clock: ManualClock | None = None, **options: Any
) -> AsyncIterator[SmtpRelay]:
    how = {name: options.pop(name) for name in tuple(options) if name in RelayAddress.__slots__}
    options.setdefault("patience", Patience(PATIENCE, PATIENCE))
    relay = SmtpRelay(address_of(double, **how), clock=clock or ManualClock(), **options)
    try:
        yield relay
    finally:
        await relay.close()


@cache
def trust() -> Authority:
    return Authority()


@asynccontextmanager
async def ends(
    script: Script | Sequence[Script] = WELL, **options: Any
) -> AsyncIterator[tuple[RelayDouble, SmtpRelay]]:
    """Give both ends of the line; where there is a login and nothing else is said, in TLS."""
    if "username" in options and not {"start_tls", "implicit_tls"} & options.keys():
        options |= {"start_tls": True, "tls": trust().client_context()}
        tls = trust().issue("127.0.0.1").server_context()
        scripts = [script] if isinstance(script, Script) else script
        script = [replace(one, tls=tls) for one in scripts]
    async with AsyncExitStack() as stack:
        double = await stack.enter_async_context(RelayDouble(script))
        yield double, await stack.enter_async_context(relay_to(double, **options))


def scripted(point: str, step: Step) -> Script:
    """Return a script that does this at the point the first time, and nothing strange later."""
    if point.startswith("rcpt "):
        return Script(rcpt={point.removeprefix("rcpt "): [step, None]})
    return Script(**{point: [step, getattr(Script, point)]})  # type: ignore[arg-type] # by name


def verbs(double: RelayDouble, connection: int = 0) -> list[str]:
    return [line.partition(" ")[0] for line in double.commands[connection]]


async def assert_usable(double: RelayDouble, relay: SmtpRelay, connection: int) -> None:
    """Send another mail; it goes out as it should, over the connection of that number."""
    before = len(double.ledger)

    outcome = await send(relay, JOE, raw=OTHER)

    assert outcome.by_recipient == {JOE: 250}
    [mail] = double.ledger[before:]
    assert (mail.connection, mail.rcpt_to, mail.raw) == (connection, (JOE,), OTHER)


# What the relay answers.


async def test_mail_arrives_with_its_envelope_and_the_reply_is_told() -> None:
    async with ends() as (double, relay):
        outcome = await send(relay, BOB, EVE)

        assert outcome.by_recipient == {BOB: 250, EVE: 250}
        assert outcome.last == Reply(250, "2.0.0 queued")
        [mail] = double.ledger
        assert (mail.mail_from, mail.rcpt_to, mail.raw) == (ANN, (BOB, EVE), RAW)


@pytest.mark.parametrize(
    ("script", "by_recipient", "accepted"),
    [
        (scripted("mail", "451 4.3.0 later"), {BOB: 451, EVE: 451}, ()),
        (scripted("mail", "550 5.7.1 not you"), {BOB: 550, EVE: 550}, ()),
        (scripted("mail", "552 5.3.4 too big"), {BOB: 552, EVE: 552}, ()),
        (scripted(f"rcpt {BOB}", "450 4.2.1 grey"), {BOB: 450, EVE: 250}, (EVE,)),
        (scripted(f"rcpt {EVE}", "550 5.1.1 no such"), {BOB: 250, EVE: 550}, (BOB,)),
        (scripted(f"rcpt {EVE}", "251 2.1.5 forwarded"), {BOB: 250, EVE: 250}, (BOB, EVE)),
        (
            Script(rcpt={BOB: ["452 4.5.3 many", None], EVE: ["550 5.1.1 no such", None]}),
            {BOB: 452, EVE: 550},
            (),
        ),
        (scripted("data", "451 4.3.0 later"), {BOB: 451, EVE: 451}, ()),
        (scripted("data", "554 5.5.1 no"), {BOB: 554, EVE: 554}, ()),
        (scripted("dot", "452 4.3.1 full"), {BOB: 452, EVE: 452}, ()),
        (scripted("dot", "554 5.6.0 spam"), {BOB: 554, EVE: 554}, ()),
        (scripted("dot", "550-5.7.1 long\r\n550 5.7.1 story"), {BOB: 550, EVE: 550}, ()),
    ],
)
async def test_refusal_is_told_by_recipient_and_the_line_serves_on(
    script: Script, by_recipient: dict[str, int], accepted: tuple[str, ...]
) -> None:
    async with ends(script) as (double, relay):
        outcome = await send(relay, BOB, EVE)

        assert outcome.by_recipient == by_recipient
        assert [mail.rcpt_to for mail in double.ledger] == ([accepted] if accepted else [])
        assert not relay.breaker_open
        await assert_usable(double, relay, connection=0)


@pytest.mark.parametrize(
    "codes", [("450", "550", None), ("550", None, "450"), (None, "450", "550")]
)
async def test_mixed_recipients_are_each_told_their_own(codes: tuple[str | None, ...]) -> None:
    steps = {who: code and f"{code} x" for who, code in zip((BOB, EVE, JOE), codes, strict=True)}
    async with ends(Script(rcpt=dict(steps))) as (double, relay):
        outcome = await send(relay, BOB, EVE, JOE)

        assert outcome.by_recipient == {
            who: int(code or 250) for who, code in zip((BOB, EVE, JOE), codes, strict=True)
        }
        [mail] = double.ledger
        assert mail.rcpt_to == tuple(who for who, step in steps.items() if step is None)


async def test_refused_dot_for_some_recipients_is_told_beside_the_refused_rcpt() -> None:
    script = Script(rcpt={EVE: "550 5.1.1 no such"}, dot="451 4.3.0 later")
    async with ends(script) as (_, relay):
        outcome = await send(relay, BOB, EVE)

        assert outcome.by_recipient == {BOB: 451, EVE: 550}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("550 5.1.1 Empf\xe4nger unbekannt", "5.1.1 Empf\ufffdnger unbekannt"),
        ("550 5.1.1 Empf\xc3\xa4nger unbekannt", "5.1.1 Empf\xe4nger unbekannt"),
        ("550-5.1.1 no\r\n550 5.1.1 such user", "5.1.1 no\n5.1.1 such user"),
        ("550 5.1.1 no\x00such\x1b[1m user\t", "5.1.1 no\ufffdsuch\ufffd[1m user"),
        ("550", ""),
        ("550 " + "x" * 5000, "x" * 1000),
    ],
)
async def test_text_of_a_reply_is_told_in_a_form_that_can_be_stored(said: str, told: str) -> None:
    async with ends(Script(rcpt={BOB: said})) as (_, relay):
        outcome = await send(relay)

        assert outcome.offered == Offered({BOB: Reply(550, told)})


async def test_nothing_is_said_after_a_refused_offer_but_rset() -> None:
    async with ends(Script(rcpt={"*": "550 5.1.1 no such"})) as (double, relay):
        await send(relay, BOB, EVE)

        assert verbs(double) == ["EHLO", "MAIL", "RCPT", "RCPT", "RSET"]


@pytest.mark.parametrize("point", ["banner", "ehlo"])
@pytest.mark.parametrize("reply", ["421 4.3.2 not now", "554 5.3.2 never"])
async def test_relay_that_does_not_want_to_talk_is_unreached(point: str, reply: str) -> None:
    script = Script(**{point: reply}) if point == "banner" else Script(ehlo=reply, mail=DROP)  # type: ignore[arg-type] # by name
    async with ends(script) as (double, relay):
        outcome = await send(relay)

        assert isinstance(outcome.offered, Unreached)
        assert outcome.reason
        assert double.ledger == []


@pytest.mark.parametrize(
    ("point", "by_recipient"),
    [
        ("mail", {BOB: 421, EVE: 421, JOE: 421}),
        (f"rcpt {BOB}", {BOB: 421, EVE: 421, JOE: 421}),
        (f"rcpt {EVE}", {BOB: 421, EVE: 421, JOE: 421}),
        (f"rcpt {JOE}", {BOB: 421, EVE: 421, JOE: 421}),
        ("data", {BOB: 421, EVE: 421, JOE: 421}),
        ("dot", {BOB: 421, EVE: 421, JOE: 421}),
    ],
)
async def test_421_defers_everybody_and_ends_the_line(
    point: str, by_recipient: dict[str, int]
) -> None:
    async with ends(scripted(point, "421 4.3.2 going down")) as (double, relay):
        outcome = await send(relay, BOB, EVE, JOE)

        assert outcome.by_recipient == by_recipient
        assert double.ledger == []
        await assert_usable(double, relay, connection=1)


async def test_421_at_rcpt_forgets_no_refusal_for_good() -> None:
    script = Script(rcpt={BOB: "550 5.1.1 no such", JOE: "421 4.3.2 going down"})
    async with ends(script) as (_, relay):
        outcome = await send(relay, BOB, EVE, JOE)

        assert outcome.by_recipient == {BOB: 550, EVE: 421, JOE: 421}


async def test_421_right_behind_the_acceptance_leaves_it_accepted() -> None:
    async with ends(scripted("accepted", "250 2.0.0 queued\r\n421 4.3.2 enough")) as (
        double,
        relay,
    ):
        outcome = await send(relay)

        assert outcome.by_recipient == {BOB: 250}
        assert len(double.ledger) == 1
        await assert_usable(double, relay, connection=1)


# What is no answer at all.

# It may well repeat what we said; Outcome.reason sees to it that we do not pass it on.
ECHO = f"what? <{BOB}> {USER} {PASSWORD}"
NONSENSE = [
    ECHO,
    "what?",
    "\xff\xfe\x00",
    "25",
    "250-and no more\r\nwhat?",
    "999 5.0.0 x",
    "354 go",
    "150 x",
]


@pytest.mark.parametrize(
    ("point", "reply"),
    [
        (point, reply)
        for point in ("banner", "mail", f"rcpt {BOB}", f"rcpt {EVE}", "data")
        for reply in NONSENSE
        if (point, reply) != ("data", "354 go")
    ],
)
async def test_nonsense_before_the_message_began_is_unreached(point: str, reply: str) -> None:
    async with ends(scripted(point, reply)) as (double, relay):
        outcome = await send(relay, BOB, EVE)

        assert isinstance(outcome.last or outcome.offered, Unreached)
        assert outcome.reason
        assert double.ledger == []
        await assert_usable(double, relay, connection=1)


@pytest.mark.parametrize("reply", NONSENSE)
@pytest.mark.parametrize("point", ["dot", "accepted"])
async def test_nonsense_after_the_dot_is_lost(point: str, reply: str) -> None:
    async with ends(scripted(point, reply)) as (double, relay):
        outcome = await send(relay, BOB, EVE)

        assert outcome.by_recipient == {BOB: Lost, EVE: Lost}
        assert outcome.reason
        assert len(double.ledger) == (point == "accepted")
        await assert_usable(double, relay, connection=1)


async def test_250_instead_of_354_is_no_acceptance() -> None:
    async with ends(scripted("data", "250 2.0.0 ok")) as (double, relay):
        outcome = await send(relay)

        assert isinstance(outcome.last, Unreached)
        assert double.ledger == []
        await assert_usable(double, relay, connection=1)


async def test_other_2yz_reply_to_mail_is_no_refusal_and_no_acceptance_for_anybody() -> None:
    async with ends(Script(mail="251 2.1.0 well")) as (double, relay):
        outcome = await send(relay, BOB, EVE)

        # The double itself expects 250: it answers RCPT with 503.
        assert outcome.by_recipient == {BOB: 503, EVE: 503}
        assert verbs(double)[:4] == ["EHLO", "MAIL", "RCPT", "RCPT"]


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ("mail", "250 2.1.0 ok\r\n250 2.1.0 and"),
        (f"rcpt {BOB}", "250 2.1.5 ok\r\n550 5.1.1 no such"),
        (f"rcpt {EVE}", "550 5.1.1 no such\r\n250 2.1.5 ok"),
        ("data", "354 go\r\n250 2.0.0 queued already"),
    ],
)
async def test_relay_that_says_more_than_it_was_asked_is_unreached(point: str, said: str) -> None:
    async with ends(scripted(point, said)) as (double, relay):
        outcome = await send(relay, BOB, EVE)

        assert isinstance(outcome.last or outcome.offered, Unreached)
        assert double.ledger == []
        await assert_usable(double, relay, connection=1)


@pytest.mark.parametrize("refusal", ["450 4.2.1 grey", "550 5.1.1 no such"])
async def test_reply_that_belongs_to_nothing_refuses_nobody(refusal: str) -> None:
    async with ends(scripted("mail", f"250 2.1.0 ok\r\n{refusal}")) as (double, relay):
        outcome = await send(relay, BOB)

        assert isinstance(outcome.offered, Unreached)
        await assert_usable(double, relay, connection=1)


@pytest.mark.parametrize(
    ("point", "said", "code"),
    [
        ("accepted", "250 2.0.0 queued\r\n550 5.0.0 and more", 250),
        ("dot", "451 4.3.0 later\r\n250 2.0.0 and more", 451),
    ],
)
async def test_what_is_said_behind_the_last_reply_does_not_answer_the_next_mail(
    point: str, said: str, code: int
) -> None:
    async with ends(scripted(point, said)) as (double, relay):
        outcome = await send(relay)

        assert outcome.by_recipient == {BOB: code}
        await assert_usable(double, relay, connection=1)


ENDLESS = "\r\n".join(["250-and " + "x" * 8000] * 5)
"""Not endless, but longer than anybody has to listen to."""


@pytest.mark.parametrize("said", [ENDLESS, "x" * 40_000])
@pytest.mark.parametrize("point", ["banner", "mail", f"rcpt {BOB}", "data"])
async def test_endless_reply_before_the_message_began_is_unreached(point: str, said: str) -> None:
    async with ends(scripted(point, said)) as (double, relay):
        outcome = await send(relay)

        assert isinstance(outcome.last or outcome.offered, Unreached)
        await assert_usable(double, relay, connection=1)


@pytest.mark.parametrize("said", [ENDLESS, "x" * 40_000])
@pytest.mark.parametrize("point", ["dot", "accepted"])
async def test_endless_reply_to_the_dot_is_lost(point: str, said: str) -> None:
    async with ends(scripted(point, said)) as (double, relay):
        outcome = await send(relay)

        assert isinstance(outcome.last, Lost)
        await assert_usable(double, relay, connection=1)


async def test_reply_that_really_never_ends_is_left_in_the_middle() -> None:
    patience = replace(SHORT, command=PATIENCE)
    async with ends(scripted("dot", FLOOD), patience=patience) as (double, relay):
        outcome = await send(relay)

        assert isinstance(outcome.last, Lost)
        await double.seen("closed")
        await assert_usable(double, relay, connection=1)


# Where the line breaks.

BEFORE = ["banner", "ehlo", "mail", f"rcpt {BOB}", f"rcpt {EVE}", "data"]
AFTER = ["body", "dot", "accepted"]


@pytest.mark.parametrize("action", [DROP, CLOSE])
@pytest.mark.parametrize("point", BEFORE)
async def test_line_that_breaks_before_the_message_began_is_unreached(
    point: str, action: Action
) -> None:
    async with ends(scripted(point, action)) as (double, relay):
        outcome = await send(relay, BOB, EVE)

        assert isinstance(outcome.last or outcome.offered, Unreached)
        assert outcome.reason
        assert double.ledger == []
        await assert_usable(double, relay, connection=1)


@pytest.mark.parametrize("action", [DROP, CLOSE])
@pytest.mark.parametrize("point", AFTER)
async def test_line_that_breaks_after_the_message_began_is_lost(point: str, action: Action) -> None:
    async with ends(scripted(point, action)) as (double, relay):
        outcome = await send(relay, BOB, EVE)

        assert outcome.by_recipient == {BOB: Lost, EVE: Lost}
        assert outcome.reason
        assert len(double.ledger) == (point == "accepted")
        await assert_usable(double, relay, connection=1)


@pytest.mark.parametrize("point", BEFORE)
async def test_relay_that_falls_silent_before_the_message_began_is_unreached(point: str) -> None:
    async with ends(scripted(point, STALL), patience=SHORT) as (double, relay):
        outcome = await send(relay, BOB, EVE)

        assert isinstance(outcome.last or outcome.offered, Unreached)
        assert outcome.reason == "The relay did not answer in time."
        await double.seen("stalled")
        double.release()
        await double.seen("closed")
        assert double.ledger == []
        await assert_usable(double, relay, connection=1)


@pytest.mark.parametrize("point", AFTER)
async def test_relay_that_falls_silent_after_the_message_began_is_lost(point: str) -> None:
    async with ends(scripted(point, STALL), patience=replace(SHORT, command=PATIENCE)) as (
        double,
        relay,
    ):
        outcome = await send(relay, BOB, EVE)

        assert outcome.by_recipient == {BOB: Lost, EVE: Lost}
        assert outcome.reason == "The relay did not answer in time."
        double.release()
        await double.seen("closed")
        await assert_usable(double, relay, connection=1)


async def test_slow_answer_to_the_dot_is_waited_for_beyond_the_patience_for_commands() -> None:
    async with ends(scripted("dot", STALL), patience=Patience(SHORT.command, PATIENCE)) as (
        double,
        relay,
    ):
        sending = asyncio.create_task(send(relay))
        await double.seen("stalled")
        done, _ = await asyncio.wait([sending], timeout=2 * SHORT.command)
        assert not done

        double.release()

        assert (await sending).by_recipient == {BOB: 250}


async def test_message_given_up_in_the_middle_is_never_completed_later() -> None:
    large = b"x" * 998 + b"\r\n"
    patience = replace(SHORT, command=PATIENCE)
    async with ends(scripted("body", STALL), patience=patience) as (double, relay):
        outcome = await send(relay, raw=large * 20_000)
        assert isinstance(outcome.last, Lost)

        double.release()

        await double.seen("closed")
        assert double.ledger == []


# Large mail: written as the relay takes it.

LINE = b"." + b"x" * 997 + b"\r\n"
LARGE = LINE * 20_000
"""More than all buffers between the two ends take."""


async def test_relay_that_stops_reading_is_lost_and_no_more_is_made_than_it_takes() -> None:
    patience = replace(SHORT, command=PATIENCE)
    message = Message([b"\r\n", Base64(bytes(30_000_000))])
    async with ends(scripted("body", STALL), patience=patience) as (double, relay):
        tracemalloc.start()
        try:
            async with relay.dialogue() as dialogue:
                await dialogue.offer(ANN, [BOB], message)
                outcome = await dialogue.transmit(message)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

        assert outcome == Lost("The relay did not answer in time.")
        assert peak < 3_000_000
        double.release()
        await double.seen("closed")
        assert double.ledger == []


async def test_relay_that_reads_slowly_gets_it_all() -> None:
    async with ends(scripted("body", STALL)) as (double, relay):
        sending = asyncio.create_task(send(relay, raw=LARGE))
        await double.seen("stalled")
        assert not sending.done()

        double.release()

        assert (await sending).by_recipient == {BOB: 250}
        [mail] = double.ledger
        assert mail.raw == LARGE
        await assert_usable(double, relay, connection=0)


@pytest.mark.parametrize("action", [DROP, CLOSE])
async def test_line_that_breaks_within_a_large_message_is_lost(action: Action) -> None:
    async with ends(scripted("body", action)) as (double, relay):
        outcome = await send(relay, BOB, EVE, raw=LARGE)

        assert outcome.by_recipient == {BOB: Lost, EVE: Lost}
        assert outcome.reason
        assert double.ledger == []
        await assert_usable(double, relay, connection=1)


@pytest.mark.parametrize("code", [452, 552])
async def test_refusal_within_a_large_message_is_told_and_nothing_more_is_written(
    code: int,
) -> None:
    async with ends(scripted("body", f"{code} 5.3.4 enough")) as (double, relay):
        outcome = await send(relay, BOB, EVE, raw=LARGE)

        assert outcome.by_recipient == {BOB: code, EVE: code}
        await double.seen("closed")
        assert double.ledger == []
        await assert_usable(double, relay, connection=1)


async def test_250_within_a_large_message_is_no_acceptance() -> None:
    async with ends(scripted("body", "250 2.0.0 queued")) as (double, relay):
        outcome = await send(relay, raw=LARGE)

        assert isinstance(outcome.last, Lost)
        await double.seen("closed")
        assert double.ledger == []


async def test_cancelled_in_a_large_message_nothing_of_it_is_ever_completed() -> None:
    async with ends(scripted("body", STALL)) as (double, relay):
        sending = asyncio.create_task(send(relay, raw=LARGE))
        await double.seen("stalled")
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

        double.release()

        await double.seen("closed")
        assert double.ledger == []
        await assert_usable(double, relay, connection=1)


async def test_relay_that_is_not_there_is_unreached() -> None:
    async with RelayDouble() as double:
        pass
    async with relay_to(double) as relay:
        outcome = await send(relay)

        assert isinstance(outcome.offered, Unreached)
        assert str(double.port) in outcome.reason


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".test", "no-such-host.invalid"])
async def test_host_that_cannot_be_looked_up_is_unreached(host: str) -> None:
    address = RelayAddress(host, 25, implicit_tls=False, start_tls=False)
    relay = SmtpRelay(address, clock=ManualClock(), patience=Patience(PATIENCE))

    outcome = await send(relay)

    assert isinstance(outcome.offered, Unreached)
    assert outcome.reason


# Connections.


async def test_connection_is_kept_and_used_again() -> None:
    async with ends() as (double, relay):
        for _ in range(5):
            await send(relay)

        assert double.connections.total == 1
        assert verbs(double) == ["EHLO"] + ["MAIL", "RCPT", "DATA"] * 5


async def test_each_dialogue_at_a_time_has_its_own_connection_and_all_are_used_again() -> None:
    async with ends(connections=3) as (double, relay):
        for _ in range(4):
            async with AsyncExitStack() as turns:
                for _ in range(3):
                    dialogue = await turns.enter_async_context(relay.dialogue())
                    await dialogue.offer(ANN, [BOB], Message([RAW]))
                assert relay.room() == 0
            assert relay.room() == 3

        assert (double.connections.peak, double.connections.total) == (3, 3)


async def test_room_counts_a_dialogue_from_its_begin_to_its_end() -> None:
    async with ends(connections=2) as (_, relay):
        assert relay.room() == 2
        async with relay.dialogue():
            assert relay.room() == 1
            async with relay.dialogue():
                assert relay.room() == 0
        assert relay.room() == 2


async def test_connection_is_given_up_after_a_hundred_emails() -> None:
    async with ends() as (double, relay):
        for _ in range(101):
            await send(relay)

        assert [mail.connection for mail in double.ledger] == [0] * 100 + [1]
        assert verbs(double)[-1] == "QUIT"


@pytest.mark.parametrize(("idle", "connection"), [(29.9, 0), (30, 1)])
async def test_connection_is_given_up_after_thirty_idle_seconds(
    idle: float, connection: int
) -> None:
    clock = ManualClock()
    async with ends(clock=clock) as (double, relay):
        await send(relay)
        clock.advance(idle)

        await assert_usable(double, relay, connection=connection)
        assert ("QUIT" in verbs(double)) == (connection == 1)


@pytest.mark.parametrize("leaves", [DROP, CLOSE, "421 4.4.2 idle too long"])
async def test_relay_that_leaves_an_idle_connection_costs_nothing(leaves: Step) -> None:
    async with ends([Script(between=leaves), Script()]) as (double, relay):
        await send(relay)
        await double.seen("closed")

        await assert_usable(double, relay, connection=1)
        assert repr(relay) == "<SmtpRelay 0 busy, 1 idle, <Breaker closed, 0 failures>>"


@pytest.mark.parametrize("leaves", [DROP, CLOSE, "421 4.4.2 idle too long"])
async def test_relay_that_leaves_just_when_we_speak_again_costs_nothing(leaves: Step) -> None:
    async with ends([Script(mail=["250 2.1.0 ok", leaves]), Script()]) as (double, relay):
        await send(relay)

        await assert_usable(double, relay, connection=1)
        assert verbs(double)[-1] == "MAIL"


async def test_every_idle_connection_that_was_left_is_tried_no_more() -> None:
    async with ends([Script(between=CLOSE)] * 3 + [Script()]) as (double, relay):
        async with AsyncExitStack() as turns:
            for _ in range(3):
                dialogue = await turns.enter_async_context(relay.dialogue())
                await talk(dialogue, [BOB], RAW)
        await double.seen("closed", times=3)

        await assert_usable(double, relay, connection=3)


async def test_fresh_connection_that_breaks_at_mail_is_not_tried_twice() -> None:
    async with ends(Script(mail=CLOSE)) as (double, relay):
        outcome = await send(relay)

        assert isinstance(outcome.offered, Unreached)
        assert double.connections.total == 1


async def test_undone_offer_is_reset_and_the_next_mail_on_the_line_is_right() -> None:
    async with ends() as (double, relay):
        async with relay.dialogue() as dialogue:
            await dialogue.offer(ANN, [BOB, EVE], Message([RAW]))

        assert verbs(double) == ["EHLO", "MAIL", "RCPT", "RCPT", "RSET"]
        assert double.ledger == []
        await assert_usable(double, relay, connection=0)


@pytest.mark.parametrize("point", ["banner", "mail", f"rcpt {BOB}", "data", "body", "dot"])
async def test_line_of_a_cancelled_dialogue_is_never_used_again(point: str) -> None:
    async with ends([scripted(point, STALL), Script()], connections=1) as (double, relay):
        sending = asyncio.create_task(send(relay))
        await double.seen("stalled")
        for _ in range(10):  # until we, too, know that the line stands
            await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

        assert relay.room() == 1
        await assert_usable(double, relay, connection=1)
        double.release()
        await double.seen("closed")
        assert not any("MAIL" in line and JOE in line for line in double.commands[0])


async def test_line_of_a_dialogue_that_raised_is_never_used_again() -> None:
    async with ends(connections=1) as (double, relay):

        async def raising() -> None:
            async with relay.dialogue() as dialogue:
                await dialogue.offer(ANN, [BOB], Message([RAW]))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await raising()

        await double.seen("closed")
        assert relay.room() == 1
        await assert_usable(double, relay, connection=1)


async def test_dialogue_that_said_nothing_opens_no_connection() -> None:
    async with ends() as (double, relay):
        async with relay.dialogue():
            pass

        assert double.connections.total == 0


async def test_closing_says_quit_to_every_idle_connection() -> None:
    async with ends() as (double, relay):
        async with AsyncExitStack() as turns:
            for _ in range(2):
                dialogue = await turns.enter_async_context(relay.dialogue())
                await talk(dialogue, [BOB], RAW)

        await relay.close()

        await double.seen("closed", times=2)
        assert [verbs(double, number)[-1] for number in (0, 1)] == ["QUIT", "QUIT"]


async def test_probe_connects_and_logs_in_and_sends_nothing() -> None:
    async with ends(Script(auth="235 2.7.0 ok"), username=USER, password=PASSWORD) as (
        double,
        relay,
    ):
        assert await relay.probe() is None

        assert verbs(double) == ["EHLO", "STARTTLS", "EHLO", "AUTH"]


async def test_probe_tells_what_is_wrong() -> None:
    async with ends(Script(auth="535 5.7.8 wrong"), username=USER, password=PASSWORD) as (_, relay):
        trouble = await relay.probe()

        assert trouble
        assert "password" in trouble
        assert PASSWORD not in trouble


# Octets.

LINES = st.lists(
    st.lists(st.sampled_from([b".", b"..", b"a", b" ", b"MAIL FROM:<x@y.test>"]), max_size=4).map(
        b"".join
    )
    | st.binary(max_size=5).map(lambda line: line.replace(b"\r", b"").replace(b"\n", b"")),
    max_size=12,
)


@settings(deadline=None)
@given(LINES)
@example([])
@example([b"."])
@example([b".."])
@example([b"", b".", b""])
@example([b".", b"MAIL FROM:<x@y.test>", b"RCPT TO:<z@y.test>", b"DATA", b"evil", b"."])
async def test_every_octet_arrives_as_it_is_and_as_one_mail(lines: list[bytes]) -> None:
    raw = b"".join(line + b"\r\n" for line in lines)
    async with ends() as (double, relay):
        outcome = await send(relay, BOB, raw=raw)
        await assert_usable(double, relay, connection=0)

        assert outcome.by_recipient == {BOB: 250}
        assert double.ledger[0].raw == raw
        first, second = double.messages_lenient()
        assert (first.mail_from, first.rcpt_to, first.lines) == (ANN, (BOB,), tuple(lines))
        assert second.rcpt_to == (JOE,)


async def test_large_mail_arrives_whole() -> None:
    raw = (b"." + b"x" * 997 + b"\r\n") * 5000
    async with ends() as (double, relay):
        await send(relay, raw=raw)

        assert double.ledger[0].raw == raw


@settings(deadline=None)
@given(LINES, st.integers(1, 5))
@example([b".", b"..", b"", b".a", b"."], 1)
@example([b".", b"..", b"", b".a", b"."], 2)
@example([b".", b"..", b"", b".a", b"."], 3)
async def test_octets_arrive_as_they_are_wherever_their_chunks_end(
    lines: list[bytes], chunk: int
) -> None:
    raw = b"".join(line + b"\r\n" for line in lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(octets, "_CHUNK", chunk)
        patch.setattr(data, "_AT_ONCE", 0)
        async with ends() as (double, relay):
            outcome = await send(relay, raw=raw)
            await assert_usable(double, relay, connection=0)

            assert outcome.by_recipient == {BOB: 250}
            assert double.ledger[0].raw == raw
            assert double.messages_lenient()[0].lines == tuple(lines)


async def test_eight_bit_mail_is_announced() -> None:
    raw = "Subject: hi\r\n\r\nGr\xfc\xdfe\r\n".encode()
    async with ends(Script(extensions=("8BITMIME", "SIZE"))) as (double, relay):
        outcome = await send(relay, raw=raw)

        assert outcome.by_recipient == {BOB: 250}
        assert double.commands[0][1] == f"MAIL FROM:<{ANN}> SIZE={len(raw)} BODY=8BITMIME"
        assert double.ledger[0].raw == raw


async def test_eight_bit_mail_is_refused_for_a_relay_that_takes_none() -> None:
    raw = "\r\nGr\xfc\xdfe\r\n".encode()
    async with ends(Script(extensions=("SIZE",))) as (double, relay):
        outcome = await send(relay, BOB, EVE, raw=raw)

        assert outcome.by_recipient == {BOB: 554, EVE: 554}
        assert isinstance(outcome.offered, Offered)
        assert "encode it" in outcome.offered.replies[BOB].text
        assert verbs(double) == ["EHLO"]
        await assert_usable(double, relay, connection=0)
        assert "BODY" not in double.commands[0][1]


@pytest.mark.parametrize("extension", ["SIZE", "SIZE 27262976", "size 0"])
async def test_size_is_given_where_the_relay_offers_it(extension: str) -> None:
    raw = b".\r\n..\r\n"
    async with ends(Script(extensions=(extension,))) as (double, relay):
        await send(relay, raw=raw)

        assert double.commands[0][1] == f"MAIL FROM:<{ANN}> SIZE={len(raw)}"


async def test_size_is_not_given_where_the_relay_does_not_offer_it() -> None:
    async with ends(Script(extensions=())) as (double, relay):
        await send(relay)

        assert double.commands[0][1] == f"MAIL FROM:<{ANN}>"


async def test_relay_that_knows_no_ehlo_is_spoken_to_all_the_same() -> None:
    async with ends(Script(ehlo="502 5.5.1 unknown")) as (double, relay):
        outcome = await send(relay)

        assert outcome.by_recipient == {BOB: 250}
        assert verbs(double) == ["EHLO", "HELO", "MAIL", "RCPT", "DATA"]


# TLS and login.


@pytest.fixture(scope="module")
def authority() -> Authority:
    return trust()


async def test_credentials_leave_inside_verified_tls_alone(authority: Authority) -> None:
    tls = authority.issue("127.0.0.1").server_context()
    async with ends(
        Script(tls=tls, auth="235 2.7.0 ok"),
        start_tls=True,
        username=USER,
        password=PASSWORD,
        tls=authority.client_context(),
    ) as (double, relay):
        outcome = await send(relay)

        assert outcome.by_recipient == {BOB: 250}
        [line] = double.auth_lines
        assert line.tls
        assert base64.b64decode(line.line.split()[-1]) == f"\0{USER}\0{PASSWORD}".encode()
        assert verbs(double) == ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL", "RCPT", "DATA"]


CERTIFICATES: Mapping[str, Callable[[Authority], Certificate]] = {
    "self-signed": lambda _: self_signed("127.0.0.1"),
    "unknown authority": lambda _: Authority().issue("127.0.0.1"),
    "wrong name": lambda authority: authority.issue("localhost", "127.0.0.2"),
    "expired": lambda authority: authority.issue("127.0.0.1", expired=True),
}


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("fault", CERTIFICATES)
async def test_relay_with_a_wrong_certificate_is_told_nothing(
    authority: Authority, fault: str, *, implicit: bool
) -> None:
    tls = CERTIFICATES[fault](authority).server_context()
    script = Script(tls=None if implicit else tls, auth="235 2.7.0 ok")
    async with (
        RelayDouble(script, implicit_tls=tls if implicit else None) as double,
        relay_to(
            double,
            start_tls=not implicit,
            implicit_tls=implicit,
            username=USER,
            password=PASSWORD,
            tls=authority.client_context(),
        ) as relay,
    ):
        outcome = await send(relay)

        assert isinstance(outcome.offered, Unreached)
        assert outcome.reason.startswith("The relay's certificate is not valid: ")
        assert double.auth_lines == []
        assert double.ledger == []


@pytest.mark.parametrize(
    "script",
    [
        Script(starttls_hidden=True),
        Script(starttls="454 4.7.0 not now"),
        Script(starttls="421 4.7.0 not now"),
        Script(starttls="554 5.7.0 never"),
        Script(starttls="what?"),
        Script(starttls=DROP),
        Script(starttls=CLOSE),
        Script(starttls=ENDLESS),
        Script(handshake="250 this is no TLS"),
        Script(handshake=DROP),
        Script(handshake=CLOSE),
        Script(ehlo="502 5.5.1 unknown"),
    ],
)
async def test_relay_without_starttls_is_told_nothing(authority: Authority, script: Script) -> None:
    tls = authority.issue("127.0.0.1").server_context()
    async with ends(
        replace(script, tls=tls, auth="235 2.7.0 ok"),
        start_tls=True,
        username=USER,
        password=PASSWORD,
        tls=authority.client_context(),
    ) as (double, relay):
        outcome = await send(relay)

        assert isinstance(outcome.offered, Unreached)
        assert outcome.reason
        assert double.auth_lines == []
        assert not {"MAIL", "AUTH"} & set(verbs(double))


@pytest.mark.parametrize("point", ["starttls", "handshake"])
async def test_relay_that_falls_silent_at_starttls_is_told_nothing(
    authority: Authority, point: str
) -> None:
    tls = authority.issue("127.0.0.1").server_context()
    script = replace(scripted(point, STALL), tls=tls, auth="235 2.7.0 ok")
    async with ends(
        script,
        start_tls=True,
        username=USER,
        password=PASSWORD,
        tls=authority.client_context(),
        patience=SHORT,
    ) as (double, relay):
        outcome = await send(relay)

        assert isinstance(outcome.offered, Unreached)
        assert outcome.reason == "The relay did not answer in time."
        assert double.auth_lines == []


@pytest.mark.parametrize(
    "injected",
    [
        b"250 EVIL\r\n",
        b"250-relay.test\r\n250 AUTH PLAIN\r\n",
        b"334 \r\n",
        b"250",
        b"\x16\x03\x01",
    ],
)
async def test_reply_injected_before_tls_is_never_believed(
    authority: Authority, injected: bytes
) -> None:
    tls = authority.issue("127.0.0.1").server_context()
    async with ends(
        # Inside TLS there is no AUTH on offer: whoever logs in has believed what was injected.
        Script(tls=tls, injected=injected),
        start_tls=True,
        username=USER,
        password=PASSWORD,
        tls=authority.client_context(),
    ) as (double, relay):
        outcome = await send(relay)

        assert isinstance(outcome.offered, Unreached)
        assert double.auth_lines == []
        assert not {"MAIL", "AUTH"} & set(verbs(double))


async def test_old_tls_is_refused(authority: Authority) -> None:
    tls = authority.issue("127.0.0.1").server_context()
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        tls.minimum_version, tls.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    async with ends(
        Script(tls=tls, auth="235 2.7.0 ok"),
        start_tls=True,
        username=USER,
        password=PASSWORD,
        tls=authority.client_context(),
    ) as (double, relay):
        outcome = await send(relay)

        assert isinstance(outcome.offered, Unreached)
        assert double.auth_lines == []


async def test_implicit_tls_serves(authority: Authority) -> None:
    tls = authority.issue("127.0.0.1").server_context()
    async with (
        RelayDouble(Script(auth="235 2.7.0 ok"), implicit_tls=tls) as double,
        relay_to(
            double,
            implicit_tls=True,
            username=USER,
            password=PASSWORD,
            tls=authority.client_context(),
        ) as relay,
    ):
        outcome = await send(relay)
        await assert_usable(double, relay, connection=0)

        assert outcome.by_recipient == {BOB: 250}
        assert all(line.tls for line in double.auth_lines)


async def test_relay_that_speaks_no_tls_at_all_is_told_nothing_by_implicit_tls(
    authority: Authority,
) -> None:
    async with ends(
        implicit_tls=True, username=USER, password=PASSWORD, tls=authority.client_context()
    ) as (double, relay):
        outcome = await send(relay)

        assert isinstance(outcome.offered, Unreached)
        assert outcome.reason
        assert double.ledger == []


@pytest.mark.parametrize("mechanisms", ["PLAIN", "LOGIN", "PLAIN LOGIN", "XYZZY PLAIN"])
async def test_login_is_made_once_for_each_connection(mechanisms: str) -> None:
    script = Script(auth="235 2.7.0 ok", auth_mechanisms=mechanisms)
    async with ends(script, username=USER, password=PASSWORD) as (double, relay):
        await send(relay)
        await send(relay)

        assert len(double.ledger) == 2
        assert verbs(double).count("AUTH") == 1


@pytest.mark.parametrize(
    "script",
    [
        Script(auth="535 5.7.8 wrong"),
        Script(auth="454 4.7.0 later"),
        Script(auth="421 4.7.0 enough"),
        Script(auth="what?"),
        Script(auth=f"535 5.7.8 wrong {PASSWORD} for {USER}"),
        Script(auth=ECHO),
        Script(banner=f"554 5.7.1 {ECHO}"),
        Script(auth=DROP),
        Script(auth=CLOSE),
        Script(auth="250 2.0.0 ok"),
        Script(auth=None),
        Script(auth="235 2.7.0 ok", auth_mechanisms="XYZZY"),
        Script(auth="334 !!!", auth_mechanisms="CRAM-MD5"),
        Script(auth="334 /w==", auth_mechanisms="CRAM-MD5"),
    ],
)
async def test_relay_that_refuses_our_login_is_unreached(script: Script) -> None:
    async with ends(script, username=USER, password=PASSWORD) as (double, relay):
        outcome = await send(relay)

        assert isinstance(outcome.offered, Unreached)
        assert outcome.reason
        assert "MAIL" not in verbs(double)


async def test_refused_login_says_what_to_do() -> None:
    async with ends(Script(auth="535 5.7.8 wrong"), username=USER, password=PASSWORD) as (_, relay):
        assert "password" in (await send(relay)).reason


# The breaker.


async def test_relay_that_cannot_be_reached_five_times_is_left_alone_for_thirty_seconds() -> None:
    clock = ManualClock()
    async with ends(Script(banner=CLOSE), clock=clock) as (double, relay):
        for _ in range(4):
            await send(relay)
        assert relay.room() == 5

        await send(relay)

        assert relay.breaker_open
        assert relay.room() == 0
        assert relay.reopens_at() == clock.now() + 30 * SECOND
        clock.advance(30)
        assert relay.room() == 1
        assert double.connections.total == 5


async def test_probe_that_comes_through_opens_the_relay_again() -> None:
    clock = ManualClock()
    async with ends([Script(banner=CLOSE)] * 6 + [Script()], clock=clock) as (double, relay):
        for _ in range(5):
            await send(relay)
        clock.advance(30)
        await send(relay)
        assert relay.room() == 0
        assert relay.reopens_at() == clock.now() + 30 * SECOND

        clock.advance(30)
        await assert_usable(double, relay, connection=6)

        assert not relay.breaker_open
        assert relay.reopens_at() is None
        assert relay.room() == 6


@pytest.mark.parametrize(
    "script",
    [
        Script(auth="535 5.7.8 wrong"),
        Script(banner="421 4.3.2 too many connections"),
        Script(banner="what?"),
        Script(banner=DROP),
        Script(ehlo=CLOSE),
        Script(auth="334 !!!", auth_mechanisms="CRAM-MD5"),
    ],
)
async def test_every_way_of_not_coming_to_mail_counts_for_the_breaker(script: Script) -> None:
    async with ends(script, username=USER, password=PASSWORD) as (_, relay):
        for _ in range(5):
            await send(relay)

        assert relay.breaker_open


@pytest.mark.parametrize(
    "script",
    [
        Script(mail="451 4.3.0 later"),
        Script(mail="421 4.3.0 later"),
        Script(rcpt={"*": "450 4.2.0 grey"}),
        Script(rcpt={"*": "550 5.1.1 no such"}),
        Script(data="451 4.3.0 later"),
        Script(dot="554 5.6.0 spam"),
        Script(dot=CLOSE),
    ],
)
async def test_what_a_living_relay_answers_does_not_count_for_the_breaker(script: Script) -> None:
    async with ends(script) as (_, relay):
        for _ in range(10):
            await send(relay)

        assert not relay.breaker_open
        assert repr(relay).endswith("<Breaker closed, 0 failures>>")
