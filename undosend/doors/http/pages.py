"""Pages for people: what this is, the contract to try out, and what each problem means.

Links in them are relative, so that they hold below any public address.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from tornado.template import Loader
from tornado.web import HTTPError

from undosend.domain.octets import slices
from undosend.doors.http.base import OPEN, Handler
from undosend.doors.http.examples import EXAMPLES
from undosend.doors.http.problems import KINDS, problem

READING = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Content-Security-Policy of a page that is read: it runs nothing."""

TRYING = f"{READING}; script-src 'self'; connect-src 'self'; img-src data:"
"""Of the docs, which call the API: scripts of ours only, and nobody else hears of it."""

USING = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Of the page that writes and undoes mail: besides, no text ever becomes markup there."""

DOCS = ("docs.js", "swagger-ui.css", "swagger-ui-bundle.js")
"""What the docs are made of."""

UI = (
    "app.css",
    "app.js",
    "compose.js",
    "detail.js",
    "dom.js",
    "door.js",
    "fields.js",
    "inbox.js",
    "later.js",
    "mail.js",
    "mark.svg",
    "undo-toast.js",
    "undosend.js",
)
"""What the page is made of; any page may load the modules."""

_HTML = "text/html; charset=UTF-8"
_TYPES = {
    ".html": _HTML,
    ".css": "text/css; charset=UTF-8",
    ".js": "text/javascript; charset=UTF-8",
    ".svg": "image/svg+xml",
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


def table(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Return where the files lie, by their names."""
    return {name: folder / name for name in names}


class PageHandler(Handler):
    """A page and the files it loads: those of the table, and no others."""

    needs = OPEN

    def initialize(self, *, files: Mapping[str, Path], policy: str = READING) -> None:
        """Take where they lie, by what stands last in the path, and what they may do."""
        self.files = files
        self.policy = policy

    async def get(self, name: str = "") -> None:
        """Show one; a copy that is still true is not sent again (304)."""
        if name not in self.files:
            raise HTTPError(404)
        shown = asset(self.files[name])
        self.set_header("Content-Type", shown.type)
        self.set_header("Content-Security-Policy", self.policy)
        self.set_header("Cache-Control", "no-cache")
        self.set_header("ETag", shown.etag)
        if self.check_etag_header():
            self.set_status(304)
            self.finish()
            return
        await self.stream(slices(shown.body), len(shown.body))


class ModuleHandler(PageHandler):
    """``/ui/``: modules that pages of any origin may load, as there is nothing secret in them."""

    def set_default_headers(self) -> None:
        """Open them to all."""
        super().set_default_headers()
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Cross-Origin-Resource-Policy", "cross-origin")


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
