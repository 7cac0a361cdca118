"""Acknowledgement levels: what an acknowledged command survives (``CALLOUT_DURABILITY``, docs/durability.md).

Each level has requirements. They are checked at the start and on each new connection, because a failover changes the
server. A process that cannot give its level does not start, or does no commands.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["fast", "replica", "aof", "sql"]


class LevelReport(NamedTuple):
    """The result of checking the requirements of an acknowledgement level. ``checks`` is what was found, ``problems``
    is why the level cannot be given, ``warnings`` is what weakens the level without contradicting it. Each entry is a
    phrase or a sentence.
    """

    checks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
