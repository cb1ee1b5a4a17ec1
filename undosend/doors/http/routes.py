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
from undosend.domain.clock import Clock
from undosend.doors.http import emails, ops, pages
from undosend.doors.http.base import Handler, NotFound
from undosend.outbox import Outbox

_EMAIL = r"/v1/emails/([^/]{1,64})"

Counted = Callable[[str, int, float, str | None], None]
"""Told of each request: the route's name, the status, seconds, the problem's code if any."""


def routes(
    *,
    outbox: Outbox,
    clock: Clock,
    readiness: ops.Readiness,
    openapi: Path,
    page: Path,
    inbox: DevInbox | None = None,
) -> list[URLSpec]:
    """Return every route, with what its handler needs."""
    mail = {"outbox": outbox, "clock": clock}
    look = {"outbox": outbox}
    made = {"templates": Loader(str(page))}

    def does(act: emails.Act, status: int = 200) -> dict[str, Any]:
        return {"act": act, "clock": clock, "status": status}

    table = [
        url(r"/v1/emails", emails.EmailsHandler, mail, name="emails"),
        url(_EMAIL, emails.EmailHandler, mail, name="email"),
        url(_EMAIL + "/send", emails.SendHandler, mail, name="send"),
        url(_EMAIL + "/undo", emails.ActionHandler, does(outbox.undo), name="undo"),
        url(_EMAIL + "/cancel", emails.ActionHandler, does(outbox.cancel), name="cancel"),
        url(_EMAIL + "/reopen", emails.ActionHandler, does(outbox.reopen), name="reopen"),
        url(
            _EMAIL + "/send-now", emails.ActionHandler, does(outbox.send_now, 202), name="send_now"
        ),
        url(_EMAIL + "/raw", emails.RawHandler, look, name="raw"),
        url(_EMAIL + "/events", emails.HistoryHandler, look, name="history"),
        url(r"/livez", ops.LiveHandler, name="livez"),
        url(r"/readyz", ops.ReadyHandler, {"readiness": readiness}, name="readyz"),
        url(r"/openapi\.yaml", ops.OpenApiHandler, {"document": openapi}, name="openapi"),
        url(r"/docs", pages.DocsHandler, name="docs"),
        url(
            r"/docs/(docs\.js|swagger-ui\.css|swagger-ui-bundle\.js)?",
            pages.PageHandler,
            {"folder": page / "docs", "policy": pages.TRYING},
            name="docs_page",
        ),
        url(r"/problems", pages.ProblemsHandler, made, name="problems"),
        url(r"/problems/([a-z_]{1,64})", pages.ProblemHandler, made, name="problem"),
        url(r"/(style\.css)?", pages.PageHandler, {"folder": page}, name="page"),
    ]
    if inbox is not None:
        table.append(url(r"/dev/inbox", ops.DevInboxHandler, {"inbox": inbox}, name="dev_inbox"))
    return table


class Door(Application):
    """The routes as a Tornado application; it carries Tornado's own settings only.

    public_url: the origin that clients know us by, where it is not what their requests say.
    """

    def __init__(
        self, table: list[URLSpec], *, counted: Counted, public_url: str | None = None
    ) -> None:
        super().__init__(list(table), default_handler_class=NotFound, log_function=self._log)
        self._counted = counted
        self._public = public_url.split("://", 1) if public_url else None

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Let the links we write start with the public address."""
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
        case ["v1", "emails", _]:
            return "email"
        case [
            "v1",
            "emails",
            _,
            "send" | "undo" | "cancel" | "reopen" | "send-now" | "raw" as action,
        ]:
            return action
        case ["v1", "emails", _, "events"]:
            return "history"
        case ["livez" | "readyz" | "openapi.yaml" as name]:
            return name
    return "other"
