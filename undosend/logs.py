"""One JSON object for each line of the log, whoever writes it: ours, Tornado's, Alembic's.

Ours say ``log.info("undo", email_id=…)``: what happened first, then ids, states and numbers,
never an address, a subject or content. They do not pass through ``logging``, which would cost
a transition several times as much.

What others say is cut down to that: of their values only numbers are told, of an exception the
way it came, and its words only where they are the system's, the database's or ours.
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import traceback
from collections.abc import Sequence
from threading import Lock
from types import TracebackType
from typing import Any, TextIO, TypeAlias

import structlog
from structlog.contextvars import merge_contextvars
from structlog.dev import ConsoleRenderer
from structlog.processors import ExceptionRenderer
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

from undosend.domain.clock import SECOND, rfc3339, wall_clock
from undosend.domain.errors import UndosendError
from undosend.domain.told import Logged

# Below these levels they write SQL parameters or SMTP dialogues: addresses and content.
_DISCREET = {
    "aiosmtplib": logging.WARNING,
    "aiosqlite": logging.WARNING,
    "alembic": logging.WARNING,
    "asyncio": logging.INFO,
    "mail.log": logging.WARNING,
    "sqlalchemy": logging.WARNING,
}
_HELD = re.compile(r"\b(exception|result)=.*", re.DOTALL)
"""What asyncio says of a task after its name: all that it came to."""
_WORDED = (OSError, sqlite3.Error, UndosendError)
"""Errors whose words quote no mail; those of any other quote what it met."""
_encode = json.JSONEncoder(default=str, separators=(",", ":")).encode


def configure(level: str, stream: TextIO) -> None:
    """Send every line of the process from ``level`` up to ``stream``, and to nothing else.

    JSON, or text for people where the stream is a terminal. Call it once in a process: a logger
    of ours that has been used keeps the stream it had then. A stream that takes no more (disk
    full, reader gone) loses lines and stops nothing.
    """
    lines = _Steadfast(stream)
    ending = _for_people() if stream.isatty() else [ExceptionRenderer(_traced), _json]
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
            use_get_message=False,
            pass_foreign_args=True,
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
    """Name the logger, take the record's own time, and let it tell no values."""
    record: logging.LogRecord = line["_record"]
    event = _discreet(line.pop("event"), line.pop("positional_args", ()))
    return {
        "event": event,
        "level": level,
        "at": rfc3339(int(record.created * SECOND)),
        "logger": record.name,
        **line,
    }


class _Withheld:
    """Stands for a value that may be mail's."""

    def __repr__(self) -> str:
        return "…"


def _discreet(template: str, args: Any) -> str:
    """Return a line of another library's without its values, but for numbers.

    Tornado quotes header values, and asyncio what a task came to.
    """
    values = args if isinstance(args, tuple) else ()
    told = tuple(value if isinstance(value, int | float) else _Withheld() for value in values)
    try:
        line = template % told if told else template
    except (TypeError, ValueError):  # it names its values, or is no template
        line = template
    return _HELD.sub(r"\1=…", line)


_ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]


def _traced(exc_info: _ExcInfo) -> str:
    """Return the way an exception came, without the words that may quote mail."""
    return "\n".join(_trace(exc_info[1], set()))


def _trace(error: BaseException, seen: set[int]) -> list[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    told = [*_trace(before, seen), "Then:"] if before and id(before) not in seen else []
    frames = "".join(traceback.format_tb(error.__traceback__))
    words = str(error) if isinstance(error, _WORDED) else "…"
    told.append(f"Traceback (most recent call last):\n{frames}{type(error).__qualname__}: {words}")
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            told += ["Among them:", *_trace(one, seen)] if id(one) not in seen else []
    return told


def _json(_: object, __: str, line: EventDict) -> str:
    return _encode(line)


def _for_people() -> list[Processor]:
    # Rich's traceback, the default, prints local variables: addresses and content among them.
    return [
        ConsoleRenderer(
            pad_event_to=24,
            sort_keys=False,
            timestamp_key="at",
            exception_formatter=lambda stream, exc_info: print(_traced(exc_info), file=stream),
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
