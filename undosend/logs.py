"""One JSON object for each line of the log, whoever writes it: ours, Tornado's, Alembic's.

Ours say ``log.info("undo", email_id=…)``: what happened first, then ids, states and numbers,
never an address, a subject or content. They do not pass through ``logging``, which would cost
a transition several times as much.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from threading import Lock
from typing import TextIO

import structlog
from structlog.contextvars import merge_contextvars
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import format_exc_info
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

from undosend.domain.clock import SECOND, rfc3339, wall_clock
from undosend.spool.port import Logged

# Below these levels they write SQL parameters or SMTP dialogues: addresses and content.
_DISCREET = {
    "aiosmtplib": logging.WARNING,
    "aiosqlite": logging.WARNING,
    "alembic": logging.WARNING,
    "asyncio": logging.INFO,
    "mail.log": logging.WARNING,
    "sqlalchemy": logging.WARNING,
}
# What is wrong with a request that is no HTTP Tornado tells with the value: a key, maybe.
_TOLD = re.compile(r"(\?)\S*|(Malformed HTTP message)(?s:.*)")
_encode = json.JSONEncoder(default=str, separators=(",", ":")).encode


def configure(level: str, stream: TextIO) -> None:
    """Send every line of the process from ``level`` up to ``stream``, and to nothing else.

    JSON, or text for people where the stream is a terminal. Call it once in a process: a logger
    of ours that has been used keeps the stream it had then. A stream that takes no more (disk
    full, reader gone) loses lines and stops nothing.
    """
    lines = _Steadfast(stream)
    ending = _for_people() if stream.isatty() else [format_exc_info, _json]
    structlog.configure(
        processors=[merge_contextvars, _stamp, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    foreign = logging.StreamHandler(lines)
    foreign.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[merge_contextvars, _stamp_foreign],
            processors=[ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [foreign]
    root.setLevel(level.upper())
    for name, least in _DISCREET.items():
        logging.getLogger(name).setLevel(max(least, root.level))


class _Steadfast:
    """A stream that never fails: mail must not stop because its log cannot be kept."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = Lock()  # ours and logging's lines meet here, from several threads

    def write(self, text: str) -> None:
        """Let the text out whole and at once, or lose it."""
        try:
            with self._lock:
                self._stream.write(text)
                self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            return

    def line(self, text: str) -> None:
        """Let one line out; structlog asks for it by the name of the level."""
        self.write(text + "\n")

    debug = info = warning = error = critical = line


def _stamp(_: object, level: str, line: EventDict) -> EventDict:
    return {
        "event": line.pop("event"),
        "level": level,
        "at": rfc3339(wall_clock()),
        **line,
    }


def _stamp_foreign(_: object, level: str, line: EventDict) -> EventDict:
    """Name the logger, take the record's own time, and keep Tornado from telling what it read."""
    record: logging.LogRecord = line["_record"]
    event = line.pop("event")
    return {
        "event": _TOLD.sub(_cut, event) if record.name.startswith("tornado") else event,
        "level": level,
        "at": rfc3339(int(record.created * SECOND)),
        "logger": record.name,
        **line,
    }


def _cut(told: re.Match[str]) -> str:
    return f"{told[1] or told[2]}…"


def _json(_: object, __: str, line: EventDict) -> str:
    return _encode(line)


def _for_people() -> list[Processor]:
    # rich's traceback, the default, prints local variables: addresses and content among them
    return [
        ConsoleRenderer(
            pad_event_to=24,
            sort_keys=False,
            timestamp_key="at",
            exception_formatter=plain_traceback,
        )
    ]


_log = structlog.get_logger("undosend")


def journal(changes: Sequence[Logged]) -> None:
    """Write one line for each transition; a ``hub.Listener``."""
    for change in changes:
        _log.info(
            change.type,
            email_id=change.email_id,
            account=change.account,
            state=change.state,
            revision=change.revision,
            version=change.version,
        )
