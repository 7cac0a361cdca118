"""Logging of Callout and its libraries to stderr: readable text on a terminal, JSON lines otherwise.

A line that cannot be written (stderr is a full disk or a closed pipe) is counted and dropped: logging must never stop
the server.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor


class Sink:
    """A text stream whose ``write`` never raises. If the underlying stream has a file descriptor, ``write`` uses the
    descriptor directly. With Python's buffer, text that could not be written would stay in the buffer and raise an
    error when the process exits.
    """

    lost_lines = 0
    """Lines that could not be written in this process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        try:
            self._fd: int | None = stream.fileno()
        except (OSError, ValueError, AttributeError):
            self._fd = None

    def write(self, text: str) -> int:
        """Write the whole text, or count it as lost. Return its length in characters."""
        try:
            if self._fd is None:
                self._stream.write(text)
            else:
                _write_all(self._fd, text.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):
            Sink.lost_lines += 1
        return len(text)

    def flush(self) -> None:
        """Do nothing, because ``write`` does not buffer."""


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def write_line(text: str) -> None:
    """Write one line to stderr, if possible."""
    Sink(sys.stderr).write(text + "\n")


def configure(level: str) -> None:
    """Set up structlog and the standard library's logging for this process. ``level`` is the lowest level shown."""
    number = logging.getLevelNamesMapping()[level.upper()]
    sink = cast("TextIO", Sink(sys.stderr))
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, *_renderers()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sink),
    )
    handler: logging.StreamHandler[Any] = logging.StreamHandler(sink)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers()],
        )
    )
    # Libraries log only warnings and errors. Our own log describes the normal work.
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def _renderers() -> list[Processor]:
    if sys.stderr.isatty():
        return [structlog.dev.ConsoleRenderer()]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
