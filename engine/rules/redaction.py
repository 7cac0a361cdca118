"""Remove a person's data from the JSON of events and of projected objects (pure functions).

These are removed: the person's name beside their id; the address and the texts of a job that they booked; the texts of
their messages, bids, proposals and disputes; the files of their messages, and those of all messages about a job that
they booked. The person's name, e-mail address and phone number are also replaced in all other texts of the same events,
even if other people wrote them. A name of one word is replaced only in notifications, because it may be a word of the
language.

To redact twice has the same result as once: a process that was interrupted begins again.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from engine.types import RoomId, UserId, job_of_room

REPLACEMENT = "[erased]"
MIN_TEXT_LENGTH = 4
"""Shorter texts are not searched for in the texts that others wrote."""
_JOB_TEXT_MEMBERS = ("postal_code", "notes", "public_notes", "reference")
_POSITION_DECIMALS = 1
"""The position of an erased job is rounded to about 10 km: enough for statistics of an area."""
_RECEIPT_TEXT_MEMBERS = ("record", "name", "salt")
"""The texts in the receipt of a signed job, which has the id of the job with `rcp` for `job`."""
_AUTHOR_TEXT_MEMBERS = ("reason", "note")
_ENGINE_TEXT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|[a-z]{3}_([a-z0-9-]+_)?[0-9a-z]{26}[0-9a-z_]*")
"""A time, or an id with a ULID."""
_ENGINE_WORD = re.compile(r"[a-z][a-z0-9_-]*")
_ENGINE_WORD_MEMBERS = frozenset(
    ("id", "zone", "blueprint", "phase", "status", "from", "to", "command", "kind", "why", "role", "step", "pricing")
)
"""The members whose words the engine or a blueprint wrote."""
_STATE_TEXT_FIELDS = ("contact", "dispute")
"""The fields of a job's hash that have texts of people; `proposal` has one behind its first `_PROPOSAL_PARTS`."""
_PROPOSAL_PARTS = 6


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A person who is erased. ``booked`` are the jobs of which they are the customer, ``worked`` those that they did or
    were offered. ``texts`` are their names, e-mail addresses and phone numbers, and addresses and notes of their jobs.
    """

    id: UserId
    booked: frozenset[str] = frozenset()
    worked: frozenset[str] = frozenset()
    texts: tuple[str, ...] = ()


def redact_event(person: Person, event_type: str, actor: str, to: Iterable[str], data: str) -> str:
    """Return an event's data as JSON without the data of a person; the same text if it has none of theirs. Data that is
    not JSON is emptied if it names the person.
    """
    try:
        members = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return "{}" if person.id in data else data
    if not isinstance(members, dict):
        return data
    redacted = _redact(person, members, is_notice=event_type == "notification")
    if event_type == "notification" and f"user:{person.id}" in to:
        redacted |= {name: "" for name in ("title", "body") if name in redacted}
    is_own = actor.partition(":")[2] == person.id
    is_review = event_type == "technician.reviewed" and _id_of_member(members, "technician") == person.id
    if (is_own or is_review) and isinstance(redacted.get("reason"), str):
        redacted["reason"] = ""
    return data if redacted == members else msgspec.json.encode(redacted).decode()


def redact_object(person: Person, text: str) -> str:
    """Return a projected object (a job, bid, message, room or payment as JSON) without the person's data."""
    members = msgspec.json.decode(text)
    redacted = _redact(person, members, is_notice=False)
    return text if redacted == members else msgspec.json.encode(redacted).decode()


def redact_state(person: Person, text: str) -> str:
    """Return a row of ``job_states`` without the person's data. Only texts of people are changed. The other fields
    contain numbers and ids, which a rebuild of the zone needs for the jobs of other people, and such a number could be
    the name that the person gave.
    """
    members = msgspec.json.decode(text)
    fields = dict(members.get("fields", {}))
    for name in _STATE_TEXT_FIELDS:
        if name in fields:
            fields[name] = redact_text(person, fields[name])
    parts = fields.get("proposal", "").split(" ", _PROPOSAL_PARTS)
    if len(parts) > _PROPOSAL_PARTS:
        fields["proposal"] = " ".join([*parts[:-1], redact_text(person, parts[-1])])
    return text if fields == members.get("fields", {}) else msgspec.json.encode({**members, "fields": fields}).decode()


def redact_text(person: Person, text: str, *, is_notice: bool = False) -> str:
    """Return a text that another user, or a template, wrote, without the person's name and contact details."""
    pattern = _search_pattern(person.texts, is_notice)
    return pattern.sub(REPLACEMENT, text) if pattern else text


def _redact(person: Person, value: Any, *, is_notice: bool, member: str = "", in_metadata: bool = False) -> Any:
    if isinstance(value, str):
        is_engines = not in_metadata and _is_engine_text(member, value)
        return value if is_engines else redact_text(person, value, is_notice=is_notice)
    if isinstance(value, list):
        return [_redact(person, each, is_notice=is_notice, member=member, in_metadata=in_metadata) for each in value]
    if not isinstance(value, dict):
        return value
    redacted = {
        name: _redact(person, each, is_notice=is_notice, member=name, in_metadata=in_metadata or name == "metadata")
        for name, each in value.items()
    }
    if not in_metadata and _is_money_record(value):
        redacted |= {name: value[name] for name in ("reference", "of") if name in value}
    if value.get("id") == person.id:
        redacted |= {name: "" for name in ("name", "phone", "email") if value.get(name)}
    if _is_in(value.get("id"), person.booked) or _id_of_member(value, "customer") == person.id:
        _redact_job(redacted)
    if _id_of_member(value, "sender") == person.id and "text" in value:
        redacted |= {"text": "", "files": [], "erased": True}
    if "sender" in value and value.get("files") and _is_in(_job_of_room(value.get("room")), person.booked):
        redacted["files"] = []
    if "record" in value and _is_in(f"job{str(value.get('id'))[3:]}", person.booked):
        redacted |= {name: "" for name in _RECEIPT_TEXT_MEMBERS if value.get(name)}
    if _is_author(person, value):
        redacted |= {name: "" for name in _AUTHOR_TEXT_MEMBERS if isinstance(value.get(name), str)}
    return redacted


def _is_engine_text(member: str, text: str) -> bool:
    is_word = member in _ENGINE_WORD_MEMBERS and _ENGINE_WORD.fullmatch(text)
    return bool(is_word or _ENGINE_TEXT.fullmatch(text))


def _is_money_record(value: dict[str, Any]) -> bool:
    """Return whether an object is a payment or a payout. An object with a phase is a job, whose reference is a text of
    the customer.
    """
    return value.keys() >= {"status", "amount", "currency"} and "phase" not in value


def _redact_job(job: dict[str, Any]) -> None:
    if "address" in job:
        job["address"] = ""
    job |= {name: None for name in _JOB_TEXT_MEMBERS if job.get(name) is not None}
    if job.get("metadata") is not None:
        job["metadata"] = None
    for name in ("lat", "lon"):
        if isinstance(job.get(name), float):
            job[name] = round(job[name], _POSITION_DECIMALS)


def _is_author(person: Person, value: dict[str, Any]) -> bool:
    """Return whether the person wrote the texts of an object: a dispute or a proposal ``by`` them, or their bid. The
    summary of a dispute does not name the author of its reason, so either party of the job counts as its author.
    """
    if "by" in value:
        return bool(_id_of_member(value, "by") == person.id)
    job = value.get("job")
    if _id_of_member(value, "technician") == person.id and "note" in value:
        return True
    is_summary = "reason" in value and "status" in value and isinstance(job, str)
    return is_summary and (_is_in(job, person.booked) or _is_in(job, person.worked))


def _is_in(name: Any, ids: frozenset[str]) -> bool:
    """Return whether ``name`` is one of ``ids``; it may be anything, because customers choose what ``metadata`` has."""
    return isinstance(name, str) and name in ids


def _job_of_room(room: Any) -> str:
    """Return the id of the job of a room; "" if it has none."""
    is_room = isinstance(room, str) and room.startswith("room_")
    return job_of_room(RoomId(room)) if is_room else ""


def _id_of_member(value: dict[str, Any], name: str) -> Any:
    inner = value.get(name)
    return inner.get("id") if isinstance(inner, dict) else None


@functools.lru_cache(maxsize=8)
def _search_pattern(texts: tuple[str, ...], is_notice: bool) -> re.Pattern[str] | None:
    """Return the pattern that finds these texts as whole words. In a notification, which is a template with names in
    it, it also finds names of one word, and short names if upper and lower case are the same.
    """
    parts = []
    for text in sorted(filter(None, texts), key=len, reverse=True):
        if len(text) >= MIN_TEXT_LENGTH and (is_notice or not text.isalpha()):
            parts.append(re.escape(text))
        elif is_notice:
            parts.append(f"(?-i:{re.escape(text)})")
    return re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)", re.IGNORECASE) if parts else None
