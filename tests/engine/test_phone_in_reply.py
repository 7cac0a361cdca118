"""Tests of `contacts.add_phone`, which adds a phone number to the customer or the technician of a job's JSON and
nowhere else.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.domain import contacts
from engine.domain.contacts import PhoneOwner

MISLEADING_MEMBER = '"customer":{"technician":{'


def create_job_json(**changed: Any) -> dict[str, Any]:
    """Return a job's document whose texts and metadata contain the names of both parties."""
    parties = {
        "customer": {"id": "c", "name": MISLEADING_MEMBER},
        "notes": MISLEADING_MEMBER,
        "metadata": {"customer": {}, "technician": {"a": 1}},
    }
    return {
        "id": "j",
        **parties,
        "status": "accepted",
        "technician": {"id": "t", "name": MISLEADING_MEMBER, "rating": 5},
        **changed,
    }


@pytest.mark.parametrize("phone", ["+1 555 0100", 'the "red" one', None])
@pytest.mark.parametrize("side", ["customer", "technician"])
def test_only_the_party_gets_the_phone(side: PhoneOwner, phone: str | None) -> None:
    """Only the member of that side of the job gets `phone`; texts and metadata that look like this member do not
    change.
    """
    before = create_job_json(at={"technician": "2026-01-01T00:00:00.000Z"})
    after = msgspec.json.decode(contacts.add_phone(msgspec.json.encode(before), side, phone))
    assert after == {**before, side: {**before[side], "phone": phone}}
