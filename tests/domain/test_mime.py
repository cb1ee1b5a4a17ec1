"""The rendered message: what goes in comes out of a parser, and nothing else does."""

from __future__ import annotations

import email
import email.header
import email.utils
import re
import tracemalloc
from dataclasses import replace
from email import policy
from email.message import EmailMessage, MIMEPart

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from undosend.domain import mime, rules
from undosend.domain.addresses import mailbox
from undosend.domain.email import Address, Attachment, Content, File

ID = "<em_01.1@undosend.test>"
DATE = 1_795_426_200_250_000  # 2026-11-23T09:30:00.25Z, a Monday
ANN = mailbox("ann@example.com", "Ann Lee")
BOB = mailbox("bob@example.org")
MAIL = Content(sender=ANN, to=(BOB,), subject="Hi", text="Hello\n")


def render(content: Content, *files: File) -> bytes:
    message = mime.render(content, files, message_id=ID, date=DATE)
    raw = bytes(message)
    assert message.size == len(raw)
    assert not message.eight_bit
    assert_fit_for_the_wire(raw)
    assert len(raw) <= rules.wire_size(content, [file.attachment for file in files])
    return raw


def assert_fit_for_the_wire(raw: bytes) -> None:
    assert not raw.translate(None, bytes(range(32, 127)) + b"\t\r\n"), "printable ASCII only"
    lines = raw.split(b"\r\n")
    assert lines.pop() == b"", "ends in CRLF"
    assert b"\r" not in b"".join(lines), "no lone CR"
    assert b"\n" not in b"".join(lines), "no lone LF"
    assert max(map(len, lines)) <= 998
    assert b"." not in lines, "nothing that ends DATA for a relay that does not unstuff"
    assert not any(line.startswith(b"From ") for line in lines)


def parse(raw: bytes) -> EmailMessage:
    return email.message_from_bytes(raw, policy=policy.default)


def file(
    body: bytes = b"x", name: str = "a.bin", kind: str = "application/pdf", cid: str | None = None
) -> File:
    return File(Attachment("at_1", name, kind, cid, len(body), ""), body)


def lf(text: str) -> str:
    """Return the text as it must arrive: LF for any line end, and one at the end."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"


def content_of(part: EmailMessage) -> str:
    content = part.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")


def leaves(message: EmailMessage) -> list[EmailMessage]:
    parts = [part for part in message.walk() if not part.is_multipart()]
    assert all(isinstance(part, EmailMessage) and not part.defects for part in parts)
    return [part for part in parts if isinstance(part, EmailMessage)]


def shape(message: MIMEPart) -> object:
    """Return the tree of content types, as nested lists."""
    kind = message.get_content_type()
    if not message.is_multipart():
        return kind
    return [kind.removeprefix("multipart/"), *map(shape, message.iter_parts())]


# ---- the whole message, to the octet


def test_plain_mail_is_rendered_to_these_octets() -> None:
    assert render(replace(MAIL, cc=(ANN,), bcc=(mailbox("x@y.z"),))) == (
        b"From: Ann Lee <ann@example.com>\r\n"
        b"To: bob@example.org\r\n"
        b"Cc: Ann Lee <ann@example.com>\r\n"
        b"Subject: Hi\r\n"
        b"Date: Mon, 23 Nov 2026 09:30:00 +0000\r\n"
        b"Message-ID: <em_01.1@undosend.test>\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"Hello\r\n"
    )


def test_every_layer_is_rendered_to_these_octets() -> None:
    mail = replace(MAIL, subject="Gr\u00fc\u00dfe", html="<p>H\u00e9</p>")
    logo = file(b"PNG", "logo.png", "image/png", "logo")
    raw = render(mail, logo, file(b"\x00\xff", "\u00dcb.pdf"))
    expected = b"""\
From: Ann Lee <ann@example.com>
To: bob@example.org
Subject: =?utf-8?b?R3LDvMOfZQ==?=
Date: Mon, 23 Nov 2026 09:30:00 +0000
Message-ID: <em_01.1@undosend.test>
MIME-Version: 1.0
Content-Type: multipart/mixed;
 boundary="=_SEED_mixed"

--=_SEED_mixed
Content-Type: multipart/alternative;
 boundary="=_SEED_alternative"

--=_SEED_alternative
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 7bit

Hello

--=_SEED_alternative
Content-Type: multipart/related; type="text/html";
 boundary="=_SEED_related"

--=_SEED_related
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: base64

PHA+SMOpPC9wPg0K

--=_SEED_related
Content-Type: image/png
Content-Transfer-Encoding: base64
Content-Disposition: inline;
 filename="logo.png"
Content-ID: <logo>

UE5H

--=_SEED_related--

--=_SEED_alternative--

--=_SEED_mixed
Content-Type: application/pdf
Content-Transfer-Encoding: base64
Content-Disposition: attachment;
 filename*=utf-8''%C3%9Cb.pdf

AP8=

--=_SEED_mixed--
"""
    seed = re.findall(rb"=_([0-9a-f]{24})_mixed", raw)[0]
    assert raw == expected.replace(b"\n", b"\r\n").replace(b"SEED", seed)


def test_same_input_gives_the_same_octets() -> None:
    mail, pdf = replace(MAIL, html="<p>x"), file()
    assert render(mail, pdf) == render(replace(mail), replace(pdf))


# ---- structure


@pytest.mark.parametrize(
    ("mail", "files", "expected"),
    [
        ({"text": "x"}, (), "text/plain"),
        ({"text": ""}, (), "text/plain"),
        ({"text": None}, (), "text/plain"),
        ({"text": None, "html": "<p>x"}, (), ["alternative", "text/plain", "text/html"]),
        ({"text": "x", "html": "<p>x"}, (), ["alternative", "text/plain", "text/html"]),
        ({"text": "", "html": "<p>x"}, (), "text/html"),
        ({"text": None, "html": "<img src=x>"}, (), "text/html"),
        ({"text": "x", "html": ""}, (), "text/plain"),
        ({"text": "x"}, (file(),), ["mixed", "text/plain", "application/pdf"]),
        ({"text": "x"}, (file(cid="a"),), ["mixed", "text/plain", "application/pdf"]),
        (
            {"text": "x", "html": "<p>x"},
            (file(cid="a"),),
            ["alternative", "text/plain", ["related", "text/html", "application/pdf"]],
        ),
        (
            {"text": "", "html": "<p>x"},
            (file(cid="a"), file(cid="b"), file()),
            ["mixed", ["related", "text/html", *["application/pdf"] * 2], "application/pdf"],
        ),
    ],
)
def test_structure_has_a_layer_only_where_two_parts_need_it(
    mail: dict[str, str | None], files: tuple[File, ...], expected: object
) -> None:
    content = Content(text=mail["text"], html=mail.get("html"))
    assert shape(parse(render(content, *files))) == expected


def test_text_of_html_only_mail_is_made_from_the_html() -> None:
    message = parse(render(replace(MAIL, text=None, html="<p>A &amp; B</p><p>C</p>")))
    assert content_of(leaves(message)[0]) == "A & B\n\nC\n"


def test_html_of_nothing_but_list_items_stays_within_its_wire_size() -> None:
    render(replace(MAIL, text=None, html="<ol>" * 4 + "<li>x" * 3000))


def test_draft_without_anything_still_renders() -> None:
    message = parse(render(Content()))
    assert message.keys()[:4] == ["Subject", "Date", "Message-ID", "MIME-Version"]
    assert content_of(message) == "\n"


def test_inline_files_are_named_by_content_id() -> None:
    message = parse(render(replace(MAIL, html="<img src=cid:a@b>"), file(cid="a@b"), file(cid="c")))
    related = [part["Content-ID"] for part in leaves(message)]
    assert related == [None, None, "<a@b>", "<c>"]


# ---- bodies


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("plain\n", "7bit"),
        ("x" * 998, "7bit"),
        ("\n" * 5000, "7bit"),
        ("-- \r\nAnn", "7bit"),
        ("..\n.x\n", "7bit"),
        ("From: x\n >From y\n", "7bit"),
        ("tab\there", "7bit"),
        ("x" * 999, "quoted-printable"),
        ("x\n" * 2000 + "y" * 100_000, "quoted-printable"),
        ("From x\n", "quoted-printable"),
        ("x\nFrom From y\nFrom .", "quoted-printable"),
        ("." + "\n" + "x" * 50, "quoted-printable"),
        ("x" * 50 + "\n.\n", "quoted-printable"),
        ("x" * 50 + "\n--=_x", "quoted-printable"),
        ("nul \x00 and \x1b" + "x" * 50, "quoted-printable"),
        ("Gr\u00fc\u00dfe und so weiter, und noch ein paar Worte", "quoted-printable"),
        ("\u041f\u0440\u0438\u0432\u0435\u0442", "base64"),
        (".", "quoted-printable"),
        (" \n" * 1000 + "\u00e4", "base64"),
    ],
)
def test_body_is_encoded_only_where_it_must_be_and_comes_back(text: str, encoding: str) -> None:
    message = parse(render(replace(MAIL, text=text)))
    assert message["Content-Transfer-Encoding"] == encoding
    assert content_of(message) == lf(text)


SMUGGLED = "MAIL FROM:<x@y.z>{n}RCPT TO:<v@w.x>{n}DATA{n}Subject: y{n}{n}z"
LINE_ENDS = ["\r\n", "\n", "\r", "\r\r\n", "\n\r", "\r\n\r\n"]


@pytest.mark.parametrize("before", LINE_ENDS)
@pytest.mark.parametrize("after", LINE_ENDS)
@pytest.mark.parametrize("prefix", ["", "x" * 80, "\u00e4" * 9, "From a\n"])
def test_smuggled_message_stays_text(before: str, after: str, prefix: str) -> None:
    text = f"{prefix}{before}.{after}{SMUGGLED.format(n=after)}{before}.{after}"
    message = parse(render(replace(MAIL, text=text)))
    assert content_of(message) == lf(text)
    assert message["Subject"] == "Hi"


@pytest.mark.parametrize("html", [None, "<p>x"])
def test_body_that_holds_the_boundary_stays_in_its_part(html: str | None) -> None:
    boundaries = re.findall(rb'boundary="(.*)"', render(replace(MAIL, html="<p>x"), file()))
    assert len(boundaries) == 2
    forged = "".join(f"\n--{b.decode()}\n\nx\n--{b.decode()}--\n" for b in boundaries)
    for text in (forged, forged[1:], "\u00e4" + forged):
        message = parse(render(replace(MAIL, text=text, html=html), file()))
        assert content_of(leaves(message)[0]) == lf(text)
        assert leaves(message)[-1].get_content() == b"x"


def test_quoted_printable_lines_are_at_most_76_long() -> None:
    for width in range(60, 90):
        text = f"{'x' * width} \n{'y' * width}\t\nFrom {'z' * width}\n\u00e4"
        body = render(replace(MAIL, text=text)).partition(b"\r\n\r\n")[2]
        assert max(map(len, body.split(b"\r\n"))) <= 76


# ---- attachments


@pytest.mark.parametrize(
    "size", [0, 1, 56, 57, 58, 57 * 1024 - 1, 57 * 1024, 57 * 1024 + 1, 200_000]
)
def test_attachment_comes_back_octet_for_octet(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    raw = render(MAIL, file(body[:size]))
    part = leaves(parse(raw))[1]
    assert part.get_content() == body[:size]
    encoded = raw.split(b"a.bin")[1].partition(b"\r\n\r\n")[2].partition(b"\r\n\r\n--")[0]
    assert not size or all(len(line) == 76 for line in encoded.split(b"\r\n")[:-2])


def test_large_attachment_is_never_there_a_second_time() -> None:
    body = bytes(15 * 1024 * 1024)
    big = file(body)
    tracemalloc.start()
    try:
        message = mime.render(MAIL, [big], message_id=ID, date=DATE)
        size = sum(map(len, message))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == message.size > len(body)
    assert peak < len(body) / 20


@pytest.mark.parametrize(
    "name",
    [
        "a b.pdf", 'a"b\\c.txt', "100%.txt", "a;b=c.txt", "it's.txt", "\u00dcb ersicht'%*.pdf",
        "=?utf-8?q?a?=", "\u4f8b" * 255, "\U0001f600" * 255, "a" * 255, "a" + '"' * 254, "a\u202eb",
    ],
)  # fmt: skip
def test_filename_comes_back(name: str) -> None:
    part = leaves(parse(render(MAIL, file(name=name))))[1]
    assert part.get_filename() == name
    assert part.get_content_disposition() == "attachment"


def test_content_type_keeps_its_parameters() -> None:
    kind = 'text/calendar; method=REQUEST; charset=utf-8; x="' + "a; " * 30 + '"'
    part = leaves(parse(render(MAIL, file("\u00e4".encode(), kind=kind))))[1]
    assert part.get_content_type() == "text/calendar"
    assert part.get_param("method") == "REQUEST"
    assert part.get_content() == "\u00e4"


# ---- headers


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("Hi", "Hi"),
        ("", ""),
        ("a=?b", "a=?b"),
        ('Re: [x] (y) <z> "q" \\', 'Re: [x] (y) <z> "q" \\'),
        ("a  b", "a  b"),
        (" a", "=?utf-8?q?_a?="),
        ("a ", "=?utf-8?q?a_?="),
        ("Caf\u00e9 au lait", "=?utf-8?q?Caf=C3=A9_au_lait?="),
        ("\u041f\u0440\u0438", "=?utf-8?b?0J/RgNC4?="),
        ("=?utf-8?q?a?=", "=?utf-8?b?PT91dGYtOD9xP2E/PQ==?="),
        ("x =?utf-8?q?=0D=0ABcc:?= y", None),
        ("x =?iso-8859-1*en?B?DQo=?=", None),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467" * 30, None),
        ("\u00e4" * 998, None),
        ("a" * 998, None),
        (("b" * 90 + " ") * 10 + "c", None),
        ("?= =?", "?= =?"),
        ("\u202eabc", None),
    ],
)  # fmt: skip
def test_header_text_comes_back_and_is_plain_where_it_can_be(text: str, raw: str | None) -> None:
    rendered = render(replace(MAIL, subject=text, headers=(("X-Long-Header-Name", text),)))
    message = parse(rendered)
    assert message["Subject"] == text
    assert message["X-Long-Header-Name"] == text
    if raw is not None:
        assert f"\r\nSubject: {raw}\r\n".encode() in rendered
        assert f"\r\nX-Long-Header-Name: {raw}\r\n".encode() in rendered


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("Ann Lee", "Ann Lee"),
        ("O'Hara & Co", "O'Hara & Co"),
        ("Lee, Ann", '"Lee, Ann"'),
        ("J. Smith", '"J. Smith"'),
        ('A "B" \\C', '"A \\"B\\" \\\\C"'),
        ("a@b.c", '"a@b.c"'),
        ("x <a@b.c>, y", '"x <a@b.c>, y"'),
        ("Group: a;", '"Group: a;"'),
        ("(comment)", '"(comment)"'),
        ("J\u00f6rg", "=?utf-8?b?SsO2cmc=?="),
        ("J\u00f6rg Hansen, Berlin", "=?utf-8?q?J=C3=B6rg_Hansen=2C_Berlin?="),
        ("=?utf-8?q?a?=", "=?utf-8?b?PT91dGYtOD9xP2E/PQ==?="),
        ("=?utf-8?q?a", "=?utf-8?b?PT91dGYtOD9xP2E=?="),
        (" ", "=?utf-8?q?_?="),
    ],
)
def test_display_name_is_written_so_that_it_is_read_as_it_was(name: str, raw: str) -> None:
    rendered = render(replace(MAIL, to=(replace(BOB, name=name),)))
    assert f"\r\nTo: {raw} <bob@example.org>\r\n".encode() in rendered
    (address,) = parse(rendered)["To"].addresses
    assert (address.display_name, address.addr_spec) == (name, "bob@example.org")


def test_two_names_cannot_make_an_encoded_word_between_them() -> None:
    names = ("=?utf-8?q?a", "b?=")
    message = parse(render(replace(MAIL, to=tuple(replace(BOB, name=name) for name in names))))
    assert tuple(address.display_name for address in message["To"].addresses) == names


def test_long_headers_are_folded_at_78() -> None:
    people = tuple(mailbox(f"person{n}@example.org", f"Person, Number {n}") for n in range(50))
    subject = "word " * 150 + "\u00e4"
    raw = render(
        replace(
            MAIL, to=people, subject=subject, headers=(("References", "<a@b> " * 99 + "<c@d>"),)
        )
    )
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    message = parse(raw)
    assert [address.addr_spec for address in message["To"].addresses] == [p.email for p in people]
    assert message["Subject"] == subject


def test_headers_over_every_limit_still_fit_the_wire() -> None:
    for text in ("n" * 2000, "\\" * 700, "=?" * 900, "\u00e4" * 2000):
        message = parse(render(replace(MAIL, subject=text, to=(replace(BOB, name=text),))))
        assert message["Subject"] == text
        assert message["To"].addresses[0].addr_spec == BOB.email
        assert leaves(parse(render(MAIL, file(name=text))))[1].get_filename() == text


def test_message_of_the_year_one_thousand_and_of_the_leap_day_have_their_dates() -> None:
    for instant, text in (
        (951_782_400_000_000, "Tue, 29 Feb 2000 00:00:00 +0000"),
        (4_102_444_799_999_999, "Thu, 31 Dec 2099 23:59:59 +0000"),
        (-30_610_224_000_000_000, "Wed, 01 Jan 1000 00:00:00 +0000"),
    ):
        raw = bytes(mime.render(MAIL, (), message_id=ID, date=instant))
        assert f"\r\nDate: {text}\r\n".encode() in raw


@pytest.mark.parametrize("bad", ["\r\nBcc: x@y.z", "\n", "\r", "\x00", "\x0b", "\x85", "\u2028"])
def test_line_ends_are_never_rendered_not_even_encoded(bad: str) -> None:
    for mail in (
        replace(MAIL, subject=bad),
        replace(MAIL, to=(Address("a@b.c", bad),)),
        replace(MAIL, to=(Address(f"a@b.c{bad}"),)),
        replace(MAIL, headers=(("X-A", bad),)),
        replace(MAIL, headers=((f"X-A{bad}", "x"),)),
    ):
        with pytest.raises(ValueError, match=r"header|address"):
            mime.render(mail, (), message_id=ID, date=DATE)
    for attached in (file(name=bad), file(kind=f"a/b{bad}"), file(cid=f"a{bad}")):
        with pytest.raises(ValueError, match=r"header|type"):
            mime.render(MAIL, (attached,), message_id=ID, date=DATE)
    with pytest.raises(ValueError, match="Message-ID"):
        mime.render(MAIL, (), message_id=f"<a@b>{bad}", date=DATE)


@pytest.mark.parametrize("name", ["Bcc", "to", "Resent-Bcc", "Content-Type", "MIME-Version", ""])
def test_reserved_headers_are_never_rendered_from_custom_ones(name: str) -> None:
    with pytest.raises(ValueError, match="custom header"):
        render(replace(MAIL, headers=((name, "x"),)))


# ---- properties

ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
WORDS = st.sampled_from(
    [*' \t"\\,;:<>()@?=_.', "=?", "?=", "=?utf-8?q?=0D=0AX:_y?=", "=?utf-8?b?DQo=?=", "\u00e4",
     "\U0001f600", "e\u0301", "\u00a0", "\u3000", "\ufeff", "\u00ad", "a" * 70, "\u4f8b" * 30]
)  # fmt: skip
PRINTABLE = st.text(
    st.characters(
        exclude_categories=["Cc", "Cs", "Zl", "Zp"],
        exclude_characters="\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    ),
    max_size=12,
)
LINE = (ASCII | st.lists(WORDS | PRINTABLE | ASCII, max_size=12).map("".join)).map(
    lambda line: line.replace("\t", "")[:300]
)
BODY = st.lists(
    st.text(max_size=20).map(lambda text: re.sub(rules._NOT_TEXT, "", text))
    | st.sampled_from(
        ["\r", "\n", "\r\n", ".", "\r\n.\r\n", "From ", "\nFrom ", "--=_", "=", "=\n", " \n", "\t",
         "\nBcc: x@y.z\n\n", "x" * 80, "y" * 1000, "\u00e4" * 40, "<p>", "&amp;", "<a href=x>"]
    ),
    max_size=20,
).map("".join)  # fmt: skip
LOCAL = st.from_regex(r"\A[a-z0-9#$&'*+/=^_`{|}~-]{1,20}(\.[a-z0-9-]{1,9})?\Z").filter(
    lambda local: "=?" not in local
)
DOMAIN = st.sampled_from(["b.c", "example.org", "xn--exmple-cua.com", "a-b." * 40 + "test"])
PEOPLE = st.lists(
    st.builds(lambda local, domain, name: Address(f"{local}@{domain}", name), LOCAL, DOMAIN, LINE),
    max_size=5,
).map(tuple)
HEADERS = st.lists(
    st.tuples(
        st.from_regex(r"\A[!-9;-~]{1,64}\Z").filter(lambda name: not rules.is_reserved(name)), LINE
    ),
    max_size=4,
    unique_by=lambda pair: pair[0].lower(),
).map(tuple)
CONTENT = st.builds(
    Content,
    sender=st.none() | PEOPLE.filter(bool).map(lambda people: people[0]),
    to=PEOPLE,
    cc=PEOPLE,
    bcc=PEOPLE,
    reply_to=PEOPLE,
    subject=LINE,
    text=st.none() | BODY,
    html=st.none() | BODY,
    headers=HEADERS,
)
FILES = st.lists(
    st.builds(
        file,
        body=st.binary(max_size=200),
        name=LINE.map(lambda name: re.sub(r"[/\\:]", "", f"a{name[:250]}b")),
        kind=st.sampled_from(["application/pdf", "image/png", "a!b/c", "application/x; y=z"]),
        cid=st.none() | st.from_regex(r"\A[A-Za-z0-9._+@=$~-]{1,20}\Z"),
    ),
    max_size=3,
    unique_by=lambda made: made.attachment.content_id or id(made),
)


def decoded(raw: str) -> str:
    """Decode by the older of the two readers in the library, written independently."""
    return str(email.header.make_header(email.header.decode_header(raw)))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(CONTENT, FILES)
@example(Content(text="\u00e4 " * 300 + "From x\n.\n", subject="\u00e4" * 300), [])
def test_any_mail_within_the_rules_has_just_its_headers_and_comes_back_whole(
    content: Content, files: list[File]
) -> None:
    assert rules.violations(content, [made.attachment for made in files]) == []
    message = parse(render(content, *files))
    assert_headers_are_those_of(content, message)
    assert message["Subject"] == content.subject
    for name, value in content.headers:
        assert message[name] == value
    assert_parts_are_those_of(content, files, leaves(message))


def assert_headers_are_those_of(content: Content, message: EmailMessage) -> None:
    present = {
        "From": content.sender,
        "To": content.to,
        "Cc": content.cc,
        "Reply-To": content.reply_to,
    }
    expected = [name for name, people in present.items() if people]
    expected += ["Subject", "Date", "Message-ID", *(name for name, _ in content.headers)]
    expected += ["MIME-Version", "Content-Type"]
    if not message.is_multipart():
        expected.append("Content-Transfer-Encoding")
    assert message.keys() == expected


def assert_parts_are_those_of(
    content: Content, files: list[File], parts: list[EmailMessage]
) -> None:
    bodies = {
        part.get_content_type(): content_of(part)
        for part in parts
        if part.get_content_disposition() is None
    }
    if content.html:
        assert bodies["text/html"] == lf(content.html)
    if content.text or not content.html:
        assert bodies["text/plain"] == lf(content.text or "")
    attached = [
        (part.get_filename(), part["Content-ID"], part.get_payload(decode=True))
        for part in parts
        if part.get_content_disposition() is not None
    ]
    ids = [(f.attachment, f"<{f.attachment.content_id}>", f.body) for f in files]
    assert sorted(attached, key=str) == sorted(
        ((a.filename, cid if a.content_id else None, body) for a, cid, body in ids), key=str
    )


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(PEOPLE, PEOPLE)
def test_any_names_and_addresses_come_back_from_two_readers(
    to: tuple[Address, ...], cc: tuple[Address, ...]
) -> None:
    raw = render(replace(MAIL, to=to, cc=cc))
    older, newer = email.message_from_bytes(raw), parse(raw)
    for name, group in (("To", to), ("Cc", cc)):
        unfolded = str(older.get(name, "")).replace("\r\n", "")
        pairs = email.utils.getaddresses([unfolded]) if group else []
        assert [(decoded(shown), addr) for shown, addr in pairs] == [
            (p.name, p.email) for p in group
        ]
        found = newer[name].addresses if group else ()
        assert [address.addr_spec for address in found] == [p.email for p in group]
        for address, person in zip(found, group, strict=True):
            # This reader loses and adds spaces around encoded words in names.
            assert address.display_name.split() == person.name.split() or len(person.name) > 10
            assert "".join(address.display_name.split()) == "".join(person.name.split())


@settings(max_examples=400, deadline=None)
@given(LINE | PRINTABLE)
def test_encoded_words_keep_to_rfc_2047(text: str) -> None:
    raw = render(replace(MAIL, subject=text, to=(replace(BOB, name=text),)))
    for line in raw.split(b"\r\n"):
        words = re.findall(rb"=\?utf-8\?[bq]\?[^ ?]*\?=", line)
        assert not words or len(line) <= 76
        assert max(map(len, words), default=0) <= 75
    for octets, charset in email.header.decode_header(mime._encoded_words(text or "a")):
        assert charset == "utf-8"
        assert isinstance(octets, bytes)
        assert not set(octets) & {0, 10, 13}
    for word in mime._encoded_words(text or "a").split(" "):
        ((octets, _),) = email.header.decode_header(word)
        assert isinstance(octets, bytes)
        assert octets.decode(), "no character is split"


@pytest.mark.parametrize(
    ("in_reply_to", "references", "written"),
    [
        ((), (), (None, None)),
        (("<a@b>",), (), ("<a@b>", "<a@b>")),
        (("<c@d>",), ("<a@b>", "<c@d>"), ("<c@d>", "<a@b> <c@d>")),
        ((), ("<a@b>",), (None, "<a@b>")),
    ],
)
def test_a_reply_names_what_it_answers_and_the_thread(
    in_reply_to: tuple[str, ...], references: tuple[str, ...], written: tuple[str | None, ...]
) -> None:
    content = replace(MAIL, in_reply_to=in_reply_to, references=references)

    message = parse(render(content))

    assert (message["In-Reply-To"], message["References"]) == written


def test_the_longest_thread_fits_the_wire_and_comes_back() -> None:
    ids = tuple(f"<{n:0248d}@>" for n in range(rules.THREAD_LIMIT))

    message = parse(render(replace(MAIL, in_reply_to=ids, references=ids)))

    assert tuple(message["References"].split()) == ids
    assert tuple(message["In-Reply-To"].split()) == ids


@pytest.mark.parametrize("bad", ["a@b", "<a@b>\r\nBcc: <c@d>", "<a b@c>", "<ä@b>", ""])
def test_what_is_no_message_id_is_never_rendered(bad: str) -> None:
    for content in (replace(MAIL, in_reply_to=(bad,)), replace(MAIL, references=(bad,))):
        with pytest.raises(ValueError, match="Message-ID"):
            mime.render(content, [], message_id=ID, date=DATE)
