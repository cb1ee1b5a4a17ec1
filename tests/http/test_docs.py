"""The pages for people: what they load, what they may do, and that nothing else is there."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from html import unescape
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest

from tests.http.service import Answer, Service, serving
from undosend.doors.http.examples import EXAMPLES
from undosend.doors.http.problems import KINDS, problem
from undosend.hub import Hub
from undosend.settings import data
from undosend.spool.memory import MemorySpool

READING = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
TRYING = f"{READING}; script-src 'self'; connect-src 'self'; img-src data:"
USING = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
PAGES = ["/", "/docs/", "/problems", *(f"/problems/{code}" for code in KINDS)]
FILES = {
    "/style.css": "text/css; charset=UTF-8",
    "/docs/docs.js": "text/javascript; charset=UTF-8",
    "/docs/swagger-ui.css": "text/css; charset=UTF-8",
    "/docs/swagger-ui-bundle.js": "text/javascript; charset=UTF-8",
}
MODULES = {
    **{f"/ui/{name}.js": "text/javascript; charset=UTF-8" for name in ("undosend", "undo-toast")},
    **{
        f"/ui/{name}.js": "text/javascript; charset=UTF-8"
        for name in (
            "app",
            "compose",
            "detail",
            "dom",
            "door",
            "fields",
            "inbox",
            "later",
            "mail",
        )
    },
    "/ui/app.css": "text/css; charset=UTF-8",
    "/ui/mark.svg": "image/svg+xml",
}
FILES |= MODULES
VENDORED = data("api-spec").parent / "undosend" / "web" / "docs"


class Seen(HTMLParser):
    """What a browser makes of a page: what it loads, where it leads, and what it says."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.inline: list[str] = []
        self.text = ""
        self._tag = ""
        self.feed(answer.body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        named = dict(attrs)
        self.inline += [name for name in named if name == "style" or name.startswith("on")]
        if tag in {"script", "link", "img"}:
            self.loads.append(named.get("src") or named.get("href") or "")
        if tag == "a":
            self.links.append(named["href"] or "")

    def handle_data(self, text: str) -> None:
        if self._tag in {"script", "style"} and text.strip():
            self.inline.append(text)
        self.text += text


# The docs.


async def test_docs_leads_to_where_its_links_are_right(service: Service) -> None:
    answer = await service.get("/docs")

    assert (answer.status, answer.headers["Location"]) == (301, "docs/")


async def test_the_docs_run_what_is_ours_and_ask_nobody_else(service: Service) -> None:
    answer = await service.get("/docs/")

    assert (answer.status, answer.type) == (200, "text/html; charset=UTF-8")
    assert answer.headers["Content-Security-Policy"] == TRYING
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_docs_begin_with_the_contract_that_is_served(service: Service) -> None:
    script = (await service.get("/docs/docs.js")).body.decode()
    (address,) = re.findall(r'url: "([^"]+)"', script)

    answer = await service.get(urljoin("/docs/", address))

    assert answer.body == (data("api-spec") / "openapi.yaml").read_bytes()


def test_the_contract_calls_the_service_that_serves_it() -> None:
    contract = (data("api-spec") / "openapi.yaml").read_text()

    assert re.findall(r"^servers:\n((?:  .*\n)+)", contract, re.MULTILINE)[0].count("url: ") == 1
    assert "\nservers:\n  - url: ./\n" in contract


def test_what_is_not_ours_is_of_the_version_that_is_named() -> None:
    (version,) = re.findall(r"swagger-ui-dist@([0-9.]+)\n", (VENDORED / "README.md").read_text())

    assert f'"{version}"' in (VENDORED / "swagger-ui-bundle.js").read_text()


# The page.


async def test_the_page_runs_what_is_ours_and_makes_no_markup_of_text(service: Service) -> None:
    answer = await service.get("/")

    assert (answer.status, answer.type) == (200, "text/html; charset=UTF-8")
    assert answer.headers["Content-Security-Policy"] == USING
    scripts = b"".join([(await service.get(path)).body for path in MODULES if path[-3:] == ".js"])
    assert not re.search(rb"innerHTML|outerHTML|insertAdjacent|\beval\b|new Function", scripts)


async def test_all_modules_are_served_and_what_they_import_is_there(service: Service) -> None:
    lying = {f"/ui/{path.name}" for path in (VENDORED.parent / "ui").iterdir()}
    assert lying == set(MODULES)
    for path in MODULES:
        for name in re.findall(r'from "\./([^"]+)"', (await service.get(path)).body.decode()):
            assert f"/ui/{name}" in MODULES


@pytest.mark.parametrize("path", MODULES)
async def test_every_origin_may_load_the_modules(service: Service, path: str) -> None:
    answer = await service.call("GET", path, headers={"Origin": "https://elsewhere.example"})

    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


async def test_the_whole_page_weighs_less_than_100_kilobytes(service: Service) -> None:
    sizes = {path: len((await service.get(path)).body) for path in ["/", *MODULES]}

    assert sum(sizes.values()) < 100_000, sizes


# All pages, and what they load.


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_has_nothing_inline_and_loads_only_what_is_served(
    service: Service, path: str
) -> None:
    page = Seen(await service.get(path))

    assert page.inline == []
    assert page.loads
    for address in page.loads:
        if address != "data:,":
            assert urljoin(path, address) in FILES


@pytest.mark.parametrize("path", [path for path in PAGES if path not in {"/", "/docs/"}])
async def test_a_page_that_is_read_runs_nothing(service: Service, path: str) -> None:
    answer = await service.get(path)

    assert (answer.status, answer.type) == (200, "text/html; charset=UTF-8")
    assert answer.headers["Content-Security-Policy"] == READING
    assert b"<script" not in answer.body


@pytest.mark.parametrize("path", PAGES)
async def test_the_links_of_a_page_are_relative_and_lead_somewhere(
    service: Service, path: str
) -> None:
    page = Seen(await service.get(path))

    for link in page.links:
        assert not re.match(r"/|[a-z]+:", link), link
        if link != "dev/inbox":  # is there with --dev only
            assert (await service.get(urljoin(path, link))).status == 200, link


@pytest.mark.parametrize(("path", "kind"), FILES.items())
async def test_a_file_is_served_as_what_it_is(service: Service, path: str, kind: str) -> None:
    answer = await service.get(path)

    assert (answer.status, answer.type) == (200, kind)
    assert answer.body


@pytest.mark.parametrize("path", [*FILES, *PAGES])
async def test_head_says_what_get_would(service: Service, path: str) -> None:
    told, head = await service.get(path), await service.call("HEAD", path)

    assert (head.status, head.body) == (200, b"")
    assert {**head.headers, "Date": ""} == {**told.headers, "Date": ""}
    assert head.headers["Content-Length"] == str(len(told.body))


@pytest.mark.parametrize("path", [*FILES, "/", "/docs/"])
async def test_a_file_that_is_still_the_same_is_not_sent_again(service: Service, path: str) -> None:
    first = await service.get(path)
    again = await service.get(path, **{"If-None-Match": first.etag})
    other = await service.get(path, **{"If-None-Match": '"0"'})

    assert first.headers["Cache-Control"] == "no-cache"
    assert (again.status, again.body, again.etag) == (304, b"", first.etag)
    assert (other.status, other.body) == (200, first.body)


@pytest.mark.parametrize(
    "path",
    [
        "/docs/index.html",
        "/docs/README.md",
        "/docs/LICENSE",
        "/docs/swagger-ui-css",
        "/docs//docs.js",
        "/docs/docs.js/",
        "/docs/docs.js%00",
        "/docs/../style.css",
        "/docs/%2e%2e/style.css",
        "/docs/..%2fstyle.css",
        "/docs//etc/passwd",
        "/docsx",
        "/ui",
        "/ui/",
        "/ui/index.html",
        "/ui/../index.html",
        "/ui/%2e%2e/index.html",
        "/ui/..",
        "/ui/.",
        "/ui/app.js%00",
        "/ui/app.js/",
        "/problem.html",
        "/problems.html",
        "/problems/",
        "/problems/nope",
        "/index.html",
    ],
)
async def test_nothing_else_is_there(service: Service, path: str) -> None:
    assert (await service.get(path)).problem == "not_found"


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/docs/docs.js", "/problems"])
async def test_a_page_is_only_read(service: Service, path: str) -> None:
    answer = await service.post(path)

    assert answer.problem == "method_not_allowed"
    assert answer.headers["Allow"] == "GET, HEAD"


# The problems.


async def test_every_problem_is_listed(service: Service) -> None:
    page = Seen(await service.get("/problems"))

    assert [link for link in page.links if link != "docs/"] == [f"problems/{c}" for c in KINDS]
    assert all(kind.title in page.text for kind in KINDS.values())


@pytest.mark.parametrize("code", KINDS)
async def test_a_problem_is_explained_to_people(service: Service, code: str) -> None:
    kind = KINDS[code]
    page = Seen(await service.get(f"/problems/{code}"))

    for words in (kind.title, kind.meaning, kind.advice, f"HTTP {kind.status}", code):
        assert words in page.text


@pytest.mark.parametrize("code", KINDS)
async def test_a_problem_is_shown_as_it_comes(service: Service, code: str) -> None:
    error, instance = EXAMPLES[code]
    answer = await service.get(f"/problems/{code}")

    (shown,) = re.findall(r"<pre><code>(.*?)</code></pre>", answer.body.decode(), re.DOTALL)

    assert json.loads(unescape(shown)) == problem(error, base_url=service.url, instance=instance)
    assert error.code == code


@pytest.fixture
async def oddly_named() -> AsyncIterator[Service]:
    spool = MemorySpool(Hub().publish)
    async with serving(spool, Hub(), public_url="https://x.example/<b>&amp;") as running:
        yield running


async def test_what_is_not_markup_is_escaped(oddly_named: Service) -> None:
    answer = await oddly_named.get("/problems/too_late")

    assert b"<b>" not in answer.body
    assert b"https://x.example/&lt;b&gt;&amp;amp;/problems/too_late" in answer.body
