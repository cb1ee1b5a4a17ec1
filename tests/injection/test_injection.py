"""No email that is taken adds a header, a recipient, a command or a second message.

What went over the line is read by a server that knows CRLF only, and by one that takes CR and LF
for line ends as well; what was stored, by parsers. ``UNDOSEND_INJECTION_CASES`` sets how many
emails there are, and lets them differ from run to run.
"""

from __future__ import annotations

import asyncio
import email
import os
import re
from collections import Counter
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.http.service import Service, serving
from tests.injection.letters import ADDRESS, letters, originals
from tests.injection.sink import ANY_END, CRLF_ONLY, heard
from tests.injection.world import Left, World, worlds
from undosend.domain.addresses import mailbox
from undosend.hub import Hub
from undosend.spool.memory import MemorySpool

CASES = int(os.environ.get("UNDOSEND_INJECTION_CASES", "0"))
USUAL = settings(
    deadline=None,
    derandomize=not CASES,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)
LETTERS = settings(USUAL, max_examples=CASES or 4000)
ORIGINALS = settings(USUAL, max_examples=CASES // 4 or 1000)
POSTED = settings(USUAL, max_examples=CASES // 40 or 100)

BLIND = {"bcc", "resent-bcc"}


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[asyncio.Runner, World]]:
    with worlds() as made:
        yield made


@pytest.fixture(scope="module")
def tally() -> Iterator[Counter[str]]:
    """Count what was taken: a test in which nothing is, tells nothing."""
    counts: Counter[str] = Counter()
    yield counts
    assert counts["letters taken"] >= counts["letters"] // 2, counts
    assert counts["originals taken"] >= counts["originals"] // 3, counts


@pytest.mark.timeout(7200 if CASES else 600)
@LETTERS
@given(letter=letters())
def test_a_letter_says_what_it_was_given_and_nothing_else(
    place: tuple[asyncio.Runner, World], tally: Counter[str], letter: dict[str, Any]
) -> None:
    tally["letters"] += 1
    tally["letters taken"] += sent(place, letter)


def sent(place: tuple[asyncio.Runner, World], letter: dict[str, Any]) -> bool:
    """Tell whether the letter was taken; fail where more has left than it says."""
    runner, world = place
    left = runner.run(world.sent(letter))
    if left is not None:
        assert_is_the_letter(left, letter)
    return left is not None


def assert_is_the_letter(left: Left, letter: dict[str, Any]) -> None:
    everyone = [*letter["to"], *letter.get("cc", []), *letter.get("bcc", [])]
    assert_one_mail(left, addressed(letter["from"]), list(map(addressed, everyone)))
    assert left.stored.isascii()
    message = parsed(left.stored)
    assert_headers(letter, left.stored, message)
    assert_parts(letter, message)


@pytest.mark.timeout(7200 if CASES else 600)
@ORIGINALS
@given(octets=originals(), sender=st.none() | ADDRESS, to=st.lists(ADDRESS, max_size=3))
def test_a_message_that_is_given_whole_leaves_as_it_is(
    place: tuple[asyncio.Runner, World],
    tally: Counter[str],
    octets: bytes,
    sender: str | None,
    to: list[str],
) -> None:
    runner, world = place
    tally["originals"] += 1
    envelope = [mailbox(address) for address in to]
    mail_from = mailbox(sender) if sender else None
    left = runner.run(world.sent_raw(octets, mail_from, envelope))
    if left is None:
        return
    tally["originals taken"] += 1
    theirs = email.message_from_bytes(octets, policy=policy.default)
    people = to or [a.addr_spec for n in ("to", "cc", "bcc") for a in at(theirs, n)]
    author = sender or at(theirs, "from")[0].addr_spec
    assert_one_mail(left, addressed(author), list(map(addressed, people)))
    names = header_names(left.stored, CRLF_ONLY)
    assert names == header_names(left.stored, ANY_END)
    assert not BLIND & set(names)
    kept = [name for name in header_names(octets, CRLF_ONLY) if name not in BLIND]
    lacking = [name for name in ("date", "message-id") if name not in kept]
    assert names == lacking + kept
    assert [name.lower() for name in email.message_from_bytes(left.stored).keys()] == names  # noqa: SIM118 - it can hold one twice
    assert body(left.stored) == body(octets if octets.endswith(b"\r\n") else octets + b"\r\n")


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[asyncio.Runner, Service]]:
    with asyncio.Runner() as runner:
        hub = Hub()
        context = serving(MemorySpool(hub.publish), hub)
        yield runner, runner.run(context.__aenter__())
        runner.run(context.__aexit__(None, None, None))


@pytest.mark.timeout(7200 if CASES else 600)
@POSTED
@given(letter=letters())
def test_over_http_it_is_the_same(
    served: tuple[asyncio.Runner, Service], letter: dict[str, Any]
) -> None:
    runner, service = served
    runner.run(posted(service, letter))


async def posted(service: Service, letter: dict[str, Any]) -> None:
    before = len(service.relay.ledger)
    answer = await service.post("/v1/emails", letter)
    if answer.status != 202:
        assert answer.errors
        return
    await service.release()
    [mail] = service.relay.ledger[before:]
    raw = await service.get(f"/v1/emails/{answer.json['id']}/raw")
    wire = "".join(f"RCPT TO:<{address}>\r\n" for address in mail.rcpt_to)
    wire = f"MAIL FROM:<{mail.mail_from}> SIZE=1\r\n{wire}DATA\r\n"
    assert_is_the_letter(Left(raw.body, wire.encode() + mail.wire + b".\r\n"), letter)


# That it can fail.

NEVER = re.compile("(?!)")


def as_it_is(text: str) -> str:
    return text


WRONG: dict[str, dict[str, Any]] = {
    "dots are not doubled": {"relay.data._stuffed": lambda message: [*message, b".\r\n"]},
    "blind copies are forgotten": {
        "domain.email.Content.rcpt_to": property(lambda c: tuple({a.email for a in c.to + c.cc}))
    },
    "encoded words are let through": {"domain.mime._ENCODED_WORD": NEVER},
    "line ends are let through": {
        "domain.rules._NOT_LINE": re.compile("(?!\r\n)(?<!\r)[\x00-\x1f\x7f-\x9f\u2028\u2029]"),
        "domain.mime._UNENCODABLE": NEVER,
        "domain.mime._unstructured": lambda text: text.encode("ascii", "replace").decode(),
    },
    "names are not escaped": {"domain.mime._escaped": as_it_is},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_variant_is_found(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, variant in WRONG[wrong].items():
        monkeypatch.setattr(f"undosend.{name}", variant)
    with worlds() as place:

        @settings(LETTERS, max_examples=400, phases=(Phase.generate,))
        @given(letter=letters())
        def search(letter: dict[str, Any]) -> None:
            sent(place, letter)

        with pytest.raises((AssertionError, ExceptionGroup)):
            search()


def at(message: EmailMessage, name: str) -> tuple[Any, ...]:
    """Return the addresses in the field, by the standard library."""
    return tuple(message[name].addresses) if name in message else ()


def body(octets: bytes) -> bytes:
    return octets.partition(b"\r\n\r\n")[2]


def assert_one_mail(left: Left, sender: str, everyone: list[str]) -> None:
    """Check that two servers have heard one mail, from and to whom it should be."""
    strict, lenient = heard(left.wire, CRLF_ONLY), heard(left.wire, ANY_END)
    mail, *recipients, begin = strict.commands
    assert re.fullmatch(
        rb"MAIL FROM:<%b> SIZE=\d+(?: BODY=8BITMIME)?" % re.escape(sender.encode()), mail
    )
    assert recipients == [f"RCPT TO:<{address}>".encode() for address in dict.fromkeys(everyone)]
    assert begin == b"DATA"
    assert strict.messages == [left.stored]
    assert lenient == strict


def addressed(given_: Any) -> str:
    """Return the address that the mailbox stands for, by a reading of our own."""
    text = given_["email"] if isinstance(given_, dict) else given_
    local, _, domain = text.removeprefix("Ann Lee <").removesuffix(">").rpartition("@")
    return f"{local}@{domain.lower().replace('exämple', 'xn--exmple-cua')}"


def header_names(octets: bytes, ends: re.Pattern[bytes]) -> list[str]:
    """Return the names of the fields, by somebody for whom these are the ends of lines."""
    names = []
    for line in ends.split(octets):
        if not line.strip():
            break
        if not line.startswith((b" ", b"\t")):
            names.append(line.partition(b":")[0].decode("latin-1").lower())
    return names


def parsed(octets: bytes) -> EmailMessage:
    return email.message_from_bytes(octets, policy=policy.default)


def assert_headers(letter: dict[str, Any], octets: bytes, message: EmailMessage) -> None:
    """Check that there are the headers of this letter, and that they say what it says."""
    optional = {"cc": "Cc", "reply_to": "Reply-To", "in_reply_to": "In-Reply-To"}
    expected = ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"]
    expected += [header for part, header in optional.items() if letter.get(part)]
    expected += ["References"] if letter.get("references") or letter.get("in_reply_to") else []
    expected += [] if message.is_multipart() else ["Content-Transfer-Encoding"]
    expected += letter.get("headers", {})
    assert Counter(message.keys()) == Counter(expected)
    for ends in (CRLF_ONLY, ANY_END):
        assert Counter(header_names(octets, ends)) == Counter(name.lower() for name in expected)
    assert message["Subject"] == letter.get("subject", "")
    for name, value in letter.get("headers", {}).items():
        assert message[name] == value
    for part, name in (("to", "To"), ("cc", "Cc"), ("reply_to", "Reply-To")):
        assert_people(letter.get(part, []), at(message, name))
    assert_people([letter["from"]], at(message, "From"))


def assert_people(given_: list[Any], found: tuple[Any, ...]) -> None:
    assert [person.addr_spec for person in found] == list(map(addressed, given_))
    for one, person in zip(given_, found, strict=True):
        name = "Ann Lee" if str(one).startswith("Ann Lee <") else ""
        name = one.get("name", "") if isinstance(one, dict) else name
        # The standard library loses and adds spaces around encoded words in names.
        assert "".join(person.display_name.split()) == "".join(name.split())


def assert_parts(letter: dict[str, Any], message: EmailMessage) -> None:
    """Check that there are the texts and files of this letter, and nothing else."""
    leaves = [part for part in message.walk() if not part.is_multipart()]
    texts = {
        part.get_content_type(): part for part in leaves if part.get_content_disposition() is None
    }
    files = [part for part in leaves if part.get_content_disposition()]
    html, text = letter.get("html"), letter["text"]
    expected = {"text/plain": text} if text or not html else {}
    expected |= {"text/html": html} if html else {}
    assert {kind: content(part) for kind, part in texts.items()} == {
        k: lf(v) for k, v in expected.items()
    }
    given_ = letter.get("attachments", [])
    assert Counter(part.get_filename() for part in files) == Counter(f["filename"] for f in given_)
    ids = [part["Content-ID"] for part in files if "Content-ID" in part]
    assert Counter(ids) == Counter(f"<{f['content_id']}>" for f in given_ if "content_id" in f)


def content(part: Any) -> str:
    return str(part.get_content()).replace("\r\n", "\n")


def lf(text: str) -> str:
    """Return the text as it must arrive: LF for any line end, and one at the end."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"
