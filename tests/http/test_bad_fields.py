"""What is refused in an email's members: the code and the pointer of each class of mistake."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.service import Service, encoded, letter

LINE_BREAKERS = ["\r\n", "\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
NO_TEXT = ["\0", "\ud800", "\udfff"]
CONTROLS = ["\x01", "\x08", "\x1b", "\x7f", "\x9f"]


async def refused(service: Service, **parts: Any) -> list[tuple[str, str]]:
    """Return what is wrong with a letter that has these parts; nothing of it was kept."""
    answer = await service.new(**parts)
    assert answer.status == 422, answer
    assert (await service.get("/v1/emails")).json["data"] == []
    return answer.errors


# Addresses.

MALFORMED = [
    "a@b.com\r\nBcc: x@y.z",
    "a@b.com\n",
    "a@b.com\r",
    " a@b.com",
    "a@b.com ",
    "\ta@b.com",
    "a @b.com",
    "a@ b.com",
    "a@b.com\0",
    "a\0@b.com",
    "a@b.com> SIZE=1",
    "a@b> AUTH=<c@d",
    "a@b.com SIZE=1",
    "<a@b.com>",
    "<<a@b.com>>",
    "Ann <a@b.com",
    "Ann a@b.com>",
    "Ann <a@b.com> <c@d.com>",
    "Ann <a@b.com>, Bob <c@d.com>",
    "a@b.com, c@d.com",
    "a@b.com; c@d.com",
    "alice@example.org)bob@example.com",
    "a@good<b@evil.com>",
    "<a@evil.com>b@good.com",
    "a@b.com (comment)",
    "(comment)a@b.com",
    "friends: a@b.com, c@d.com;",
    "friends:;",
    "a@b@c.com",
    "@r.com:a@b.com",
    "@r.com,@s.com:a@b.com",
    ".a@b.com",
    "a.@b.com",
    "a..b@b.com",
    "a@.b.com",
    "a@b.com.",
    "a@b..com",
    "a@-b.com",
    "a@b-.com",
    "a@b_c.com",
    "a@b.com-",
    "a@b.c*m",
    "a@localhost",
    "a@b",
    "a@1.2.3.4",
    "a@127.0.0.0xa",
    "a@b.123",
    "a@b.invalid",
    "a@foo.local",
    "a@b.onion",
    "a@\uff45xample.com",
    "a@example\u3002com",
    "a@example\uff0ecom",
    "a@b\uff20c.com",
    "a@\u2100.com",
    "a@xn--.com",
    "a@xn--a-.com",
    "a@\u202eb.com",
    "a@xn--ls8h.la",
    "a@\U0001f4a9.la",
    "a@\u2603.com",
    "a@\u2460.com",
    "a@\ufb01.com",
    "a@\u0130.com",
    "a@a\u200db.com",
    "a@a\ufe0fb.com",
    "a@\U000e0061.com",
    "a@\u0300a.com",
    "a@\u05d0a.com",
    "a@b.com\u200b",
    "a@b\uff61com",
    "a@b\u2024com",
    "a\uff20b.com",
    "a\ufe6bb.com",
    "\ufeffa@b.com",
    "a\u3000@b.com",
    "a@ab--c.com",
    "a@b.com:25",
    "a@b.com/x",
    "a@b.com?x",
    "a@b.com#x",
    "a@b.com%0d%0a",
    "a@1.in-addr.arpa",
    "a@b.localhost",
    "a@0x7f.1",
    "a@2130706433",
    "=?utf-8?q?=0d=0aBcc:_x=40y.z?= <a@b.com>",
    "Ann, <a@b.com>",
    "Ann (x) <a@b.com>",
    "Ann@ <a@b.com>",
    '"Ann <a@b.com>',
    '"Ann\\" <a@b.com>',
    '"Ann"x <a@b.com>',
    '"" <a@b.com>',
    "Ann <a@b.com>;",
    "Ann <a@b.com> x",
    "undisclosed-recipients:;",
    "a@b\u00adc.com",
    "a@\ud800.com",
    "",
    "<>",
    "Ann <>",
    "a",
    "@",
    "a@",
    "@b.com",
    "mailto:a@b.com",
    "a\\@b.com",
    "a,b@c.com",
    "a:b@c.com",
    "a;b@c.com",
    "a[b@c.com",
    "a(b@c.com",
    "a<b@c.com",
]
UNSUPPORTED = [
    '"a b"@b.com',
    '"a"@b.com',
    '"a> X=<b"@c.d',
    '""@b.com',
    "a%c.com@b.com",
    "c.com!a@b.com",
    "=?utf-8?q?a=40b?=@c.com",
    "a@[127.0.0.1]",
    "a@[IPv6:::1]",
]
TOO_LONG = [
    "a" * 65 + "@b.com",
    "a@" + "b" * 64 + ".com",
    "a@" + ".".join(["b" * 60] * 5) + ".com",
    "a" * 64 + "@" + ".".join(["b" * 60] * 3) + ".example",
    "a@b.com" + "x" * 100_000,
    "x" * 100_000 + " <a@b.com>",
]
INTERNATIONAL = ["\u00fc@b.com", "\u0430dmin@b.com", "\u7528\u6237@b.com", "a\u0301@b.com"]
CASES = [
    *((text, "invalid_address") for text in MALFORMED),
    *((text, "unsupported_address") for text in UNSUPPORTED),
    *((text, "too_long") for text in TOO_LONG),
    *((text, "smtputf8_not_enabled") for text in INTERNATIONAL),
]


@pytest.mark.parametrize(("text", "code"), CASES, ids=lambda value: ascii(value)[:40])
async def test_what_is_no_address_is_refused_wherever_it_stands(
    service: Service, text: str, code: str
) -> None:
    plain = await refused(service, from_=text, cc=["ok@example.com", text], reply_to=text)
    in_object = await refused(service, to=[{"email": text}])

    assert {pointer for pointer, _ in plain} == {"/cc/1", "/from", "/reply_to"}
    codes = {found for _, found in plain}
    assert codes == {code} or (text.startswith("x") and codes == {"too_long"})
    assert [pointer for pointer, _ in in_object] == ["/to/0"]


@pytest.mark.parametrize(
    "email", ["Ann <a@b.com>", "<a@b.com>", "Ann Lee <a@b.com>", "a@b.com, c@d.com"]
)
async def test_the_member_email_takes_no_name(service: Service, email: str) -> None:
    assert await refused(service, to={"email": email}) == [("/to", "invalid_address")]


@pytest.mark.parametrize(
    "value",
    [
        5,
        True,
        [],
        {},
        ["a@b.com"],
        {"email": "a@b.com", "nick": "a"},
        {"name": "Ann"},
        {"email": 5},
        {"email": None},
        {"email": "a@b.com", "name": 5},
        {"email": "a@b.com", "name": ["Ann"]},
        {"address": "a@b.com"},
    ],
    ids=str,
)
async def test_what_is_neither_text_nor_a_mailbox_is_refused(service: Service, value: Any) -> None:
    assert await refused(service, from_=value) == [("/from", "invalid_type")]
    assert await refused(service, to=["ok@example.com", value]) == [("/to/1", "invalid_type")]


@pytest.mark.parametrize("value", [5, True, 0.5])
async def test_recipients_are_one_or_a_list(service: Service, value: Any) -> None:
    assert await refused(service, bcc=value) == [("/bcc", "invalid_type")]


@pytest.mark.parametrize("name", [f"A{c}B" for c in LINE_BREAKERS + CONTROLS], ids=ascii)
async def test_a_name_is_one_line_of_text(service: Service, name: str) -> None:
    given = {"email": "a@b.com", "name": name}

    assert await refused(service, to=[given]) == [("/to/0", "invalid_header_value")]


@pytest.mark.parametrize("name", NO_TEXT, ids=ascii)
async def test_a_name_is_text(service: Service, name: str) -> None:
    given = {"email": "a@b.com", "name": name}

    assert await refused(service, from_=given) == [("/from", "invalid_text")]


async def test_a_name_has_a_limit(service: Service) -> None:
    longest = {"email": "a@b.com", "name": "n" * 320}
    over = {"email": "a@b.com", "name": "n" * 321}

    assert await refused(service, to=[over, longest]) == [("/to/0", "too_long")]


async def test_somebody_must_get_it(service: Service) -> None:
    nobodies: list[dict[str, Any]] = [{"to": []}, {"to": None}, {"to": [], "cc": [], "bcc": None}]
    for nobody in nobodies:
        assert await refused(service, **nobody) == [("/to", "no_recipients")]


@pytest.mark.parametrize("part", ["to", "cc", "bcc"])
async def test_one_recipient_of_any_kind_is_enough(service: Service, part: str) -> None:
    answer = await service.new(**{"to": [], part: "a@b.com"})

    assert answer.status == 202


async def test_recipients_have_a_limit_together(service: Service) -> None:
    people = [f"p{n}@example.com" for n in range(51)]

    assert await refused(service, to=people) == [("/to", "too_many_recipients")]
    assert await refused(service, to=people[:20], cc=people[20:40], bcc=people[40:]) == [
        ("/to", "too_many_recipients")
    ]
    assert await refused(service, reply_to=people) == [("/reply_to", "too_many_recipients")]
    assert (await service.new(to=people[:50])).status == 202


async def test_a_crowd_is_refused_without_looking_at_all_of_it(service: Service) -> None:
    people = [f"p{n}@d{n}.example" for n in range(20_000)]

    assert await refused(service, to=people) == [("/to", "too_many_recipients")]


async def test_bad_ones_in_a_crowd_are_pointed_out_too(service: Service) -> None:
    people = ["nobody"] + [f"p{n}@example.com" for n in range(60)]

    assert await refused(service, to=people) == [
        ("/to", "too_many_recipients"),
        ("/to/0", "invalid_address"),
    ]


# Headers and body.


@pytest.mark.parametrize("character", LINE_BREAKERS + CONTROLS + ["\t"], ids=ascii)
async def test_a_header_value_is_one_line(service: Service, character: str) -> None:
    value = f"x{character}Bcc: evil@example.com"

    found = await refused(service, subject=value, headers={"X-A": value})

    assert found == [("/headers/X-A", "invalid_header_value"), ("/subject", "invalid_header_value")]


@pytest.mark.parametrize("character", NO_TEXT, ids=ascii)
async def test_what_is_no_text_is_nowhere(service: Service, character: str) -> None:
    value = f"x{character}y"

    found = await refused(
        service,
        subject=value,
        text=value,
        html=value,
        headers={"X-A": value},
        attachments=[{"filename": value, "content": ""}],
    )

    assert found == [
        ("/attachments/0/filename", "invalid_text"),
        ("/headers/X-A", "invalid_text"),
        ("/html", "invalid_text"),
        ("/subject", "invalid_text"),
        ("/text", "invalid_text"),
    ]


@pytest.mark.parametrize("character", [*CONTROLS, "\v", "\f"], ids=ascii)
async def test_a_text_has_no_control_characters_but_white_space(
    service: Service, character: str
) -> None:
    value = f"x{character}y"

    assert await refused(service, text=value, html=value) == [
        ("/html", "invalid_text"),
        ("/text", "invalid_text"),
    ]
    assert (await service.new(text="a\tb\r\nc\n\r\n")).status == 202


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("X-A\r\nBcc", "X-A\r\nBcc"),
        ("X A", "X A"),
        ("X:", "X:"),
        (" X", " X"),
        ("X\t", "X\t"),
        ("X-\u00e9", "X-\u00e9"),
        ("X-\0", "X-\0"),
        ("X" * 65, "X" * 65),
        ("X/A~B C", "X~1A~0B C"),
        ("", ""),
    ],
    ids=ascii,
)
async def test_a_header_name_is_plain(service: Service, name: str, escaped: str) -> None:
    assert await refused(service, headers={name: "x"}) == [
        (f"/headers/{escaped}", "invalid_header_name")
    ]


RESERVED = """
From To Cc Bcc Reply-To Subject Date Message-ID Sender Return-Path Received Received-SPF
MIME-Version Content-Type Content-Transfer-Encoding Content-Anything content-disposition
Resent-To Resent-Bcc DKIM-Signature ARC-Seal Authentication-Results Apparently-To bcc BCC
"""


@pytest.mark.parametrize("name", RESERVED.split())
async def test_a_header_that_is_ours_or_a_relays_is_reserved(service: Service, name: str) -> None:
    found = await refused(service, headers={name: "x"})

    assert found == [(f"/headers/{name}", "reserved_header")]


async def test_case_does_not_tell_headers_apart(service: Service) -> None:
    assert await refused(service, headers={"X-A": "1", "x-a": "2"}) == [
        ("/headers/x-a", "duplicate_header")
    ]


async def test_lines_have_a_limit(service: Service) -> None:
    over, most = "x" * 999, "x" * 998

    found = await refused(service, subject=over, headers={"X-A": over, "X-B": most})

    assert found == [("/headers/X-A", "too_long"), ("/subject", "too_long")]
    assert (await service.new(subject=most)).status == 202


async def test_headers_have_a_limit(service: Service) -> None:
    headers = {f"X-{n}": "x" for n in range(51)}

    assert await refused(service, headers=headers) == [("/headers", "too_many_headers")]
    headers.popitem()
    assert (await service.new(headers=headers)).status == 202


@pytest.mark.parametrize("nothing", [{"text": None}, {"text": None, "html": None}])
async def test_an_email_says_something(service: Service, nothing: dict[str, None]) -> None:
    assert await refused(service, **nothing) == [("/text", "no_content")]


async def test_an_email_has_a_sender(service: Service) -> None:
    assert await refused(service, from_=None) == [("/from", "missing")]


async def test_an_empty_text_is_a_text(service: Service) -> None:
    assert (await service.new(text="")).status == 202
    assert (await service.new(text=None, html="")).status == 202


# Tags and groups.


@pytest.mark.parametrize("text", ["", "a b", "a:b", "\u00e9", "a\n", "x" * 257, "a.b", "\ud800"])
async def test_a_tag_and_a_group_have_plain_names(service: Service, text: str) -> None:
    found = await refused(service, tags=[{"name": text, "value": text}], group_id=text)

    assert found == [
        ("/group_id", "invalid_text"),
        ("/tags/0/name", "invalid_text"),
        ("/tags/0/value", "invalid_text"),
    ]


async def test_tags_have_a_limit(service: Service) -> None:
    tag = {"name": "a", "value": "b"}

    assert await refused(service, tags=[tag] * 51) == [("/tags", "too_many_tags")]
    assert (await service.new(tags=[tag] * 50)).status == 202


# Attachments.


@pytest.mark.parametrize(
    "content",
    [
        "YQ",
        "YQ=",
        "YQ===",
        "YQ==YQ==",
        "YR==",
        "YWJ=",
        "YWFhYf==",
        "YWFh=",
        "YWFh====",
        "YQ==\0",
        "\ufeffYQ==",
        "YQ\uff1d\uff1d",
        "%59Q==",
        "Y=Q=",
        "=YQ=",
        "%%",
        "Y Q==",
        " YQ==",
        "YQ==\n",
        "YWFh\r\nYWFh",
        "YQ==!",
        "_-8=",
        "Y\u00e9==",
        "\ud800",
        "A",
        "====",
        "data:text/plain;base64,YQ==",
    ],
    ids=ascii,
)
async def test_base64_is_strict(service: Service, content: str) -> None:
    found = await refused(service, attachments=[{"filename": "a", "content": content}])

    assert found == [("/attachments/0/content", "invalid_base64")]


@pytest.mark.parametrize(
    "filename",
    [
        "../../etc/passwd",
        "a/b",
        "/a",
        "C:\\x",
        "a\\b",
        "a:b",
        ".",
        "..",
        ".bashrc",
        "a.",
        " a",
        "a ",
        "",
        "CON",
        "con.txt",
        "LPT1",
        "COM\u00b9.txt",
        "NUL",
        "aux.c",
        "Clock$",
        "gpj.\u202eexe",
        "a\u200eb",
        "\u00a0",
        "a.exe\u00a0",
        "\u3000a",
        "a\u2003",
        "\u1680",
    ],
    ids=ascii,
)
async def test_a_file_name_is_plain(service: Service, filename: str) -> None:
    found = await refused(service, attachments=[{"filename": filename, "content": ""}])

    assert found == [("/attachments/0/filename", "invalid_filename")]


@pytest.mark.parametrize("character", LINE_BREAKERS, ids=ascii)
async def test_a_file_name_is_one_line(service: Service, character: str) -> None:
    name = f"a{character}b"

    found = await refused(service, attachments=[{"filename": name, "content": ""}])

    assert found == [("/attachments/0/filename", "invalid_header_value")]


async def test_a_file_name_has_a_limit(service: Service) -> None:
    files = [{"filename": "n" * size, "content": ""} for size in (255, 256)]

    assert await refused(service, attachments=files) == [("/attachments/1/filename", "too_long")]


@pytest.mark.parametrize("filename", ["a", "résumé.pdf", "a b.txt", "=?utf-8?q?x?=", '"q".txt'])
async def test_an_ordinary_file_name_is_taken(service: Service, filename: str) -> None:
    answer = await service.new(attachments=[{"filename": filename, "content": ""}])

    assert answer.json["attachments"][0]["filename"] == filename


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        ("text/html\r\nX: y", "invalid_content_type"),
        ("a", "invalid_content_type"),
        ("a/b/c", "invalid_content_type"),
        ("/b", "invalid_content_type"),
        ("a/", "invalid_content_type"),
        ("", "invalid_content_type"),
        ("text /plain", "invalid_content_type"),
        ("text/plain;", "invalid_content_type"),
        ("text/plain; charset", "invalid_content_type"),
        ("text/plain; name=x", "invalid_content_type"),
        ("text/plain; filename=x", "invalid_content_type"),
        ("text/plain; a=b; A=c", "invalid_content_type"),
        ("text/\u00e9", "invalid_content_type"),
        ("text/plain\0", "invalid_content_type"),
        ("text/plain; x=\ud800", "invalid_content_type"),
        ("x/" + "y" * 300, "invalid_content_type"),
        ("multipart/mixed", "unsupported_content_type"),
        ("multipart/form-data; a=b", "unsupported_content_type"),
        ("message/rfc822", "unsupported_content_type"),
        ("MESSAGE/partial", "unsupported_content_type"),
    ],
    ids=lambda value: ascii(value)[:40],
)
async def test_a_content_type_is_one_and_no_container(
    service: Service, content_type: str, code: str
) -> None:
    file = {"filename": "a", "content": "", "content_type": content_type}

    assert await refused(service, attachments=[file]) == [("/attachments/0/content_type", code)]


@pytest.mark.parametrize("content_type", ["image/png", "text/plain; charset=utf-8", "x-a/b+c"])
async def test_a_content_type_need_not_fit_the_name(service: Service, content_type: str) -> None:
    file = {"filename": "setup.exe", "content": "TVo=", "content_type": content_type}

    answer = await service.new(attachments=[file])

    assert answer.json["attachments"][0]["content_type"] == content_type


@pytest.mark.parametrize(
    "content_id", ["", "a\r\nb", "<a>", "a b", "x" * 129, "\u00e9", "a/b", "a%20b", "\ud800", "a\0"]
)
async def test_a_content_id_fits_a_url(service: Service, content_id: str) -> None:
    file = {"filename": "a", "content": "", "content_id": content_id}

    found = await refused(service, attachments=[file])

    assert found == [("/attachments/0/content_id", "invalid_content_id")]


async def test_a_content_id_is_there_once(service: Service) -> None:
    file = {"filename": "a", "content": "", "content_id": "logo"}

    found = await refused(service, attachments=[file, file])

    assert found == [("/attachments/1/content_id", "duplicate_content_id")]


async def test_attachments_have_a_limit(service: Service) -> None:
    file = {"filename": "a", "content": ""}

    found = await refused(service, attachments=[file] * 51)

    assert found == [("/attachments", "too_many_attachments")]
    assert (await service.new(attachments=[file] * 50)).status == 202


async def test_a_member_is_unknown_wherever_it_does_not_belong(service: Service) -> None:
    file = {"filename": "a", "content": "", "name": "x", "text": "x"}

    assert await refused(service, attachments=[file], value="x") == [
        ("/attachments/0/name", "unknown_member"),
        ("/attachments/0/text", "unknown_member"),
        ("/value", "unknown_member"),
    ]


@pytest.mark.parametrize("url", ["path", "url", "href"])
async def test_an_attachment_is_never_fetched(service: Service, url: str) -> None:
    file = {"filename": "a", url: "http://127.0.0.1/secret"}

    assert await refused(service, attachments=[file]) == [
        ("/attachments/0/content", "missing"),
        (f"/attachments/0/{url}", "unknown_member"),
    ]


# Shapes.


@pytest.mark.parametrize(
    ("part", "value", "pointer"),
    [
        ("subject", 5, "/subject"),
        ("subject", ["x"], "/subject"),
        ("text", True, "/text"),
        ("html", {}, "/html"),
        ("headers", [], "/headers"),
        ("headers", "X-A: b", "/headers"),
        ("headers", {"X-A": 5}, "/headers/X-A"),
        ("headers", {"X-A": None}, "/headers/X-A"),
        ("headers", {"X-A": ["b"]}, "/headers/X-A"),
        ("tags", {}, "/tags"),
        ("tags", "kind", "/tags"),
        ("tags", ["kind"], "/tags/0"),
        ("tags", [{"name": "a", "value": 5}], "/tags/0/value"),
        ("attachments", {}, "/attachments"),
        ("attachments", "YQ==", "/attachments"),
        ("attachments", [None], "/attachments/0"),
        ("attachments", [{"filename": None, "content": ""}], "/attachments/0/filename"),
        ("attachments", [{"filename": "a", "content": 5}], "/attachments/0/content"),
        ("attachments", [{"filename": "a", "content": [256]}], "/attachments/0/content"),
        ("attachments", [{"filename": "a", "content": [-1]}], "/attachments/0/content"),
        ("attachments", [{"filename": "a", "content": [89, True]}], "/attachments/0/content"),
        ("attachments", [{"filename": "a", "content": [8.5]}], "/attachments/0/content"),
        ("attachments", [{"filename": "a", "content": ["YQ=="]}], "/attachments/0/content"),
        ("attachments", [{"filename": "a", "content": {"data": [89]}}], "/attachments/0/content"),
        (
            "attachments",
            [{"filename": "a", "content": {"type": "Blob", "data": [89]}}],
            "/attachments/0/content",
        ),
        (
            "attachments",
            [{"filename": "a", "content": {"type": "Buffer", "data": [89], "path": "x"}}],
            "/attachments/0/content",
        ),
        (
            "attachments",
            [{"filename": "a", "content": {"type": "Buffer", "data": "YQ=="}}],
            "/attachments/0/content",
        ),
        (
            "attachments",
            [{"filename": "a", "content": "", "content_type": 5}],
            "/attachments/0/content_type",
        ),
        (
            "attachments",
            [{"filename": "a", "content": "", "content_id": 5}],
            "/attachments/0/content_id",
        ),
        ("group_id", 5, "/group_id"),
        ("draft", 1, "/draft"),
        ("draft", "true", "/draft"),
        ("draft", None, "/draft"),
    ],
)
async def test_a_member_of_another_type_is_pointed_out(
    service: Service, part: str, value: Any, pointer: str
) -> None:
    assert await refused(service, **{part: value}) == [(pointer, "invalid_type")]


@pytest.mark.parametrize(
    ("name", "pointer"),
    [
        ("delay_second", "/delay_second"),
        ("From", "/From"),
        ("from_", "/from_"),
        ("sender", "/sender"),
        ("id", "/id"),
        ("status", "/status"),
        ("a/b~c", "/a~1b~0c"),
        ("", "/"),
        ("\u00e9", "/\u00e9"),
        ("__proto__", "/__proto__"),
    ],
)
async def test_a_member_nobody_knows_is_never_overlooked(
    service: Service, name: str, pointer: str
) -> None:
    answer = await service.post(
        "/v1/emails", {"from": "a@b.com", "to": "c@d.com", "text": "x", name: 5}
    )

    assert answer.errors == [(pointer, "unknown_member")]


@pytest.mark.parametrize("value", [[], [{}], "text", 5, True, None, 0.5])
@pytest.mark.parametrize(
    "call", ["POST /v1/emails", "PATCH /v1/emails/em_01MCC5RM00003064ESP82K3F6T", "POST …/send"]
)
async def test_a_body_is_an_object(service: Service, value: Any, call: str) -> None:
    method, _, path = call.replace("…", "/v1/emails/em_01MCC5RM00003064ESP82K3F6T").partition(" ")
    body = "null" if value is None else value
    headers = {"Content-Type": "application/json"}

    answer = await service.call(method, path, _json(body), headers=headers)

    assert answer.errors == [("", "invalid_body")]


def _json(value: Any) -> Any:
    return '"text"' if value == "text" else value


async def test_everything_that_is_wrong_is_told_at_once(service: Service) -> None:
    answer = await service.post(
        "/v1/emails",
        {
            "from": 5,
            "to": ["ok@example.com", "nobody", {"email": "x@y.z", "nick": "x"}],
            "cc": "a@localhost",
            "subject": "a\nb",
            "text": "a\0b",
            "html": 7,
            "headers": {"Bcc": "x", "X-A": 5, "X B": "y"},
            "tags": [{"name": "a b"}, {"name": "a", "value": "b", "x": 1}],
            "attachments": [
                {"filename": "../x", "content": "!", "content_type": "message/rfc822"},
                {"filename": "CON", "content": encoded(b"x"), "content_id": "<x>"},
            ],
            "delay_seconds": True,
            "expires_at": "soon",
            "group_id": "",
            "delay_second": 5,
        },
    )

    assert answer.errors == [
        ("/attachments/0/content", "invalid_base64"),
        ("/attachments/0/content_type", "unsupported_content_type"),
        ("/attachments/0/filename", "invalid_filename"),
        ("/attachments/1/content_id", "invalid_content_id"),
        ("/attachments/1/filename", "invalid_filename"),
        ("/cc", "invalid_address"),
        ("/delay_second", "unknown_member"),
        ("/delay_seconds", "invalid_type"),
        ("/expires_at", "invalid_time"),
        ("/from", "invalid_type"),
        ("/group_id", "invalid_text"),
        ("/headers/Bcc", "reserved_header"),
        ("/headers/X B", "invalid_header_name"),
        ("/headers/X-A", "invalid_type"),
        ("/html", "invalid_type"),
        ("/subject", "invalid_header_value"),
        ("/tags/0/name", "invalid_text"),
        ("/tags/0/value", "missing"),
        ("/tags/1/x", "unknown_member"),
        ("/text", "invalid_text"),
        ("/to/1", "invalid_address"),
        ("/to/2", "invalid_type"),
    ]


@pytest.mark.parametrize(
    ("wrong", "pointer"), [({"cc": "x"}, "/cc"), ({"html": 5}, "/html"), ({"to": 5}, "/to")]
)
async def test_a_wrong_part_is_not_said_to_be_missing_as_well(
    service: Service, wrong: dict[str, Any], pointer: str
) -> None:
    nothing = {"from": "a@b.com", "to": [], "text": None} | wrong
    nothing |= {"text": "x"} if pointer != "/html" else {"to": "c@d.com"}

    answer = await service.post("/v1/emails", nothing)

    assert [found for found, _ in answer.errors] == [pointer]


async def test_conflicts_are_told_beside_other_mistakes(service: Service) -> None:
    times = {"delay_seconds": 5, "scheduled_at": "2027-02-01T00:00:00Z"}

    answer = await service.new(draft=True, subject=7, **times)

    assert answer.errors == [
        ("/delay_seconds", "conflicting_members"),
        ("/scheduled_at", "conflicting_members"),
        ("/subject", "invalid_type"),
    ]


async def test_an_edit_is_judged_like_a_new_email(service: Service) -> None:
    draft = await service.made(draft=True)

    answer = await service.call(
        "PATCH",
        f"/v1/emails/{draft['id']}",
        {"subject": 5, "to": ["nobody"], "headers": {"To": "x"}, "draft": True, "group_id": "x"},
    )

    assert answer.errors == [
        ("/draft", "unknown_member"),
        ("/group_id", "unknown_member"),
        ("/headers/To", "reserved_header"),
        ("/subject", "invalid_type"),
        ("/to/0", "invalid_address"),
    ]


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ({"subject": "a\nb"}, ("/subject", "invalid_header_value")),
        ({"subject": 5}, ("/subject", "invalid_type")),
        ({"cc": [f"p{n}@example.com" for n in range(51)]}, ("/to", "too_many_recipients")),
        ({"attachments": [{"filename": ".", "content": ""}]}, ("", "invalid_filename")),
    ],
    ids=str,
)
async def test_everything_that_is_wrong_with_an_edit_is_told_at_once(
    service: Service, part: dict[str, Any], error: tuple[str, str]
) -> None:
    draft = await service.made(draft=True)
    wrong = {"expires_at": "2020-01-01T00:00:00Z", "id": "em_other"} | part

    answer = await service.call("PATCH", f"/v1/emails/{draft['id']}", wrong)
    but_for_id = await service.call("PATCH", f"/v1/emails/{draft['id']}", wrong | {"id": None})

    told = (error[0] or "/attachments/0/filename", error[1])
    assert but_for_id.errors == sorted([told, ("/expires_at", "out_of_range")])
    assert answer.errors == sorted([*but_for_id.errors, ("/id", "conflicting_members")])


async def test_what_is_wrong_with_an_edit_of_a_raw_message_is_told_at_once(
    service: Service,
) -> None:
    octets = b"From: a@example.com\r\nTo: b@example.com\r\n\r\n"
    raw = await service.post("/v1/emails?draft=true", octets, Content_Type="message/rfc822")
    wrong = {"text": "x", "cc": [f"p{n}@example.com" for n in range(50)]}

    answer = await service.call("PATCH", f"/v1/emails/{raw.json['id']}", wrong)

    assert answer.errors == [("/text", "raw_message"), ("/to", "too_many_recipients")]


async def test_a_send_takes_a_time_and_nothing_else(service: Service) -> None:
    draft = await service.made(draft=True)

    answer = await service.post(f"/v1/emails/{draft['id']}/send", {"text": "x", "draft": False})

    assert answer.errors == [("/draft", "unknown_member"), ("/text", "unknown_member")]


async def test_a_long_answer_to_a_bad_request_is_still_an_answer(service: Service) -> None:
    answer = await service.post("/v1/emails", {"x" * 100_000: 1, "tags": [{}] * 1000})

    assert ("/tags/0/name", "missing") in answer.errors


async def test_of_very_many_mistakes_a_thousand_are_told(service: Service) -> None:
    members = {f"m{n}": 0 for n in range(101)}

    answer = await service.new(tags=[members] * 10)

    assert len(answer.errors) == 1000
    assert {code for _, code in answer.errors} <= {"missing", "unknown_member"}
    assert "999 more" in answer.json["detail"]


async def test_of_very_many_mistakes_in_a_strict_batch_a_thousand_are_told(
    service: Service,
) -> None:
    items = [letter(tags=[{f"m{n}": 0 for n in range(9)}] * 10)] * 20

    answer = await service.post("/v1/emails/batch", items, X_Batch_Validation="strict")

    assert len(answer.errors) == 1000
