"""``/v1/undo/{token}``: the link that undoes one revision of one email, and needs no key.

Whoever has the link may undo, for as long as undo is possible. GET only shows a page with a
button, because mail scanners and previews follow every link they find.
"""

from __future__ import annotations

from types import MappingProxyType

from tornado.template import Loader

from undosend.domain.email import Email, State
from undosend.domain.errors import UndosendError
from undosend.doors.http import answers
from undosend.doors.http.mail import Desk, MailHandler
from undosend.doors.http.pages import READING
from undosend.doors.http.problems import BadRequest

_UNSENT = {
    State.CANCELED: "was canceled",
    State.EXPIRED: "expired before it could be sent",
    State.FAILED: "could not be sent",
}
_POLICY = READING.replace("form-action 'none'", "form-action 'self'")


class UndoLinkHandler(MailHandler):
    """One undo link: its own key."""

    needs = MappingProxyType({"GET": None, "POST": None})

    urgent = True

    def initialize(self, *, desk: Desk, templates: Loader) -> None:  # type: ignore[override]
        """Take the collaborators, and what makes the page."""
        super().initialize(desk=desk)
        self.templates = templates

    def set_default_headers(self) -> None:
        """Let the link, which is a right, leak to no one."""
        super().set_default_headers()
        self.set_header("Referrer-Policy", "no-referrer")

    def prepare(self) -> None:
        """Take any query: those who count clicks add to links what they like."""
        self.parameters = frozenset(self.request.query_arguments)
        super().prepare()

    async def get(self, token: str) -> None:
        """Show where the email stands, with a button while it can be undone."""
        account, email_id, revision = self._meant(token)
        email = await self.outbox.get(account, email_id)
        if email.row.revision != revision:
            self._page("This link has had its time", "The email was edited and sent anew.")
        else:
            self._standing(email)

    async def post(self, token: str) -> None:
        """Undo."""
        self.octets()
        account, email_id, revision = self._meant(token)
        email = await self.outbox.undo(account, email_id, revision=revision)
        if self._for_a_person():
            self._page("Undone", "The email is a draft again. It was not sent.")
        else:
            self.answer(answers.undone(email.row))

    def refuse(self, error: UndosendError) -> None:
        """Tell a person in a page what a program is told in a problem."""
        if self._for_a_person() and error.code != "unavailable":
            self._page("Not undone" if self.request.method == "POST" else "No undo", str(error))
        else:
            super().refuse(error)

    def _meant(self, token: str) -> tuple[str, str, int]:
        text = self.desk.view.signer.read(answers.UNDO, token)
        if text is None:
            detail = "This is no undo link of ours; a part of it may have been lost in copying."
            raise BadRequest("not_found", detail)
        account, email_id, revision = text.rsplit(" ", 2)
        if self._limits and (meter := self._limits.of_link(email_id)):
            self.charge(meter)
        return account, email_id, int(revision)

    def _for_a_person(self) -> bool:
        """Tell whether a browser asks, for somebody who wants to read the answer."""
        return "text/html" in self.request.headers.get("Accept", "")

    def _standing(self, email: Email) -> None:
        row = email.row
        subject = "The email" if row.content_deleted_at else _quoted(email.content.subject)
        if row.state is State.DRAFT:
            self._page("Undone", f"{subject} is a draft. It was not sent.")
        elif row.state in _UNSENT and not row.may_have_been_delivered:
            self._page("Nothing to undo", f"{subject} {_UNSENT[row.state]}.")
        elif row.undo_status == "final":
            doubtful = row.uncertain > 0 and row.accepted == 0
            fate = "may have been delivered" if doubtful else "has left, or is leaving now"
            self._page("Too late to undo", f"{subject} {fate}.")
        else:
            seconds = round(answers.undo_seconds_left(row, self.now))
            text = f"{subject} will be sent in about {seconds} seconds, unless you undo it."
            self._page("Undo send?", text, button=True)

    def _page(self, title: str, text: str, *, button: bool = False) -> None:
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.set_header("Content-Security-Policy", _POLICY)
        page = self.templates.load("undo.html")
        self.finish(page.generate(title=title, text=text, button=button))


def _quoted(subject: str) -> str:
    return f"“{subject or '(no subject)'}”"
