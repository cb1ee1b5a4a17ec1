"""The whole URL table. This is the one place that pairs handlers with their collaborators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.routing import URLSpec
from tornado.template import Loader
from tornado.web import Application, RequestHandler, url

from undosend.devinbox import DevInbox
from undosend.domain.access import Scope
from undosend.doors.http import (
    attachments,
    batches,
    emails,
    events,
    links,
    ops,
    pages,
    sessions,
    tokens,
    ws,
)
from undosend.doors.http import inbox as inboxes
from undosend.doors.http.base import Handler, NotFound
from undosend.doors.http.framing import heed_close, read_target
from undosend.doors.http.keys import KeyDesk, key_routes
from undosend.doors.http.limits import Limits
from undosend.doors.http.mail import Desk
from undosend.doors.http.porter import Porter
from undosend.doors.http.room import Room
from undosend.doors.http.webhooks import WebhookDesk, webhook_routes
from undosend.outbox import Outbox

_EMAIL = r"/v1/emails/([^/]{1,64})"
_GROUP = r"/v1/groups/([^/]{1,256})"
_ENTRY = r"/dev/inbox/([a-z0-9_]{1,64})"

Counted = Callable[[str, int, float, str | None], None]
"""Told of each request: the route's name, the status, seconds, the problem's code if any."""


def routes(
    *,
    desk: Desk,
    readiness: ops.Readiness,
    openapi: Path,
    page: Path,
    keys: KeyDesk,
    webhooks: WebhookDesk,
    inbox: DevInbox | None = None,
) -> list[URLSpec]:
    """Return every route, with what its handler needs."""
    mail = {"desk": desk}
    made = {"templates": Loader(str(page))}
    session = {"desk": desk, "dev": inbox is not None}

    def does(act: emails.Act, scope: Scope) -> dict[str, Any]:
        return {"desk": desk, "act": act, "scope": scope}

    table = [
        url(r"/v1/emails", emails.EmailsHandler, mail, name="emails"),
        url(r"/v1/emails/batch", batches.BatchHandler, mail, name="batch"),
        url(_EMAIL, emails.EmailHandler, mail, name="email"),
        url(_EMAIL + "/send", emails.SendHandler, mail, name="send"),
        url(_EMAIL + "/undo", emails.ActionHandler, does(Outbox.undo, Scope.UNDO), name="undo"),
        url(
            _EMAIL + "/cancel", emails.ActionHandler, does(Outbox.cancel, Scope.UNDO), name="cancel"
        ),
        url(
            _EMAIL + "/reopen", emails.ActionHandler, does(Outbox.reopen, Scope.SEND), name="reopen"
        ),
        url(_EMAIL + "/send-now", emails.SendNowHandler, mail, name="send_now"),
        url(_EMAIL + "/raw", emails.RawHandler, mail, name="raw"),
        url(_EMAIL + "/events", emails.HistoryHandler, mail, name="history"),
        url(_EMAIL + "/attachments", attachments.AttachmentsHandler, mail, name="attachments"),
        url(
            _EMAIL + r"/attachments/([^/]{1,64})",
            attachments.AttachmentHandler,
            mail,
            name="attachment",
        ),
        url(
            _GROUP + "/undo",
            batches.GroupHandler,
            {**mail, "act": Outbox.undo_group, "done": "undone"},
            name="undo_group",
        ),
        url(
            _GROUP + "/cancel",
            batches.GroupHandler,
            {**mail, "act": Outbox.cancel_group, "done": "canceled"},
            name="cancel_group",
        ),
        url(r"/v1/events", events.EventsHandler, mail, name="events"),
        url(r"/v1/ws", ws.SocketHandler, mail, name="ws"),
        url(
            r"/v1/undo/([A-Za-z0-9_-]{1,1000})",
            links.UndoLinkHandler,
            mail | made,
            name="undo_link",
        ),
        *key_routes(keys),
        url(r"/v1/tokens", tokens.TokensHandler, mail, name="tokens"),
        url(r"/v1/tickets", tokens.TicketsHandler, mail, name="tickets"),
        *webhook_routes(webhooks),
        url(r"/livez", ops.LiveHandler, name="livez"),
        url(r"/readyz", ops.ReadyHandler, {"readiness": readiness}, name="readyz"),
        url(r"/openapi\.yaml", ops.OpenApiHandler, {"document": openapi}, name="openapi"),
        url(
            r"/asyncapi\.yaml",
            ops.OpenApiHandler,
            {"document": openapi.with_name("asyncapi.yaml")},
            name="asyncapi",
        ),
        url(r"/docs", pages.DocsHandler, name="docs"),
        url(
            r"/docs/([a-z.-]*)",
            pages.PageHandler,
            {
                "files": {
                    "": page / "docs" / "index.html",
                    **pages.table(page / "docs", pages.DOCS),
                },
                "policy": pages.TRYING,
            },
            name="docs_page",
        ),
        url(r"/problems", pages.ProblemsHandler, made, name="problems"),
        url(r"/problems/([a-z_]{1,64})", pages.ProblemHandler, made, name="problem"),
        url(r"/v1/session", sessions.SessionHandler, session, name="session"),
        url(
            r"/ui/([a-z.-]+)",
            pages.ModuleHandler,
            {"files": pages.table(page / "ui", pages.UI), "policy": pages.USING},
            name="modules",
        ),
        url(
            r"/(style\.css)",
            pages.PageHandler,
            {"files": pages.table(page, ["style.css"])},
            name="style",
        ),
        url(
            r"/",
            pages.PageHandler,
            {"files": {"": page / "index.html"}, "policy": pages.USING},
            name="page",
        ),
    ]
    return table if inbox is None else [*table, *_development(inbox)]


def _development(inbox: DevInbox) -> list[URLSpec]:
    """Return the routes that are there with ``--dev`` only."""
    shown = {"inbox": inbox}
    return [
        url(r"/dev/inbox", inboxes.InboxListHandler, shown, name="dev_inbox"),
        url(_ENTRY, inboxes.InboxEntryHandler, shown, name="dev_mail"),
        url(_ENTRY + "/html", inboxes.PreviewHandler, shown, name="dev_mail_html"),
        url(
            _ENTRY + r"/attachments/([0-9]{1,4})",
            inboxes.InboxFileHandler,
            shown,
            name="dev_mail_file",
        ),
    ]


class Door(Application):
    """The routes as a Tornado application; it carries Tornado's own settings only.

    porter: lets callers in. limits: what they may ask for. room: for large bodies. public_url: the
    origin that clients know us by, where it is not what their requests say. origins: those whose
    pages may call us from a browser (CORS).
    """

    def __init__(
        self,
        table: list[URLSpec],
        *,
        counted: Counted,
        porter: Porter,
        limits: Limits,
        room: Room,
        public_url: str | None = None,
        origins: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(list(table), default_handler_class=NotFound, log_function=self._log)
        self.origins = origins
        self.porter = porter
        self.limits = limits
        self.room = room
        self._counted = counted
        self._public = public_url.split("://", 1) if public_url else None

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Find out what is asked for, and let the links we write start with the public address."""
        heed_close(request)
        read_target(request)
        if self._public:
            request.protocol, request.host = self._public
        return super().find_handler(request, **kwargs)

    def _log(self, handler: RequestHandler) -> None:
        """Count the request; a line for each would cost more than the request itself."""
        route = _name(handler.request.path)
        problem = handler.problem_code if isinstance(handler, Handler) else None
        self._counted(route, handler.get_status(), handler.request.request_time(), problem)


def _name(path: str) -> str:
    """Return a name for the path that holds no id: metrics must not grow with the mail."""
    match path.split("/")[1:]:
        case ["v1", "emails"]:
            return "emails"
        case ["v1", "emails", "batch"]:
            return "batch"
        case ["v1", "emails", _]:
            return "email"
        case ["v1", "emails", _, action] if action in _ACTIONS:
            return _ACTIONS[action]
        case ["v1", "emails", _, "attachments", _]:
            return "attachment"
        case ["v1", "groups", _, "undo" | "cancel" as action]:
            return f"{action}_group"
        case ["v1", "keys", _, *action]:
            return f"{action[0]}_key" if action in (["rotate"], ["revoke"]) else "key"
        case ["v1", "undo", _]:
            return "undo_link"
        case ["v1", "keys" | "tokens" | "tickets" | "webhooks" | "events" | "ws" as name, *_] | [
            "livez" | "readyz" | "openapi.yaml" | "asyncapi.yaml" as name
        ]:
            return name
    return "other"


_ACTIONS = {
    **{name: name for name in ("send", "undo", "cancel", "reopen", "send-now", "raw")},
    "attachments": "attachments",
    "events": "history",
}
