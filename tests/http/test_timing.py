"""When an email leaves: the window people are shown, the grace behind it, and what cannot be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.http import stages
from tests.http.service import Answer, Service, serving
from undosend.domain.holding import HoldPolicy
from undosend.hub import Hub
from undosend.spool.memory import MemorySpool

NOON = "2027-01-15T12:00:00Z"
"""Four hours from now: the clock stands at eight."""


async def new(service: Service, timing: dict[str, Any]) -> Answer:
    return await service.new(**timing)


async def send(service: Service, timing: dict[str, Any]) -> Answer:
    email_id = await stages.draft(service)
    return await service.post(f"/v1/emails/{email_id}/send", timing)


async def reschedule(service: Service, timing: dict[str, Any]) -> Answer:
    email_id = await stages.held(service)
    return await service.call("PATCH", f"/v1/emails/{email_id}", timing)


WAYS = {"new": new, "send": send, "reschedule": reschedule}
Way = Callable[[Service, dict[str, Any]], Awaitable[Answer]]
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def told(answer: Answer) -> tuple[str, str, float]:
    email = answer.json
    return email["undo_until"], email["release_at"], email["undo_seconds_left"]


@every_way
@pytest.mark.parametrize("seconds", [30, 30.0])
async def test_a_delay_is_the_window_and_the_grace_comes_after_it(
    service: Service, way: Way, seconds: float
) -> None:
    answer = await way(service, {"delay_seconds": seconds})

    assert told(answer) == ("2027-01-15T08:00:30.000Z", "2027-01-15T08:00:31.000Z", 30)


@every_way
async def test_no_delay_is_now_without_grace(service: Service, way: Way) -> None:
    answer = await way(service, {"delay_seconds": 0})

    assert told(answer) == ("2027-01-15T08:00:00.000Z", "2027-01-15T08:00:00.000Z", 0)


@every_way
@pytest.mark.parametrize(
    "instant",
    [
        NOON,
        "2027-01-15t12:00:00z",
        "2027-01-15T12:00:00.000000000Z",
        "2027-01-15T12:00:00.0000000000000000Z",
        "2027-01-15T13:00:00+01:00",
        "2027-01-15T17:30:00+05:30",
        "2027-01-15T01:00:00-11:00",
        "2027-01-16T02:00:00+14:00",
        "2027-01-15T12:00:00-00:00",
    ],
)
async def test_a_scheduled_time_is_that_instant_without_grace(
    service: Service, way: Way, instant: str
) -> None:
    answer = await way(service, {"scheduled_at": instant})

    assert told(answer) == ("2027-01-15T12:00:00.000Z", "2027-01-15T12:00:00.000Z", 4 * 3600)


@every_way
async def test_fractions_of_a_second_count(service: Service, way: Way) -> None:
    answer = await way(service, {"scheduled_at": "2027-01-15T08:00:07.1239999Z"})

    assert told(answer) == ("2027-01-15T08:00:07.123Z", "2027-01-15T08:00:07.123Z", 7.123999)


@pytest.mark.parametrize("way", [new, send])
@pytest.mark.parametrize("timing", [{}, {"delay_seconds": None}, {"scheduled_at": None}])
async def test_the_usual_delay_is_ten_seconds(
    service: Service, way: Way, timing: dict[str, Any]
) -> None:
    assert told(await way(service, timing))[2] == 10


@pytest.mark.parametrize("body", [None, {}, ""])
async def test_a_draft_is_sent_without_a_word_about_time(service: Service, body: Any) -> None:
    email_id = await stages.draft(service)

    answer = await service.post(f"/v1/emails/{email_id}/send", body)

    assert (answer.status, answer.json["undo_seconds_left"]) == (202, 10)


@pytest.mark.parametrize("way", [new, send])
async def test_the_operator_sets_delay_and_grace(way: Way) -> None:
    policy = HoldPolicy(default_delay=3, grace=0.5)
    async with serving(MemorySpool(Hub().publish), Hub(), policy=policy) as service:
        answer = await way(service, {})

    assert told(answer) == ("2027-01-15T08:00:03.000Z", "2027-01-15T08:00:03.500Z", 3)


@every_way
@pytest.mark.parametrize(
    "timing", [{"delay_seconds": 61}, {"scheduled_at": "2027-01-15T08:01:00.001Z"}]
)
async def test_the_operator_sets_the_longest_delay(way: Way, timing: dict[str, Any]) -> None:
    policy = HoldPolicy(longest_delay=60)
    async with serving(MemorySpool(Hub().publish), Hub(), policy=policy) as service:
        answer = await way(service, timing)

    assert answer.errors == [(f"/{next(iter(timing))}", "out_of_range")]


@every_way
async def test_two_times_are_both_judged(way: Way) -> None:
    policy = HoldPolicy(longest_delay=60)
    async with serving(MemorySpool(Hub().publish), Hub(), policy=policy) as service:
        answer = await way(service, {"delay_seconds": 61, "scheduled_at": NOON})

    assert answer.errors == [
        ("/delay_seconds", "out_of_range"),
        ("/scheduled_at", "conflicting_members"),
        ("/scheduled_at", "out_of_range"),
    ]


@every_way
@pytest.mark.parametrize(
    "timing", [{"delay_seconds": 2_592_000}, {"scheduled_at": "2027-02-14T08:00:00Z"}]
)
async def test_thirty_days_are_not_too_long(
    service: Service, way: Way, timing: dict[str, Any]
) -> None:
    assert told(await way(service, timing))[2] == 2_592_000


@every_way
@pytest.mark.parametrize(
    ("timing", "expected"),
    [
        ({"delay_seconds": -1}, ("/delay_seconds", "out_of_range")),
        ({"delay_seconds": 2_592_001}, ("/delay_seconds", "out_of_range")),
        ({"delay_seconds": 10**300}, ("/delay_seconds", "out_of_range")),
        ({"delay_seconds": 1e300}, ("/delay_seconds", "out_of_range")),
        ({"delay_seconds": True}, ("/delay_seconds", "invalid_type")),
        ({"delay_seconds": "30"}, ("/delay_seconds", "invalid_type")),
        ({"delay_seconds": 30.5}, ("/delay_seconds", "invalid_type")),
        ({"delay_seconds": [30]}, ("/delay_seconds", "invalid_type")),
        ({"delay_seconds": {}}, ("/delay_seconds", "invalid_type")),
        ({"scheduled_at": "2027-01-15T07:59:59Z"}, ("/scheduled_at", "out_of_range")),
        ({"scheduled_at": "2027-02-14T08:00:00.001Z"}, ("/scheduled_at", "out_of_range")),
        ({"scheduled_at": "1969-12-31T23:59:59Z"}, ("/scheduled_at", "out_of_range")),
        ({"delay_seconds": 5, "scheduled_at": NOON}, ("/scheduled_at", "conflicting_members")),
    ],
    ids=str,
)
async def test_a_time_that_cannot_be_is_pointed_out(
    service: Service, way: Way, timing: dict[str, Any], expected: tuple[str, str]
) -> None:
    answer = await way(service, timing)

    assert answer.errors == [expected]


@every_way
@pytest.mark.parametrize(
    "value",
    [
        "2027-01-15T12:00:00",
        "2027-01-15 12:00:00Z",
        "2027-01-15",
        "tomorrow",
        "in 5 minutes",
        "",
        "2027-W02-5T12:00:00Z",
        "2027-015T12:00:00Z",
        "20270115T120000Z",
        "2027-01-15T12:00Z",
        "2027-01-15T12:00:60Z",
        "2027-01-15T24:00:00Z",
        "2027-02-30T12:00:00Z",
        "10000-01-01T00:00:00Z",
        "+2027-01-15T12:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2027-01-15T12:00:00+1:00",
        "2027-01-15T12:00:00+0100",
        "2027-01-15T12:00:00+24:00",
        "2027-01-15T12:00:00+01:60",
        "2027-01-15T12:00:00 Z",
        " 2027-01-15T12:00:00Z",
        "2027-01-15T12:00:00Z\n",
        "2027-01-15T12:00:00,5Z",
        "2027-01-15T12:00:00.Z",
        "\uff12\uff10\uff12\uff17-01-15T12:00:00Z",
        "2027-01-15T12:00:00Z\ud800",
        1_800_000_000,
        True,
        [NOON],
        {"at": NOON},
    ],
    ids=ascii,
)
async def test_what_is_no_instant_is_never_guessed_at(
    service: Service, way: Way, value: Any
) -> None:
    answer = await way(service, {"scheduled_at": value})

    assert answer.errors == [("/scheduled_at", "invalid_time")]


@pytest.mark.parametrize("value", ["never", "2027-01-15T12:00:00", 5, "0001-01-01T00:00:00+01:00"])
async def test_an_expiry_is_an_instant_too(service: Service, value: Any) -> None:
    assert (await service.new(expires_at=value)).errors == [("/expires_at", "invalid_time")]


@pytest.mark.parametrize("value", ["1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
async def test_an_expiry_long_ago_is_no_expiry_never(service: Service, value: str) -> None:
    answer = await service.new(draft=True, expires_at=value)

    assert answer.errors == [("/expires_at", "out_of_range")]


async def test_an_email_cannot_expire_before_it_may_leave(service: Service) -> None:
    at_release = await service.new(delay_seconds=10, expires_at="2027-01-15T08:00:11Z")
    after_it = await service.new(delay_seconds=10, expires_at="2027-01-15T08:00:11.001Z")

    assert at_release.errors == [("/expires_at", "out_of_range")]
    assert after_it.status == 202


async def test_a_draft_brings_its_expiry_to_every_send(service: Service) -> None:
    email = await service.made(draft=True, expires_at=NOON)
    there = f"/v1/emails/{email['id']}/send"

    too_late = await service.post(there, {"scheduled_at": NOON})
    sent = await service.post(there, {"delay_seconds": 10})

    assert too_late.errors == [("/scheduled_at", "out_of_range")]
    assert sent.json["expires_at"] == "2027-01-15T12:00:00.000Z"


async def test_a_draft_does_not_take_an_expiry_that_has_passed(service: Service) -> None:
    past = "2001-01-01T00:00:00Z"
    draft = await service.made(draft=True)

    made = await service.new(draft=True, expires_at=past)
    edited = await service.call("PATCH", f"/v1/emails/{draft['id']}", {"expires_at": past})

    assert made.errors == edited.errors == [("/expires_at", "out_of_range")]


@pytest.mark.parametrize("where", ["edit", "send"])
async def test_null_takes_the_expiry_away(service: Service, where: str) -> None:
    email = await service.made(draft=True, expires_at=NOON)
    here = f"/v1/emails/{email['id']}"

    if where == "edit":
        answer = await service.call("PATCH", here, {"expires_at": None})
    else:
        answer = await service.post(f"{here}/send", {"expires_at": None})

    assert answer.json["expires_at"] is None


async def test_an_edit_of_something_else_leaves_the_expiry(service: Service) -> None:
    email = await service.made(draft=True, expires_at=NOON)

    answer = await service.call("PATCH", f"/v1/emails/{email['id']}", {"text": "x"})

    assert answer.json["expires_at"] == "2027-01-15T12:00:00.000Z"


async def test_an_expired_email_is_not_sent(service: Service) -> None:
    email_id = await stages.expired(service)

    assert (await service.shown(email_id))["status"] == "expired"
    assert service.relay.ledger == []


async def test_nothing_leaves_before_window_and_grace_are_over(service: Service) -> None:
    email = await service.made(delay_seconds=10)

    await service.release(after=10.999)
    too_early = list(service.relay.ledger)
    await service.release(after=0.001)

    assert too_early == []
    assert len(service.relay.ledger) == 1
    assert (await service.shown(email["id"]))["sent_at"] == email["release_at"]


@pytest.mark.parametrize(("passed", "left"), [(0, 10), (3.5, 6.5), (10, 0), (10.5, 0), (99, 0)])
async def test_the_seconds_left_are_never_negative(
    service: Service, passed: float, left: float
) -> None:
    email = await service.made(delay_seconds=10)
    service.clock.advance(passed)

    shown = await service.shown(email["id"])

    assert shown["undo_seconds_left"] == left
    assert shown["undo_status"] == "pending"


async def test_a_reschedule_moves_the_release_either_way(service: Service) -> None:
    email_id = await stages.held(service)
    here = f"/v1/emails/{email_id}"

    later = await service.call("PATCH", here, {"scheduled_at": NOON})
    await service.release(after=120)
    waiting = await service.shown(email_id)
    sooner = await service.call("PATCH", here, {"delay_seconds": 5})
    await service.release(after=6)

    assert later.json["release_at"] == "2027-01-15T12:00:00.000Z"
    assert waiting["status"] == "held"
    assert sooner.json["undo_seconds_left"] == 5
    assert (await service.shown(email_id))["status"] == "sent"


@pytest.mark.parametrize(
    "timing", [{"delay_seconds": 5}, {"scheduled_at": NOON}, {"delay_seconds": 5.0}]
)
async def test_a_draft_has_no_timer(service: Service, timing: dict[str, Any]) -> None:
    answer = await service.new(draft=True, **timing)

    assert answer.errors == [(f"/{next(iter(timing))}", "conflicting_members")]


async def test_time_and_content_are_not_changed_at_once(service: Service) -> None:
    email_id = await stages.held(service)

    answer = await service.call(
        "PATCH", f"/v1/emails/{email_id}", {"delay_seconds": 5, "text": "calmer"}
    )

    assert answer.errors == [("/delay_seconds", "conflicting_members")]


@pytest.mark.parametrize(
    ("number", "seconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("-0.0", 0),
        ("1e2", 100),
        ("3e1", 30),
        ("30.0", 30),
        ("2592000", 2592000),
    ],
)
async def test_a_whole_number_may_be_written_in_any_way_json_has(
    service: Service, number: str, seconds: int
) -> None:
    answer = await _delayed(service, number)

    assert (answer.status, answer.json["undo_seconds_left"]) == (202, seconds)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        *(
            (number, "invalid_type")
            for number in ("30.5", "1e-1", "true", '"30"', "[30]", "{}", '""')
        ),
        *((number, "out_of_range") for number in ("-1", "2592001", "1e22", "1e308", "-1e308")),
        ("9" * 4000, "out_of_range"),
        *((number, None) for number in ("1e309", "-1E400", "NaN", "-Infinity", "01", "0x1", "1_0")),
        *((number, None) for number in ("+1", ".5", "1.", "\u0663", "9" * 4301)),
    ],
    ids=lambda value: ascii(value)[:20],
)
async def test_what_is_no_number_of_seconds_is_not_guessed_at(
    service: Service, number: str, code: str | None
) -> None:
    answer = await _delayed(service, number)

    assert answer.problem == ("invalid_email" if code else "malformed_json")
    assert not code or answer.errors == [("/delay_seconds", code)]
    assert (await service.get("/v1/emails")).json["data"] == []


async def _delayed(service: Service, number: str) -> Answer:
    body = f'{{"from": "a@b.com", "to": "c@d.com", "text": "x", "delay_seconds": {number}}}'
    return await service.post("/v1/emails", body, Content_Type="application/json")
