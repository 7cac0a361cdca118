"""Who receives an event: the words of a declaration, the audience of an event that no declaration names, and the
channels that the words stand for.

An event of the log gets its channels in Lua (lua/lib/audience.lua), in the step itself: who holds the job is known only
there. Live positions and announcements are addressed in Python, by the functions below.
tests/lua/test_audience.py checks that both give the same channels.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.blueprint.event_catalogue import BY_TYPE
from engine.types import ROLES

PARTIES = frozenset({"customer", "holder"})
"""The words that stand for one person of the job."""
PLURALS = {"customers": "customer", "technicians": "technician"}
"""The words for all people of a role. Each other word is a role, or one of ``ALIASES`` for several roles."""
TECHNICIANS = "technicians"
ALIASES = frozenset({"ops", "managers"})
AUDIENCES = PARTIES | ALIASES | PLURALS.keys() | (frozenset(ROLES) - set(PLURALS.values()))
"""The words of an event's ``to``."""

DEFAULTS = {event.type: event.audience for event in BY_TYPE.values() if event.audience}
"""The audience of an event of which the blueprint does not say who receives it. All other events go to nobody then."""


def role_of(word: str) -> str:
    """The role that a word which names no party stands for, in the singular."""
    return PLURALS.get(word, word)


def channels(words: Iterable[str], customer: str, holder: str) -> set[str]:
    """The channels of an event about a job, for those who may see all of it. ``technicians`` are left out: technicians
    who do not hold the job receive only its public part.
    """
    users = {"customer": f"user:{customer}", "holder": f"user:{holder}"}
    return {users.get(word) or f"role:{role_of(word)}" for word in words if word != TECHNICIANS}
