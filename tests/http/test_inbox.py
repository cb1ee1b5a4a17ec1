"""Mail in the development inbox is anybody's text: it is shown, and never trusted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.http.service import Service, serving
from undosend.devinbox import DevInbox, _line
from undosend.devmail import Entry
from undosend.domain.clock import ManualClock
from undosend.hub import Hub
from undosend.spool.memory import MemorySpool

PREVIEW = (
    "default-src 'none'; img-src cid: data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; sandbox"
)
DOT = b"GIF89a"


def letter(html: str | None) -> bytes:
    message = EmailMessage()
    message["Subject"] = "Hi"
    message["From"] = "ann@example.com"
    message.set_content("Hello.")
    if html is not None:
        message.add_alternative(html, subtype="html")
        (_, part) = message.iter_parts()
        assert isinstance(part, EmailMessage)
        part.add_related(DOT, "image", "gif", cid="<dot>")
    message.add_attachment(b"<script>", maintype="text", subtype="html", filename="x.html")
    return bytes(message)


@pytest.fixture
async def shown(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """Serve an inbox in which one mail lies, in_1."""
    hub, file = Hub(), tmp_path / "inbox.jsonl"
    entry = Entry("in_1", 1, "ann@example.com", ("bob@example.com",), letter(request.param))
    file.write_bytes(b"".join(_line(entry)))
    inbox = DevInbox(file, ManualClock())
    inbox._read_back()
    async with serving(MemorySpool(hub.publish), hub, inbox=inbox) as service:
        yield service


LOADING = "<LINK rel=preconnect href=//x><meta\thttp-equiv=refresh><base href=//x><iframe src=//x>"


@pytest.mark.parametrize(
    "shown", [f"{LOADING}<p style='color:red'>Hi</p><img src='CID:dot'>"], indirect=True
)
async def test_html_is_a_document_that_can_do_nothing(shown: Service) -> None:
    answer = await shown.get("/dev/inbox/in_1/html")

    assert (answer.status, answer.type) == (200, "text/html; charset=UTF-8")
    assert answer.headers["Content-Security-Policy"] == PREVIEW
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    html = answer.body.decode()
    for tag in ("link", "meta", "base", "iframe"):
        assert f"<{tag}" not in html.lower()
        assert f"<x-{tag}" in html.lower()
    assert "<p style='color:red'>Hi</p><img src='data:image/gif;base64,R0lGODlh'>" in html


@pytest.mark.parametrize("shown", [None], indirect=True)
async def test_a_file_is_octets_whatever_it_says_it_is(shown: Service) -> None:
    answer = await shown.get("/dev/inbox/in_1/attachments/0")

    assert (answer.status, answer.type) == (200, "application/octet-stream")
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.body == b"<script>"


@pytest.mark.parametrize("shown", [None], indirect=True)
async def test_what_a_mail_has_not_is_not_found(shown: Service) -> None:
    for path in ("in_1/html", "in_1/attachments/1", "in_2", "in_2/html", "in_2/attachments/0"):
        assert (await shown.get(f"/dev/inbox/{path}")).problem == "not_found"


@pytest.mark.parametrize("shown", [None], indirect=True)
async def test_a_summary_leaves_the_content_out(shown: Service) -> None:
    (summary,) = (await shown.get("/dev/inbox?summary=1")).json["data"]
    whole = (await shown.get("/dev/inbox/in_1")).json

    assert summary.items() <= whole.items()
    assert "raw" not in summary
    assert (summary["subject"], summary["from"]) == ("Hi", "ann@example.com")
    assert (await shown.get("/dev/inbox?summary=0")).problem == "bad_parameter"
