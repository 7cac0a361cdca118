"""The audience of an event: the words that a blueprint may declare, the default audiences, and the channels for each
word.

The channels of an event in the log are computed in Lua (lua/lib/audience.lua), in the step that emits the event: only
the step knows who holds the job. Live positions and announcements get their channels in Python, by the functions below.
tests/lua/test_audience.py checks that Lua and Python give the same channels.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.blueprint.event_catalogue import EVENT_TYPES
from engine.types import ROLES

PARTY_WORDS = frozenset({"customer", "holder"})
"""The words that name one person of the job."""
ROLE_OF_PLURAL = {"customers": "customer", "technicians": "technician"}
"""The words that name all people of a role, each with that role. All other words are the name of a role or one of
``ROLE_GROUP_WORDS``.
"""
TECHNICIANS_WORD = "technicians"
ROLE_GROUP_WORDS = frozenset({"ops", "managers"})
"""The words that name several roles together."""
AUDIENCE_WORDS = (
    PARTY_WORDS | ROLE_GROUP_WORDS | ROLE_OF_PLURAL.keys() | (frozenset(ROLES) - set(ROLE_OF_PLURAL.values()))
)
"""All words that an event's ``to`` may contain."""

DEFAULT_AUDIENCES = {event.type: event.audience for event in EVENT_TYPES.values() if event.audience}
"""The audience of each event if the blueprint declares none. An event without an entry here then goes to nobody."""


def role_of(word: str) -> str:
    """Return the role that a word of an audience names: ``technician`` for ``technicians``. The word is not in
    ``PARTY_WORDS``.
    """
    return ROLE_OF_PLURAL.get(word, word)


def whole_job_channels(recipient_words: Iterable[str], customer: str, holder: str) -> set[str]:
    """Return the channels of an event that contains a whole job. The word ``technicians`` gives no channel, because
    technicians who do not hold the job receive only its public part.
    """
    users = {"customer": f"user:{customer}", "holder": f"user:{holder}"}
    return {users.get(word) or f"role:{role_of(word)}" for word in recipient_words if word != TECHNICIANS_WORD}
