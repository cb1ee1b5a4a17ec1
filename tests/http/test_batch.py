"""Many emails in one call, and the groups they belong to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.contract.stores import open_file
from tests.fakes import Stage, WatchedSpool
from tests.http import stages
from tests.http.service import Answer, Service, encoded, letter, serving
from tests.relay_double import DROP
from undosend.domain.rules import FILE_LIMIT
from undosend.domain.told import Logged
from undosend.hub import Hub
from undosend.spool.memory import MemorySpool

BATCH = "/v1/emails/batch"
NOBODY = {"from": "ann@example.com", "to": "nobody", "subject": "x", "text": "x"}
EMPTY: dict[str, Any] = {}


async def batch(service: Service, *items: Any, **headers: str) -> Answer:
    return await service.post(BATCH, list(items), **headers)


async def listed(service: Service, query: str = "?limit=100") -> list[str]:
    """Return the subjects of the emails there are, oldest first."""
    data = (await service.get(f"/v1/emails{query}")).json["data"]
    return [email["subject"] for email in reversed(data)]


async def test_each_item_is_answered_at_its_place(stored: Service) -> None:
    answer = await batch(
        stored, letter(subject="one"), letter(subject="two", delay_seconds=60), letter(draft=True)
    )

    assert answer.status == 200
    assert answer.json["object"] == "list"
    data = answer.json["data"]
    told = [(email["subject"], email["status"]) for email in data]
    assert told == [("one", "held"), ("two", "held"), ("Hi", "draft")]
    assert data[1]["undo_seconds_left"] == 60
    for email in data:
        assert await stored.shown(email["id"]) == email


async def test_items_that_cannot_be_taken_do_not_keep_the_others_out(stored: Service) -> None:
    answer = await batch(
        stored, letter(subject="one"), NOBODY, letter(subject="two"), letter(delay_seconds=-1)
    )

    assert answer.status == 200
    one, nobody, two, never = answer.json["data"]
    assert [email["status"] for email in (one, two)] == ["held", "held"]
    for refused in (nobody, never):
        assert list(refused) == ["error"]
        assert (refused["error"]["code"], refused["error"]["status"]) == ("invalid_email", 422)
        assert refused["error"]["instance"] == BATCH
    assert [error["pointer"] for error in nobody["error"]["errors"]] == ["/to"]
    assert [error["pointer"] for error in never["error"]["errors"]] == ["/delay_seconds"]
    assert await listed(stored) == ["one", "two"]


async def test_everything_wrong_with_an_item_is_told(service: Service) -> None:
    answer = await batch(service, {"to": ["bob@example.com", "nobody"], "colour": "red"})

    [item] = answer.json["data"]
    told = {(error["pointer"], error["code"]) for error in item["error"]["errors"]}
    assert {("/colour", "unknown_member"), ("/from", "missing"), ("/text", "no_content")} < told
    assert "/to/1" in {pointer for pointer, _ in told}


@pytest.mark.parametrize("item", [None, 5, "x", [], [letter()], True], ids=str)
async def test_an_item_that_is_no_object_is_refused_for_itself(service: Service, item: Any) -> None:
    answer = await batch(service, letter(subject="one"), item)

    good, bad = answer.json["data"]
    assert good["status"] == "held"
    assert [error["code"] for error in bad["error"]["errors"]] == ["invalid_body"]


async def test_an_item_that_is_too_large_is_refused_for_itself(service: Service) -> None:
    over = {"filename": "a", "content": encoded(bytes(FILE_LIMIT + 1))}

    answer = await batch(service, letter(attachments=[over]), letter(subject="one"))

    bad, good = answer.json["data"]
    assert (bad["error"]["code"], bad["error"]["status"]) == ("too_large", 413)
    assert good["subject"] == "one"


async def test_a_hundred_emails_are_a_batch_in_their_order(stored: Service) -> None:
    answer = await batch(stored, *(letter(subject=str(n)) for n in range(100)))

    subjects = [str(n) for n in range(100)]
    assert [email["subject"] for email in answer.json["data"]] == subjects
    assert len({email["id"] for email in answer.json["data"]}) == 100
    assert await listed(stored) == subjects


@pytest.mark.parametrize("count", [0, 101])
async def test_more_than_a_hundred_or_none_are_no_batch(service: Service, count: int) -> None:
    answer = await batch(service, *[letter()] * count)

    assert answer.errors == [("", "out_of_range")]
    assert answer.json["detail"] == "A batch has 1 to 100 emails."
    assert await listed(service) == []


@pytest.mark.parametrize("body", [{}, letter(), {"emails": [letter()]}, "x", 5, None], ids=str)
async def test_what_is_no_array_is_no_batch(service: Service, body: Any) -> None:
    answer = await service.post(
        BATCH, "null" if body is None else body, Content_Type="application/json"
    )

    assert answer.status in {400, 422}
    if not isinstance(body, str):
        assert answer.errors == [("", "invalid_body")]


async def test_attachments_come_with_a_batch(stored: Service) -> None:
    file = {"filename": "a.pdf", "content": encoded(b"octets")}

    answer = await batch(stored, letter(attachments=[file], draft=True), letter())

    [attached] = answer.json["data"][0]["attachments"]
    here = f"/v1/emails/{answer.json['data'][0]['id']}/attachments/{attached['id']}"
    assert (await stored.get(here)).body == b"octets"


@pytest.fixture
async def on_disk(tmp_path: Path) -> AsyncIterator[Service]:
    hub = Hub()
    async with serving(await open_file(tmp_path, hub.publish), hub) as running:
        yield running


async def test_a_batch_is_one_transaction(on_disk: Service) -> None:
    commits: list[Sequence[Logged]] = []

    with on_disk.desk.hub.listening(commits.append):
        answer = await batch(on_disk, *(letter(draft=n % 2 == 0) for n in range(9)), NOBODY)

    [changes] = commits
    ids = [email["id"] for email in answer.json["data"][:9]]
    assert [change.email_id for change in changes] == ids


async def test_where_the_spool_fails_none_of_a_batch_is_kept() -> None:
    hub = Hub()
    spool = WatchedSpool(MemorySpool(hub.publish), Stage())
    async with serving(spool, hub) as service:
        spool.fail("add")

        answer = await batch(service, letter(), letter())

        assert answer.problem == "unavailable"
        assert await listed(service) == []


async def test_a_batch_is_not_taken_while_the_service_stops(service: Service) -> None:
    service.outbox.drain()

    assert (await batch(service, letter())).problem == "draining"


# The manners of Resend's clients.


async def test_strict_takes_all_or_none(stored: Service) -> None:
    answer = await batch(stored, letter(), NOBODY, EMPTY, x_batch_validation="strict")

    assert answer.status == 422
    assert "/1/to" in {pointer for pointer, _ in answer.errors}
    assert ("/2/from", "missing") in answer.errors
    assert await listed(stored) == []

    answer = await batch(stored, letter(), letter(), x_batch_validation="strict")

    assert [email["status"] for email in answer.json["data"]] == ["held", "held"]
    assert "errors" not in answer.json


async def test_permissive_tells_of_the_refused_beside_the_taken(stored: Service) -> None:
    answer = await batch(
        stored, NOBODY, letter(subject="one"), EMPTY, x_batch_validation="permissive"
    )

    assert answer.status == 200
    assert [email["subject"] for email in answer.json["data"]] == ["one"]
    assert [error["index"] for error in answer.json["errors"]] == [0, 2]
    assert all(error["message"] for error in answer.json["errors"])


@pytest.mark.parametrize("manner", ["Strict", "", "lenient"])
async def test_another_manner_is_pointed_out(service: Service, manner: str) -> None:
    answer = await batch(service, letter(), x_batch_validation=manner)

    assert answer.problem == "bad_parameter"
    assert "x-batch-validation" in answer.json["detail"]


# Groups.


async def test_items_without_a_group_share_a_new_one(stored: Service) -> None:
    first = await batch(stored, letter(), letter(group_id="spring"), NOBODY, letter(draft=True))
    second = await batch(stored, letter())

    one, spring, _, two = first.json["data"]
    assert one["group_id"] == two["group_id"]
    assert one["group_id"].startswith("gr_")
    assert spring["group_id"] == "spring"
    assert second.json["data"][0]["group_id"] != one["group_id"]
    found = (await stored.get(f"/v1/emails?group_id={one['group_id']}")).json["data"]
    assert {email["id"] for email in found} == {one["id"], two["id"]}


async def test_an_email_alone_has_no_group_unless_it_names_one(service: Service) -> None:
    assert (await service.made())["group_id"] is None
    assert (await service.made(group_id="spring"))["group_id"] == "spring"


async def test_a_group_is_undone_at_once(stored: Service) -> None:
    made = (await batch(stored, *(letter(subject=str(n), delay_seconds=60) for n in range(4)))).json
    group = made["data"][0]["group_id"]
    ids = [email["id"] for email in made["data"]]

    answer = await stored.post(f"/v1/groups/{group}/undo")

    assert answer.status == 200
    assert answer.json == {
        "object": "group",
        "id": group,
        "undone": ids,
        "too_late": [],
        "ended": [],
    }
    assert [(await stored.shown(id_))["status"] for id_ in ids] == ["draft"] * 4
    await stored.release(after=120)
    assert stored.relay.ledger == []


async def test_undoing_a_group_again_changes_nothing(stored: Service) -> None:
    email = await stored.made(group_id="spring", delay_seconds=60)
    first = await stored.post("/v1/groups/spring/undo")

    again = await stored.post("/v1/groups/spring/undo")

    assert again.json == first.json
    assert await stored.history(email["id"]) == ["email.held", "email.undone"]


async def _of_all_kinds(service: Service) -> dict[str, str]:
    """Return the ids of a group's emails, one in each of several states."""
    parts = {"group_id": "spring"}
    service.scripted(rcpt={"later@example.com": stages.LATER, "never@example.com": [stages.NEVER]})
    ids = {"sent": (await service.made(delay_seconds=0, **parts))["id"]}
    await service.release()
    ids["canceled"] = (await service.made(delay_seconds=60, **parts))["id"]
    await service.post(f"/v1/emails/{ids['canceled']}/cancel")
    ids["held"] = (await service.made(delay_seconds=60, **parts))["id"]
    ids["draft"] = (await service.made(draft=True, **parts))["id"]
    for state, to in (("retrying", "later@example.com"), ("failed", "never@example.com")):
        ids[state] = (await service.made(delay_seconds=0, to=to, **parts))["id"]
    await service.release()
    for state, email_id in ids.items():
        assert (await service.shown(email_id))["status"] == state
    return ids


async def test_undo_of_a_group_says_what_became_of_each(stored: Service) -> None:
    ids = await _of_all_kinds(stored)

    answer = (await stored.post("/v1/groups/spring/undo")).json

    assert set(answer["undone"]) == {ids["held"], ids["draft"], ids["retrying"]}
    assert answer["too_late"] == [ids["sent"]]
    assert set(answer["ended"]) == {ids["canceled"], ids["failed"]}
    for state, email_id in ids.items():
        now = (await stored.shown(email_id))["status"]
        assert now == ("draft" if email_id in answer["undone"] else state)


async def test_cancel_of_a_group_says_what_became_of_each(stored: Service) -> None:
    ids = await _of_all_kinds(stored)

    answer = (await stored.post("/v1/groups/spring/cancel")).json

    assert list(answer) == ["object", "id", "canceled", "too_late", "ended"]
    assert set(answer["canceled"]) == {
        ids["held"],
        ids["draft"],
        ids["retrying"],
        ids["canceled"],
    }
    assert answer["too_late"] == [ids["sent"]]
    assert answer["ended"] == [ids["failed"]]
    for state, email_id in ids.items():
        now = (await stored.shown(email_id))["status"]
        assert now == ("canceled" if email_id in answer["canceled"] else state)


async def test_what_may_have_been_delivered_is_too_late_for_undo(service: Service) -> None:
    service.scripted(accepted=DROP)
    email = await service.made(delay_seconds=0, group_id="spring")
    await service.release()

    undo = (await service.post("/v1/groups/spring/undo")).json
    cancel = (await service.post("/v1/groups/spring/cancel")).json

    assert (undo["undone"], undo["too_late"]) == ([], [email["id"]])
    assert cancel["canceled"] == [email["id"]]
    assert (await service.shown(email["id"]))["may_have_been_delivered"] is True


async def test_a_group_is_changed_in_one_transaction(on_disk: Service) -> None:
    await batch(on_disk, *(letter(group_id="spring", delay_seconds=60) for _ in range(9)))
    commits: list[Sequence[Logged]] = []

    with on_disk.desk.hub.listening(commits.append):
        await on_disk.post("/v1/groups/spring/undo")

    assert [len(changes) for changes in commits] == [9]


@pytest.mark.parametrize("act", ["undo", "cancel"])
@pytest.mark.parametrize(
    "name", ["nobody", "gr_01MCC5RM00003064ESP82K3F6T", "a%20b", "%00", "Spring"]
)
async def test_a_group_that_is_not_there_is_not_found(stored: Service, act: str, name: str) -> None:
    await stored.made(group_id="spring", delay_seconds=60)

    answer = await stored.post(f"/v1/groups/{name}/{act}")

    assert answer.problem == "not_found"
    assert "group" in answer.json["detail"].lower()


async def test_a_group_whose_emails_are_deleted_is_gone(stored: Service) -> None:
    email = await stored.made(group_id="spring", draft=True)
    await stored.call("DELETE", f"/v1/emails/{email['id']}")

    assert (await stored.post("/v1/groups/spring/undo")).problem == "not_found"


@pytest.mark.parametrize("act", ["undo", "cancel"])
async def test_a_group_takes_no_instructions(service: Service, act: str) -> None:
    email = await service.made(group_id="spring", delay_seconds=60)

    for body in ([email["id"]], {"force": True}):
        assert (await service.post(f"/v1/groups/spring/{act}", body)).problem == "bad_parameter"
    assert (await service.shown(email["id"]))["status"] == "held"
    assert (await service.post(f"/v1/groups/spring/{act}", {})).status == 200


async def test_a_group_is_undone_while_the_service_stops(service: Service) -> None:
    email = await service.made(group_id="spring", delay_seconds=60)
    service.outbox.drain()

    answer = await service.post("/v1/groups/spring/undo")

    assert answer.json["undone"] == [email["id"]]
