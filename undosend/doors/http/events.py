"""``/v1/events``: what happened to an account's mail, page by page, or as it happens (SSE)."""

from __future__ import annotations

import re
from types import MappingProxyType

from undosend.domain.access import Scope
from undosend.domain.errors import Draining
from undosend.domain.told import Topic
from undosend.doors.http import answers
from undosend.doors.http.event_view import FILTERS, EventView, topic_of
from undosend.doors.http.mail import Desk, MailHandler
from undosend.doors.http.problems import BadRequest
from undosend.doors.http.sse import EventStream
from undosend.live import following

STREAM, PAGE = "text/event-stream", "application/json"
_OF_A_PAGE = FILTERS | {"after", "limit", "ticket"}
_OF_A_STREAM = FILTERS | {"last_event_id", "snapshot", "ticket"}
_MOST = 100
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")  # RFC 9110 §12.4.2


class EventsHandler(MailHandler):
    """``/v1/events``: all of an account's events."""

    needs = MappingProxyType({"GET": Scope.READ})
    parameters = _OF_A_PAGE | _OF_A_STREAM

    def initialize(self, *, desk: Desk) -> None:
        """Take the collaborators that the route table gives."""
        super().initialize(desk=desk)
        self.streams = False

    def look_closer(self) -> None:
        """Find out whether a page or a stream is wanted, and take what goes with it."""
        self.streams = preferred(self.request.headers.get("Accept", "*/*")) == STREAM
        self.parameters = _OF_A_STREAM if self.streams else _OF_A_PAGE

    @property
    def view(self) -> EventView:
        """Return how events are shown."""
        return self.desk.view.events

    async def get(self) -> None:
        """Show a page, oldest first, or begin a stream."""
        given = {name: self.parameter(name) for name in FILTERS}
        types = given["types"]
        wanted = topic_of(self.account, given, None if types is None else types.split(","))
        topic = self.outbox.topic(wanted)
        await (self._stream(topic) if self.streams else self._page(topic))

    async def _page(self, topic: Topic) -> None:
        cursor = self.parameter("after")
        place = None if cursor is None else self.view.place(self.account, cursor)
        if cursor is not None and place is None:
            raise BadRequest(
                "bad_parameter",
                "after takes the id of an event, or the cursor that came with an earlier page.",
            )
        told = await self.outbox.events_after(topic, place, limit=self.limit(20, _MOST))
        data = [self.view.event(line) for line in told.lines]
        more = {"cursor": self.view.cursor(self.account, told.end)}
        self.answer(answers.listing(data, has_more=told.more) | more)

    async def _stream(self, topic: Topic) -> None:
        if self.outbox.draining:
            raise Draining
        # A browser that connects again repeats the URL; what it has heard since is in the header.
        given = self.request.headers.get("Last-Event-ID") or self.parameter("last_event_id")
        snapshot = flag(self.parameter("snapshot"), "snapshot")
        place = self.view.place(self.account, given) if given else None
        snapshot = snapshot and place is None  # who resumes has one
        with (
            self.desk.streams.one(self.caller.key_id),
            following(self.desk.hub, self.outbox, topic) as feed,
        ):
            await feed.start(place)
            self.set_header("Content-Type", STREAM)
            self.set_header("X-Accel-Buffering", "no")
            if self.request.method == "HEAD":
                await self.flush()  # or it would have a length, which no stream has
                return
            stream = EventStream(
                self,
                feed,
                view=self.view,
                show=self.summary,
                clock=self.desk.view.clock,
            )
            with self.desk.pulse.beating(stream):
                await stream.run(lost=bool(given) and place is None, snapshot=snapshot)


def flag(given: str | None, name: str) -> bool:
    """Return what a query parameter that is either there or not says."""
    if given not in {None, "0", "1"}:
        raise BadRequest("bad_parameter", f"{name} takes 1 or 0.")
    return given == "1"


def preferred(accept: str) -> str:
    """Return which of page and stream the client takes rather (RFC 9110 §12.5.1); a page of both.

    Raises:
        BadRequest: neither.
    """
    weights = {kind: _weight(accept, kind) for kind in (PAGE, STREAM)}
    best = max(weights, key=lambda kind: weights[kind])
    if not weights[best][0]:
        raise BadRequest(
            "not_acceptable", f"Events come as {PAGE} or {STREAM}; name one in Accept."
        )
    return best


def _weight(accept: str, kind: str) -> tuple[float, int]:
    """Return how much the client wants the media type, 0 for not at all, and how plainly."""
    found: dict[str, float] = {}
    for one in accept.split(","):
        media, *parameters = (part.strip().lower() for part in one.split(";"))
        given = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        found[media] = float(given) if _WEIGHT.fullmatch(given) else 0
    for plainly, name in ((2, kind), (1, f"{kind.partition('/')[0]}/*"), (0, "*/*")):
        if name in found:
            return found[name], plainly
    return 0, 0
