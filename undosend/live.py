"""What happens to mail, told as it happens: nothing left out, nothing twice.

Whoever follows a topic subscribes first and reads the log then, from where it left off; what
comes meanwhile waits, and what the log has told already is dropped by its number. So there is no
moment between the past and the present in which a change could be lost.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager

from undosend.domain.email import WAITING, Email, State
from undosend.domain.errors import EmailNotFound
from undosend.domain.told import Logged, Topic
from undosend.hub import Ended, Hub, Subscription
from undosend.reading import Reading
from undosend.spool.port import Listing, Page

ON_THE_WAY = WAITING | {State.SENDING}
"""The states of emails that a snapshot shows: something will happen to them."""

_AT_ONCE = 100


@contextmanager
def following(hub: Hub, reading: Reading, topic: Topic) -> Iterator[Feed]:
    """Follow a topic until the block is left."""
    with hub.subscribe(topic) as news:
        yield Feed(hub, reading, news)


class Feed:
    """One follower's way through the log and on.

    seq: all up to it has been told. behind: the log has more than was told.
    """

    def __init__(self, hub: Hub, reading: Reading, news: Subscription) -> None:
        self.seq = 0
        self.arrived = news.arrived
        self._hub = hub
        self._reading = reading
        self._news = news
        self.behind = True

    @property
    def topic(self) -> Topic:
        """Return what is followed."""
        return self._news.topic

    @property
    def ended(self) -> Ended | None:
        """Return why nothing more comes, None while something may."""
        return self._news.ended

    async def start(self, after: int | None) -> None:
        """Begin behind that line of the log, or with what happens from now on."""
        self.seq = await self._reading.last_told() if after is None else after
        self.behind = True

    async def more(self) -> Sequence[Logged]:
        """Return what comes next; nothing, and not behind: wait until something has arrived.

        Raises:
            CursorExpired: some of it has been forgotten.
        """
        if not self.behind:
            lines = [line for line in self._news.take() if line.seq > self.seq]
            if lines:
                self.seq = lines[-1].seq
            return lines
        self._news.take()  # the log has it
        told = await self._reading.events_after(self._news.topic, self.seq, limit=_AT_ONCE)
        self.seq, self.behind = told.end, told.more
        return told.lines

    def rest(self) -> int:
        """Return the number of the last line there was, where nothing has arrived since."""
        if not self.behind and not self.arrived.is_set():
            self.seq = max(self.seq, self._hub.told)
        return self.seq

    async def snapshot(self) -> AsyncGenerator[Page, None]:
        """Yield pages of the emails of the topic that are on their way, newest first.

        Whatever happens to them while they are read is told later: start first.
        """
        topic = self._news.topic
        if topic.email_id is not None:
            yield Page(await self._one(topic, topic.email_id), None)
            return
        below: str | None = None
        while True:
            listing = Listing(
                _AT_ONCE,
                below=below,
                states=ON_THE_WAY,
                group_id=topic.group_id,
                sender=topic.sender,
            )
            page = await self._reading.page(topic.account, listing)
            yield page
            below = page.end
            if below is None:
                return

    async def _one(self, topic: Topic, email_id: str) -> Sequence[Email]:
        try:
            email = await self._reading.get(topic.account, email_id)
        except EmailNotFound:
            return ()
        row = email.row
        fits = topic.group_id in {None, row.group_id} and topic.sender in {None, row.sender}
        return [email] if fits and row.state in ON_THE_WAY else ()
