"""Idempotency-Key: a request that is repeated is done once."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.contract.stores import open_file
from tests.fakes import Stage, WatchedSpool
from tests.http import stages
from tests.http.service import Answer, Service, letter, serving
from tests.http.wire import said, status
from undosend.hub import Hub
from undosend.spool.memory import MemorySpool

DAY = 24 * 3600
FORM = "multipart/form-data; boundary={}"


async def keyed(service: Service, key: str = "k", path: str = "", body: Any = None) -> Answer:
    """Post with the key, a letter where no path is given."""
    given = letter(delay_seconds=60) if not path and body is None else body
    return await service.post(f"/v1/emails{path}", given, Idempotency_Key=key)


def replayed(answer: Answer) -> bool:
    told = answer.headers.get("Idempotent-Replayed")
    assert told in {None, "true"}
    return told is not None


def octets(*headers: str) -> bytes:
    """Return a request that says nothing, with these headers."""
    lines = "".join(f"{header}\r\n" for header in headers)
    return (
        "POST /v1/emails HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"{lines}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    ).encode()


async def count(service: Service) -> int:
    return len((await service.get("/v1/emails?limit=100")).json["data"])


async def test_a_request_repeated_is_answered_alike_and_done_once(stored: Service) -> None:
    first = await keyed(stored)
    again = await keyed(stored)

    assert (first.status, again.status) == (202, 202)
    assert first.body == again.body
    assert (replayed(first), replayed(again)) == (False, True)
    for header in ("Location", "ETag"):
        assert first.headers[header] == again.headers[header]
    assert await count(stored) == 1


async def test_a_draft_is_made_once(stored: Service) -> None:
    first = await keyed(stored, body=letter(draft=True))
    again = await keyed(stored, body=letter(draft=True))

    assert (first.status, again.status) == (201, 201)
    assert first.body == again.body


async def test_fifty_at_once_make_one_email(stored: Service) -> None:
    answers = await asyncio.gather(*(keyed(stored) for _ in range(50)))

    done = [answer for answer in answers if answer.status == 202]
    others = [answer for answer in answers if answer.status != 202]
    assert len({answer.body for answer in done}) == 1
    assert sum(not replayed(answer) for answer in done) == 1
    assert {answer.problem for answer in others} <= {"idempotency_in_progress"}
    assert await count(stored) == 1


async def test_fifty_keys_at_once_make_fifty_emails(stored: Service) -> None:
    answers = await asyncio.gather(*(keyed(stored, f"k{n}") for n in range(50)))

    assert Counter(answer.status for answer in answers) == {202: 50}
    assert await count(stored) == 50


async def test_a_request_that_is_being_worked_on_is_not_done_beside_itself() -> None:
    hub, stage = Hub(), Stage()
    async with serving(WatchedSpool(MemorySpool(hub.publish), stage), hub) as service:
        stage.stop_at("add")
        first = asyncio.create_task(keyed(service))
        await stage.seen("add")

        beside = await keyed(service)
        other_body = await keyed(service, body=letter(subject="other"))
        other_key = asyncio.create_task(keyed(service, "other"))
        await stage.seen("add", times=2)
        stage.let_go()

        assert beside.problem == other_body.problem == "idempotency_in_progress"
        assert int(beside.headers["Retry-After"]) >= 1
        assert (await first).status == (await other_key).status == 202
        assert replayed(await keyed(service))
        assert await count(service) == 2


async def test_what_was_done_is_known_after_a_restart(tmp_path: Path) -> None:
    bodies = []
    for _ in range(3):
        hub = Hub()
        async with serving(await open_file(tmp_path, hub.publish), hub) as service:
            answer = await keyed(service)
            bodies.append((answer.json["id"], answer.json["version"]))
            assert replayed(answer) is (len(bodies) > 1)
            assert await count(service) == 1

    assert len(set(bodies)) == 1


async def test_an_answer_that_was_lost_behind_its_commit_is_had_again() -> None:
    hub = Hub()
    spool = WatchedSpool(MemorySpool(hub.publish), Stage())
    async with serving(spool, hub) as service:
        spool.fail("add", committed=True)

        lost, again = await keyed(service), await keyed(service)

        assert lost.problem == "unavailable"
        assert (again.status, replayed(again)) == (202, True)
        assert await count(service) == 1


async def test_what_was_not_kept_is_done_by_the_repeat() -> None:
    hub = Hub()
    spool = WatchedSpool(MemorySpool(hub.publish), Stage())
    async with serving(spool, hub) as service:
        spool.fail("add")

        failed, again = await keyed(service), await keyed(service)

        assert failed.problem == "unavailable"
        assert (again.status, replayed(again)) == (202, False)


@pytest.mark.parametrize(
    "other",
    [letter(), letter(delay_seconds=61), letter(delay_seconds=60, cc="cid@example.com"), {}],
    ids=["no delay", "another delay", "more", "nothing"],
)
async def test_a_key_with_another_body_is_refused(stored: Service, other: Any) -> None:
    await keyed(stored)

    answer = await keyed(stored, body=other)

    assert (answer.status, answer.problem) == (422, "idempotency_mismatch")
    assert await count(stored) == 1


@pytest.mark.parametrize("body", [{}, {"to": 5}, letter(delay_seconds=-1)], ids=str)
async def test_a_key_whose_first_use_was_refused_is_as_new(stored: Service, body: Any) -> None:
    refused = await keyed(stored, body=body)
    mended = await keyed(stored)

    assert refused.problem == "invalid_email"
    assert (mended.status, replayed(mended)) == (202, False)
    assert replayed(await keyed(stored))


async def test_a_key_holds_for_one_path_only(stored: Service) -> None:
    one = (await keyed(stored, body=letter(draft=True))).json["id"]
    two = (await keyed(stored, "other", body=letter(draft=True))).json["id"]

    answers = [
        await keyed(stored, path=f"/{one}/send", body={}),
        await keyed(stored, path=f"/{two}/send", body={}),
    ]

    assert [(answer.status, replayed(answer)) for answer in answers] == [(202, False)] * 2


# Keys.


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("abc", '"abc"'),
        ('"abc"', "abc"),
        ('a"b', '"a\\"b"'),
        ("a\\b", '"a\\\\b"'),
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", '"8e03978e-40d5-43e8-bc93-6894a57f9324"'),
    ],
)
async def test_a_key_is_the_same_quoted_and_bare(stored: Service, one: str, other: str) -> None:
    first, second = await keyed(stored, one), await keyed(stored, other)

    assert (replayed(first), replayed(second)) == (False, True)
    assert first.json["id"] == second.json["id"]


async def test_case_counts_in_keys(stored: Service) -> None:
    assert not replayed(await keyed(stored, "key"))
    assert not replayed(await keyed(stored, "KEY"))


@pytest.mark.parametrize(
    "key", ["k", "x" * 255, f'"{"x" * 255}"', '"a b"', "~!#$%&'()*+,-./:;<=>?@"]
)
async def test_a_key_may_be_any_printable_text_of_255(stored: Service, key: str) -> None:
    assert (await keyed(stored, key)).status == 202
    assert replayed(await keyed(stored, key))


@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        '""',
        "x" * 256,
        f'"{"x" * 256}"',
        "a b",
        '"a',
        'a"b c',
        '"a"b"',
        '"a\\x"',
        "\xe4",
        '"\xe4"',
    ],
)
async def test_what_is_no_key_is_pointed_out(service: Service, key: str) -> None:
    answer = await keyed(service, key)

    assert answer.problem == "bad_parameter"
    assert "Idempotency-Key" in answer.json["detail"]
    assert await count(service) == 0


@pytest.mark.parametrize("header", ["a\x01b", "a\tb", '"a\tb"', "a\x7fb", "a\0b"])
async def test_control_characters_are_in_no_key(service: Service, header: str) -> None:
    answer = await said(service, octets(f"Idempotency-Key: {header}"))

    assert status(answer) == 400


@pytest.mark.parametrize("keys", [("a", "b"), ("a", "a")])
async def test_two_keys_are_one_too_many(service: Service, keys: tuple[str, str]) -> None:
    answer = await said(service, octets(*(f"Idempotency-Key: {key}" for key in keys)))

    assert status(answer) == 400
    assert b"Idempotency-Key" in answer


# Time, and what became of the email.


async def test_a_key_is_known_for_a_day(stored: Service) -> None:
    first = await keyed(stored, body=letter(draft=True))
    stored.clock.advance(DAY)
    within = await keyed(stored, body=letter(draft=True))
    stored.clock.advance(1)
    after = await keyed(stored, body=letter(draft=True))
    again = await keyed(stored, body=letter(draft=True))

    assert [replayed(answer) for answer in (first, within, after, again)] == [
        False,
        True,
        False,
        True,
    ]
    assert first.json["id"] == within.json["id"] != after.json["id"] == again.json["id"]


async def test_a_forgotten_key_may_come_with_another_body(stored: Service) -> None:
    await keyed(stored)
    stored.clock.advance(DAY + 1)

    assert (await keyed(stored, body=letter(subject="other"))).status == 202


async def test_a_replay_shows_the_email_as_it_now_is(stored: Service) -> None:
    email_id = (await keyed(stored)).json["id"]
    await stored.post(f"/v1/emails/{email_id}/undo")

    again = await keyed(stored)

    assert (again.status, replayed(again)) == (202, True)
    assert again.json == await stored.shown(email_id)
    assert again.json["status"] == "draft"


async def test_a_replay_for_a_deleted_email_makes_none_anew(stored: Service) -> None:
    email_id = (await keyed(stored)).json["id"]
    await stored.post(f"/v1/emails/{email_id}/undo")
    await stored.call("DELETE", f"/v1/emails/{email_id}")

    again = await keyed(stored)

    assert again.problem == "not_found"
    assert email_id in again.json["detail"]
    assert await count(stored) == 0


# Every call that makes or sends something.


async def test_a_draft_is_sent_once(stored: Service) -> None:
    email_id = await stages.draft(stored)
    first = await keyed(stored, path=f"/{email_id}/send", body={"delay_seconds": 0})
    await stored.release()

    again = await keyed(stored, path=f"/{email_id}/send", body={"delay_seconds": 0})

    assert (first.status, again.status, replayed(again)) == (202, 202, True)
    assert (first.json["status"], again.json["status"]) == ("held", "sent")
    assert len(stored.relay.ledger) == 1


async def test_a_send_that_was_undone_is_not_repeated_by_its_key(stored: Service) -> None:
    email_id = await stages.draft(stored)
    await keyed(stored, path=f"/{email_id}/send", body={})
    await stored.post(f"/v1/emails/{email_id}/undo")

    again = await keyed(stored, path=f"/{email_id}/send", body={})

    assert (replayed(again), again.json["status"]) == (True, "draft")


async def test_a_replay_asks_for_no_version(stored: Service) -> None:
    email_id = await stages.draft(stored)
    here = f"/v1/emails/{email_id}/send"
    first = await stored.post(here, {}, Idempotency_Key="k", If_Match='"1"')

    again = await stored.post(here, {}, Idempotency_Key="k", If_Match='"1"')

    assert (first.status, again.status, replayed(again)) == (202, 202, True)


async def test_a_body_that_is_not_taken_is_no_repeat(service: Service) -> None:
    first = await keyed(service)

    answer = await service.post(
        "/v1/emails", letter(delay_seconds=60), Idempotency_Key="k", Content_Encoding="gzip"
    )

    assert first.status == 202
    assert answer.problem == "unsupported_media_type"


async def test_a_body_that_is_too_large_is_no_repeat_of_one_that_was_not_there(
    service: Service,
) -> None:
    path = f"/v1/emails/{await stages.draft(service)}/send"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: k\r\nConnection: close\r\n"
    much = b"%x\r\n%s\r\n0\r\n\r\n" % (100_000, bytes(100_000))

    sent = await said(service, f"{head}Content-Length: 0\r\n\r\n".encode())
    answer = await said(service, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + much)

    assert (status(sent), status(answer)) == (202, 413)


async def test_a_send_that_was_refused_is_tried_anew(stored: Service) -> None:
    email_id = await stages.held(stored)
    refused = await keyed(stored, path=f"/{email_id}/send", body={})
    await stored.post(f"/v1/emails/{email_id}/undo")

    again = await keyed(stored, path=f"/{email_id}/send", body={})

    assert refused.problem == "not_draft"
    assert (again.status, replayed(again)) == (202, False)


async def test_send_now_is_done_once(stored: Service) -> None:
    email_id = await stages.held(stored)
    first = await keyed(stored, path=f"/{email_id}/send-now")
    await stored.release()

    again = await keyed(stored, path=f"/{email_id}/send-now")

    assert (first.status, again.status, replayed(again)) == (202, 202, True)
    assert again.json["status"] == "sent"


async def test_a_batch_is_made_once(stored: Service) -> None:
    items = [letter(subject="one"), letter(to="nobody"), letter(subject="two", draft=True)]
    first = await keyed(stored, path="/batch", body=items)

    again = await keyed(stored, path="/batch", body=items)

    assert (again.status, replayed(again)) == (200, True)
    assert again.json == first.json
    assert await count(stored) == 2


async def test_a_batch_replayed_tells_what_is_gone(stored: Service) -> None:
    items = [letter(draft=True), letter(draft=True)]
    first = (await keyed(stored, path="/batch", body=items)).json["data"]
    await stored.call("DELETE", f"/v1/emails/{first[0]['id']}")

    gone, there = (await keyed(stored, path="/batch", body=items)).json["data"]

    assert gone["error"]["code"] == "not_found"
    assert there == first[1]


async def test_a_batch_of_refused_items_is_judged_anew(stored: Service) -> None:
    items = [letter(scheduled_at="2027-01-15T07:00:00Z")] * 2
    first = await keyed(stored, path="/batch", body=items)
    again = await keyed(stored, path="/batch", body=items)

    assert first.json == again.json
    assert not replayed(again)


async def test_an_item_once_refused_stays_so_whatever_it_would_be_now(stored: Service) -> None:
    items = [letter(), letter(scheduled_at="2027-03-01T07:00:00Z")]
    first = await keyed(stored, path="/batch", body=items)
    stored.clock.advance(DAY - 1)
    far = letter(scheduled_at="2027-02-14T12:00:00Z")  # 30 days from then, more from now
    second = await keyed(stored, "far", "/batch", [letter(), far])

    again = await keyed(stored, path="/batch", body=items)

    assert "error" in first.json["data"][1]
    assert "error" in again.json["data"][1]
    assert "error" not in second.json["data"][1]


async def test_a_file_is_attached_once(stored: Service) -> None:
    email_id = await stages.draft(stored)
    path = f"/{email_id}/attachments?filename=a"
    first = await keyed(stored, path=path, body=b"octets")

    again = await keyed(stored, path=path, body=b"octets")
    other = await keyed(stored, path=path, body=b"other!")
    renamed = await keyed(stored, path=path.replace("=a", "=b"), body=b"octets")

    assert (first.status, again.status, replayed(again)) == (201, 201, True)
    assert first.json == again.json
    assert first.headers["Location"] == again.headers["Location"]
    assert other.problem == renamed.problem == "idempotency_mismatch"
    assert len((await stored.shown(email_id))["attachments"]) == 1


async def test_a_form_says_the_same_with_another_boundary(stored: Service) -> None:
    email_id = await stages.draft(stored)
    answers = []
    for boundary, octets in (("x", b"1"), ("yy", b"1"), ("yy", b"2")):
        name = b'Content-Disposition: form-data; name="f"; filename="a"'
        mark = b"--" + boundary.encode()
        body = b"\r\n".join([mark, name, b"", octets, mark + b"--", b""])
        headers = {"Idempotency_Key": "k", "Content_Type": FORM.format(boundary)}
        answers.append(await stored.post(f"/v1/emails/{email_id}/attachments", body, **headers))

    assert [answer.status for answer in answers] == [201, 201, 422]
    assert replayed(answers[1])
    assert answers[2].problem == "idempotency_mismatch"


async def test_a_file_that_was_attached_is_told_of_though_the_email_has_left(
    service: Service,
) -> None:
    email_id = await stages.draft(service)
    path = f"/{email_id}/attachments?filename=a"
    await keyed(service, path=path, body=b"octets")
    await service.post(f"/v1/emails/{email_id}/send", {"delay_seconds": 0})
    await service.release()

    again = await keyed(service, path=path, body=b"octets")

    assert (again.status, replayed(again)) == (201, True)


async def test_a_file_is_not_attached_to_a_held_email_whatever_the_key(service: Service) -> None:
    email_id = await stages.held(service)

    answer = await keyed(service, path=f"/{email_id}/attachments?filename=a", body=b"octets")

    assert answer.problem == "not_draft"


# Undo and its like look at the row, whatever the key.


async def test_undo_with_an_old_key_undoes_again(stored: Service) -> None:
    email_id = await stages.held(stored)
    await keyed(stored, path=f"/{email_id}/undo")
    await stored.post(f"/v1/emails/{email_id}/send")

    again = await keyed(stored, path=f"/{email_id}/undo")

    assert (again.status, replayed(again)) == (200, False)
    assert (await stored.shown(email_id))["status"] == "draft"


async def test_undo_with_an_old_key_tells_that_it_is_too_late(stored: Service) -> None:
    email_id = await stages.held(stored)
    await keyed(stored, path=f"/{email_id}/undo")
    await stored.post(f"/v1/emails/{email_id}/send", {"delay_seconds": 0})
    await stored.release()

    again = await keyed(stored, path=f"/{email_id}/undo")

    assert again.problem == "too_late"


@pytest.mark.parametrize("act", ["cancel", "reopen", "undo"])
async def test_cancel_and_reopen_with_an_old_key_look_at_the_row(stored: Service, act: str) -> None:
    email_id = await stages.canceled(stored) if act == "reopen" else await stages.held(stored)
    first = await keyed(stored, path=f"/{email_id}/{act}")
    again = await keyed(stored, path=f"/{email_id}/{act}")

    assert (first.status, again.status) == (200, 200)
    assert first.body == again.body
    assert not replayed(again)
