"""JSON that means one thing only: what parsers disagree on is refused before anything is done."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.http.service import Answer, Service, encoded, letter
from undosend.domain.errors import InvalidEmail
from undosend.doors.http.judging import validated
from undosend.doors.http.payloads import EmailIn

JSON = {"Content-Type": "application/json"}


async def posted(service: Service, body: bytes) -> Answer:
    return await service.call("POST", "/v1/emails", body, headers=JSON)


MALFORMED = {
    "nothing": b"",
    "white space": b" \r\n",
    "cut short": b'{"to": "a@b.com"',
    "cut short in a string": b'{"to": "a@b',
    "cut short in an escape": b'{"to": "a\\u00',
    "more behind it": b"{} {}",
    "a comma behind it": b"{},",
    "a comma too many": b'{"to": "a@b.com",}',
    "a comment": b'{"to": "a@b.com"} // me',
    "single quotes": b"{'to': 'a@b.com'}",
    "no quotes": b'{to: "a@b.com"}',
    "a line end in a string": b'{"text": "a\nb"}',
    "a tab in a string": b'{"text": "a\tb"}',
    "a NUL in a string": b'{"text": "a\0b"}',
    "a NUL behind it": b"{}\0",
    "an unknown escape": b'{"text": "\\x41"}',
    "octal": b'{"delay_seconds": 010}',
    "hexadecimal": b'{"delay_seconds": 0x10}',
    "a plus": b'{"delay_seconds": +5}',
    "half a number": b'{"delay_seconds": 5.}',
    "infinity": b'{"delay_seconds": Infinity}',
    "minus infinity": b'{"delay_seconds": -Infinity}',
    "not a number": b'{"delay_seconds": NaN}',
    "too great a number": b'{"delay_seconds": 1e999}',
    "too many digits": b'{"delay_seconds": ' + b"9" * 4301 + b"}",
    "too small a number": b'{"delay_seconds": 1e-400}',
    "too small a number below zero": b'{"delay_seconds": -1e-400}',
    "a number no exponent holds": b'{"delay_seconds": 1e-99999999999999999999}',
    "hardly more than a whole": b'{"delay_seconds": 30.000000000000000000001}',
    "hardly less than a whole": b'{"delay_seconds": 29.99999999999999999999}',
    "hardly more than an octet": b'{"attachments": [{"content": [65.00000000000000000001]}]}',
    "Python": b'{"draft": True, "to": None}',
    "a member twice": b'{"to": "a@b.com", "to": "evil@b.com"}',
    "a member twice, escaped": b'{"to": "a@b.com", "\\u0074o": "evil@b.com"}',
    "a member twice inside": b'{"to": {"email": "a@b.com", "email": "evil@b.com"}}',
    "0xFF": b'{"text": "\xff"}',
    "overlong": b'{"text": "\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"text": "\xed\xa0\x80"}',
    "above Unicode": b'{"text": "\xf4\x90\x80\x80"}',
    "cut short in a character": b'{"text": "\xe2\x82"}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": json.dumps(letter()).encode("utf-16"),
    "UTF-16 without a mark": json.dumps(letter()).encode("utf-16-le"),
    "UTF-32": json.dumps(letter()).encode("utf-32"),
    "Latin-1": '{"text": "é"}'.encode("latin-1"),
    "33 levels": b"[" * 33 + b"]" * 33,
    "33 levels of objects": b'{"a":' * 33 + b"1" + b"}" * 33,
    "100,000 levels": b"[" * 100_000,
    "100,000 levels of objects": b'{"a":' * 100_000,
    "1,001 members": json.dumps({f"m{n}": 0 for n in range(1001)}).encode(),
    "a surrogate in a name": b'{"a\\ud800": 1}',
    "a surrogate in a header's name": b'{"headers": {"\\udfff": "x"}}',
    "a form": b"to=a%40b.com&text=x",
    "XML": b"<?xml version='1.0'?><to>a@b.com</to>",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_strict_json_is_refused(service: Service, body: bytes) -> None:
    answer = await posted(service, body)

    assert answer.problem == "malformed_json"
    assert (await service.get("/v1/emails")).json["data"] == []


@pytest.mark.parametrize(
    "path",
    ["/v1/emails/em_01MCC5RM00003064ESP82K3F6T", "/v1/emails/em_01MCC5RM00003064ESP82K3F6T/send"],
)
@pytest.mark.parametrize("body", [b"{", b'{"a": 1, "a": 2}', b"\xff", b"[" * 1000])
async def test_every_call_reads_json_as_strictly(service: Service, path: str, body: bytes) -> None:
    method = "POST" if path.endswith("send") else "PATCH"

    assert (await service.call(method, path, body, headers=JSON)).problem == "malformed_json"


async def test_where_reading_stopped_is_told(service: Service) -> None:
    answer = await posted(service, b'{"to": "a@b.com",\n "text" "x"}')

    assert "line 2, column 9" in answer.json["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b' \r\n\t{"draft":true}\n ',
        b'{"draft": true, "text": "\\u00e9\\ud83d\\udc8c\\u2028"}',
        '{"draft": true, "text": "é💌"}'.encode(),
        b'{"draft": true, "text": "\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}',
        b'{"draft": true, "text": "a, b, c"}',
        b'{"draft": true, "\\u0074o": "a@b.com"}',
        b'{"draft": true, "attachments": [{"filename": "a", "content": [6.50e1, 0.0, 65.0]}]}',
        b'{"draft": true, "headers": {"to": 1}}'.replace(b"1", b'"x"').replace(b"to", b"X-To"),
    ],
)
async def test_what_is_strict_json_is_read(service: Service, body: bytes) -> None:
    assert (await posted(service, body)).status == 201


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (b"-0.0", 0),
        (b"0e99999999999999999999", 0),
        (b"0.00000000000000000000", 0),
        (b"3e1", 30),
        (b"300000000000000000000e-19", 30),
        (b"30.00000000000000000000", 30),
    ],
)
async def test_a_whole_number_may_be_written_in_many_ways(
    service: Service, written: bytes, seconds: int
) -> None:
    body = json.dumps(letter(delay_seconds=5)).encode().replace(b": 5", b": " + written)

    assert (await posted(service, body)).json["undo_seconds_left"] == seconds


async def test_32_levels_are_read(service: Service) -> None:
    answer = await posted(service, b"[" * 32 + b"]" * 32)

    assert answer.errors == [("", "invalid_body")]


CROWDS = {
    "numbers": b'{"to": [' + b"1," * 4_000_000 + b"1]}",
    "fractions": b'{"attachments": [{"content": [' + b"0.0," * 500_000 + b"1.0]}]}",
    # Mistakes that are found one behind the other, beside a file of numbers.
    "fractions among mistakes": b'{"draft": true, "delay_seconds": 5, "x": 0, "to": [[0]], '
    b'"attachments": [{"filename": "f", "content": [' + b"1.0," * 1_048_575 + b"1.0]}]}",
    "fractions of many digits": b"[" + b"1.0000000000000000000," * 500_000 + b"1]",
    "objects": b"[" + b"{}," * 3_000_000 + b"{}]",
    "brackets without commas": b"[]" * 6_000_000,
    "strings": b'""' * 6_000_000 + b"[" * 40,
    "an open string full of quotes": b"[]" * 20 + b'"' + b'\\"' * 6_000_000,
    "an open string full of backslashes": b"[]" * 20 + b'"' + b"\\" * 6_000_001,
    "digits": b"9" * 6_000_000,
    "white space": b" " * 12_000_000,
    "members": b'{"headers": {' + b",".join(b'"%d":""' % n for n in range(200_000)) + b"}}",
    "addresses": json.dumps({"to": [f"a@x{n}.example" for n in range(49_000)]}).encode(),
    "attachments": json.dumps({"attachments": [{}] * 49_000}).encode(),
    "members of attachments": json.dumps(
        {"attachments": [{f"m{n}": 0 for n in range(490)}] * 100}
    ).encode(),
}


@pytest.mark.parametrize("body", CROWDS.values(), ids=CROWDS)
async def test_no_body_holds_the_others_up(service: Service, body: bytes) -> None:
    began = time.process_time()

    answer = await posted(service, body)

    assert answer.status in {400, 422}
    assert time.process_time() - began < 1.5  # of both sides, and of this test


class Numbers(list[float]):
    """A file's octets as some clients send them: a million numbers."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise AssertionError("They are copied one by one.")


def test_no_file_is_copied_for_the_sake_of_what_is_wrong_beside_it() -> None:
    body = {"x": 0, "attachments": [{"filename": "f", "content": Numbers([1.0]), "x": 0}]}

    with pytest.raises(InvalidEmail) as refused:
        validated(EmailIn, body)

    assert [error.pointer for error in refused.value.errors] == ["/attachments/0/x", "/x"]
    assert "x" in body


async def test_a_large_but_honest_body_is_read(service: Service) -> None:
    file = {"filename": "f", "content": encoded(bytes(1_000_000))}

    answer = await service.new(
        draft=True, text="[{" * 400_000, html="," * 1_000_000, attachments=[file] * 5
    )

    assert answer.status == 201
