"""Pages of an account's emails, newest first, and everything that picks some of them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.http import stages
from tests.http.service import Answer, Service

AN_ID = "em_01MCC5RM00003064ESP82K3F6T"
BEGAN = "2027-01-15T08:00:0{}Z"
"""The instant so many seconds after the tests' clock began."""


async def several(service: Service, count: int = 5, **parts: Any) -> list[str]:
    """Return the ids of so many drafts, newest first."""
    ids = []
    for number in range(count):
        service.clock.advance(1)
        ids.append((await service.made(draft=True, **{"subject": str(number)} | parts))["id"])
    return ids[::-1]


async def listed(service: Service, **query: Any) -> Answer:
    answer = await service.get(f"/v1/emails?{urlencode(query)}")
    assert (answer.status, answer.json["object"]) == (200, "list"), answer
    return answer


def ids_of(answer: Answer) -> list[str]:
    return [email["id"] for email in answer.json["data"]]


async def found(service: Service, **query: Any) -> list[str]:
    """Return the ids that the query finds, which must fit one page."""
    answer = await listed(service, **query)
    assert answer.json["has_more"] is False
    return ids_of(answer)


def links(answer: Answer) -> dict[str, str]:
    """Return the targets of the answer's Link header by their relation."""
    found = re.findall(r'<([^>]*)>; rel="([a-z]+)"', answer.headers.get("Link", ""))
    return {relation: target for target, relation in found}


async def test_an_empty_outbox_is_an_empty_list(stored: Service) -> None:
    answer = await listed(stored)

    assert answer.json == {
        "object": "list",
        "data": [],
        "has_more": False,
        "after": None,
        "before": None,
    }
    assert "Link" not in answer.headers


async def test_the_newest_come_first_twenty_at_a_time(stored: Service) -> None:
    ids = await several(stored, 21)

    first = await listed(stored)

    assert (ids_of(first), first.json["has_more"]) == (ids[:20], True)
    assert await found(stored, limit=21) == ids


async def test_after_goes_on_to_older_ones(stored: Service) -> None:
    ids = await several(stored)

    first = await listed(stored, limit=2)
    second = await listed(stored, limit=2, after=first.json["after"])
    third = await listed(stored, limit=2, after=second.json["after"])

    assert [ids_of(page) for page in (first, second, third)] == [ids[:2], ids[2:4], ids[4:]]
    assert [page.json["has_more"] for page in (first, second, third)] == [True, True, False]
    assert third.json["after"] is None


async def test_before_goes_back_to_newer_ones_next_to_it(stored: Service) -> None:
    ids = await several(stored)
    first = await listed(stored, limit=2)
    second = await listed(stored, limit=2, after=first.json["after"])
    third = await listed(stored, limit=2, after=second.json["after"])

    back = await listed(stored, limit=2, before=third.json["before"])
    far_back = await listed(stored, limit=2, before=back.json["before"])

    assert ids_of(back) == ids[2:4]
    assert ids_of(far_back) == ids[:2]
    assert (back.json["has_more"], far_back.json["has_more"]) == (True, False)
    assert far_back.json["before"] is None
    assert ids_of(await listed(stored, limit=2, after=back.json["after"])) == ids[4:]


async def test_the_first_page_has_no_way_back_and_the_last_no_way_on(stored: Service) -> None:
    await several(stored, 2)

    whole = await listed(stored)
    last = await listed(stored, after=(await listed(stored, limit=1)).json["after"])

    assert (whole.json["after"], whole.json["before"]) == (None, None)
    assert last.json["after"] is None
    assert last.json["before"] is not None


async def test_the_link_header_leads_along_all_pages_and_back(stored: Service) -> None:
    ids = await several(stored, 5, tags=[{"name": "kind", "value": "a"}])
    answer = await listed(stored, limit=2, tag="kind:a")
    pages = [ids_of(answer)]

    while "next" in links(answer):
        answer = await stored.get(links(answer)["next"])
        pages.append(ids_of(answer))
    back = []
    while "prev" in links(answer):
        answer = await stored.get(links(answer)["prev"])
        back.append(ids_of(answer))

    assert pages == [ids[:2], ids[2:4], ids[4:]]
    assert back == [ids[2:4], ids[:2]]


async def test_the_link_header_and_the_members_say_the_same(stored: Service) -> None:
    await several(stored, 3)
    first = await listed(stored, limit=1)

    middle = await listed(stored, limit=1, after=first.json["after"])

    there = {name: parse_qs(urlsplit(target).query) for name, target in links(middle).items()}
    assert there == {
        "next": {"limit": ["1"], "after": [middle.json["after"]]},
        "prev": {"limit": ["1"], "before": [middle.json["before"]]},
    }


async def test_paging_is_stable_while_new_mail_comes_in(stored: Service) -> None:
    ids = await several(stored)
    first = await listed(stored, limit=3)
    await several(stored, 2)

    assert await found(stored, limit=3, after=first.json["after"]) == ids[3:]


async def test_a_cursor_may_be_of_an_email_that_is_gone(stored: Service) -> None:
    ids = await several(stored)
    first = await listed(stored, limit=2)
    await stored.call("DELETE", f"/v1/emails/{ids[1]}")

    assert await found(stored, after=first.json["after"]) == ids[2:]


async def test_emails_of_one_instant_have_an_order_and_are_all_listed(stored: Service) -> None:
    ids = {(await stored.made(draft=True, subject=str(n)))["id"] for n in range(7)}

    seen: list[str] = []
    answer = await listed(stored, limit=3)
    seen += ids_of(answer)
    while after := answer.json["after"]:
        answer = await listed(stored, limit=3, after=after)
        seen += ids_of(answer)

    assert sorted(seen) == sorted(ids)
    assert seen == sorted(ids, reverse=True)


# Cursors say nothing and are good for one list only.


async def test_a_cursor_survives_any_other_limit(stored: Service) -> None:
    ids = await several(stored)
    first = await listed(stored, limit=2)

    assert await found(stored, limit=100, after=first.json["after"]) == ids[2:]


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"status": "held"},
        {"status": "draft", "q": "hi"},
        {"tag": "kind:a"},
        {"group_id": "spring"},
        {"created_after": BEGAN.format(0)},
    ],
    ids=str,
)
@pytest.mark.parametrize("way", ["after", "before"])
async def test_a_cursor_is_refused_with_other_filters(
    service: Service, other: dict[str, str], way: str
) -> None:
    await several(service, 3)
    first = await listed(service, status="draft", limit=1)
    second = await listed(service, status="draft", limit=1, after=first.json["after"])

    answer = await service.get(f"/v1/emails?{urlencode(other | {way: second.json[way]})}")

    assert answer.problem == "bad_parameter"
    assert answer.json["detail"].startswith(f"{way} ")


async def test_a_cursor_that_was_changed_is_refused(service: Service) -> None:
    await several(service, 2)
    cursor = (await listed(service, limit=1)).json["after"]

    for place in range(len(cursor)):
        changed = cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
        answer = await service.get(f"/v1/emails?after={changed}")
        assert answer.problem == "bad_parameter", place
    for cut in (cursor[:-1], cursor + "A", cursor + "=", cursor[1:], f" {cursor}", cursor + "\0"):
        answer = await service.get(f"/v1/emails?{urlencode({'after': cut})}")
        assert answer.problem == "bad_parameter", cut


async def test_an_undo_link_is_no_cursor(service: Service) -> None:
    email = await service.made(delay_seconds=60)
    token = email["undo_url"].rpartition("/")[2]

    assert (await service.get(f"/v1/emails?after={token}")).problem == "bad_parameter"


async def test_an_email_s_id_is_a_cursor_of_any_list(stored: Service) -> None:
    ids = await several(stored)

    assert await found(stored, after=ids[1]) == ids[2:]
    assert await found(stored, after=ids[1], status="draft", q="bob") == ids[2:]
    assert await found(stored, before=ids[2]) == ids[:2]


async def test_after_and_before_at_once_are_refused(service: Service) -> None:
    await several(service, 3)
    first = await listed(service, limit=1)
    middle = await listed(service, limit=1, after=first.json["after"])
    both = {name: middle.json[name] for name in ("after", "before")}

    answer = await service.get(f"/v1/emails?{urlencode(both)}")

    assert answer.problem == "bad_parameter"
    assert "not both" in answer.json["detail"]


# Filters.


async def test_status_picks_one_or_several(stored: Service) -> None:
    draft = await stages.draft(stored)
    stored.clock.advance(1)
    held = await stages.held(stored)
    stored.clock.advance(1)
    canceled = await stages.canceled(stored)

    assert await found(stored, status="held") == [held]
    assert await found(stored, status="draft,canceled") == [canceled, draft]
    assert await found(stored, status="draft,draft") == [draft]
    assert await found(stored, status="sent") == []
    one = await listed(stored, status="held,draft", limit=1)
    assert (ids_of(one), one.json["has_more"]) == ([held], True)


async def test_a_tag_picks_those_that_have_it(stored: Service) -> None:
    [old] = await several(stored, 1, tags=[{"name": "kind", "value": "a"}])
    [new] = await several(
        stored, 1, tags=[{"name": "kind", "value": "a"}, {"name": "kind", "value": "b"}]
    )
    await several(stored, 1, tags=[{"name": "a", "value": "kind"}])

    assert await found(stored, tag="kind:a") == [new, old]
    assert await found(stored, tag="kind:b") == [new]
    assert await found(stored, tag="KIND:a") == []
    assert await found(stored, tag="kind:A") == []
    assert await found(stored, tag="nope:a") == []


async def test_a_group_and_a_message_id_pick_theirs(stored: Service) -> None:
    one = await stored.made(group_id="spring", delay_seconds=60)
    stored.clock.advance(1)
    two = await stored.made(group_id="spring", draft=True)
    stored.clock.advance(1)
    await stored.made(group_id="Spring", draft=True)

    assert await found(stored, group_id="spring") == [two["id"], one["id"]]
    assert await found(stored, group_id="summer") == []
    assert await found(stored, message_id=one["message_id"]) == [one["id"]]
    assert await found(stored, message_id=one["message_id"].strip("<>")) == [one["id"]]
    assert await found(stored, message_id="<nobody@example.com>") == []


async def test_a_message_id_finds_the_revision_that_is(stored: Service) -> None:
    first = await stored.made(delay_seconds=60)
    await stored.post(f"/v1/emails/{first['id']}/undo")
    second = (await stored.post(f"/v1/emails/{first['id']}/send")).json

    assert await found(stored, message_id=second["message_id"]) == [first["id"]]
    assert await found(stored, message_id=first["message_id"]) == []


FOUND = [
    "budget",
    "BUDGET",
    "Budget 2027",
    "2027 budget",
    "käse",
    "KÄSE",
    "ka\u0308se",
    "bob@example.com",
    "BOB@EXAMPLE.COM",
    "<bob@example.com>",
    "bob@example.com, budget",
    "bob",
    "cid",
    "dee@hidden.example",
    "reply@example.com",
    "ann",
    "Müller",
    "mu\u0308ller",
    "budget budget budget",
    "budget%",
]
NOT_FOUND = [
    "budge",
    "udget",
    "haste",
    "budget 2028",
    "bob@example",
    "ob@example.com",
    "eve@example.com",
    "budget -other other",
]


@pytest.fixture
async def stocked(stored: Service) -> tuple[Service, str]:
    """Return a service with two emails, and the id of the one that searches are for."""
    email = await stored.made(
        draft=True,
        subject="Budget 2027: Käse!",
        from_="Ann <ann@example.com>",
        to=["Müller <bob@example.com>"],
        cc="cid@example.com",
        bcc="dee@hidden.example",
        reply_to="reply@example.com",
        text="In haste.",
    )
    stored.clock.advance(1)
    await stored.made(draft=True, subject="Other", from_="x@y.example", to="z@y.example")
    return stored, str(email["id"])


@pytest.mark.parametrize("q", FOUND)
async def test_q_finds_words_of_the_subject_and_of_addresses(
    stocked: tuple[Service, str], q: str
) -> None:
    service, email_id = stocked

    assert await found(service, q=q) == [email_id]


@pytest.mark.parametrize("q", NOT_FOUND)
async def test_q_finds_whole_words_only_and_all_of_them(
    stocked: tuple[Service, str], q: str
) -> None:
    service, _ = stocked

    assert await found(service, q=q) == []


async def test_an_edit_is_found_by_what_it_says_now(stored: Service) -> None:
    [id_] = await several(stored, 1, subject="before", tags=[{"name": "a", "value": "b"}])
    parts = {"subject": "afterwards", "tags": [{"name": "c", "value": "d"}]}

    await stored.call("PATCH", f"/v1/emails/{id_}", parts)

    assert await found(stored, q="before") == []
    assert await found(stored, q="afterwards") == [id_]
    assert await found(stored, tag="a:b") == []
    assert await found(stored, tag="c:d") == [id_]


async def test_what_is_deleted_is_not_found(stored: Service) -> None:
    [id_] = await several(stored, 1, tags=[{"name": "a", "value": "b"}], group_id="g")
    await stored.call("DELETE", f"/v1/emails/{id_}")

    for query in ({"tag": "a:b"}, {"group_id": "g"}, {"q": "bob"}, {"status": "draft"}):
        assert await found(stored, **query) == []


async def test_a_range_of_time_includes_its_beginning_only(stored: Service) -> None:
    ids = await several(stored, 4)  # made one, two, three and four seconds after the beginning
    after, before = "created_after", "created_before"

    assert await found(stored, **{after: BEGAN.format(2)}) == ids[:3]
    assert await found(stored, **{before: BEGAN.format(3)}) == ids[2:]
    assert await found(stored, **{after: BEGAN.format(2), before: BEGAN.format(4)}) == ids[1:3]
    assert await found(stored, **{after: BEGAN.format(4), before: BEGAN.format(2)}) == []
    assert await found(stored, **{after: "2027-01-15T09:00:02+01:00"}) == ids[:3]
    assert await found(stored, **{after: "1970-01-01T00:00:00Z"}) == ids
    assert await found(stored, **{before: "1970-01-01T00:00:00Z"}) == []
    assert await found(stored, **{before: "9999-12-31T23:59:59Z"}) == ids


async def test_a_range_of_time_holds_along_the_pages(stored: Service) -> None:
    ids = await several(stored, 6)
    query = {"created_after": BEGAN.format(2), "created_before": BEGAN.format(6), "limit": 2}

    first = await listed(stored, **query)
    second = await listed(stored, **query, after=first.json["after"])
    back = await listed(stored, **query, before=second.json["before"])

    assert ids_of(first) == ids_of(back) == ids[1:3]
    assert ids_of(second) == ids[3:5]
    assert (first.json["has_more"], second.json["has_more"]) == (True, False)
    assert back.json["has_more"] is False


async def test_filters_must_all_fit(stored: Service) -> None:
    tagged = {"tags": [{"name": "kind", "value": "a"}], "group_id": "spring"}
    for number in range(4):
        stored.clock.advance(1)
        await stored.made(subject=f"number {number}", delay_seconds=60, **tagged)
    kept = await several(stored, 3, **tagged | {"subject": "number"})
    await several(stored, 2, subject="number")

    query = {
        "status": "draft",
        "tag": "kind:a",
        "group_id": "spring",
        "q": "number bob@example.com",
        "created_after": "2027-01-15T08:00:01Z",
    }
    first = await listed(stored, **query, limit=2)

    assert ids_of(first) == kept[:2]
    assert await found(stored, **query, after=first.json["after"]) == kept[2:]
    assert await found(stored, **query | {"q": "nobody"}) == []
    assert len(await found(stored, **query | {"status": "held"})) == 4


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
        ("tag=", "tag"),
        ("tag=kind", "tag"),
        ("tag=kind:", "tag"),
        ("tag=:a", "tag"),
        ("tag=a:b&tag=c:d", "tag"),
        ("group_id=", "group_id"),
        ("message_id=", "message_id"),
        ("message_id=a b", "message_id"),
        ("message_id=<a@b> <c@d>", "message_id"),
        ("q=", "q"),
        ("q=%20", "q"),
        ("q=%25%25", "q"),
        ("q=" + "+".join("abcdefghijk"), "q"),
        ("q=" + "x" * 501, "q"),
        ("created_after=", "created_after"),
        ("created_after=2027-01-15", "created_after"),
        ("created_after=2027-01-15T08:00:00", "created_after"),
        ("created_after=2027-01-15T08:00:00+01:00", "created_after"),
        ("created_before=2027-02-30T08:00:00Z", "created_before"),
        ("created_before=1960-01-01T00:00:00Z", "created_before"),
        ("created_before=1800000000", "created_before"),
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
