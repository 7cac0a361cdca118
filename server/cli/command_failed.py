"""How a command of the ``callout`` script says that it could not do what it was asked."""

from __future__ import annotations


class Failed(Exception):
    """The reason is its text, one line. Exit code 1."""
