"""What of a job only some may read, as words that can be looked for in whatever somebody is sent.

A job is booked with ``BOOKED``; ``found_in`` names the secrets that stand in a reply, an event or a list, in whatever
field. ``MAY`` says which of them a reader of a job may ever see.
"""

from __future__ import annotations

import json
import re
from typing import Any

BOOKED: dict[str, Any] = {
    "lat": 52.52123,
    "lon": 13.40567,
    "address": "Torstrasse 149",
    "postal_code": "10119",
    "notes": "Gate code 4711",
    "public_notes": "A tap drips",
    "reference": "order-0815",
    "metadata": {"floor": "mezzanine"},
}
WORDS = {
    "place": "52.52123",
    "address": "Torstrasse",
    "postal_code": '"10119"',
    "notes": "4711",
    "reference": "order-0815",
    "metadata": "mezzanine",
    "customer": '"customer":{',
}
PARTS = frozenset(WORDS)
PARTY = PARTS | {"their_phone"}
MAY: dict[str, frozenset[str]] = {
    "customer": PARTY,
    "holder": PARTY,
    "ops": PARTS,
    "service": PARTS,
    "mediator": PARTS,
    "asked": frozenset(),
    "former": frozenset(),
    "loser": frozenset(),
    "never_offered": frozenset(),
    "other_customer": frozenset(),
}
"""By what somebody is to the job. ``their_phone`` is the other party's, in replies alone."""
TOLD = MAY | {"mediator": frozenset[str]()}
"""The same of what comes by itself: a mediator reads a job by asking for it."""


def found_in(sent: Any, phones: tuple[str, ...] = ()) -> set[str]:
    """The secrets in ``sent``, JSON as text or decoded; of ``phones`` any counts as ``their_phone``."""
    text = sent if isinstance(sent, str) else json.dumps(sent, separators=(",", ":"))
    found = {name for name, word in WORDS.items() if re.search(rf"(?<!\w){re.escape(word)}", text)}  # no part of an id
    return found | ({"their_phone"} if any(phone in text for phone in phones) else set())
