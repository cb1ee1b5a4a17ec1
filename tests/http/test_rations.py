"""What a key may ask for, as its owner meets it; ``test_limits`` has the arithmetic."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.http.service import LETTER, Answer, letter, serving
from tests.http.test_access import House
from undosend.domain.access import EVERY
from undosend.domain.clock import SECOND, ManualClock
from undosend.doors.http.limits import BAD_KEYS, DAY
from undosend.hub import Hub
from undosend.keyring import Keyring
from undosend.spool.memory import MemorySpool
from undosend.spool.memory_keys import MemoryKeys

EVE = 1_800_000_000 // DAY * DAY * SECOND + (DAY - 100) * SECOND
"""A hundred seconds before midnight."""


@pytest.fixture
def kept() -> MemoryKeys:
    return MemoryKeys()


@pytest.fixture
async def house(kept: MemoryKeys) -> AsyncIterator[House]:
    hub, clock = Hub(), ManualClock(EVE)
    async with serving(MemorySpool(hub.publish), hub, clock=clock, keys=kept) as service:
        house = House(service, "")
        house.key = await house.keyed(scopes=EVERY)
        yield house


async def send(house: House, key: str, **parts: Any) -> Answer:
    return await house.ask("POST", "/v1/emails", letter(**parts), key)


def fields(answer: Answer) -> tuple[str | None, str | None]:
    return answer.headers.get("RateLimit-Policy"), answer.headers.get("RateLimit")


# Memory for large requests.


async def test_a_key_that_has_all_the_room_it_may_have_shuts_no_other_out(house: House) -> None:
    other, room = await house.keyed(scopes=EVERY), house.service.room
    room.take(192 * 1024 * 1024, f"key_{house.key.split('_')[1]}")

    refused = await send(house, house.key, text="x" * 100_000)
    taken = await send(house, other, text="x" * 100_000)

    assert refused.problem == "overloaded"
    assert taken.status == 202
    assert room.taken == 192 * 1024 * 1024


# Requests in a minute.


async def test_every_answer_to_a_key_tells_what_it_has_left(house: House) -> None:
    key = await house.keyed(scopes=EVERY, rate_per_minute=6, daily_quota=10)

    made = await send(house, key)
    shown = await house.ask("GET", made.headers["Location"], key=key)
    wrong = await send(house, key, to="nobody")
    undone = await house.ask("POST", f"{made.headers['Location']}/undo", key=key)

    policy = '"minute";q=6;w=60, "day";q=10;w=86400'
    assert fields(made) == (policy, '"minute";r=5;t=10, "day";r=9;t=100')
    assert fields(shown) == (policy, '"minute";r=4;t=10, "day";r=9;t=100')
    assert (wrong.status, *fields(wrong)) == (422, policy, '"minute";r=3;t=10, "day";r=9;t=100')
    assert fields(undone) == ('"undo";q=60;w=60', '"undo";r=59;t=1')


async def test_a_key_has_the_usual_rate_where_it_has_none_of_its_own(house: House) -> None:
    answer = await house.ask("GET", "/v1/emails")

    assert fields(answer) == ('"minute";q=600;w=60', '"minute";r=599;t=1')


async def test_a_key_without_limits_is_told_of_none(house: House) -> None:
    key = await house.keyed(rate_per_minute=0, daily_quota=0)

    assert fields(await send(house, key)) == (None, None)


async def test_too_many_requests_are_refused_until_their_time(house: House) -> None:
    key = await house.keyed(scopes=EVERY, rate_per_minute=6)
    for _ in range(6):
        assert (await house.ask("GET", "/v1/emails", key=key)).status == 200

    refused = await send(house, key)

    assert refused.problem == "rate_limited"
    assert refused.json["violated_policies"] == ["minute"]
    assert refused.headers["Retry-After"] == "10"
    assert fields(refused) == ('"minute";q=6;w=60', '"minute";r=0;t=10')
    house.service.clock.advance(9.999)
    assert (await send(house, key)).status == 429
    house.service.clock.advance(0.001)
    assert (await send(house, key)).status == 202


async def test_undo_is_served_when_nothing_is_left_for_anything_else(house: House) -> None:
    key = await house.keyed(scopes=EVERY, rate_per_minute=4)
    made = [(await send(house, key, group_id="ours")).json for _ in range(4)]
    assert (await send(house, key)).status == 429
    first, second = (f"/v1/emails/{email['id']}" for email in made[:2])
    link = made[2]["undo_url"].removeprefix(house.service.url)

    assert (await house.ask("POST", f"{first}/undo", key=key)).status == 200
    assert (await house.ask("POST", f"{second}/cancel", key=key)).status == 200
    assert (await house.service.post(link)).status == 200
    assert (await house.ask("POST", "/v1/groups/ours/undo", key=key)).status == 200
    assert (await house.ask("POST", f"{second}/reopen", key=key)).status == 429


async def test_undo_has_an_end_too(house: House) -> None:
    key = await house.keyed(scopes=EVERY, rate_per_minute=1)
    undo = f"{(await send(house, key)).headers['Location']}/undo"

    answers = [await house.ask("POST", undo, key=key) for _ in range(11)]

    assert [answer.status for answer in answers] == [200] * 10 + [429]
    assert answers[-1].json["violated_policies"] == ["undo"]


async def test_keys_and_links_do_not_share(house: House) -> None:
    ours, theirs = [await house.keyed(rate_per_minute=1) for _ in range(2)]
    made = await send(house, ours)
    link = made.json["undo_url"].removeprefix(house.service.url)

    assert (await send(house, ours)).status == 429
    assert (await send(house, theirs)).status == 202
    assert fields(await house.service.get(link)) == ('"undo";q=6000;w=60', '"undo";r=5999;t=1')


async def test_a_token_asks_at_the_cost_of_its_key(house: House) -> None:
    key = await house.keyed(rate_per_minute=2)
    made = await house.ask("POST", "/v1/tokens", {"group_id": "g", "scopes": ["read"]}, key)

    answers = [await house.ask("GET", "/v1/emails", key=made.json["token"]) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 429]


async def test_without_keys_nothing_is_limited() -> None:
    hub = Hub()
    async with serving(MemorySpool(hub.publish), hub) as service:
        link = (await service.made())["undo_url"].removeprefix(service.url)
        answers = [await service.get("/v1/emails"), await service.get(link)]

    assert [fields(answer) for answer in answers] == [(None, None)] * 2


async def test_what_needs_no_key_is_not_limited(house: House) -> None:
    for path in ("/livez", "/openapi.yaml", "/problems"):
        assert fields(await house.service.get(path)) == (None, None)


# Emails in a day.


async def test_a_quota_counts_what_is_taken_and_nothing_else(house: House) -> None:
    key = await house.keyed(scopes=EVERY, daily_quota=3)
    once = {"Idempotency_Key": "a"}
    path = "/v1/emails"

    made = await house.ask("POST", path, LETTER, key, **once)
    again = await house.ask("POST", path, LETTER, key, **once)
    wrong = await send(house, key, to="nobody")
    await house.ask("POST", f"{made.headers['Location']}/undo", key=key)
    sent = await house.ask("POST", f"{made.headers['Location']}/send", {}, key)
    draft = await send(house, key, draft=True)

    assert (again.status, again.headers["Idempotent-Replayed"]) == (202, "true")
    for answer in (made, again, wrong, sent):
        assert '"day";r=2;' in answer.headers["RateLimit"]
    assert '"day";r=1;' in draft.headers["RateLimit"]


async def test_beyond_the_quota_mail_is_refused_until_midnight(house: House) -> None:
    key = await house.keyed(daily_quota=1)
    await send(house, key)

    refused = await send(house, key)

    assert refused.problem == "rate_limited"
    assert refused.json["violated_policies"] == ["day"]
    assert refused.headers["Retry-After"] == "100"
    assert '"day";r=0;t=100' in refused.headers["RateLimit"]
    assert (await house.ask("GET", "/v1/emails", key=key)).status == 200
    house.service.clock.advance(99.9)
    assert (await send(house, key)).status == 429
    house.service.clock.advance(0.1)
    assert (await send(house, key)).status == 202


@pytest.mark.parametrize("manner", [None, "permissive"])
async def test_items_beyond_the_quota_are_refused_in_their_places(
    house: House, manner: str | None
) -> None:
    key = await house.keyed(daily_quota=2)
    batch = [LETTER, letter(to="nobody"), LETTER, LETTER]
    headers = {"X_Batch_Validation": manner} if manner else {}

    answer = await house.ask("POST", "/v1/emails/batch", batch, key, **headers)

    assert answer.status == 200
    if manner:
        assert len(answer.json["data"]) == 2
        assert [error["index"] for error in answer.json["errors"]] == [1, 3]
    else:
        errors = [item.get("error", {}).get("code") for item in answer.json["data"]]
        assert errors == [None, "invalid_email", None, "rate_limited"]
    assert '"day";r=0;' in answer.headers["RateLimit"]
    assert len((await house.ask("GET", "/v1/emails")).json["data"]) == 2


async def test_a_strict_batch_beyond_the_quota_is_refused_whole(house: House) -> None:
    key = await house.keyed(daily_quota=2)

    answer = await house.ask(
        "POST", "/v1/emails/batch", [LETTER] * 3, key, X_Batch_Validation="strict"
    )

    assert answer.problem == "rate_limited"
    assert '"day";r=2;' in answer.headers["RateLimit"]
    assert (await house.ask("GET", "/v1/emails")).json["data"] == []


async def test_what_a_key_has_used_outlives_the_process(house: House, kept: MemoryKeys) -> None:
    key = await house.keyed(daily_quota=2)
    await send(house, key)
    await house.service.keyring.keep_uses()
    hub, clock = Hub(), ManualClock(EVE + SECOND)

    async with serving(MemorySpool(hub.publish), hub, clock=clock, keys=kept) as later:
        other = House(later, key)
        answers = [await send(other, key) for _ in range(2)]

    assert [answer.status for answer in answers] == [202, 429]
    assert isinstance(later.keyring, Keyring)


# Wrong keys.


async def test_wrong_keys_are_refused_otherwise_after_too_many(house: House) -> None:
    for _ in range(BAD_KEYS):
        assert (await house.ask("GET", "/v1/emails", key="wrong")).status == 401

    refused = await house.ask("GET", "/v1/emails", key="wrong")

    assert refused.problem == "rate_limited"
    assert refused.headers["Retry-After"] == "1"
    assert "RateLimit" not in refused.headers
    assert (await house.ask("GET", "/v1/emails")).status == 200
    assert (await house.service.get("/v1/emails")).problem == "unauthorized"
    house.service.clock.advance(0.6)
    assert (await house.ask("GET", "/v1/emails", key="wrong")).status == 401
