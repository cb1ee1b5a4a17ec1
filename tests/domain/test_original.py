"""Messages given as octets: what is taken has one reading only, and stays as it is."""

from __future__ import annotations

import base64
import email
import email.header
import email.message
import email.utils
import re
import tracemalloc
from collections.abc import Sequence
from email import policy
from email.headerregistry import AddressHeader

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from undosend.domain import rules
from undosend.domain.addresses import mailbox
from undosend.domain.email import Address
from undosend.domain.errors import FieldError
from undosend.domain.original import ERROR_LIMIT, HEADER_LIMIT, Original, completed, read

ANN = mailbox("ann@example.com")
BOB = mailbox("bob@example.org")
CYD = mailbox("cyd@example.net")
DATE = 1_795_426_200_250_000  # 2026-11-23T09:30:00.25Z, a Monday
ID = "<em_01.1@undosend.test>"


def crlf(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


FROM = "From: ann@example.com"
TO = "To: bob@example.org"


def taken(octets: bytes, sender: Address | None = None, to: Sequence[Address] = ()) -> Original:
    found = read(octets, envelope_from=sender, envelope_to=to)
    assert isinstance(found, Original), found
    return found


def refused(octets: bytes, **envelope: Address | None) -> list[FieldError]:
    found = read(octets, envelope_from=envelope.get("sender"))
    assert not isinstance(found, Original)
    assert found, "what is refused has a reason"
    return found


def codes(errors: list[FieldError]) -> list[tuple[str, str]]:
    return [(error.pointer, error.code) for error in errors]


def test_everything_that_a_header_says_is_read() -> None:
    octets = crlf(
        "Received: from a.test (a.test [192.0.2.1]) by b.test; Mon, 23 Nov 2026 09:30:00 +0000",
        "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=x;",
        "\tbh=abc=; b=def=",
        'From: "Lee, Ann" <ann@EXAMPLE.com>',
        "Sender: J. Smith <j.smith@example.com>",
        "To: =?utf-8?q?J=C3=BCrgen_M?= =?utf-8?q?=C3=BCller?= <bob@example.org>,",
        " cyd@example.net",
        "CC: Example Inc. <dan@example.net>",
        "Reply-To: ann+re@example.com",
        "Subject: =?utf-8?b?R3LDvMOf?=",
        " =?iso-8859-1?q?e_=FCber?= all",
        "Date: Mon, 23 Nov 2026 09:30:00 +0000 (UTC)",
        "Message-ID:",
        " <1@example.com>",
        "In-Reply-To: <0@example.com>",
        "References: <a@example.com>",
        "\t<0@example.com>",
        "",
        "Hello",
    )

    assert taken(octets) == Original(
        octets=octets,
        sender=mailbox("j.smith@example.com", "J. Smith"),
        authors=(
            mailbox("ann@example.com", "Lee, Ann"),
            mailbox("j.smith@example.com", "J. Smith"),
        ),
        to=(mailbox("bob@example.org", "J\xfcrgen M\xfcller"), CYD),
        cc=(mailbox("dan@example.net", "Example Inc."),),
        bcc=(),
        reply_to=(mailbox("ann+re@example.com"),),
        subject="Gr\xfc\xdfe \xfcber all",
        message_id="<1@example.com>",
        dated=True,
        in_reply_to=("<0@example.com>",),
        references=("<a@example.com>", "<0@example.com>"),
        eight_bit=False,
    )


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\nHello\r\n", b"\r\n\xff\xfe\x0c\r\n.\r\n"])
def test_what_is_fit_stays_the_same_object(body: bytes) -> None:
    octets = crlf(FROM, TO) + body

    found = taken(octets)

    assert found.octets is octets
    assert found.eight_bit == (b"\xff" in body)
    assert not found.dated
    assert found.message_id is None
    assert found.subject == ""


@pytest.mark.parametrize("body", [b"", b"\r\n\r\nHello", b"\r\nBcc: cyd@example.net"])
def test_line_end_is_added_where_the_message_ends_without_one(body: bytes) -> None:
    octets = crlf(FROM, TO).removesuffix(b"\r\n") + body

    found = taken(octets)

    assert found.octets == crlf(FROM, TO) + (b"\r\nHello\r\n" if b"Hello" in body else b"")


def test_blind_copies_are_taken_out_with_their_folds_and_nothing_else() -> None:
    blind = crlf("bCC: cyd@example.net,", "\tdan@example.net")
    body = crlf("", "Bcc: this is the body", " and stays")

    found = taken(crlf(FROM) + blind + crlf(TO, "X-Bcc: kept", "Bcc-Not: kept") + body)

    assert found.octets == crlf(FROM, TO, "X-Bcc: kept", "Bcc-Not: kept") + body
    assert found.bcc == (CYD, mailbox("dan@example.net"))


NAMES = st.sampled_from(
    ["Bcc", "BCC", "Resent-Bcc", "resent-bcc", "X-Bcc", "Bccs", "X-A", "Comments", "Received"]
)
VALUES = st.lists(st.text("aB:@<,;=. \t", min_size=1), min_size=1, max_size=3).map(
    lambda lines: "\r\n ".join(f"x{line}" for line in lines)
)


@given(st.lists(st.tuples(NAMES, VALUES)), st.integers(0, 9), st.binary(max_size=40))
def test_all_other_octets_stay_in_place(
    fields: list[tuple[str, str]], place: int, body: bytes
) -> None:
    fields.insert(place, ("From", "ann@example.com"))
    lines = [f"{name}:{value}\r\n".encode() for name, value in fields]
    rest = b"\r\n" + re.sub(rb"[\r\n\0]", b"", body) + b"\r\n"
    kept = [line for line in lines if not re.match(rb"(?i)(resent-)?bcc:", line)]

    found = read(b"".join(lines) + rest, envelope_from=ANN, envelope_to=[BOB])

    if sum(name.lower() == "bcc" for name, _ in fields) > 1:
        assert isinstance(found, list)
        assert {code for _, code in codes(found)} == {"duplicate_header"}
    else:
        assert isinstance(found, Original)
        assert found.octets == b"".join(kept) + rest


@pytest.mark.parametrize(
    ("octets", "code", "word"),
    [
        (b"", "no_content", "empty"),
        (b"From: ann@example.com\nTo: bob@example.org\n\nHi\n", "bare_line_end", "Line 1"),
        (crlf(FROM, TO, "", "a") + b"b\rc\r\n", "bare_line_end", "Line 5"),
        (crlf(FROM, TO, "", "a") + b"\n.\n\r\n", "bare_line_end", "Line 5"),
        (crlf(FROM, TO, "", "a") + b"\r\r\n", "bare_line_end", "Line 5"),
        (crlf(FROM, TO, "", "a") + b"\r", "bare_line_end", "Line 5"),
        (b"\n" + crlf(FROM, TO), "bare_line_end", "Line 1"),
        (crlf(FROM, TO, "", "a\0b"), "invalid_text", "Line 4"),
        (crlf(FROM, TO, "", "a" * 999), "too_long", "Line 4"),
        (crlf(FROM, TO, "", "a" * 998, "b") + b"c" * 999, "too_long", "Line 6"),
        (crlf(FROM, TO, *["X: " + "y" * 900] * 300, ""), "too_long", str(HEADER_LIMIT)),
        (crlf(FROM, TO, *["X: y"] * 999, ""), "too_many_headers", "1000"),
        (crlf("From ann Mon Nov 23 09:30:00 2026", FROM, TO), "malformed_header", "mailbox file"),
        (crlf(" X: y", FROM, TO), "malformed_header", "Line 1 continues"),
        (crlf(FROM, TO, "Hello Bob"), "malformed_header", "Line 3 is no header field"),
        (crlf(FROM, TO, "Bcc : eve@example.com"), "invalid_header_name", "space before its colon"),
        (crlf(FROM, TO, ": y"), "invalid_header_name", "no name"),
        (crlf(FROM, TO, "X\xfc: y"), "invalid_header_name", "0xFC"),
        (crlf(FROM, TO, "X Y: z"), "invalid_header_name", "0x20"),
    ],
)
def test_message_of_no_certain_form_is_refused(octets: bytes, code: str, word: str) -> None:
    errors = refused(octets)

    assert codes(errors)[0] == ("", code)
    assert word in errors[0].detail


@pytest.mark.parametrize(
    ("field", "code", "word"),
    [
        ("X: y\r\n \t\r\n z", "malformed_header", "Line 4"),
        ("X: y\r\n ", "malformed_header", "Line 4"),
        ("Subject: a\x1bb", "invalid_header_value", "Line 3 has the control octet 0x1B"),
        ("Subject: a\x0bTo: eve@example.com", "invalid_header_value", "0x0B"),
        ("Subject: Gr\xfc\xdfe", "smtputf8_not_enabled", "0xFC"),
        ("Date: yesterday", "invalid_date", "Line 3"),
        ("Date:", "invalid_date", "Line 3"),
        ("Date: Mon, 99 Nov 2026 09:30:00 +0000", "invalid_date", "Line 3"),
        ("Message-ID: 1@example.com", "invalid_message_id", "<left@right>"),
        ("Message-ID: <1>", "invalid_message_id", "<left@right>"),
        ("Message-ID: <1@a> <2@a>", "invalid_message_id", "<left@right>"),
        (f"Message-ID: <{'x' * 250}@a>", "invalid_message_id", "250"),
        ("Message-ID:", "invalid_message_id", "<left@right>"),
        ("Content-Transfer-Encoding: binary", "unsupported_content_type", "7bit"),
        ("Content-Transfer-Encoding: x-uuencode", "unsupported_content_type", "7bit"),
        ("To: cyd@example.net", "duplicate_header", "the first is on line 2"),
        ("Resent-To: cyd@example.net", "ambiguous_header", "resent"),
    ],
)
def test_field_that_must_not_stand_so_is_refused(field: str, code: str, word: str) -> None:
    errors = refused(crlf(FROM, TO, field, "", "Hi"))

    assert codes(errors) == [(f"/headers/{field.partition(':')[0]}", code)]
    assert word in errors[0].detail


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 23 Nov 2026 09:30:00 +0000 soon",
        "Mon, 23 Nov 2026 09:30:00",
        "Mon, 23 Nov 2026 09.30.00 +0000",
        "Mon, 23 Nov 2026 9:30:00 +0000",
        "Mon, 23 Nov 2026 09:30:00 +00:00",
        "Mon, 23 Nov 2026 09:30:00 +0060",
        "Mon, 23 Nov 2026 09:30:00 X",
        "Mon, 23 Nov 26 09:30:00 +0000",
        "Mon, 23 Nov 0000 09:30:00 +0000",
        "Mon, 23 November 2026 09:30:00 +0000",
        "Monday, 23-Nov-26 09:30:00 GMT",
        "Mon Nov 23 09:30:00 2026",
        "Mon 23 Nov 2026 09:30:00 +0000",
        "Nov 23 2026 09:30:00 +0000",
        "Xyz, 23 Nov 2026 09:30:00 +0000",
        "Tue, 23 Nov 2026 09:30:00 +0000",
        "Mon, 23 Nov 2026 24:00:00 +0000",
        "Sun, 29 Feb 2026 09:30:00 +0000",
        "(Mon, 23 Nov 2026 09:30:00 +0000)",
        "2026-11-23T09:30:00Z",
    ],
)
def test_date_that_two_might_read_differently_is_refused(date: str) -> None:
    errors = refused(crlf(FROM, TO, f"Date: {date}", "", "Hi"))

    assert codes(errors) == [("/headers/Date", "invalid_date")]


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 23 Nov 2026 09:30:00 +0530",
        "mon,23 nov 2026 09:30 -0000",
        "Mon,  2 Nov 2026\r\n\t09:30:00 +0000 (Coordinated Universal Time)",
        "02 Nov 2026 09:30:00 EST",
        "23 Nov 2026 09:30 UTC",
        "Mon, 23 Nov 2026 09:30:00 Z",
        "Sat, 1 Jan 1972 00:00:00 GMT",
        "Mon, 23 Nov 2026 01:30:00 -0800 (Pacific Standard Time (Mexico))",
    ],
)
def test_date_that_all_read_alike_is_taken(date: str) -> None:
    assert taken(crlf(FROM, TO, f"Date: {date}", "", "Hi")).dated


@pytest.mark.parametrize("value", ["7bit", "8BIT", "Quoted-Printable", "base64"])
def test_encodings_of_the_body_that_a_relay_can_carry(value: str) -> None:
    taken(crlf(FROM, TO, f"Content-Transfer-Encoding: {value}", "", "Hi"))


@pytest.mark.parametrize(
    "name",
    [
        *("From", "Date", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To"),
        *("References", "Subject", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"),
    ],
)
def test_second_field_of_a_kind_is_refused_even_with_the_envelope(name: str) -> None:
    odd = {"Date": "Mon, 23 Nov 2026 09:30:00 +0000", "Content-Transfer-Encoding": "7bit"}
    value = odd.get(name, "<a@example.com>")
    twice = [f"{name}: {value}", f"{name.upper()}: {value}"]

    author = [FROM] if name != "From" else []

    found = read(crlf(*twice, *author), envelope_from=ANN, envelope_to=[BOB])

    assert isinstance(found, list)
    assert codes(found) == [(f"/headers/{name.upper()}", "duplicate_header")]


def test_all_errors_are_told_at_once_with_pointers_that_are_escaped() -> None:
    errors = refused(crlf("a/b~c: \x01", "To: eve", "no colon", "Date: x"))

    assert codes(errors) == [
        ("/headers/a~1b~0c", "invalid_header_value"),
        ("", "malformed_header"),
        ("/headers/From", "missing"),
        ("/headers/Date", "invalid_date"),
        ("/headers/To", "ambiguous_header"),
    ]
    assert codes(refused(b"a\r\0\n" + b"x" * 999)) == [
        ("", "bare_line_end"),
        ("", "bare_line_end"),
        ("", "invalid_text"),
        ("", "too_long"),
    ]
    assert len(refused(crlf(*["no colon"] * 1000))) == ERROR_LIMIT


def test_message_without_header_or_author_is_refused() -> None:
    assert codes(refused(b"\r\nHello\r\n")) == [
        ("", "malformed_header"),
        ("/headers/From", "missing"),
        ("/headers/To", "no_recipients"),
    ]
    assert codes(refused(crlf("from:", TO))) == [("/headers/from", "missing")]


def test_recipients_come_from_somewhere() -> None:
    nobody = crlf(FROM, "To:", "Cc:  ")

    assert codes(refused(nobody)) == [("/headers/To", "no_recipients")]
    assert taken(nobody, to=[BOB]).to == ()
    assert taken(crlf(FROM, "Bcc: bob@example.org")).bcc == (BOB,)


def test_recipients_have_a_limit_only_where_they_make_the_envelope() -> None:
    many = crlf(FROM, "To:", *(f" a{n}@example.com," for n in range(50)), " b@example.com")

    assert codes(refused(many)) == [("/headers/To", "too_many_recipients")]
    assert len(taken(many, to=[BOB]).to) == rules.RECIPIENT_LIMIT


AMBIGUOUS = [
    "alice@example.org)bob@evil.test",  # CVE-2023-27043
    "alice@example.org(bob@evil.test",
    "alice@example.org]bob@evil.test",
    "alice@example.org<bob@evil.test>",  # CVE-2019-16056 and its family
    "alice@example.org@evil.test",
    "alice@malicious.test@important.test",
    "<alice@malicious.test@important.test>",
    "(comment) alice@example.org",
    "alice@example.org (Alice)",
    "alice(<eve@evil.test>)@example.org",
    "Alice (a,b) <alice@example.org>",
    "Friends: alice@example.org, bob@example.org;",
    "undisclosed-recipients:;, alice@example.org",
    "alice@example.org, undisclosed-recipients:;",
    "undisclosed-recipients:; <alice@example.org>",
    "undisclosed-recipients:;;",
    "undisclosed-recipients:,;",
    "undisclosed-recipients:(nobody);",
    "undisclosed-recipients:",
    "<undisclosed-recipients:;>",
    '"alice@example.org":;',
    '"undisclosed"recipients:;',
    "=?utf-8?q?nobody=3A=3B?=",
    "=?utf-8?q?alice=40example=2Eorg?= :;",
    ":;",
    ";",
    '"Alice <alice@example.org>',
    'Alice" <alice@example.org>',
    '"Alice\\" <alice@example.org>',
    '"alice@example.org',
    '"eve@evil.test>, <alice"@example.org',
    '"alice"@example.org',
    '"a" b <alice@example.org>',
    "Alice <alice@example.org",
    "Alice <alice@example.org>>",
    "Alice <<alice@example.org>>",
    "Alice <alice@example.org> bob@example.org",
    "Alice <alice@example.org> <bob@example.org>",
    "alice@example.org bob@example.org",
    "alice@example.org; bob@example.org",
    "alice@example.org,",
    ",alice@example.org",
    "alice@example.org,,bob@example.org",
    "<@relay.test:alice@example.org>",
    "<>",
    "alice",
    "alice @example.org",
    "al\\,ice@example.org",
    "bob@example.org, Alice <eve@evil.test> <alice@example.org>",
    "=?utf-8?q?a=2C_eve=40evil=2Etest?= <alice@example.org>",  # hides a comma and an at sign
    "=?utf-8?b?PGV2ZUBldmlsLnRlc3Q+?= <alice@example.org>",
    "=?utf-8?q?eve=40evil=2Etest=2C?= <alice@example.org>",
    "=?utf-8?q?a=3E=2C?= <alice@example.org>",
    "=?utf-8?q?a=5C?= <alice@example.org>",
    "=?utf-8?q?=22a?= <alice@example.org>",
    "=?utf-8?q?=28a?= <alice@example.org>, =?utf-8?q?=29?= <bob@example.org>",
    "=?utf-8?q?a=5D?= <alice@example.org>",
    "=?utf-8?q?=22=28=22=29?= <alice@example.org>",
    "=?utf-8?q?=3D=3Futf-8=3Fq=3F=3D40=3F=3D?= <alice@example.org>",  # decodes twice
    "=?utf-8?q?=3D?= =?utf-8?q?=3Futf-8=3Fq=3Fa=3F=3D?= <alice@example.org>",
    "=?utf-8?q?==3Ceve==40evil=2Etest==3E?= <alice@example.org>",  # =< or =3C, as you read it
    "=?utf-8?b?YQ==PGV2ZUBldmlsLnRlc3Q+?= <alice@example.org>",  # some read on behind the padding
    "=?utf-8?b?Y-Q?= <alice@example.org>",
    # Four kanji to who joins the words, an address to who does not.
    "=?iso-2022-jp?b?GyRC?= =?iso-2022-jp?b?PGVlQGJjPiw=?= <alice@example.org>",
    "=?shift_jis?q?=83?= =?shift_jis?q?=40b=2Ecd=2C?= <alice@example.org>",
    "=?utf-8?q?a,?= <alice@example.org>",  # a comma there parts mailboxes (RFC 2047 §5)
    "Alice =?utf-8?q?B=2C_C?= <alice@example.org>",
    '"=?utf-8?q?Alice?=" <alice@example.org>',
    "=?x-unknown?q?Alice?= <alice@example.org>",
    "=?utf-8?q?=FF?= <alice@example.org>",
    "=?utf-8?b?a?= <alice@example.org>",
    "x=?utf-8?q?Alice?= <alice@example.org>",
    "=?utf-8?q?Alice?=<alice@example.org>",
    "Alice . <alice@example.org>",
    "Alice Inc.<alice@example.org>",  # an AttributeError in the standard library
]


@pytest.mark.parametrize("value", AMBIGUOUS)
@pytest.mark.parametrize("name", ["From", "Sender", "To", "Cc", "Bcc"])
def test_what_two_parsers_may_read_differently_makes_no_envelope(name: str, value: str) -> None:
    plain = {"From": "ann@example.com", "To": "bob@example.org"}
    octets = crlf(*(f"{key}: {text}" for key, text in (plain | {name: value}).items()))

    errors = refused(octets)

    assert codes(errors) == [(f"/headers/{name}", "ambiguous_header")]
    assert errors[0].detail.endswith("Give the envelope explicitly.")
    found = taken(octets, ANN, [BOB])
    assert found.octets == (octets if name != "Bcc" else crlf(FROM, TO))
    shown = {"From": found.authors, "Sender": found.authors, "To": found.to, "Cc": found.cc}
    assert shown.get(name, found.bcc) == ()
    assert name not in {"From", "Sender"} or found.sender is None


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("a%b@example.org", "unsupported_address"),
        ("a!b@example.org", "unsupported_address"),
        ("=?utf-8?q?a?=@example.org", "unsupported_address"),
        ("a..b@example.org", "invalid_address"),
        ("a@localhost", "invalid_address"),
        ("a@127.0.0.1", "invalid_address"),
        (f"{'l' * 65}@example.org", "too_long"),
        ("=?utf-8?q?a=0D=0AX?= <a@example.org>", "invalid_header_value"),
        ("=?utf-8?q?a=0D=0A?= <a@example.org>", "invalid_header_value"),
        ("=?utf-8?q?a=2C=09b?= <a@example.org>", "invalid_header_value"),
        ("=?utf-8?q?a=00?= <a@example.org>", "invalid_text"),
        ("=?utf-8?b?4oCu?= <a@example.org>", "invalid_header_value"),  # U+202E
        (f"=?utf-8?q?{'=2C' * 321}?= <a@example.org>", "too_long"),
        ("a\xfc@example.org", "smtputf8_not_enabled"),
    ],
)
def test_addresses_that_would_not_be_taken_otherwise_are_not_taken_here(
    value: str, code: str
) -> None:
    assert codes(refused(crlf(FROM, f"To: {value}"))) == [("/headers/To", code)]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("=?utf-8?q?M=C3=BCller=2C_J=C3=BCrgen?=", "M\xfcller, J\xfcrgen"),
        (
            "=?utf-8?q?M=C3=BCller=2C?=\r\n\t=?utf-8?q?_J=C3=BC?= =?utf-8?q?rgen?=",
            "M\xfcller, J\xfcrgen",
        ),
        ("=?UTF-8?B?TcO8bGxlciwgSg==?=  =?iso-8859-1?Q?=FCrgen?=", "M\xfcller, J\xfcrgen"),
        ("=?utf-8?q?=22M=C3=BCller=2C_J=2E_=28EDV=29=22?=", '"M\xfcller, J. (EDV)"'),
        ("=?utf-8?q?J=C3=BCrgen_=22J=22_M=C3=BCller_=5BEDV=5D?=", 'J\xfcrgen "J" M\xfcller [EDV]'),
        ("=?utf-8?q?Caf=C3=A9=3A_Team=3B?=", "Caf\xe9: Team;"),
        ("=?utf-8?q?evil=2C?=", "evil,"),
        ("=?utf-8?q?_?=", ""),
    ],
)
def test_name_of_encoded_words_alone_may_hold_what_parts_mailboxes(words: str, name: str) -> None:
    found = taken(
        crlf(f"From: {words} <ann@example.com>", f"To: {words} <bob@example.org>,", " c@d.test")
    )

    assert found.sender == mailbox("ann@example.com", name)
    assert found.to == (mailbox("bob@example.org", name), mailbox("c@d.test"))
    assert_one_reading(found)


def test_character_in_two_halves_is_one_in_a_name() -> None:
    halves = "=?utf-8?q?M=C3?= =?utf-8?q?=BCller=2C_J=2E?="

    assert taken(crlf(FROM, f"To: {halves} <bob@example.org>")).to[0].name == "M\xfcller, J."


@pytest.mark.parametrize(
    "group",
    [
        "undisclosed-recipients:;",
        "Undisclosed recipients: ;",
        "Undisclosed recipients :\r\n ;",
        '"Undisclosed recipients" : ;',
        "=?utf-8?q?Verborgene_Empf=C3=A4nger?= :;",
    ],
)
def test_empty_group_names_nobody(group: str) -> None:
    hidden = crlf(FROM, f"To: {group}", f"Cc: {group}")

    assert codes(refused(hidden)) == [("/headers/To", "no_recipients")]
    assert codes(refused(crlf(FROM, f"Cc: {group}"))) == [("/headers/To", "no_recipients")]
    assert taken(hidden, to=[BOB]).to == ()
    found = taken(hidden + crlf(TO.replace("To", "Bcc")))
    assert (found.to, found.cc, found.bcc) == ((), (), (BOB,))
    assert found.octets == hidden
    assert_one_reading(found)
    assert parsed(hidden)["to"].addresses == ()
    assert taken(crlf(FROM, f"To: {group}", "Cc: bob@example.org")).cc == (BOB,)
    assert taken(crlf(FROM, TO, f"Cc: {group}", f"Bcc: {group}")).octets == crlf(
        FROM, TO, f"Cc: {group}"
    )
    for name in ("From", "Sender"):
        others = crlf(FROM, TO) if name == "Sender" else crlf(TO)
        assert codes(refused(crlf(f"{name}: {group}") + others)) == [
            (f"/headers/{name}", "ambiguous_header")
        ]


def test_several_authors_need_a_sender() -> None:
    authors = "From: ann@example.com, bob@example.org"

    assert codes(refused(crlf(authors, TO))) == [("/headers/From", "ambiguous_header")]
    assert taken(crlf(authors, "Sender: bob@example.org", TO)).sender == BOB
    given_ = taken(crlf(authors, TO), ANN)
    assert given_.sender is None
    assert given_.authors == (ANN, BOB)
    assert codes(refused(crlf(FROM, f"Sender:{authors[5:]}", TO))) == [
        ("/headers/Sender", "ambiguous_header")
    ]


@pytest.mark.parametrize("name", ["Sender", "SENDER", "Resent-From", "resent-sender"])
@pytest.mark.parametrize(
    ("value", "authors"),
    [
        ("bob@example.org", (ANN, BOB)),
        ("bob@example.org, cyd@example.net", (ANN, BOB, CYD)),
        ("bob@example.org (Bob)", ()),
        ('"Bob" <bob@example.org', ()),
        ("Friends: bob@example.org;", ()),
        ("", ()),
    ],
)
def test_whoever_a_message_says_it_is_from_is_an_author(
    name: str, value: str, authors: tuple[Address, ...]
) -> None:
    """Where one field is doubtful nobody is: somebody else may be read there."""
    found = taken(crlf("From: ann@example.com", f"{name}: {value}", TO), ANN, [BOB])

    assert found.authors == authors


def test_authors_that_are_too_many_are_none() -> None:
    several = ", ".join(f"a{n}@example.com" for n in range(rules.RECIPIENT_LIMIT))

    assert len(taken(crlf(f"From: {several}", TO), ANN, [BOB]).authors) == rules.RECIPIENT_LIMIT
    for more in (
        f"From: {several}, cyd@example.net",
        f"From: {several}\r\nSender: cyd@example.net",
    ):
        assert taken(crlf(more, TO), ANN, [BOB]).authors == ()


def test_resent_message_is_taken_with_its_envelope() -> None:
    octets = crlf("Resent-From: cyd@example.net", "Resent-Bcc: eve@example.net", FROM, TO)

    assert taken(octets, CYD, [BOB]).octets == octets.replace(
        b"Resent-Bcc: eve@example.net\r\n", b""
    )
    assert codes(refused(octets, sender=CYD)) == [("/headers/Resent-From", "ambiguous_header")]


@pytest.mark.parametrize(
    ("value", "subject"),
    [
        ("=?utf-8?b?w?= x", "=?utf-8?b?w?= x"),
        ("=?utf-8?b?4oI=?= =?utf-8?b?rA==?=", "\u20ac"),  # a character in two halves
        ("=?utf-8*de?Q?a_b?= c =?UTF-8?q?d?=", "a b c d"),
        ("=?idna?q?xn--a?=", "=?idna?q?xn--a?="),
        ("=?utf-8?q?a=0D=0ABcc:_x=E2=80=AE?=", "a\ufffd\ufffdBcc: x\ufffd"),
        ("=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "\u65e5\u672c"),
        ("=?utf-8?q?" + "a" * 900 + "?=\r\n =?utf-8?q?" + "b" * 900 + "?=", "a" * 900 + "b" * 98),
        ("\r\n\tfolded\r\n\tby tabs", "folded by tabs"),
    ],
)
def test_subject_is_one_line_of_legible_text(value: str, subject: str) -> None:
    assert taken(crlf(FROM, TO, f"Subject: {value}")).subject == subject


def test_date_and_message_id_are_put_in_front_where_they_lack() -> None:
    bare = crlf(FROM, TO, "", "Date: body", "Message-ID: body")
    date, identity = "DATE: Mon, 23 Nov 2026 09:30:00 +0000", "message-id: <1@a>"
    dated, named = crlf(date) + bare, crlf(TO, identity) + bare.replace(crlf(TO), b"", 1)
    added = b"Date: Mon, 23 Nov 2026 09:30:00 +0000\r\n"

    assert completed(bare, message_id=ID, date=DATE) == added + crlf(f"Message-ID: {ID}") + bare
    assert completed(dated, message_id=ID, date=DATE) == crlf(f"Message-ID: {ID}") + dated
    assert completed(named, message_id=ID, date=DATE) == added + named
    full = crlf(date, identity) + bare
    assert completed(full, message_id=ID, date=DATE) is full
    with pytest.raises(ValueError, match="Message-ID"):
        completed(bare, message_id="<a@b>\r\nBcc: eve@example.com", date=DATE)


def test_large_message_is_copied_once_at_most() -> None:
    octets = crlf(FROM, TO, "Bcc: cyd@example.net", "", *["x" * 76] * 100_000)
    plain = octets.replace(crlf("Bcc: cyd@example.net"), b"")
    tracemalloc.start()
    try:
        taken(plain)
        _, none = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        taken(octets)
        _, one = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert none < len(octets) / 4
    assert one < len(octets) * 1.25


# Against two other readers: the standard library's, and one that knows only the letter.


def fields_by_the_letter(octets: bytes) -> list[tuple[str, str]]:
    header = octets.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n").decode("ascii")
    fields: list[list[str]] = []
    for line in header.split("\r\n"):
        if line[0] in " \t":
            fields[-1][1] += line
        else:
            name, colon, value = line.partition(":")
            assert colon
            fields.append([name, value])
    return [(name, value.strip(" \t")) for name, value in fields]


def parsed(octets: bytes) -> email.message.EmailMessage:
    return email.message_from_bytes(octets, policy=policy.SMTP)


def addresses_of(message: email.message.EmailMessage, name: str) -> list[tuple[str, str]]:
    header = message[name]
    if header is None or not header.strip():
        return []
    assert isinstance(header, AddressHeader)
    defects = [str(defect) for defect in header.defects]  # type: ignore[attr-defined] # of BaseHeader
    # A bare full stop in a name is obsolete, and in every "J. Smith" (RFC 5322 §4.1); behind the
    # one of "Smith Inc." the library takes a space for a comment.
    assert set(defects) <= {"period in 'phrase'", "comment found without atom"}
    legacy = [one.lower() for _, one in email.utils.getaddresses([str(header)])]
    assert legacy == [one.addr_spec.lower() for one in header.addresses]
    assert not any(group.display_name for group in header.groups)
    return [(one.addr_spec.lower(), squeezed(one.display_name)) for one in header.addresses]


def squeezed(text: str) -> str:
    # Without any space: the library leaves some between adjacent words (RFC 2047 §6.2 has none).
    return "".join(text.split())


def addresses_decoded_first(value: str) -> list[str]:
    """Return what somebody finds who decodes each word, and only then looks for structure."""
    text = str(email.header.make_header(email.header.decode_header(value)))
    bare = re.sub(r'"(?:[^"\\]|\\.)*(?:"|\Z)|\([^()]*(?:\)|\Z)|\[[^\]]*(?:\]|\Z)', " ", text)
    return re.findall(r"[^\s<>,;:()]+@[^\s<>,;:()]+", bare)


def end_strictly(wire: bytes) -> int:
    return wire.find(b"\r\n.\r\n")


def end_leniently(wire: bytes) -> int:
    found = re.search(rb"(?:\r\n|\r|\n)\.(?:\r\n|\r|\n)", wire)
    return found.start() if found else -1


def assert_one_reading(original: Original) -> None:
    octets = original.octets
    letter = fields_by_the_letter(octets)
    message = parsed(octets)
    raw = [(name, re.sub(r"\r\n", "", value).strip(" \t")) for name, value in message.raw_items()]
    assert raw == letter
    assert [name for name, _ in letter if name.lower() == "from"] != []
    assert not {"bcc", "resent-bcc"} & {name.lower() for name, _ in letter}
    stuffed = (b"." if octets.startswith(b".") else b"") + octets.replace(b"\r\n.", b"\r\n..")
    wire = stuffed + b".\r\n"
    assert end_strictly(wire) == end_leniently(wire) == len(wire) - 5
    for names, people in (
        (("from", "sender", "resent-from", "resent-sender"), original.authors),
        (("to",), original.to),
        (("cc",), original.cc),
    ):
        if people:
            read_by_us = {(one.email.lower(), squeezed(one.name)) for one in people}
            assert {one for name in names for one in addresses_of(message, name)} == read_by_us
    assert "\n" not in original.subject
    assert len(original.subject) <= rules.VALUE_LIMIT
    again = taken(completed(octets, message_id=ID, date=DATE), ANN, [BOB])
    assert again.dated
    assert again.message_id == (original.message_id or ID)
    assert fields_by_the_letter(again.octets)[-len(letter) :] == letter


BITS = st.one_of(
    st.sampled_from(b"From To Bcc Sender Subject Date Message-ID Received".split(b" ")),
    st.sampled_from([b":", b": ", b" ", b"\t", b"\r\n", b"\r\n ", b"\r\n\r\n", b"\r\n."]),
    st.sampled_from([b"\r", b"\n", b"\0", b"\x0b", b"\x85", b"\xff", b".", b"x", b"1"]),
    st.sampled_from(b'" \\ , ; ( ) < > @ [ ] a@b.cd <a@b.cd> =? ?='.split(b" ")),
    st.sampled_from([b"=?utf-8?q?a=2C?=", b"=?utf-8?b?YQ==?=", b"1 Nov 2026 09:30:00"]),
)


@settings(max_examples=300)
@given(st.lists(BITS).map(b"".join) | st.binary(), st.booleans())
@example(b"From:a@b.cd\r\nTo:a@b.cd\r\nDate:1 Nov 2026 09:30:00 99999999999999999\r\n", False)  # noqa: FBT003
@example(b"From:a@b.cd\r\nTo:a@b.cd\r\nDate:1 Nov 99999999999 09:30:00\r\n", False)  # noqa: FBT003
def test_octets_of_any_kind_are_judged(octets: bytes, given_: bool) -> None:
    for start in (b"", b"From: a@b.cd\r\nTo: a@b.cd\r\n"):
        whole = start + octets
        found = read(whole, envelope_to=[BOB], envelope_from=ANN) if given_ else read(whole)
        if isinstance(found, Original):
            assert_one_reading(found)
        else:
            assert found
            assert all(error.detail.endswith(".") for error in found)


ATOM = st.text("abcXYZ0'+-.=?_", min_size=1, max_size=8)
PERSON = st.one_of(
    st.lists(ATOM, max_size=3).map(" ".join),
    st.text('ab ,;<>@()"\\.', max_size=9).map(
        lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    ),
    st.text("ab\xfc\u20ac ._", min_size=1, max_size=9).map(
        lambda text: "=?utf-8?q?" + "".join(f"={octet:02X}" for octet in text.encode()) + "?="
    ),
    st.text('ab ,;<>@()":=?[]\\', max_size=9),
)
LIST = st.lists(
    st.tuples(
        PERSON, st.sampled_from(["<{}>", " <{}>", "\r\n <{}>", "{}", " {}", "<{}"]), ATOM
    ).map(lambda three: three[0] + three[1].format(f"{three[2]}@b.cd")),
    min_size=1,
    max_size=3,
).map(",".join)


@settings(max_examples=500)
@given(LIST, LIST)
def test_mailboxes_that_are_taken_read_the_same_in_the_standard_library(
    author: str, to: str
) -> None:
    found = read(f"From:{author}\r\nTo:{to}\r\n".encode(), envelope_from=ANN)
    if isinstance(found, Original):
        assert_one_reading(found)
    else:
        assert {error.pointer for error in found} <= {"/headers/To", "/headers/From", ""}


LETTERS = st.text('ab\xfc\u20ac ,;:()[]"<>@\\.=?\r', min_size=1, max_size=5)
ENCODED = st.lists(LETTERS, min_size=1, max_size=3)


def words_of(texts: list[str], way: str) -> str:
    if way == "b":
        words = [base64.b64encode(text.encode()).decode() for text in texts]
    else:
        words = ["".join(f"={octet:02X}" for octet in text.encode()) for text in texts]
    return "\r\n ".join(f"=?utf-8?{way}?{word}?=" for word in words)


@settings(max_examples=500)
@given(
    st.lists(st.tuples(ENCODED, st.sampled_from("bq"), ATOM), min_size=1, max_size=3),
    st.sampled_from(["bob@example.org", "undisclosed-recipients:;"]),
)
@example([(["M\xfcller,", " J\xfcrgen"], "q", "j")], "undisclosed-recipients:;")
@example([(['"a'], "q", "j"), (['b"'], "b", "k")], "bob@example.org")
def test_encoded_names_hide_no_address_from_who_decodes_first(
    people: list[tuple[list[str], str, str]], cc: str
) -> None:
    value = ",\r\n ".join(f"{words_of(name, way)} <{local}@b.cd>" for name, way, local in people)
    found = read(crlf(FROM, f"To: {value}", f"Cc: {cc}"))

    names = ["".join(name).strip(" ") for name, _, _ in people]
    if isinstance(found, Original):
        assert [one.name for one in found.to] == names
        emails = [one.email for one in found.to]
        assert addresses_decoded_first(value.replace("\r\n", "")) == emails
        assert_one_reading(found)
    else:
        assert {error.pointer for error in found} == {"/headers/To"}
        strange = any(re.search(r'[<>@\\\r"()\[\]]|=\?', name) for name in names)
        assert strange or {code for _, code in codes(found)} <= {
            "invalid_address",
            "unsupported_address",
        }


FIT = st.tuples(
    st.text("abcXYZ0'+-_", min_size=1, max_size=8),
    st.text("abcxyz", min_size=1),
    st.text("abcxyz", min_size=2),
)


@given(st.lists(FIT, min_size=1, max_size=5))
def test_plain_mailboxes_are_taken(people: list[tuple[str, str, str]]) -> None:
    wanted = tuple(mailbox(f"{local}@b.{top}", name) for name, local, top in people)
    value = ",\r\n ".join(f"{one.name} <{one.email}>" for one in wanted)

    assert taken(crlf(FROM, f"To: {value}")).to == wanted
