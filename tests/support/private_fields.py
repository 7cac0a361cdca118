"""The private fields of a job. For each, a test searches for a text in replies and events.

A test books a job with ``BOOKING`` and calls ``fields_in`` on what a caller received. The result must be within
``REPLY_FIELDS`` (replies) or ``EVENT_FIELDS`` (events) for the caller's relation to the job.
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
    "notes": "The code of gate 4711",
    "public_notes": "A tap drips",
    "reference": "order-0815",
    "metadata": {"floor": "mezzanine"},
}
MARKERS = {
    "place": "52.52123",
    "address": "Torstrasse",
    "postal_code": '"10119"',
    "notes": "gate 4711",
    "reference": "order-0815",
    "metadata": "mezzanine",
    "customer": '"customer":{',
}
"""For each private field, the text that occurs in a JSON document exactly if the document contains the field."""
PRIVATE_FIELDS = frozenset(MARKERS)
PARTY_FIELDS = PRIVATE_FIELDS | {"their_phone"}
REPLY_FIELDS: dict[str, frozenset[str]] = {
    "customer": PARTY_FIELDS,
    "holder": PARTY_FIELDS,
    "ops": PRIVATE_FIELDS,
    "service": PRIVATE_FIELDS,
    "mediator": PRIVATE_FIELDS,
    "asked": frozenset(),
    "former": frozenset(),
    "loser": frozenset(),
    "never_offered": frozenset(),
    "other_customer": frozenset(),
}
"""The private fields that a reply may contain, by the caller's relation to the job. ``their_phone`` is the phone number
of the other party; events never contain it.
"""
EVENT_FIELDS = REPLY_FIELDS | {"mediator": frozenset[str]()}
"""The private fields that an event may contain, by the recipient's relation to the job. A mediator receives none:
mediators read jobs by request only.
"""


def fields_in(sent: Any, phones: tuple[str, ...] = ()) -> set[str]:
    """Return the private fields that ``sent`` contains: a JSON text or a decoded document. ``their_phone`` is among
    them if the text contains one of ``phones``.
    """
    text = sent if isinstance(sent, str) else json.dumps(sent, separators=(",", ":"))
    # A marker must not match inside an id.
    found = {
        name for name, marker in MARKERS.items() if marker in text and re.search(rf"(?<!\w){re.escape(marker)}", text)
    }
    return found | ({"their_phone"} if any(phone in text for phone in phones) else set())
