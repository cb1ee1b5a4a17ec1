"""Whatever is sent, the answer is one of ours; and what is taken can be shown and leaves."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http.service import LETTER, Service

USUAL = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

texts = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(
    ["ann@example.com", "Ann <ann@example.com>", "2027-01-15T12:00:00Z", "a\r\nBcc: x@y.z", "YQ=="]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
names = st.sampled_from(
    ["email", "name", "value", "filename", "content", "content_type", "content_id"]
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | texts, inner, max_size=4),
    max_leaves=8,
)
PARTS = [*LETTER, "cc", "bcc", "reply_to", "html", "headers", "tags", "attachments", "group_id"]
PARTS += ["delay_seconds", "scheduled_at", "expires_at", "draft", "nonsense"]
changes = st.dictionaries(st.sampled_from(PARTS), values, min_size=1, max_size=3)
plausible = st.fixed_dictionaries(
    {},
    optional={
        "subject": st.text(max_size=60),
        "text": st.text(max_size=200),
        "html": st.text(max_size=200),
        "headers": st.dictionaries(st.from_regex(r"X-[!-9;-~]{1,20}", fullmatch=True), texts),
        "delay_seconds": st.integers(0, 100),
        "draft": st.booleans(),
    },
)


@USUAL
@given(changes=changes)
async def test_no_json_is_too_odd_for_an_answer(service: Service, changes: dict[str, Any]) -> None:
    answer = await service.call(
        "POST",
        "/v1/emails",
        json.dumps(LETTER | changes).encode(),
        headers={"Content-Type": "application/json"},
    )

    assert answer.status in {201, 202, 400, 422}
    if answer.status >= 400:
        assert answer.problem in {"malformed_json", "invalid_email"}
    else:
        await _assert_sound(service, answer.json)


@USUAL
@given(body=st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
async def test_no_octets_are_too_odd_for_an_answer(service: Service, body: bytes) -> None:
    for method, path in (
        ("POST", ""),
        ("PATCH", "/em_01MCC5RM00003064ESP82K3F6T"),
        ("POST", "/em_01MCC5RM00003064ESP82K3F6T/send"),
    ):
        answer = await service.call(
            method, f"/v1/emails{path}", body, headers={"Content-Type": "application/json"}
        )

        assert answer.problem in {"malformed_json", "invalid_email", "not_found"}


@USUAL
@given(parts=plausible)
async def test_what_is_taken_is_shown_as_it_was_given(
    service: Service, parts: dict[str, Any]
) -> None:
    answer = await service.post("/v1/emails", LETTER | parts)

    if answer.status >= 400:
        assert answer.problem == "invalid_email"
        return
    given_back = {name: answer.json[name] for name in parts if name in answer.json}
    assert given_back == {name: parts[name] for name in given_back}
    await _assert_sound(service, answer.json)


async def _assert_sound(service: Service, email: dict[str, Any]) -> None:
    """Fail where the email cannot be read, shown as a message, listed or undone."""
    here = f"/v1/emails/{email['id']}"
    raw = await service.get(f"{here}/raw")
    listed = await service.get("/v1/emails?limit=1")
    undone = await service.post(f"{here}/undo")

    assert await service.shown(email["id"]) == undone.json
    assert raw.body.isascii()
    assert max(map(len, raw.body.split(b"\r\n"))) <= 998
    assert (raw.status, listed.status, undone.status) == (200, 200, 200)
