"""The fields of a job that only some callers may read, as texts that a test can search for in any reply or event.

A job is booked with ``BOOKING``. ``fields_in`` names the private fields whose text a reply, an event or a list
contains, in any of its fields. ``READABLE`` says which of them a reader of the job may see at all.
"""

from __future__ import annotations

import json
import re
from typing import Any

BOOKING: dict[str, Any] = {
    "lat": 52.52123,
    "lon": 13.40567,
    "address": "Torstrasse 149",
    "postal_code": "10119",
    "notes": "Gate code 4711",
    "public_notes": "A tap drips",
    "reference": "order-0815",
    "metadata": {"floor": "mezzanine"},
}
MARKERS = {
    "place": "52.52123",
    "address": "Torstrasse",
    "postal_code": '"10119"',
    "notes": "4711",
    "reference": "order-0815",
    "metadata": "mezzanine",
    "customer": '"customer":{',
}
PRIVATE = frozenset(MARKERS)
PARTY = PRIVATE | {"their_phone"}
READABLE: dict[str, frozenset[str]] = {
    "customer": PARTY,
    "holder": PARTY,
    "ops": PRIVATE,
    "service": PRIVATE,
    "mediator": PRIVATE,
    "asked": frozenset(),
    "former": frozenset(),
    "loser": frozenset(),
    "never_offered": frozenset(),
    "other_customer": frozenset(),
}
"""The private fields in replies, by the reader's relation to the job. ``their_phone`` is the phone of the other party;
only replies have it.
"""
PUSHED = READABLE | {"mediator": frozenset[str]()}
"""The private fields in events. A mediator reads a job only by a request."""


def fields_in(sent: Any, phones: tuple[str, ...] = ()) -> set[str]:
    """Return the private fields in ``sent``, JSON as text or decoded. Any of ``phones`` counts as ``their_phone``."""
    text = sent if isinstance(sent, str) else json.dumps(sent, separators=(",", ":"))
    # A marker must not match inside an id.
    found = {name for name, marker in MARKERS.items() if re.search(rf"(?<!\w){re.escape(marker)}", text)}
    return found | ({"their_phone"} if any(phone in text for phone in phones) else set())
