"""Pages for people: what this is, the contract to try out, and what each problem means.

Links in them are relative, so that they hold below any public address.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from tornado.template import Loader
from tornado.web import HTTPError

from undosend.doors.http.base import OPEN, Handler
from undosend.doors.http.examples import EXAMPLES
from undosend.doors.http.problems import KINDS, problem

READING = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Content-Security-Policy of a page that is read: it runs nothing."""

TRYING = f"{READING}; script-src 'self'; connect-src 'self'; img-src data:"
"""Of the page that calls the API: scripts of ours only, and nobody else hears of it."""

_HTML = "text/html; charset=UTF-8"
_TYPES = {
    ".html": _HTML,
    ".css": "text/css; charset=UTF-8",
    ".js": "text/javascript; charset=UTF-8",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served."""

    type: str
    body: bytes
    etag: str


@cache
def asset(file: Path) -> Asset:
    """Return the file, read once in the life of the process."""
    body = file.read_bytes()
    return Asset(_TYPES[file.suffix], body, f'"{sha256(body).hexdigest()[:32]}"')


class PageHandler(Handler):
    """A folder's page and the files it loads: those that the route names, and no others."""

    needs = OPEN

    def initialize(self, *, folder: Path, policy: str = READING) -> None:
        """Take where they lie, and what they may do."""
        self.folder = folder
        self.policy = policy

    def get(self, name: str = "") -> None:
        """Show one; a copy that is still true is not sent again (304)."""
        shown = asset(self.folder / (name or "index.html"))
        self.set_header("Content-Type", shown.type)
        self.set_header("Content-Security-Policy", self.policy)
        self.set_header("Cache-Control", "no-cache")
        self.set_header("ETag", shown.etag)
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
            return
        self.finish(shown.body)


class DocsHandler(Handler):
    """``/docs``: leads to ``/docs/``, where relative links mean what they say."""

    needs = OPEN

    def get(self) -> None:
        """Send the browser there."""
        self.clear_header("Content-Type")
        self.redirect("docs/", permanent=True)


class TemplateHandler(Handler):
    """A page made from a template, in which all that is filled in is escaped."""

    needs = OPEN

    def initialize(self, *, templates: Loader) -> None:
        """Take where the templates are."""
        self.templates = templates

    def show(self, template: str, **parts: object) -> None:
        """Finish with the page."""
        self.set_header("Content-Type", _HTML)
        self.set_header("Content-Security-Policy", READING)
        self.finish(self.templates.load(template).generate(**parts))


class ProblemsHandler(TemplateHandler):
    """``/problems``: every problem there is."""

    def get(self) -> None:
        """List them."""
        self.show("problems.html", kinds=KINDS)


class ProblemHandler(TemplateHandler):
    """``/problems/{code}``: what a problem means and what to do."""

    def get(self, code: str) -> None:
        """Explain it."""
        kind = KINDS.get(code)
        if kind is None:
            raise HTTPError(404)
        error, instance = EXAMPLES[code]
        document = problem(error, base_url=self.base_url, instance=instance)
        shown = json.dumps(document, indent=2, ensure_ascii=False)
        self.show("problem.html", code=code, kind=kind, document=shown)
