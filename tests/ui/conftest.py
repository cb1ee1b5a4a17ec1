"""The page in a real browser, against the real command.

Playwright keeps a loop running in the main thread, which no other test survives: these run in a
process of their own (``make test-ui``), and ``tests/test_ui.py`` starts it for everybody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from tests.system.service import Service
from tests.ui.browser import CHROMIUM, FLAGS, PATIENCE, Person

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave this folder out of every run that does not name it."""
    named = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in named) else True


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "There is no Chromium here (Debian: apt-get install chromium)."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Elsewhere(BaseHTTPRequestHandler):
    """A page of another origin, with the element in it."""

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        base, email_id = asked.get("base", [""])[0], asked.get("id", [""])[0]
        page = (
            "<!doctype html><html lang=en><title>Elsewhere</title>"
            f'<script type=module src="{base}/ui/undo-toast.js"></script>'
            f'<undo-toast base="{base}" email-id="{email_id}"></undo-toast>'
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Keep quiet."""


@pytest.fixture(scope="session")
def elsewhere() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, elsewhere: str) -> Iterator[Service]:
    """The real command; what names no time can be undone for ten seconds."""
    options = ("--grace-seconds", "0.2", "--cors-origins", elsewhere)
    running = Service(tmp_path_factory.mktemp("ui"), *options)
    running.start()
    yield running
    running.close()


Visit = Callable[..., Person]
"""Open a browser profile of its own and return who sits before it."""


@pytest.fixture
def visit(browser: Browser, service: Service) -> Iterator[Visit]:
    """Let people come; fail the test in which a script of ours broke, or asked any other host."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def asked(request: Request) -> None:
        if not request.url.startswith((service.url, "data:", "blob:")):
            wrong.append(request.url)

    def visited(path: str = "/", *, watched: bool = True, **options: object) -> Person:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(PATIENCE * 1000)
        context.on("weberror", lambda error: wrong.append(str(error.error)))
        if watched:
            context.on("request", asked)
        return Person(context.new_page(), service).opens(path)

    yield visited
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def ann(visit: Visit) -> Person:
    """Somebody at the page as it opens."""
    return visit()


@pytest.fixture
def page(ann: Person) -> Page:
    return ann.page
