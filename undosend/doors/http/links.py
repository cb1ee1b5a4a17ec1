"""``/v1/undo/{token}``: the link that undoes one revision of one email, and needs no key.

Whoever has the link may undo, for as long as undo is possible. GET only shows a page with a
button, because mail scanners and previews follow every link they find.
"""

from __future__ import annotations

from html import escape

from tornado.web import HTTPError

from undosend.domain.email import Email, State
from undosend.domain.errors import UndosendError
from undosend.doors.http.answers import UNDO, undo_seconds_left, undo_status
from undosend.doors.http.mail import MailHandler

_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'"
_PAGE = """<!doctype html><html lang=en><meta charset=utf-8>
<meta name=viewport content="width=device-width"><meta name=robots content=noindex>
<title>{title}</title><link rel=stylesheet href=/style.css>
<main><h1>{title}</h1><p>{text}</p>{button}</main></html>
"""
_BUTTON = "<form method=post><button>Undo send</button></form>"


class UndoLinkHandler(MailHandler):
    """One undo link."""

    def set_default_headers(self) -> None:
        """Let the link, which is a right, leak to no one."""
        super().set_default_headers()
        self.set_header("Referrer-Policy", "no-referrer")

    async def get(self, token: str) -> None:
        """Show where the email stands, with a button while it can be undone."""
        account, email_id, revision = self._meant(token)
        email = await self.outbox.get(account, email_id)
        if email.row.revision != revision:
            return self._page("This link has had its time", "The email was edited and sent anew.")
        return self._standing(email)

    async def post(self, token: str) -> None:
        """Undo."""
        self.octets()
        account, email_id, revision = self._meant(token)
        try:
            email = await self.outbox.undo(account, email_id, revision=revision)
        except UndosendError as refused:
            if not self._for_a_person() or refused.code == "unavailable":
                raise
            self.set_status(409)
            return self._page("Not undone", str(refused))
        if self._for_a_person():
            return self._page("Undone", "The email is a draft again. It was not sent.")
        row = email.row
        return self.answer(
            {
                "object": "email",
                "id": row.id,
                "status": row.state,
                "undo_status": undo_status(row),
                "revision": row.revision,
                "version": row.version,
            }
        )

    def _meant(self, token: str) -> tuple[str, str, int]:
        text = self.desk.view.signer.read(UNDO, token)
        if text is None:
            raise HTTPError(404)
        account, email_id, revision = text.rsplit(" ", 2)
        return account, email_id, int(revision)

    def _for_a_person(self) -> bool:
        """Tell whether a browser asks, for somebody who wants to read the answer."""
        return "text/html" in self.request.headers.get("Accept", "")

    def _standing(self, email: Email) -> None:
        row = email.row
        subject = email.content.subject or "(no subject)"
        if row.state is State.DRAFT:
            return self._page("Undone", f"“{subject}” is a draft. It was not sent.")
        if undo_status(row) != "pending":
            return self._page("Too late to undo", f"“{subject}” is {row.state}.")
        seconds = round(undo_seconds_left(row, self.now))
        text = f"“{subject}” will be sent in about {seconds} seconds, unless you undo it."
        return self._page("Undo send?", text, _BUTTON)

    def _page(self, title: str, text: str, button: str = "") -> None:
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.set_header("Content-Security-Policy", _POLICY)
        self.finish(_PAGE.format(title=escape(title), text=escape(text), button=button))
