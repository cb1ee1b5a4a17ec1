"""``/v1/session``: who asks, and what that one may do.

For our page a key stays in the browser only as a cookie that no script can read. While a service
has no keys it serves its own machine only, and there everybody is signed in. Pages of others show
a token, and programs their key.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from undosend.domain.access import WHOLE, Caller, Scope
from undosend.domain.clock import SECOND
from undosend.domain.errors import InvalidKey, Unauthorized
from undosend.doors.http.judging import validated
from undosend.doors.http.mail import Desk, MailHandler
from undosend.doors.http.payloads import SessionIn
from undosend.doors.http.porter import COOKIE

_LASTS_SECONDS = 7 * 24 * 3600


class SessionHandler(MailHandler):
    """The session of a browser."""

    needs = MappingProxyType({"GET": None, "POST": None, "DELETE": None})

    def initialize(self, *, desk: Desk, dev: bool) -> None:  # type: ignore[override]
        """Take the collaborators, and whether there is a development inbox."""
        super().initialize(desk=desk)
        self.dev = dev

    def get(self) -> None:
        """Tell how it stands, whether anybody is signed in or not."""
        try:
            caller = self._porter.greet(self.request) if self._porter else Caller()
        except Unauthorized:
            self.guessed()
            raise
        by_cookie = "Authorization" not in self.request.headers
        self._show(caller, self.get_cookie(COOKIE) if by_cookie else None)

    def post(self) -> None:
        """Sign in with a key; tokens are for pages of others."""
        given = validated(SessionIn, self.json_body(), refusal=InvalidKey)
        porter = self._porter
        if porter is None or not porter.keyring.required:
            self._show(Caller())
            return
        if (caller := porter.keyring.caller(given.key)) is None:
            self.guessed()
            raise Unauthorized
        session = self.desk.tokens.session(caller, self.now + _LASTS_SECONDS * SECOND)
        self.set_cookie(COOKIE, session, max_age=_LASTS_SECONDS, **self._manners())
        self._show(caller, session)

    def delete(self) -> None:
        """Sign out."""
        self.no_body()
        self.clear_cookie(COOKIE, **self._manners())
        self.empty()

    def _manners(self) -> dict[str, Any]:
        """Say whom the browser may show the cookie: our own pages, and no script."""
        secure = self.request.protocol == "https"
        return {"httponly": True, "samesite": "Strict", "secure": secure}

    def _show(self, caller: Caller | None, session: str | None = None) -> None:
        porter, policy = self._porter, self.desk.outbox.policy
        who = caller or Caller(scopes=frozenset())
        usual, longest = who.allowance.default_delay, who.allowance.longest_delay
        senders = frozenset({who.limit.sender}) if who.limit.sender else who.allowance.senders
        answer: dict[str, Any] = {
            "object": "session",
            "signed_in": caller is not None,
            "keys_required": porter is not None and porter.keyring.required,
            "account": who.account if caller and caller.limit == WHOLE else None,
            "scopes": sorted(who.scopes),
            "senders": None if senders is None else sorted(senders),
            "default_delay_seconds": policy.default_delay if usual is None else usual,
            "max_delay_seconds": policy.longest_delay if longest is None else longest,
            "dev": self.dev and who.may(Scope.ADMIN),
            "xsrf": porter.xsrf(session) if porter and session and who.key_id else None,
        }
        self.answer(answer)
