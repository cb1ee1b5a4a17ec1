"""``/dev/inbox``: what the development relay took, with ``--dev`` only.

Mail is anybody's text. Its HTML is a document of its own that may run, load and ask nothing,
whoever opens it and wherever; its files are octets that no browser opens.
"""

from __future__ import annotations

import asyncio
from types import MappingProxyType

from undosend.devinbox import DevInbox
from undosend.devmail import Entry
from undosend.domain.access import Scope
from undosend.doors.http import answers
from undosend.doors.http.base import Handler
from undosend.doors.http.problems import BadRequest

PREVIEW = (
    "default-src 'none'; img-src cid: data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; sandbox"
)
"""Content-Security-Policy of a mail's HTML: it is looked at."""

_PAGE, _MOST = 1000, 10_000


class InboxHandler(Handler):
    """A handler of the development inbox; mail is read in a thread, as it can be large."""

    needs = MappingProxyType({"GET": Scope.ADMIN, "DELETE": Scope.ADMIN})

    def initialize(self, *, inbox: DevInbox) -> None:
        """Take the collaborator that the route table gives."""
        self.inbox = inbox

    async def entry(self, entry_id: str) -> Entry:
        """Return the mail.

        Raises:
            BadRequest: it is not kept.
        """
        entry = await asyncio.to_thread(self.inbox.entry, entry_id)
        if entry is None:
            raise BadRequest("not_found", "There is no such mail in the inbox, or no more.")
        return entry


class InboxListHandler(InboxHandler):
    """``/dev/inbox``: all of it."""

    parameters = frozenset({"limit", "summary"})

    async def get(self) -> None:
        """List what arrived last, oldest first, whole or (``summary=1``) what a list shows."""
        limit, kept = self.limit(_PAGE, _MOST), self.inbox.kept
        summary = self.parameter("summary")
        if summary not in {None, "1"}:
            raise BadRequest("bad_parameter", "summary takes 1.")
        show = Entry.view if summary is None else Entry.summary
        entries = self.inbox.entries(limit)
        data = await asyncio.to_thread(lambda: [show(entry) for entry in entries])
        self.answer(answers.listing(data, has_more=limit < kept))

    def delete(self) -> None:
        """Empty it."""
        self.inbox.clear()
        self.empty()


class InboxEntryHandler(InboxHandler):
    """``/dev/inbox/{id}``: one mail."""

    async def get(self, entry_id: str) -> None:
        """Show all of it."""
        entry = await self.entry(entry_id)
        self.answer(await asyncio.to_thread(entry.view))


class PreviewHandler(InboxHandler):
    """``/dev/inbox/{id}/html``: a mail's HTML, for a frame."""

    async def get(self, entry_id: str) -> None:
        """Show it, its pictures in it; nothing else of it is ever loaded, and no script runs."""
        entry = await self.entry(entry_id)
        html = await asyncio.to_thread(entry.preview)
        if html is None:
            raise BadRequest("not_found", "This mail has no HTML.")
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.set_header("Content-Security-Policy", PREVIEW)
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("X-DNS-Prefetch-Control", "off")
        self.finish(html.encode())


class InboxFileHandler(InboxHandler):
    """``/dev/inbox/{id}/attachments/{number}``: a file, counted from 0."""

    async def get(self, entry_id: str, number: str) -> None:
        """Download it, as octets that no browser takes for anything else."""
        entry = await self.entry(entry_id)
        octets = await asyncio.to_thread(entry.attachment, int(number))
        if octets is None:
            raise BadRequest("not_found", "This mail has fewer files.")
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", "attachment")
        self.finish(octets)
