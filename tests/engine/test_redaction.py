"""What is removed from the data of events when a person is erased, and what stays."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules.redaction import Person, redact_event, redact_object, redact_state, redact_text
from engine.types import UserId

ANNA = Person(
    id=UserId("usr_anna"),
    booked=frozenset({"job_main_1"}),
    worked=frozenset({"job_main_2"}),
    texts=("+1 555 0100", "Anna", "Anna Kern", "anna@example.org"),
)
JOB = {"id": "job_main_1", "customer": {"id": "usr_anna", "name": "Anna Kern"}, "lat": 40.7512, "lon": -73.9987}


def redact(data: Any, event_type: str = "job.status", actor: str = "engine", to: tuple[str, ...] = ()) -> Any:
    """Return the data of an event after the data of Anna were removed."""
    return msgspec.json.decode(redact_event(ANNA, event_type, actor, to, msgspec.json.encode(data).decode()))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"job": {**JOB, "address": "1 Main St", "notes": "bell", "metadata": {"a": 1}, "amount": 5}},
            {
                "job": {
                    "id": "job_main_1",
                    "customer": {"id": "usr_anna", "name": ""},
                    "lat": 40.8,
                    "lon": -74.0,
                    "address": "",
                    "notes": None,
                    "metadata": None,
                    "amount": 5,
                }
            },
        ),
        (
            {"offer": {"job": {"id": "job_main_1", "public_notes": "loft"}}},
            {"offer": {"job": {"id": "job_main_1", "public_notes": None}}},
        ),
        ({"technician": {"id": "usr_tom", "name": "Tom"}}, {"technician": {"id": "usr_tom", "name": "Tom"}}),
        (
            {"message": {"n": 3, "sender": {"id": "usr_anna", "name": "A"}, "text": "hi", "files": ["f"]}},
            {"message": {"n": 3, "sender": {"id": "usr_anna", "name": ""}, "text": "", "files": [], "erased": True}},
        ),
        (
            {
                "message": {
                    "n": 4,
                    "sender": {"id": "usr_tom", "name": "Tom"},
                    "text": "Anna Kern or Anna +1 555 0100",
                }
            },
            {"message": {"n": 4, "sender": {"id": "usr_tom", "name": "Tom"}, "text": "[erased] or Anna [erased]"}},
        ),
        (
            {"dispute": {"id": "dsp_1", "job": "job_main_2", "reason": "it drips", "status": "open"}},
            {"dispute": {"id": "dsp_1", "job": "job_main_2", "reason": "", "status": "open"}},
        ),
        (
            {"proposal": {"id": "p", "by": {"id": "usr_tom"}, "reason": "a part"}},
            {"proposal": {"id": "p", "by": {"id": "usr_tom"}, "reason": "a part"}},
        ),
        (
            {"bid": {"id": "b", "technician": {"id": "usr_anna", "name": "Anna Kern"}, "note": "I am near"}},
            {"bid": {"id": "b", "technician": {"id": "usr_anna", "name": ""}, "note": ""}},
        ),
    ],
)
def test_what_is_theirs_is_removed_in_its_place(data: Any, expected: Any) -> None:
    """Names, addresses and texts of the erased person are removed from an event's data; those of other people stay."""
    assert redact(data) == expected


def test_the_reason_of_their_own_step_is_removed() -> None:
    """The reason of a command is removed if the erased person gave the command; the reason of a review is removed if
    the review is about the erased technician.
    """
    assert redact({"reason": "moved"}, actor="customer:usr_anna") == {"reason": ""}
    assert redact({"reason": "moved"}, actor="technician:usr_tom") == {"reason": "moved"}
    review = {"technician": {"id": "usr_anna"}, "reason": "passport is blurred"}
    assert redact(review, "technician.reviewed", "admin:x") == {"technician": {"id": "usr_anna"}, "reason": ""}


def test_notifications_lose_their_texts() -> None:
    """A notification to the erased person is emptied. A notification to somebody else loses the person's name, even if
    the name is a single word.
    """
    data = {"id": "ntf_1", "title": "Update", "body": "Anna will do your booking."}
    assert redact(data, "notification", to=("user:usr_anna",)) == {"id": "ntf_1", "title": "", "body": ""}
    told = redact(data, "notification", to=("user:usr_tom",))
    assert told == {"id": "ntf_1", "title": "Update", "body": "[erased] will do your booking."}


def test_data_that_is_not_json_is_emptied_if_it_names_the_person() -> None:
    """Other broken data stays, so that its leaf in the audit tree still matches."""
    assert redact_event(ANNA, "x", "engine", (), '{"id":"usr_anna",') == "{}"
    assert redact_event(ANNA, "x", "engine", (), '{"id":"usr_tom",') == '{"id":"usr_tom",'
    assert redact_event(ANNA, "x", "engine", (), "[1]") == "[1]"


def test_a_word_is_replaced_as_a_whole() -> None:
    """A name is removed only where it is a whole word, not where it is part of a longer word."""
    person = Person(id=UserId("u"), texts=("Anna-Lena Kern",))
    assert redact_text(person, "Hanna-Lena Kernel") == "Hanna-Lena Kernel"
    assert redact_text(person, "to ANNA-LENA KERN.") == "to [erased]."
    short = Person(id=UserId("u"), texts=("Al", ""))
    assert redact_text(short, "Al will al so", is_notice=True) == "[erased] will al so"
    assert redact_text(short, "Al will") == "Al will"


NUMBERED = Person(id=UserId("usr_n"), texts=("2026", "5000", "home_service", "pi_77"))
"""A person whose name and addresses are also words of the engine and of the payment service."""


def test_what_the_engine_wrote_stays() -> None:
    """The person's name and contact details are removed from texts of people, also in metadata whose names equal the
    engine's. Times, ids, states and payment references that contain the same text stay.
    """
    metadata = {"status": "home_service", "id": "2026", "amount": 1, "currency": "x", "reference": "pi_77"}
    job = {"id": "job_main_2", "phase": "done", "blueprint": "home_service", "reference": "pi_77", "metadata": metadata}
    money = {"status": "captured", "amount": 5000, "currency": "USD", "reference": "pi_77", "of": "pi_77"}
    event = {"job": job, "payment": money, "created_at": "2026-12-01T02:40:14.016Z", "reason": "2026 or pi_77"}
    redacted = msgspec.json.decode(redact_object(NUMBERED, msgspec.json.encode(event).decode()))
    erased = dict.fromkeys(("status", "id", "reference"), "[erased]")
    assert redacted.pop("reason") == "[erased] or [erased]"
    assert redacted.pop("job") == {**job, "reference": "[erased]", "metadata": {**metadata, **erased}}
    assert redacted == {name: event[name] for name in ("payment", "created_at")}


def test_the_state_of_a_live_job_keeps_its_numbers() -> None:
    """After the erasure of a technician who had an offer, the state of the job still has its amounts, its offers and
    its times, which a rebuild needs.
    """
    numbers = {"paid": "5000", "hold": 'pay_1_2_hold 5000 "pi_77"', "last": "pay service:home_service 5000"}
    change = {"offers": {"usr_t": "sent 1 2026 5000 0"}, "next": 2026}
    texts = {"dispute": '"reason":"since 2026"', "contact": '"5000"', "proposal": 'open p 5000 a b 2026 "for 2026"'}
    state = msgspec.json.encode({**change, "fields": {**numbers, **texts}}).decode()
    redacted = msgspec.json.decode(redact_state(NUMBERED, state))
    assert redacted == {
        **change,
        "fields": {
            **numbers,
            "dispute": '"reason":"since [erased]"',
            "contact": '"[erased]"',
            "proposal": 'open p 5000 a b 2026 "for [erased]"',
        },
    }
    assert redact_state(ANNA, state) == state and redact_state(NUMBERED, '{"next":1}') == '{"next":1}'


_TEXTS = st.sampled_from(["Anna Kern", "x", "usr_anna", "anna@example.org", "job_main_1", "usr_tom"])
_FIELD_NAMES = st.sampled_from(
    ["id", "job", "customer", "sender", "text", "reason", "note", "by", "technician", "name", "lat"]
)
_FIELD_VALUES = st.recursive(
    _TEXTS | st.floats(-90, 90) | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_FIELD_NAMES, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150)
@given(st.dictionaries(_FIELD_NAMES, _FIELD_VALUES, max_size=4), st.sampled_from(["notification", "job.status"]))
def test_a_second_redaction_changes_nothing(data: dict[str, Any], event_type: str) -> None:
    """A second removal of a person's data changes nothing in data of any form, and no full name of the person is
    left.
    """
    once = redact_event(ANNA, event_type, "customer:usr_anna", ("user:usr_anna",), msgspec.json.encode(data).decode())
    assert redact_event(ANNA, event_type, "customer:usr_anna", ("user:usr_anna",), once) == once
    assert "Anna Kern" not in once and "anna@example.org" not in once
    text = msgspec.json.encode(data).decode()
    assert redact_object(ANNA, redact_object(ANNA, text)) == redact_object(ANNA, text)
