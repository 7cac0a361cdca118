"""The error of a command that started and failed."""

from __future__ import annotations


class CommandFailed(Exception):
    """Raised if a command fails while it runs. The text is the reason in one line. The exit code is then 1."""
