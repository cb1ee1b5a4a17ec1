"""Pages of an account's emails, newest first."""

from __future__ import annotations

import pytest

from tests.http import stages
from tests.http.service import Service

AN_ID = "em_01MCC5RM00003064ESP82K3F6T"


async def several(service: Service, count: int = 5) -> list[str]:
    """Return the ids of so many drafts, newest first."""
    ids = []
    for number in range(count):
        service.clock.advance(1)
        ids.append((await service.made(draft=True, subject=str(number)))["id"])
    return ids[::-1]


async def page(service: Service, query: str) -> tuple[list[str], bool]:
    answer = await service.get(f"/v1/emails{query}")
    assert (answer.status, answer.json["object"]) == (200, "list"), answer
    return [email["id"] for email in answer.json["data"]], answer.json["has_more"]


async def test_an_empty_outbox_is_an_empty_list(stored: Service) -> None:
    assert await page(stored, "") == ([], False)


async def test_the_newest_come_first_twenty_at_a_time(stored: Service) -> None:
    ids = await several(stored, 21)

    assert await page(stored, "") == (ids[:20], True)
    assert await page(stored, "?limit=21") == (ids, False)


async def test_after_goes_on_to_older_ones(stored: Service) -> None:
    ids = await several(stored)

    assert await page(stored, "?limit=2") == (ids[:2], True)
    assert await page(stored, f"?limit=2&after={ids[1]}") == (ids[2:4], True)
    assert await page(stored, f"?limit=2&after={ids[3]}") == (ids[4:], False)
    assert await page(stored, f"?after={ids[4]}") == ([], False)


async def test_before_goes_back_to_newer_ones_next_to_it(stored: Service) -> None:
    ids = await several(stored)

    assert await page(stored, f"?limit=2&before={ids[4]}") == (ids[2:4], True)
    assert await page(stored, f"?limit=2&before={ids[2]}") == (ids[:2], False)
    assert await page(stored, f"?before={ids[0]}") == ([], False)


async def test_paging_is_stable_while_new_mail_comes_in(stored: Service) -> None:
    ids = await several(stored)
    first, _ = await page(stored, "?limit=3")
    await several(stored, 2)

    assert await page(stored, f"?limit=3&after={first[-1]}") == (ids[3:], False)


async def test_a_cursor_may_be_of_an_email_that_is_gone(stored: Service) -> None:
    ids = await several(stored)
    await stored.call("DELETE", f"/v1/emails/{ids[1]}")

    assert await page(stored, f"?after={ids[1]}") == (ids[2:], False)


async def test_status_picks_one_or_several(stored: Service) -> None:
    draft = await stages.draft(stored)
    stored.clock.advance(1)
    held = await stages.held(stored)
    stored.clock.advance(1)
    canceled = await stages.canceled(stored)

    assert await page(stored, "?status=held") == ([held], False)
    assert await page(stored, "?status=draft,canceled") == ([canceled, draft], False)
    assert await page(stored, "?status=sent") == ([], False)
    assert await page(stored, "?status=held,draft&limit=1") == ([held], True)


async def test_a_list_shows_summaries(stored: Service) -> None:
    email = await stored.made(
        delay_seconds=60, attachments=[{"filename": "a.txt", "content": "YQ=="}]
    )

    [listed] = (await stored.get("/v1/emails")).json["data"]

    assert email.items() > listed.items()
    assert set(email) - set(listed) == {"text", "html", "headers"}
    assert listed["attachments"][0]["filename"] == "a.txt"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=101", "limit"),
        ("limit=1000000000", "limit"),
        (f"limit={'9' * 5000}", "limit"),
        ("limit=abc", "limit"),
        ("limit=", "limit"),
        ("limit=1.0", "limit"),
        ("limit=+5", "limit"),
        ("limit=%205", "limit"),
        ("limit=%D9%A5", "limit"),
        ("limit=5&limit=6", "limit"),
        ("after=", "after"),
        ("after=nonsense", "after"),
        (f"after={AN_ID}x", "after"),
        (f"after={AN_ID.lower()}", "after"),
        (f"after={AN_ID}%00", "after"),
        (f"before={AN_ID}&before={AN_ID}", "before"),
        (f"after={AN_ID}&before={AN_ID}", "after"),
        ("before=%27%20OR%201%3D1", "before"),
        ("status=", "status"),
        ("status=queued", "status"),
        ("status=HELD", "status"),
        ("status=held,", "status"),
        ("status=held, draft", "status"),
        ("status=held;draft", "status"),
        ("status=held&status=draft", "status"),
        ("offset=5", "offset"),
        ("Limit=5", "Limit"),
        ("limit[]=5", "limit[]"),
        ("=5", ""),
        ("%00=1", "x00"),
    ],
)
async def test_a_bad_parameter_is_named(service: Service, query: str, named: str) -> None:
    answer = await service.get("/v1/emails?" + query.replace(" ", "%20"))

    assert answer.problem == "bad_parameter"
    assert named in answer.json["detail"]


async def test_text_that_is_not_utf_8_is_a_bad_parameter(service: Service) -> None:
    assert (await service.get("/v1/emails?status=%ff")).problem == "bad_parameter"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/emails"),
        ("GET", f"/v1/emails/{AN_ID}"),
        ("PATCH", f"/v1/emails/{AN_ID}"),
        ("DELETE", f"/v1/emails/{AN_ID}"),
        ("POST", f"/v1/emails/{AN_ID}/undo"),
        ("POST", f"/v1/emails/{AN_ID}/send"),
        ("GET", f"/v1/emails/{AN_ID}/raw"),
        ("GET", f"/v1/emails/{AN_ID}/events"),
        ("GET", "/readyz"),
    ],
)
async def test_a_parameter_nobody_knows_is_pointed_out_everywhere(
    service: Service, method: str, path: str
) -> None:
    answer = await service.call(method, f"{path}?dry_run=true")

    assert answer.problem == "bad_parameter"
    assert "dry_run" in answer.json["detail"]
