"""Logging: one structured line an event, text from outside escaped, set up only by the command line.

Modules log with ``logger.bind(event=..., job_id=...).info("A constant sentence")``: text that comes from a studio,
a model or a user travels in bound fields only, never in the message, and the sinks here escape every field. As a
library the package is silent until somebody calls ``loguru.logger.enable("studio_worker")`` (`studio_worker.silence`).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO

from studio_worker.masks import Masks, RememberedMasks
from studio_worker.silence import logger as logger
from studio_worker.text import escape
from studio_worker.wire.strict_json import dumps_lossy

if TYPE_CHECKING:
    from loguru import Message, Record

Level = Literal["info", "warn", "error"]


class LogSink(Protocol):
    """Takes the lines that an operator of the studio should see; from any thread, never blocks."""

    def add(self, level: Level, category: str, message: str, *, job_id: str | None = None) -> None:
        """Take one line; `message` is escaped and bounded by whoever ships it."""
        ...


class LibraryLines(logging.Handler):
    """Makes one line of our log of what another library says by `logging`, which would write tracebacks to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record: its sentence may hold text from outside and travels as a field."""
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001 - what is formatted is a stranger's, and a library's slip ends nobody's request
            said = f"{record.msg!r}, which its arguments do not fit"
        error = record.exc_info[1] if record.exc_info else None

        def name(made: Record) -> None:
            made["name"] = record.name

        line = logger.bind(event="library.log", said=said).patch(name)
        line.opt(exception=error).log(self.severity(record), "A library said something")

    def severity(self, record: logging.LogRecord) -> str:
        """The level of our line."""
        return next((name for floor, name in _LEVELS if record.levelno >= floor), "DEBUG")


_LEVELS = ((logging.ERROR, "ERROR"), (logging.WARNING, "WARNING"), (logging.INFO, "INFO"))
_LIBRARIES = LibraryLines()
_HIDDEN = RememberedMasks(tuple)


def hide(secrets: Callable[[], Iterable[str | None]]) -> None:
    """Show none of these secrets in the lines of `set_up`, from now on until its next call.

    Args:
        secrets: asked anew for each line, from any thread.
    """
    _HIDDEN.secrets = secrets


def set_up(level: str = "INFO", *, as_json: bool = False, stream: TextIO | None = None) -> None:
    """Send the process's log to `stream` (stderr), one line a record; warnings of libraries that use `logging` too.

    For a process that is ours alone.

    Args:
        level: the lowest level shown.
        as_json: one JSON object a line, for machines.
        stream: where to write; a closed stream is ignored.
    """
    target = stream or sys.stderr
    render = _json_line if as_json else _text_line

    def write(message: Message) -> None:
        try:
            target.write(render(message.record, _HIDDEN.now()))
            target.flush()
        except (OSError, ValueError):
            return

    hide(tuple)
    logger.remove()
    logger.add(write, level=level.upper(), format="{message}", diagnose=False, backtrace=False, catch=True)
    logger.enable("studio_worker")
    logging.root.addHandler(_LIBRARIES)


def announce_in_log(sentence: str) -> None:
    """Say something to the operator where nobody prints it: as a line of the log."""
    logger.bind(event="worker.announce", sentence=sentence).info("Something for the operator")


def _fields(record: Record) -> dict[str, Any]:
    return {key: value for key, value in record["extra"].items() if value is not None}


def _error(record: Record) -> str | None:
    problem = record["exception"]
    return None if problem is None else f"{problem.type.__name__ if problem.type else 'error'}: {problem.value}"


def _text_line(record: Record, masks: Masks) -> str:
    fields = _fields(record)
    if error := _error(record):
        fields["error"] = error
    shown = " ".join(f"{key}={_quoted(masks.hide(str(value)))}" for key, value in fields.items())
    head = f"{record['time']:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    line = f"{head} {record['level'].name:<7} {record['name']}: {escape(masks.hide(record['message']))}"
    return f"{line} {shown}\n" if shown else f"{line}\n"


def _quoted(text: str) -> str:
    text = escape(text, limit=2_000)
    return text if text and " " not in text and '"' not in text else '"' + text.replace('"', '\\"') + '"'


def _json_line(record: Record, masks: Masks) -> str:
    out: dict[str, Any] = {
        "ts": record["time"].isoformat(timespec="milliseconds"),
        "level": record["level"].name.lower(),
        "target": record["name"],
        "message": escape(masks.hide(record["message"])),
    }
    if error := _error(record):
        out["error"] = escape(masks.hide(error), limit=2_000)
    for key, value in _fields(record).items():
        shown = escape(masks.hide(value), limit=2_000) if isinstance(value, str) else _without(value, masks)
        out[f"{key}_" if key in out else key] = shown
    return dumps_lossy(out) + "\n"


def _without(value: Any, masks: Masks) -> Any:
    """A value of JSON with no secret in its texts; its numbers are what they are."""
    if isinstance(value, dict):
        return {masks.hide(str(key)): _without(inner, masks) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(inner, masks) for inner in value]
    return value if value is None or isinstance(value, (bool, int, float)) else masks.hide(str(value))
