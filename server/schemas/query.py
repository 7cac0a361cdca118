"""Decode the query string of a request to a Struct, or raise one error that names every wrong parameter."""

from __future__ import annotations

import functools
import re
from typing import TypeVar, get_args
from urllib.parse import parse_qsl

import msgspec

from engine.errors import FieldError, Invalid, NotText
from server.schemas.decode import check_rules, fields_by_name, first_error, wrong_fields
from server.schemas.json_text import MAX_ERRORS, json_pointer, nul_errors

T = TypeVar("T", bound=msgspec.Struct)

MAX_PARAMETERS = 100
"""The most parameters of a query. Each takes some microseconds, and a URL has room for thousands."""
_INTEGER = re.compile(r"-?[0-9]+")


def decode_query(kind: type[T], raw: bytes) -> T:
    """Decode a query string to a ``kind``; numbers and booleans are parsed from text. Raises Invalid or NotText."""
    given = query_pairs(raw)
    values: dict[str, str] = {}
    twice = [FieldError(json_pointer(name), "Given more than once") for name, _ in given if _mark_seen(values, name)]
    values.update(given)
    for name in _integer_parameters(kind) & values.keys():
        if not _INTEGER.fullmatch(values[name]):
            values[name] = ""  # the empty text is refused; msgspec would accept 1e2 and 50.0 as integers
    if errors := twice or nul_errors(values):
        raise Invalid(errors=errors[:MAX_ERRORS])
    try:
        value = msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(errors=wrong_fields(values, kind, strict=False) or [first_error(error)]) from None
    return check_rules(value)


def query_pairs(raw: bytes) -> list[tuple[str, str]]:
    """Return the parameters of a query string in order, also those without a value. Raises NotText with each parameter
    that is not UTF-8, and Invalid for more than ``MAX_PARAMETERS``.
    """
    if raw.count(b"&") >= MAX_PARAMETERS:
        raise Invalid(f"At most {MAX_PARAMETERS} parameters")
    pairs = parse_qsl(raw.decode(errors="surrogateescape"), keep_blank_values=True, errors="surrogateescape")
    if not raw.isascii() or b"%" in raw:
        errors = [error for name, value in pairs for error in _text_errors(name, value)]
        if errors:
            raise NotText("The query is not UTF-8", errors=errors[:MAX_ERRORS])
    return pairs


def ticket_of(raw: bytes) -> str | None:
    """Return the first ``ticket`` of a query string; None if it has none, or more than ``MAX_PARAMETERS``."""
    if b"ticket" not in raw or raw.count(b"&") >= MAX_PARAMETERS:
        return None
    return next((value for name, value in parse_qsl(raw.decode("latin-1")) if name == "ticket"), None)


def _text_errors(name: str, value: str) -> list[FieldError]:
    """Return an error for a parameter that is not UTF-8. If its name is not, the error points at the whole query."""
    if not _is_text(name):
        return [FieldError("", "The name of a parameter is not UTF-8")]
    return [] if _is_text(value) else [FieldError(json_pointer(name), "Not UTF-8")]


def _is_text(decoded: str) -> bool:
    """Return whether the bytes that were decoded with ``surrogateescape`` are UTF-8."""
    return not any("\udc80" <= char <= "\udcff" for char in decoded)


@functools.cache
def _integer_parameters(query: type[msgspec.Struct]) -> frozenset[str]:
    """Return the names of the query's parameters that are integers."""
    fields = fields_by_name(query).items()
    return frozenset(name for name, field in fields if int in (field.type, *get_args(field.type)))


def _mark_seen(values: dict[str, str], parameter: str) -> bool:
    """Add ``parameter`` to ``values``, and return whether it was in ``values`` already."""
    before = parameter in values
    values[parameter] = ""
    return before
