"""The error of a command that started and failed."""

from __future__ import annotations


class CommandFailed(Exception):
    """A command failed while it ran. The text is the reason, one line; the exit code is 1."""
