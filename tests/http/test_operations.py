"""What operators and passers-by see, and what happens when the service stops or its spool fails."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from tests.http import stages
from tests.http.service import Service, serving
from undosend.domain.change import Change
from undosend.domain.email import Email, Row
from undosend.domain.errors import Unavailable
from undosend.domain.told import Logged
from undosend.hub import Hub
from undosend.spool.memory import MemorySpool
from undosend.spool.port import NOTHING, Agenda, Listing, New, Page, Receipt, Rewrite


async def test_the_living_says_so(service: Service) -> None:
    answer = await service.get("/livez")

    assert (answer.status, answer.json) == (200, {"status": "ok"})


async def test_the_ready_says_so(service: Service) -> None:
    answer = await service.get("/readyz")

    assert (answer.status, answer.json) == (200, {"status": "ok", "reasons": {}})


async def test_a_releaser_that_does_not_look_is_not_ready(service: Service) -> None:
    service.clock.advance(91)

    answer = await service.get("/readyz")

    assert answer.status == 503
    assert list(answer.json["reasons"]) == ["releaser"]


async def test_links_start_with_the_public_address() -> None:
    public = "https://mail.example.org/undo"
    async with serving(MemorySpool(Hub().publish), Hub(), public_url=public) as service:
        answer = await service.get("/nope")

    assert answer.json["type"] == f"{public}/problems/not_found"


async def test_requests_are_counted_by_names_that_do_not_grow_with_the_mail(
    service: Service,
) -> None:
    email_id = await stages.draft(service)
    for path in ("", "/raw", "/events", "/undo", "/nope"):
        await service.get(f"/v1/emails/{email_id}{path}")
    for path in ("/livez", "/readyz", "/openapi.yaml", "/problems/too_late", "/", f"/{email_id}"):
        await service.get(path)

    assert service.counts == [
        ("emails", 201, None),
        ("email", 200, None),
        ("raw", 200, None),
        ("history", 200, None),
        ("undo", 405, "method_not_allowed"),
        ("other", 404, "not_found"),
        ("livez", 200, None),
        ("readyz", 200, None),
        ("openapi.yaml", 200, None),
        ("other", 200, None),
        ("other", 200, None),
        ("other", 404, "not_found"),
    ]


# While it stops.


async def test_new_mail_is_not_taken_while_the_service_stops(service: Service) -> None:
    draft = await stages.draft(service)
    service.outbox.drain()

    answers = [
        await service.new(),
        await service.new(draft=True),
        await service.post(f"/v1/emails/{draft}/send"),
    ]

    assert [answer.problem for answer in answers] == ["draining"] * 3
    assert {answer.headers["Retry-After"] for answer in answers} == {"5"}
    assert (await service.shown(draft))["status"] == "draft"


async def test_everything_else_works_while_the_service_stops(service: Service) -> None:
    one, two = await stages.held(service), await stages.held(service)
    service.outbox.drain()

    answers = [
        await service.post(f"/v1/emails/{one}/undo"),
        await service.call("PATCH", f"/v1/emails/{one}", {"text": "calmer"}),
        await service.post(f"/v1/emails/{two}/cancel"),
        await service.post(f"/v1/emails/{two}/reopen"),
        await service.get("/v1/emails"),
        await service.get(f"/v1/emails/{one}/raw"),
        await service.get("/livez"),
    ]

    assert {answer.status for answer in answers} == {200}


async def test_who_stops_is_not_ready(service: Service) -> None:
    service.outbox.drain()

    answer = await service.get("/readyz")

    assert answer.status == 503
    assert answer.json["status"] == "unready"
    assert list(answer.json["reasons"]) == ["draining"]


# While the spool fails.


class FailingSpool(MemorySpool):
    """Fails while ``fails`` says when: before the change, or after it was made."""

    fails: str | None = None

    def _fail(self, when: str) -> None:
        if self.fails == when:
            raise Unavailable

    async def add(self, new: Sequence[New], receipt: Receipt | None = None) -> None:
        self._fail("before")
        await super().add(new, receipt)
        self._fail("after")

    async def change(self, change: Change, rewrite: Rewrite = NOTHING) -> Row:
        self._fail("before")
        row = await super().change(change, rewrite)
        self._fail("after")
        return row

    async def get(self, account: str, email_id: str) -> Email:
        self._fail("before")
        return await super().get(account, email_id)

    async def whole(self, account: str, email_id: str) -> New:
        self._fail("before")
        return await super().whole(account, email_id)

    async def page(self, account: str, listing: Listing) -> Page:
        self._fail("before")
        return await super().page(account, listing)

    async def history(self, account: str, email_id: str) -> Sequence[Logged]:
        self._fail("before")
        return await super().history(account, email_id)

    async def agenda(self) -> Agenda:
        self._fail("before")
        return await super().agenda()


@pytest.fixture
async def spool() -> FailingSpool:
    return FailingSpool(Hub().publish)


@pytest.fixture
async def failing(spool: FailingSpool) -> AsyncIterator[Service]:
    async with serving(spool, Hub()) as service:
        yield service


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/{id}"),
        ("GET", "/{id}/raw"),
        ("GET", "/{id}/events"),
        ("DELETE", "/{id}"),
        ("POST", "/{id}/send"),
        ("POST", "/{id}/undo"),
        ("POST", "/{id}/cancel"),
        ("POST", "/{id}/send-now"),
        ("POST", "/{id}/reopen"),
    ],
)
async def test_a_spool_that_fails_is_never_a_success(
    failing: Service, spool: FailingSpool, method: str, path: str
) -> None:
    email_id = await stages.held(failing)
    before = await failing.shown(email_id)
    spool.fails = "before"

    answer = await failing.call(method, f"/v1/emails{path.format(id=email_id)}")

    assert answer.problem == "unavailable"
    assert answer.headers["Retry-After"] == "1"
    spool.fails = None
    assert await failing.shown(email_id) == before


async def test_mail_is_not_said_to_be_kept_when_it_may_not_be(
    failing: Service, spool: FailingSpool
) -> None:
    spool.fails = "before"
    not_kept = await failing.new()
    spool.fails = "after"
    kept = await failing.new()
    spool.fails = None

    assert [not_kept.problem, kept.problem] == ["unavailable", "unavailable"]
    assert len((await failing.get("/v1/emails")).json["data"]) == 1


async def test_an_undo_whose_answer_was_lost_can_be_asked_again(
    failing: Service, spool: FailingSpool
) -> None:
    email_id = await stages.held(failing)
    spool.fails = "after"

    lost = await failing.post(f"/v1/emails/{email_id}/undo")
    spool.fails = None
    again = await failing.post(f"/v1/emails/{email_id}/undo")

    assert lost.problem == "unavailable"
    assert (again.status, again.json["status"]) == (200, "draft")
    assert await failing.history(email_id) == ["email.held", "email.undone"]


async def test_a_spool_that_fails_is_not_ready_but_alive(
    failing: Service, spool: FailingSpool
) -> None:
    spool.fails = "before"

    ready, alive = await failing.get("/readyz"), await failing.get("/livez")

    assert (ready.status, list(ready.json["reasons"])) == (503, ["spool"])
    assert alive.status == 200
