"""Canonical JSON and the record of a job (pure rules)."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
import rfc8785

from engine.rules import job_record
from engine.rules.canonical import MAX_DEPTH, MAX_INTEGER, NotCanonical, canonical_json
from engine.rules.job_record import record_of_job
from engine.rules.signature_image import MAX_CHUNKS, NotASignature, Point, clean_png, encode_strokes
from tests.support.signatures import chunk, make_png

DOCUMENTS = 20_000
CHARACTERS = 'aZ09 _-"\\/\b\f\n\r\t\0\x1f\x7f\x80é\u2028\u20ac\ufb33\ufeff\U0001f600\U0010ffff'
NUMBERS = (0, 1, -1, 10, MAX_INTEGER, -MAX_INTEGER, 525200000)


def random_value(rng: random.Random, depth: int = 0) -> Any:
    """Return a random value of the domain."""
    kind = rng.randrange(8 if depth < 3 else 6)
    if kind < 2:
        return "".join(rng.choices(CHARACTERS, k=rng.randrange(8)))
    if kind < 4:
        return rng.choice(NUMBERS) if kind == 2 else rng.randint(-MAX_INTEGER, MAX_INTEGER)
    if kind < 6:
        return rng.choice((None, True, False))
    if kind == 6:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    names = ("".join(rng.choices('aZ09_-."\\\n ~', k=rng.randrange(5))) for _ in range(rng.randrange(5)))
    return {name: random_value(rng, depth + 1) for name in names}


def test_the_bytes_are_those_of_rfc_8785() -> None:
    """The canonical bytes of random documents equal those of another implementation, and decode to the same value."""
    rng = random.Random(8785)
    for _ in range(DOCUMENTS):
        value = {"v": random_value(rng)}
        text = canonical_json(value)
        assert text == rfc8785.dumps(value)
        assert msgspec.json.decode(text) == value


def test_what_is_outside_the_domain_is_refused() -> None:
    """Floats, large integers, names that are not ASCII, lone surrogates, other types and deeply nested values are
    refused with the pointer of the value.
    """
    deep: Any = []
    for _ in range(MAX_DEPTH):
        deep = [deep]
    for value, pointer in (
        (1.0, "/a/0"),
        (float("nan"), "/a/0"),
        (MAX_INTEGER + 1, "/a/0"),
        (-MAX_INTEGER - 1, "/a/0"),
        ("\ud800", "/a/0"),
        ({"é": 1}, "/a/0"),
        ({1: 1}, "/a/0"),
        (b"x", "/a/0"),
        ({"b": {1, 2}}, "/a/0/b"),
    ):
        with pytest.raises(NotCanonical) as caught:
            canonical_json({"a": [value]})
        assert caught.value.pointer == pointer
    with pytest.raises(NotCanonical, match="levels"):
        canonical_json(deep)


JOB: dict[str, Any] = {
    "id": "job_main_1",
    "zone": "main",
    "blueprint": "managed",
    "customer": {"id": "usr_c", "name": "Carla"},
    "technician": {"id": "usr_t", "name": "Tom", "rating": 4.5},
    "service": "srv_1",
    "lat": 52.5200001,
    "lon": -0.00000005,
    "address": "Torstraße 1",
    "postal_code": None,
    "currency": "EUR",
    "pricing": "flat",
    "notes": "gate 4711",
    "scheduled_for": None,
    "duration_min": 60,
    "quote": {"id": "quo_main_1", "amount": 9000, "breakdown": []},
    "metadata": {"x": 1.5},
    "created_at": "2026-01-31T12:00:00.000Z",
    "amount": 9000,
    "version": 6,
    "status": "work_done",
    "at": {"requested": "2026-01-31T12:00:00.000Z", "work_done": "2026-01-31T13:00:00.000Z"},
    "photos": [{"id": "fil_1", "sha256": "ab" * 32, "kind": "jpeg", "bytes": 1, "by": "usr_t", "at": "x"}],
}


def record_of(**changes: Any) -> str:
    """Return the digest of the job's record with these changes."""
    record = record_of_job(msgspec.json.encode({**JOB, **changes}))
    assert record is not None
    return record.sha256


def test_the_record_has_what_lasts_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record changes with each of its members, and does not change with a signature, a payment, a rating or another
    name. The record of a signed job is the one that was signed, also with an older text of consent, until an erasure.
    """
    digest = record_of()
    for change in (
        {"amount": 9001},
        {"address": "Torstraße 2"},
        {"lat": 52.5200002},
        {"photos": []},
        {"photos": [*JOB["photos"], {"sha256": "cd" * 32, "kind": "png"}]},
        {"technician": {"id": "usr_u"}},
        {"quote": None},
        {"at": {**JOB["at"], "disputed": "2026-01-31T13:30:00.000Z"}},
    ):
        assert record_of(**change) != digest, change
    signed = {"receipt": "rcp_main_1", "sha256": digest, "at": "2026-01-31T14:00:00.000Z"}
    later = {"signed": signed["at"], "paid": "2026-01-31T15:00:00.000Z"}
    same = {
        "signed": signed,
        "at": {**JOB["at"], **later},
        "version": 9,
        "status": "paid",
        "paid_amount": 9000,
        "notes": None,
        "metadata": None,
        "customer": {"id": "usr_c", "name": ""},
        "technician": {"id": "usr_t", "name": "Thomas", "phone": "+1"},
    }
    assert record_of(**same) == digest
    monkeypatch.setattr(job_record, "CONSENTS", {**job_record.CONSENTS, 2: "Another text."})
    assert record_of(**same) == digest
    assert record_of_job(msgspec.json.encode({**JOB, **same, "address": ""})) is None
    record = msgspec.json.decode(record_of_job(msgspec.json.encode(JOB)).text)  # type: ignore[union-attr]
    assert (record["place"]["lat_e7"], record["place"]["lon_e7"]) == (525200001, 0)


def test_an_image_loses_its_metadata_and_nothing_else() -> None:
    """A PNG keeps its pixels and loses every other chunk. An image that is cut off, damaged, too large or not a PNG is
    refused, and so are strokes without points.
    """
    plain = make_png()
    noted = make_png(extra=chunk(b"tEXt", b"Author\0Carla") + chunk(b"eXIf", b"GPS")) + b"after the end"
    assert clean_png(noted) == plain == clean_png(plain)
    refused = [plain[:at] for at in range(len(plain))]
    refused += [plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :] for at in range(len(plain))]
    refused += [
        make_png(5_000, 1),
        make_png(0, 1),
        make_png(extra=chunk(b"ABCD", b"x")),
        plain[:8] + chunk(b"IEND", b""),
    ]
    refused += [plain + bytes(256 * 1024), b"<svg/>", b"\xff\xd8\xff\xe0"]
    for data in refused:
        with pytest.raises(NotASignature):
            clean_png(data)
    with pytest.raises(NotASignature, match="chunks"):
        clean_png(make_png(extra=chunk(b"tEXt", b"") * MAX_CHUNKS))
    drawn = [[[1, 2, 0], [3, 4, 5]], [[-1_000_000, 1_000_000]]]
    strokes = msgspec.json.decode(msgspec.json.encode(drawn), type=list[list[Point]])
    assert encode_strokes(strokes) == canonical_json(drawn) == b"[[[1,2,0],[3,4,5]],[[-1000000,1000000]]]"
    point = Point(1, 2)
    for wrong in ([], [[]], [[point], []], [[point]] * 501, [[point] * 5001]):
        with pytest.raises(NotASignature):
            encode_strokes(wrong)
