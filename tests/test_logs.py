from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from undosend.logs import _DISCREET, configure


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("", *_DISCREET)]
    handlers, levels = loggers[0].handlers[:], [logger.level for logger in loggers]
    yield
    loggers[0].handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def divide_by_zero() -> None:
    recipient = "ann@{}.org"
    recipient = recipient.format("example")
    raise ZeroDivisionError(len(recipient))


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_level_and_time() -> None:
    stream = io.StringIO()
    configure("info", stream)

    structlog.get_logger().info("undo", email_id="em_1", version=3)

    (line,) = lines(stream)
    assert list(line) == ["event", "level", "at", "email_id", "version"]
    assert (line["event"], line["level"], line["email_id"]) == ("undo", "info", "em_1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["at"])


def test_a_line_break_in_a_value_starts_no_line() -> None:
    stream = io.StringIO()
    configure("info", stream)

    structlog.get_logger().info("undo", email_id='em_1\n{"event": "forged"}\u2028')

    assert len(lines(stream)) == 1


def test_lines_below_the_level_are_left_out() -> None:
    stream = io.StringIO()
    configure("warning", stream)

    structlog.get_logger().info("undo")
    logging.getLogger("alembic").info("running")
    structlog.get_logger().warning("slow")

    assert [line["event"] for line in lines(stream)] == ["slow"]


@pytest.mark.parametrize(
    "name", ["tornado.access", "tornado.application", "sqlalchemy.pool", "alembic", "mail.log"]
)
def test_other_libraries_write_the_same_json(name: str) -> None:
    stream = io.StringIO()
    configure("info", stream)

    logging.getLogger(name).warning("took %d ms", 7)

    (line,) = lines(stream)
    assert list(line) == ["event", "level", "at", "logger"]
    assert (line["event"], line["level"], line["logger"]) == ("took 7 ms", "warning", name)


def test_a_value_bound_to_the_request_is_in_everyones_lines() -> None:
    stream = io.StringIO()
    configure("info", stream)

    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger().info("undo")
        logging.getLogger("tornado.general").warning("odd header")

    assert [line["request_id"] for line in lines(stream)] == ["r1", "r1"]


@pytest.mark.parametrize("name", ["aiosqlite", "sqlalchemy.engine", "mail.log", "aiosmtplib"])
def test_sql_and_smtp_are_not_told_even_at_debug(name: str) -> None:
    stream = io.StringIO()
    configure("debug", stream)

    logging.getLogger(name).info("ann@example.org")
    logging.getLogger(name).debug("ann@example.org")

    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "octets",
    [
        b"Authorization: Bearer SECRET\x01",
        b"Authorization: SECRET\r\n folded",
        b"Host: SECRET x",
        b"Transfer-Encoding: SECRET",
        b"Content-Length: SECRET",
        b"Cookie SECRET",
    ],
    ids=ascii,
)
async def test_what_is_no_http_is_not_told(octets: bytes) -> None:
    """A key with a stray octet behind it is a key all the same."""
    stream = io.StringIO()
    configure("debug", stream)
    server = HTTPServer(Application([]))
    [socket] = sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    reader, writer = await asyncio.open_connection(*socket.getsockname())

    writer.write(b"GET /?SECRET HTTP/1.1\r\n" + octets + b"\r\n\r\n")
    await reader.read()

    writer.close()
    server.stop()
    assert "Malformed HTTP message from …: …" in [line["event"] for line in lines(stream)]
    assert "SECRET" not in stream.getvalue()


def test_an_exception_is_told_with_its_traceback_in_the_same_line() -> None:
    stream = io.StringIO()
    configure("info", stream)

    try:
        divide_by_zero()
    except ZeroDivisionError:
        structlog.get_logger().exception("releaser failed")
        logging.getLogger("asyncio").exception("task failed")

    ours, foreign = lines(stream)
    assert (ours["level"], foreign["level"]) == ("error", "error")
    assert "ZeroDivisionError" in ours["exception"]
    assert "Traceback" in foreign["exception"]


class Broken(RequestHandler):
    def get(self) -> None:
        divide_by_zero()


@pytest.mark.parametrize("terminal", [False, True])
async def test_tornados_uncaught_exception_keeps_its_traceback_and_loses_the_request(
    terminal: bool,
) -> None:
    stream = Terminal() if terminal else io.StringIO()
    configure("info", stream)
    server = HTTPServer(Application([("/v1/emails", Broken)]))
    (listening,) = bind_sockets(0, "127.0.0.1")
    server.add_sockets([listening])

    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(
        b"GET /v1/emails?q='ann@b.c'&x=1 HTTP/1.1\r\nHost: dan.example\r\n"
        b"Authorization: Bearer k-1\r\nConnection: close\r\n\r\n"
    )
    answer = await reader.read()
    writer.close()
    server.stop()
    await server.close_all_connections()

    assert answer.startswith(b"HTTP/1.1 500")
    assert "Uncaught exception" in stream.getvalue()
    assert "Traceback" in stream.getvalue()
    assert "ZeroDivisionError" in stream.getvalue()
    for word in ("ann@b.c", "x=1", "dan.example", "k-1"):
        assert word not in stream.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_what_an_exception_quotes_is_not_told(terminal: bool) -> None:
    """A chain of them, and a group, each with the way it came."""
    stream = Terminal() if terminal else io.StringIO()
    configure("debug", stream)

    known: dict[str, str] = {}

    def chained() -> None:
        try:
            known["ann@b.c"]
        except KeyError as error:
            raise ValueError("Subject: Secret") from error

    try:
        try:
            chained()
        except ValueError as error:
            raise ExceptionGroup("of dan@b.c", [error, OSError(28, "No space left")]) from None
    except ExceptionGroup:
        structlog.get_logger().exception("attempt_failed")
        logging.getLogger("tornado.general").exception("Uncaught exception")

    told = stream.getvalue().replace("\\u2026", "…")
    for word in ("ann@b.c", "Secret", "dan@b.c"):
        assert f"Error: {word}" not in told
        assert f"'{word}'" not in told
    for word in ("KeyError: …", "ValueError: …", "ExceptionGroup: …", "[Errno 28] No space left"):
        assert told.count(word) == 2, word
    assert told.count("in chained") == 4


@pytest.mark.parametrize(
    ("template", "args", "told"),
    [
        (
            "Malformed HTTP message from %s: %s",
            ("1.2.3.4", "Invalid header value 'k-1'"),
            "from …: …",
        ),
        ("%d %s %.2fms", (500, "GET /ann@b.c", 1.5), "500 … 1.50ms"),
        ("%(who)s", ({"who": "k-1"},), "%(who)s"),
        ("future: <Task finished exception=KeyError('ann@b.c')\nk-1>", (), "exception=…"),
        ("100 % of it", (), "100 % of it"),
        ("%d of %d", ("k-1", 2), "%d of %d"),
    ],
)
def test_of_what_others_say_no_value_is_told_but_numbers(
    template: str, args: tuple[object, ...], told: str
) -> None:
    stream = io.StringIO()
    configure("debug", stream)

    logging.getLogger("tornado.general").warning(template, *args)

    (line,) = lines(stream)
    assert line["event"].endswith(told)
    assert "k-1" not in line["event"]
    assert "ann@b.c" not in line["event"]


def test_a_terminal_is_shown_words_instead_of_json() -> None:
    stream = Terminal()
    configure("info", stream)

    structlog.get_logger().info("undo", email_id="em_1")

    plain = re.sub(r"\x1b\[\d*m", "", stream.getvalue())
    assert re.search(r"Z \[info *\] undo +email_id=em_1\n", plain)


def test_a_terminal_is_not_shown_local_variables_of_a_traceback() -> None:
    stream = Terminal()
    configure("info", stream)
    try:
        divide_by_zero()
    except ZeroDivisionError:
        structlog.get_logger().exception("releaser failed")

    assert "ann@" + "example.org" not in stream.getvalue()
    assert "ZeroDivisionError" in stream.getvalue()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_under_the_log_stops_nobody() -> None:
    with suppress(OSError), Path("/dev/full").open("w") as full:
        configure("info", full)

        structlog.get_logger().info("undo")
        logging.getLogger("alembic").warning("running")


def test_a_closed_stream_stops_nobody() -> None:
    stream = io.StringIO()
    configure("info", stream)
    stream.close()

    structlog.get_logger().info("undo")
    logging.getLogger("alembic").warning("running")


def test_configuring_again_replaces_the_stream_of_new_loggers() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("info", first)
    configure("info", second)

    structlog.get_logger().info("undo")
    logging.getLogger("alembic").warning("running")

    assert first.getvalue() == ""
    assert len(lines(second)) == 2


def fastest(work: Callable[[], object]) -> float:
    """Return the seconds of the quickest of many short runs: what is left without the others."""

    def once() -> float:
        begun = time.perf_counter()
        for _ in range(100):
            work()
        return time.perf_counter() - begun

    return min(once() for _ in range(30))


def test_a_line_of_ours_costs_little_more_than_its_json() -> None:
    fields = {"email_id": "em_01hzabcdefghijk", "before": "held", "after": "draft", "version": 3}
    configure("info", io.StringIO())
    log = structlog.get_logger()

    line, bare = fastest(lambda: log.info("undo", **fields)), fastest(lambda: json.dumps(fields))

    assert line < 8 * bare
