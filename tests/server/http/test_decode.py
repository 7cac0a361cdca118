"""Tests of the decoding of bodies and queries: one refusal names every invalid field by its JSON pointer."""

from __future__ import annotations

import json

import msgspec
import pytest

from engine.errors import Invalid, NotJson
from engine.rules.signature_image import Point, encode_strokes
from server.gateway import protocol
from server.schemas import decode, fields, json_text, query
from server.schemas.fields import MAX_METADATA_DEPTH
from server.schemas.jobs import Commands, JobsQuery, NewJob, Step
from server.schemas.positions import Location
from server.schemas.technicians import Review, SetAvailability, TechniciansQuery
from server.schemas.vault import Sign

JOB = {"service": "srv_1", "lat": 52.5, "lon": 13.4, "address": "Torstrasse 1"}


def errors_in(kind: type[decode.Body], value: object) -> dict[str, str]:
    """Assert that ``value`` is refused with 422, and return the refusal's errors: JSON pointer to detail."""
    with pytest.raises(Invalid) as refusal:
        decode.decode_body(kind, json.dumps(value).encode())
    assert refusal.value.status == 422
    return dict(refusal.value.errors)


@pytest.mark.parametrize(
    "raw", [b"{", b"nonsense", b'{"lat": NaN}', b"\xff", b"{} {}", b'"\\ud800"', b"[" * 20_000, b'{"a":' * 9_000]
)
def test_malformed_json_is_400(raw: bytes) -> None:
    """Broken, truncated, doubled and too deeply nested JSON, NaN and invalid UTF-8 are refused with 400."""
    with pytest.raises(NotJson) as refusal:
        decode.decode_body(NewJob, raw)
    assert refusal.value.status == 400


def test_every_wrong_field_is_named() -> None:
    """One refusal names an unknown, a missing, a mistyped and an out-of-range field together."""
    errors = errors_in(NewJob, {"service": "srv 1", "lat": "52", "lon": 181, "colour/size": 1})
    assert set(errors) == {"/service", "/lat", "/lon", "/colour~1size", "/address"}
    assert errors["/address"] == "Required"
    assert errors["/colour~1size"] == "Unknown field"


def test_wrong_fields_inside_a_list_are_named_by_their_index() -> None:
    """If several fixes of a list are invalid, the refusal names each invalid field with the index of its fix."""
    errors = errors_in(Location, {"fixes": [{"lat": 91, "lon": 2.0, "at": "noon"}, {"lon": 2.0}]})
    assert set(errors) == {"/fixes/0/lat", "/fixes/0/at", "/fixes/1/lat"}


@pytest.mark.parametrize("value", [[], "text", 7, None, True])
def test_a_body_that_is_not_an_object_is_refused(value: object) -> None:
    """JSON that is not an object is refused with the empty pointer, which means the whole body."""
    assert set(errors_in(NewJob, value)) == {""}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lat", 90.000001),
        ("lat", -91),
        ("lon", 180.5),
        ("lon", -1e300),
        ("lat", None),
        ("amount", -1),
        ("amount", 1.5),
        ("amount", 10**15),
        ("amount", "12"),
        ("amount", True),
        ("currency", "eur"),
        ("currency", "ZZZ"),
        ("address", "   "),
        ("address", "a\x00b"),
        ("notes", "a\x00b"),
        ("service", "srv:1"),
        ("service", "{main}:log"),
        ("customer", "x" * 65),
        ("reference", "r" * 129),
        ("metadata", []),
        ("metadata", {"a": 2**60}),
        ("metadata", {"a": "x" * 5_000}),
    ],
)
def test_an_invalid_value_is_refused_at_its_field(field: str, value: object) -> None:
    """A value that is out of range, mistyped or too long, or that contains characters that cannot be stored, is refused
    with the pointer of its field.
    """
    assert set(errors_in(NewJob, {**JOB, field: value})) == {f"/{field}"}


def test_metadata_has_a_maximum_depth() -> None:
    """Metadata with more than `MAX_METADATA_DEPTH` levels, which Lua's JSON decoder would not read, is refused."""
    deep: object = 1
    for _ in range(MAX_METADATA_DEPTH + 1):
        deep = [deep]
    assert set(errors_in(NewJob, {**JOB, "metadata": {"deep": deep}})) == {"/metadata"}


def test_a_pattern_is_described_in_words() -> None:
    """If a value does not match its pattern, the detail is a sentence and not a regular expression."""
    for currency in ("euro", "ZZZ"):
        assert errors_in(NewJob, {**JOB, "currency": currency})["/currency"] == "Expected an ISO 4217 code in capitals"


def test_lat_and_lon_are_required_together() -> None:
    """A position with only `lat` or only `lon` is refused at the missing field. A position beside `fixes` is refused at
    `/fixes`.
    """
    assert set(errors_in(SetAvailability, {"online": True, "lat": 1.0})) == {"/lon"}
    assert set(errors_in(Location, {})) == {"/lat", "/lon"}
    assert set(errors_in(Location, {"lat": 1, "lon": 2, "fixes": [{"lat": 1, "lon": 2}]})) == {"/fixes"}


def test_an_empty_review_is_refused() -> None:
    """A review that sets neither `kyc` nor `account` is refused."""
    assert set(errors_in(Review, {"reason": "so"})) == {""}


def test_a_list_of_101_fixes_is_too_long() -> None:
    """A request with more than 100 fixes is refused."""
    assert set(errors_in(Location, {"fixes": [{"lat": 1, "lon": 2}] * 101})) == {"/fixes"}


@pytest.mark.parametrize(
    ("text", "pointers"),
    [
        (b"limit=0", {"/limit"}),
        (b"limit=201", {"/limit"}),
        (b"limit=ten", {"/limit"}),
        (b"limit=1e2", {"/limit"}),
        (b"limit=50.0&updated_after=yesterday", {"/limit", "/updated_after"}),
        (b"limit=5&limit=6", {"/limit"}),
        (b"colour=red&phase=gone", {"/colour", "/phase"}),
        (b"updated_after=yesterday", {"/updated_after"}),
        (b"updated_after=2026-01-31T12:00:00", {"/updated_after"}),
    ],
)
def test_a_bad_query_is_refused(text: bytes, pointers: set[str]) -> None:
    """A query parameter that is unknown, repeated, mistyped or out of range is refused with its pointer."""
    with pytest.raises(Invalid) as refusal:
        query.decode_query(JobsQuery, text)
    assert {pointer for pointer, _ in refusal.value.errors} == pointers


def test_nan_in_a_query_is_out_of_range() -> None:
    """The coordinates `nan` and `inf` in a query are refused."""
    with pytest.raises(Invalid) as refusal:
        query.decode_query(TechniciansQuery, b"lat=nan&lon=inf")
    assert {pointer for pointer, _ in refusal.value.errors} == {"/lat", "/lon"}


def test_a_whole_number_is_an_integer() -> None:
    """An integer field accepts 50.0, in lists too, because 50.0 is an integer in JSON Schema and in JavaScript. Numbers
    inside `metadata` are not changed.
    """
    assert decode.decode_body(Step, b'{"amount": 50.0, "version": 2e0}') == Step(amount=50, version=2)
    job = decode.decode_body(NewJob, json.dumps({**JOB, "amount": 50.0, "metadata": {"a": 50.0}}).encode())
    assert (job.amount, job.metadata) == (50, {"a": 50.0}) and isinstance((job.metadata or {})["a"], float)
    many = decode.decode_body(Commands, b'{"items": [{"command": "depart", "version": 2.0}]}')
    assert many.items[0].version == 2
    assert set(errors_in(Step, {"amount": 50.5, "version": 1e300})) == {"/amount", "/version"}


def test_an_empty_body_is_the_empty_object() -> None:
    """An empty body decodes as a command without arguments."""
    assert decode.decode_body(Step, b"") == Step()


def test_a_good_booking_is_decoded() -> None:
    """The fields of a valid booking decode to the values that were sent."""
    body = {**JOB, "amount": 4500, "currency": "EUR", "metadata": {"floor": 3}, "reference": "A-1"}
    job = decode.decode_body(NewJob, json.dumps(body).encode())
    assert (job.amount, job.metadata, job.reference) == (4500, {"floor": 3}, "A-1")


SIGNATURE = json.dumps({"sha256": "0" * 64, "name": "Carla", "strokes": [[[1_000_000] * 3] * 5_000]}).encode()
"""The largest good signature."""
LARGE: dict[str, bytes] = {
    "items": b'{"items":[' + b"{}," * 10_000 + b"{}]}",
    "unknown fields": b'{"a":0,' + b",".join(b'"f%d":[]' % n for n in range(8_000)) + b"}",
    "metadata": b'{"lat":1,"lon":2,"address":"x","metadata":{"a":[' + b"0," * 20_000 + b"0]}}",
    "NUL": b'{"lat":1,"lon":2,"address":"x","metadata":{"a":["\\u0000"' + b",0" * 20_000 + b"]}}",
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_wrong_body_is_refused_without_a_look_at_each_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look for every wrong field takes microseconds a value: in a large body only the first one is named."""
    checked: list[object] = []
    wrong_fields, nul_errors = decode.wrong_fields, json_text.nul_errors
    monkeypatch.setattr(decode, "wrong_fields", lambda *args, **more: checked.append(0) or wrong_fields(*args, **more))
    monkeypatch.setattr(json_text, "nul_errors", lambda *args: checked.append(0) or nul_errors(*args))
    monkeypatch.setattr(fields, "_json_problem", lambda *_: checked.append(0))
    with pytest.raises(Invalid) as refusal:
        decode.decode_body(Commands if name == "items" else NewJob, LARGE[name])
    assert len(refusal.value.errors) == 1 and checked == []
    with pytest.raises(Invalid) as many:
        decode.decode_body(Sign, b'{"strokes":[[[' + b"1," * 180_000 + b"1]]]}")
    assert many.value.errors == [("", "At most 25000 values")]
    assert decode.decode_body(Sign, SIGNATURE).strokes == [[Point(1_000_000, 1_000_000, 1_000_000)] * 5_000]
    small = {"service": "srv 1", "metadata": {"a": "\0"}}
    assert set(errors_in(NewJob, small)) > {"/service", "/metadata/a"} and checked


def test_a_point_of_a_stroke_is_two_or_three_integers() -> None:
    """Every other form of a point is refused at its place. A missing time stays missing."""
    whole = {"sha256": "0" * 64, "name": "Carla"}
    for point in ([1], [1, 2, 3, 4], [10**7, 1], [True, 1], [1, 2, None], [1, 2.5], {"x": 1}, 1, [], None):
        found = errors_in(Sign, whole | {"strokes": [[[1, 2], point]]})
        assert len(found) == 1 and next(iter(found)).startswith("/strokes/0/1"), (point, found)
    assert set(errors_in(Sign, whole | {"strokes": [[]]})) == {"/strokes/0"}
    body = decode.decode_body(Sign, json.dumps(whole | {"strokes": [[[1, 2], [3, -4, 5]]]}).encode())
    assert encode_strokes(body.strokes or []) == b"[[[1,2],[3,-4,5]]]"


def test_a_large_wrong_message_names_its_first_error() -> None:
    """The same holds for messages of a socket, in both encodings."""
    message = {"id": 1, "op": "subscribe", "subs": [{"channel": "a b"}] * 3_000}
    for decode_message, raw in (
        (protocol.decode, msgspec.json.encode(message)),
        (protocol.decode_msgpack, msgspec.msgpack.encode(message)),
    ):
        with pytest.raises(protocol.WrongMessage) as refusal:
            decode_message(raw)
        assert isinstance(refusal.value.error, Invalid) and len(refusal.value.error.errors) == 1


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    """JSON may have the bytes of the escape without a NUL, also in a large body."""
    for text, is_nul in ((rb"\u0000", True), (rb"\\u0000", False), (rb"\\\u0000", True), (rb"a\\\\u0000", False)):
        assert bool(json_text.find_nul(b'["' + text + b'"]')) == is_nul
        assert bool(json_text.find_nul(b'["' + text + b'"' + b",0" * 9_000 + b"]")) == is_nul


def test_too_many_parameters_are_refused() -> None:
    """Each parameter takes microseconds, and a URL has room for thousands of them."""
    with pytest.raises(Invalid, match="At most 100 parameters"):
        query.decode_query(JobsQuery, b"a&" * 30_000)
    assert query.ticket_of(b"x=1&ticket=a%20b&ticket=c") == "a b"
    assert query.ticket_of(b"a&" * 30_000 + b"ticket=b") is None
