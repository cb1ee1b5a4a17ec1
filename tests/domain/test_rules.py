"""What may stand in an email, class by class."""

from __future__ import annotations

from dataclasses import replace

import pytest

from undosend.domain import mime, rules
from undosend.domain.addresses import mailbox
from undosend.domain.email import Address, Attachment, Content, File
from undosend.domain.errors import InvalidEmail, TooLarge

ANN = mailbox("ann@example.com", "Ann Lee")
BOB = mailbox("bob@example.org")
MAIL = Content(sender=ANN, to=(BOB,), subject="Hi", text="Hello")
PDF = Attachment("at_1", "report.pdf", "application/pdf", None, 5, "")


def broken(content: Content, *attachments: Attachment) -> list[tuple[str, str]]:
    errors = rules.violations(content, attachments)
    assert all(len(error.detail) > 20 for error in errors), "the text must help"
    return [(error.pointer, error.code) for error in errors]


def people(count: int) -> tuple[Address, ...]:
    return tuple(mailbox(f"p{number}@example.org") for number in range(count))


def test_ordinary_mail_has_no_violations() -> None:
    mail = replace(
        MAIL,
        cc=(ANN,),
        bcc=(BOB,),
        reply_to=(ANN,),
        subject="Gr\u00fc\u00dfe \U0001f600 =?utf-8?q?x?=",
        text="a\tb\r\nc\rd\n.\n\u2028\u202e",
        html="<p>\u00e4</p>",
        headers=(("X-Mailer", "x"), ("In-Reply-To", "<a@b>"), ("References", "<a@b> <c@d>")),
        tags=(("campaign", "a_b-1"),),
    )
    assert broken(mail, PDF, replace(PDF, content_id="logo@x")) == []


def test_empty_draft_has_no_violations() -> None:
    assert broken(Content()) == []


def test_one_click_unsubscribe_headers_pass() -> None:
    headers = (
        ("List-Unsubscribe", "<https://example.com/u?id=1&t=%3D>, <mailto:u@example.com>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    )
    assert broken(replace(MAIL, headers=headers)) == []


def test_every_violation_is_told_at_once() -> None:
    mail = Content(
        sender=Address("a b@c.d"),
        to=(BOB, Address("x")),
        cc=(Address("a@b.c", "\n"),),
        bcc=(Address("\u00fc@b.c"),),
        reply_to=(Address('"a"@b.c'),),
        subject="a\nb",
        text="\x00",
        html="\x1b",
        headers=(("Bcc", "x"), ("X A", "y"), ("X-B", "\r"), ("x-b", "")),
        tags=(("a b", "c"), ("a", "")),
    )
    file = Attachment("", "../x", "text", "a b", 0, "")
    assert broken(mail, PDF, file) == [
        ("/from", "invalid_address"),
        ("/to/1", "invalid_address"),
        ("/cc/0", "invalid_header_value"),
        ("/bcc/0", "smtputf8_not_enabled"),
        ("/reply_to/0", "unsupported_address"),
        ("/subject", "invalid_header_value"),
        ("/text", "invalid_text"),
        ("/html", "invalid_text"),
        ("/headers/Bcc", "reserved_header"),
        ("/headers/X A", "invalid_header_name"),
        ("/headers/X-B", "invalid_header_value"),
        ("/headers/x-b", "duplicate_header"),
        ("/tags/0/name", "invalid_tag"),
        ("/tags/1/value", "invalid_tag"),
        ("/attachments/1/filename", "invalid_filename"),
        ("/attachments/1/content_type", "invalid_content_type"),
        ("/attachments/1/content_id", "invalid_content_id"),
    ]


def test_address_that_is_not_canonical_is_refused() -> None:
    assert broken(replace(MAIL, to=(Address("a@B.com"),))) == [("/to/0", "invalid_address")]


def test_recipients_are_counted_over_to_cc_and_bcc() -> None:
    assert broken(replace(MAIL, to=people(20), cc=people(20), bcc=people(10))) == []
    too_many = [("/to", "too_many_recipients")]
    assert broken(replace(MAIL, to=people(20), cc=people(20), bcc=people(11))) == too_many
    assert broken(replace(MAIL, to=(), bcc=people(51))) == too_many
    too_many = [("/reply_to", "too_many_recipients")]
    assert broken(replace(MAIL, reply_to=people(51))) == too_many


LINE_ENDS = ["\r\n", *"\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\t\x1b\x7f\x9b"]
NO_TEXT = ["\x00", "\ud800"]


@pytest.mark.parametrize("character", LINE_ENDS)
def test_line_ends_and_controls_are_refused_in_every_header_text(character: str) -> None:
    text = f"a{character}b"
    mail = replace(MAIL, subject=text, headers=(("X-A", text),), to=(Address("a@b.c", text),))
    assert broken(mail, replace(PDF, filename=text)) == [
        ("/to/0", "invalid_header_value"),
        ("/subject", "invalid_header_value"),
        ("/headers/X-A", "invalid_header_value"),
        ("/attachments/0/filename", "invalid_header_value"),
    ]


@pytest.mark.parametrize("character", NO_TEXT)
def test_nul_and_lone_surrogates_are_refused_in_every_text(character: str) -> None:
    text = f"a{character}b"
    mail = Content(
        to=(Address("a@b.c", text),), subject=text, text=text, html=text, headers=(("X-A", text),)
    )
    codes = broken(mail, replace(PDF, filename=text))
    assert [code for _, code in codes] == ["invalid_text"] * 6


@pytest.mark.parametrize("character", ["\x01", "\x08", "\x0b", "\x0c", "\x1b", "\x7f", "\x85"])
def test_controls_other_than_tab_and_line_ends_are_refused_in_bodies(character: str) -> None:
    assert broken(replace(MAIL, text=character, html=character)) == [
        ("/text", "invalid_text"),
        ("/html", "invalid_text"),
    ]


BODIES = [".", "\n.\n", "\r.\r", "\r\n.\r\nMAIL FROM:<x>", "\r\r\n.\r\r\n", "x" * 100_000, ""]


@pytest.mark.parametrize("body", BODIES)
def test_bodies_that_smuggle_or_run_long_are_taken(body: str) -> None:
    assert broken(replace(MAIL, text=body, html=body)) == []


NAMES = ["X-A\r\nBcc", "X A", "X:", ":", "", "X-\u00e9", "X-A ", " X-A", "X\tA", "X\x00", "a" * 65]


@pytest.mark.parametrize("name", [*NAMES, "X-\u212a", "Subject\uff1a", "\ud800"])
def test_header_names_of_other_than_printable_ascii_are_refused(name: str) -> None:
    pointer = "/headers/" + name
    assert broken(replace(MAIL, headers=((name, "x"),))) == [(pointer, "invalid_header_name")]


RESERVED = (
    "From To Cc Bcc Reply-To Subject Date Message-ID Received Return-Path Sender Content-Type "
    "Content-Transfer-Encoding Content-Foo MIME-Version Resent-To Resent-Bcc DKIM-Signature "
    "ARC-Seal Received-SPF Authentication-Results Delivered-To Apparently-To"
)


@pytest.mark.parametrize("name", RESERVED.split())
def test_headers_with_a_meaning_of_their_own_are_reserved_in_any_case(name: str) -> None:
    for spelling in (name, name.lower(), name.upper()):
        mail = replace(MAIL, headers=((spelling, "x"),))
        assert broken(mail) == [(f"/headers/{spelling}", "reserved_header")]


@pytest.mark.parametrize("name", ["X-From", "Topic", "Dates", "X-Content-Type", "Subject-X", "To-"])
def test_headers_that_only_resemble_reserved_ones_pass(name: str) -> None:
    assert broken(replace(MAIL, headers=((name, "x"),))) == []


def test_pointers_to_headers_are_escaped() -> None:
    mail = replace(MAIL, headers=(("X~/A", "\n"),))
    assert broken(mail) == [("/headers/X~0~1A", "invalid_header_value")]


def test_header_value_and_subject_end_at_998_characters() -> None:
    fits, over = "\u00e4" * 998, "\u00e4" * 999
    assert broken(replace(MAIL, subject=fits, headers=(("X-A", fits),))) == []
    assert broken(replace(MAIL, subject=over, headers=(("X-A", over),))) == [
        ("/subject", "too_long"),
        ("/headers/X-A", "too_long"),
    ]


def test_lists_of_more_than_fifty_are_refused_and_only_fifty_looked_at() -> None:
    headers = tuple((f"X-{number}", "x") for number in range(50))
    tags = tuple((f"t{number}", "x") for number in range(50))
    mail = replace(MAIL, headers=headers, tags=tags)
    assert broken(mail, *[PDF] * 50) == []
    mail = replace(mail, headers=(*headers, ("", "")), tags=(*tags, ("", "")))
    assert broken(mail, *[PDF] * 50, replace(PDF, filename="")) == [
        ("/headers", "too_many_headers"),
        ("/tags", "too_many_tags"),
        ("/attachments", "too_many_attachments"),
    ]


@pytest.mark.parametrize("tag", ["", " ", "a b", "\u00e4", "a.b", "a" * 257, "a\n", "a:b"])
def test_tags_are_ascii_words(tag: str) -> None:
    mail = replace(MAIL, tags=(("ok", "OK_1-"), (tag, tag)))
    assert broken(mail) == [("/tags/1/name", "invalid_tag"), ("/tags/1/value", "invalid_tag")]


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "...", "../../etc/passwd", "a/b", "/a", "a\\b", "C:\\x", "C:x", "a.txt:evil",
        ".htaccess", "a.", "a ", " a", "CON", "con", "Con.txt", "NUL", "aux.tar.gz", "COM1", "LPT9",
        "com\u00b9.txt", "CON .txt", "CONIN$", "exe.\u202egpj", "\u200fa",
    ],
)  # fmt: skip
def test_filenames_that_are_more_than_a_name_are_refused(name: str) -> None:
    codes = broken(MAIL, replace(PDF, filename=name))
    assert codes == [("/attachments/0/filename", "invalid_filename")]


@pytest.mark.parametrize(
    "name",
    [
        "a", "a b.pdf", "\u00dcbersicht (2).pdf", '100%;x="y".txt', "Q3? *.pdf", "console.txt",
        "=?utf-8?q?x?=", "com10.txt", "\u4f8b" * 255, "nul_.txt", "a..b",
    ],
)  # fmt: skip
def test_ordinary_filenames_pass(name: str) -> None:
    assert broken(MAIL, replace(PDF, filename=name)) == []


def test_filename_of_256_characters_is_too_long() -> None:
    codes = broken(MAIL, replace(PDF, filename="a" * 256))
    assert codes == [("/attachments/0/filename", "too_long")]


@pytest.mark.parametrize(
    "kind",
    [
        "", "a", "a/", "/b", "a/b/c", "a b/c", "text/html\r\nX: y", "text/html\n", " text/html",
        "text/html ", "text/html;", "text/html; charset", "text/html; charset=", "t\u00e4xt/html",
        "text/html; charset=a b", 'text/html; x="', 'text/html; x="a"b"', 'text/html; x="\r\n"',
        "text/html; x=y; X=z", "image/png; name=a.exe", "image/png; filename=a.exe",
        "image/png; filename*=a", "image/png; NAME*0=a", 'text/plain; x="=?utf-8?q?a?="',
        "text/plain; boundary=x", "text/html, image/png", "a/" + "b" * 254, '"a"/b', "*/*",
    ],
)  # fmt: skip
def test_content_types_that_are_no_type_are_refused(kind: str) -> None:
    codes = broken(MAIL, replace(PDF, content_type=kind))
    assert codes == [("/attachments/0/content_type", "invalid_content_type")]


@pytest.mark.parametrize("kind", ["multipart/mixed", "MULTIPART/x", "message/rfc822", "Message/x"])
def test_content_types_that_a_relay_looks_into_are_refused(kind: str) -> None:
    codes = broken(MAIL, replace(PDF, content_type=kind))
    assert codes == [("/attachments/0/content_type", "unsupported_content_type")]


@pytest.mark.parametrize(
    "kind",
    [
        "application/pdf", "image/svg+xml", "text/calendar; method=REQUEST; charset=utf-8",
        "text/plain;charset=utf-8", 'text/csv; header="present; not absent"',
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ],
)  # fmt: skip
def test_content_types_in_use_pass(kind: str) -> None:
    assert broken(MAIL, replace(PDF, content_type=kind)) == []


@pytest.mark.parametrize(
    "cid", ["", "a\r\nX: y", "<a@b>", "a b", "a%20b", "\u00e4", "a" * 129, '"']
)
def test_content_ids_that_need_escaping_are_refused(cid: str) -> None:
    codes = broken(MAIL, replace(PDF, content_id=cid))
    assert codes == [("/attachments/0/content_id", "invalid_content_id")]


def test_content_id_stands_for_one_attachment() -> None:
    logo, other = replace(PDF, content_id="image001.png@01D9"), replace(PDF, content_id="x")
    codes = broken(MAIL, logo, other, PDF, PDF, logo)
    assert codes == [("/attachments/4/content_id", "duplicate_content_id")]


@pytest.mark.parametrize(
    ("content", "lacks"),
    [
        (MAIL, []),
        (replace(MAIL, to=(), bcc=(BOB,)), []),
        (replace(MAIL, to=(), cc=(BOB,), text=None, html=""), []),
        (replace(MAIL, text=""), []),
        (replace(MAIL, sender=None), [("/from", "missing")]),
        (replace(MAIL, to=(), reply_to=(BOB,)), [("/to", "no_recipients")]),
        (replace(MAIL, text=None), [("/text", "no_content")]),
        (Content(), [("/from", "missing"), ("/to", "no_recipients"), ("/text", "no_content")]),
    ],
)
def test_missing_names_what_a_draft_needs_to_be_sent(
    content: Content, lacks: list[tuple[str, str]]
) -> None:
    assert [(error.pointer, error.code) for error in rules.missing(content)] == lacks


@pytest.mark.parametrize("octets", [0, 1, 2, 3, 56, 57, 58, 114, 115, 100_000])
def test_wire_size_of_an_attachment_is_its_base64(octets: int) -> None:
    file = replace(PDF, size=octets)
    bound = rules.wire_size(MAIL, [file])
    rendered = mime.render(MAIL, [File(file, bytes(octets))], message_id="<a@b>", date=0)
    assert rendered.size <= bound <= rendered.size + 4096


def test_body_over_one_mebibyte_of_utf8_is_too_large() -> None:
    fits = "\u00e4" * (rules.TEXT_LIMIT // 2)
    assert rules.too_large(replace(MAIL, text=fits, html=fits), []) is None
    for mail in (replace(MAIL, text=fits + "x"), replace(MAIL, html=fits + "x")):
        error = rules.too_large(mail, [])
        assert error is not None
        assert error.limit == rules.TEXT_LIMIT


def test_message_is_measured_as_it_goes_over_the_wire() -> None:
    mebibyte = 1024 * 1024
    assert rules.too_large(MAIL, [replace(PDF, size=18 * mebibyte)]) is None
    error = rules.too_large(MAIL, [replace(PDF, size=18 * mebibyte), replace(PDF, size=mebibyte)])
    assert error is not None
    assert error.limit == rules.MESSAGE_LIMIT


RAW = replace(MAIL, raw="at_1", text=None)


def test_of_a_raw_message_envelope_and_tags_may_be_edited_and_nothing_else() -> None:
    other = replace(RAW, sender=BOB, to=(ANN,), cc=(BOB,), bcc=(ANN,), tags=(("a", "b"),))
    assert rules.fixed(RAW, other, ()) == []

    changed = replace(
        RAW,
        reply_to=(ANN,),
        subject="Other",
        text="x",
        html="x",
        headers=(("X-A", "1"),),
        in_reply_to=("<a@b>",),
        references=("<a@b>",),
    )
    errors = rules.fixed(RAW, changed, [File(PDF, b"12345")])

    assert {error.code for error in errors} == {"raw_message"}
    assert [error.pointer for error in errors] == [
        "/reply_to",
        "/subject",
        "/text",
        "/html",
        "/headers",
        "/in_reply_to",
        "/references",
        "/attachments",
    ]


def test_of_any_other_draft_everything_may_be_edited() -> None:
    assert rules.fixed(MAIL, Content(), [File(PDF, b"12345")]) == []


@pytest.mark.parametrize(
    ("content", "attached", "size", "limit"),
    [
        (MAIL, 0, 0, None),
        (MAIL, 49, 5, None),
        (MAIL, 0, rules.FILE_LIMIT, None),
        (MAIL, 0, rules.FILE_LIMIT + 1, rules.FILE_LIMIT),
        (Content(text="x" * rules.TEXT_LIMIT), 0, rules.FILE_LIMIT, rules.MESSAGE_LIMIT),
    ],
)
def test_a_file_is_refused_before_it_is_there_where_it_would_not_fit(
    content: Content, attached: int, size: int, limit: int | None
) -> None:
    error = rules.no_room(content, [PDF] * attached, size)

    assert (error is None) == (limit is None)
    if error is not None:
        assert isinstance(error, TooLarge)
        assert error.limit == limit


@pytest.mark.parametrize(
    ("content", "attached", "code"), [(RAW, 0, "raw_message"), (MAIL, 50, "too_many_attachments")]
)
def test_some_drafts_take_no_file_of_any_size(content: Content, attached: int, code: str) -> None:
    error = rules.no_room(content, [PDF] * attached, 0)

    assert isinstance(error, InvalidEmail)
    assert [(one.pointer, one.code) for one in error.errors] == [("/attachments", code)]


def test_only_what_would_be_too_large_once_it_is_there_has_no_room() -> None:
    long = "x" * rules.TEXT_LIMIT
    content = replace(MAIL, text=long, html=long)
    left = rules.MESSAGE_LIMIT - rules.wire_size(content, [PDF])
    fits = max(n for n in range(left * 73 // 100 - 200, left) if rules.base64_size(n) <= left)
    assert fits < rules.FILE_LIMIT

    for size, room in ((fits, True), (fits + 1, False)):
        assert (rules.no_room(content, [PDF], size) is None) == room
    # Of a file that is there, its name counts as well.
    assert rules.too_large(content, [PDF, replace(PDF, size=fits + 1)])
    assert rules.too_large(content, [PDF, replace(PDF, size=fits - 1000)]) is None


def test_a_thread_is_named_by_message_ids() -> None:
    mail = replace(
        MAIL,
        in_reply_to=("<a@b>", "<" + "x" * 250 + ">"),
        references=("<a@b>", "<no-at-sign>", "<a.b+c=d/e@[1.2.3.4]>"),
    )

    assert broken(mail) == []


@pytest.mark.parametrize(
    "text",
    ["", "a@b", "<>", "<a@b", "<a b@c>", "<a@b> <c@d>", "<a\r\n@b>", "<ä@b>", f"<{'x' * 251}>"],
)
def test_what_is_no_message_id_is_refused_in_its_place(text: str) -> None:
    mail = replace(MAIL, in_reply_to=(text,), references=("<a@b>", text))

    assert broken(mail) == [
        ("/in_reply_to/0", "invalid_message_id"),
        ("/references/1", "invalid_message_id"),
    ]


def test_a_thread_has_a_limit_and_is_named_once() -> None:
    longest = ("<a@b>",) * rules.THREAD_LIMIT
    assert broken(replace(MAIL, in_reply_to=longest, references=longest)) == []
    mail = replace(
        MAIL,
        in_reply_to=("<a@b>",),
        references=(*longest, "no id"),
        headers=(("IN-REPLY-TO", "<c@d>"), ("references", "<c@d>")),
    )

    assert broken(mail) == [
        ("/references", "too_many_message_ids"),
        ("/in_reply_to", "duplicate_header"),
        ("/references", "duplicate_header"),
    ]


def test_a_file_has_a_limit_of_its_own() -> None:
    at_limit, over = (replace(PDF, size=rules.FILE_LIMIT + more) for more in (0, 1))
    assert rules.too_large(MAIL, [at_limit]) is None
    error = rules.too_large(MAIL, [over])
    assert error is not None
    assert error.limit == rules.FILE_LIMIT
    assert rules.too_large(replace(MAIL, raw=over.id), [over]) is None
