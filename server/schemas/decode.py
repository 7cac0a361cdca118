"""Decode the body of a request to a Struct, or raise one error that names every wrong field.

msgspec stops at the first wrong field, so a person would have to send a form again for each mistake. Therefore the
compiled decoder decodes a body first, at its full speed. Only if the decoder refuses the body, the body is decoded
again without types and checked field by field, to find all wrong fields. (Rejected: always check field by field. This
is four times the work for each good request, and gains nothing for the bad ones.)
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from engine.errors import FieldError, Invalid, NotJson, NotText
from server.schemas.json_text import (
    MAX_ERRORS,
    MAX_VALUES,
    find_nul,
    has_many_values,
    is_large,
    json_pointer,
    nul_errors,
)

T = TypeVar("T", bound=msgspec.Struct)

MAX_EXACT_INTEGER = 2**53
"""The largest integer that every JSON reader returns unchanged, also Lua's and a browser's."""
MAX_LISTED_WORDS = 20
"""A refusal names the allowed words of a field if there are at most this many."""
_PATH_IN_ERROR = re.compile(r" - at `(?:key in )?`?\$?([^`]*)`$")
_PATH_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A request body, a query, or a frame of the socket. Unknown fields are refused. ``find_errors`` checks the rules
    that concern several fields, and ``rules_schema`` is the JSON Schema of these rules, for the OpenAPI document.

    Fields of a type with ``extra={"normalise": function}`` in its ``Meta`` contain text that people type. After
    decoding, the function is applied to them, so that equal texts are equal strings for the rest of the program.
    """

    rules_schema: ClassVar[dict[str, Any]] = {}
    required_together: ClassVar[tuple[str, ...]] = ()
    """Parameters of a query: a request has all of these or none."""

    def __post_init__(self) -> None:
        for name, normalise in _normalised_fields(type(self)):
            if isinstance(value := getattr(self, name), str):
                setattr(self, name, normalise(value))

    def find_errors(self) -> list[FieldError]:
        """Return the errors of rules that concern several fields. Called only if each single field is valid."""
        return []

    @classmethod
    def omit_wrong_parts(cls, body: dict[str, Any]) -> dict[str, Any]:
        """Return the refused ``body`` without the wrong parts that may be left out."""
        return body


@functools.cache
def _normalised_fields(struct: type[msgspec.Struct]) -> list[tuple[str, Callable[[str], str]]]:
    return [(f.name, normalise) for f in msgspec.structs.fields(struct) if (normalise := _normaliser(f.type))]


def _normaliser(kind: Any) -> Callable[[str], str] | None:
    if isinstance(kind, msgspec.Meta):
        return (kind.extra or {}).get("normalise")
    return next((found for part in get_args(kind) if (found := _normaliser(part))), None)


class NoQuery(Body):
    """The query of a route without parameters: every parameter is refused, as any unknown field is."""


class NoBody(Body):
    """A body without fields. The request may omit it."""


@functools.cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def decode_body(kind: type[T], raw: bytes) -> T:
    """Decode ``raw`` JSON to a ``kind``. An empty body counts as the empty object, so that a step without arguments
    needs no body.

    Raises NotJson or NotText (400) if the body is not JSON (NaN is not), and Invalid (422) with every wrong field.
    """
    raw = raw or b"{}"
    if has_many_values(raw, MAX_VALUES):
        raise Invalid(errors=[FieldError("", f"At most {MAX_VALUES} values")])
    try:
        value: T = _decoder(kind).decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        untyped = _decode_untyped(raw)
        if is_large(raw):
            raise Invalid(errors=[first_error(error)]) from None
        value = convert_or_refuse(kind, untyped, first_error(error))
    if errors := find_nul(raw):
        raise Invalid(errors=errors)
    return check_rules(value)


def _decode_untyped(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except RecursionError:
        raise NotJson("Nested too deep") from None
    except UnicodeDecodeError:
        raise NotText("The body is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise NotJson(str(error)) from None


def convert_or_refuse(kind: type[T], value: Any, first: FieldError) -> T:
    """Convert ``value`` to a ``kind`` without the wrong parts that may be left out. ``first`` is the error for which
    the compiled decoder refused ``value``. Raises Invalid with every wrong field.
    """
    allowed = kind.omit_wrong_parts(value) if isinstance(value, dict) and issubclass(kind, Body) else value
    with_integers = convert_integers(allowed, kind)
    errors = wrong_fields(with_integers, kind)
    if errors or repr(with_integers) == repr(value):
        raise Invalid(errors=(errors or [first])[:MAX_ERRORS])
    return msgspec.convert(with_integers, kind)


def convert_integers(value: Any, kind: Any) -> Any:
    """Return ``value`` with the whole numbers in the fields of ``kind`` as integers, because 50.0 is an integer in JSON
    Schema and in JavaScript. Numbers inside free objects, such as metadata, are not changed.
    """
    struct, many = _inner_struct(kind)
    if struct is not None and many and isinstance(value, list):
        return [convert_integers(item, struct) for item in value]
    if struct is not None and not many and isinstance(value, dict):
        fields = fields_by_name(struct)
        return {n: convert_integers(item, fields[n].type if n in fields else None) for n, item in value.items()}
    if isinstance(value, list) and struct is None:
        return [convert_integers(item, None) for item in value]
    whole = isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT_INTEGER
    return int(value) if whole else value


def check_rules(decoded: T) -> T:
    """Return ``decoded`` if it obeys the rules that concern several fields. Raises Invalid."""
    if isinstance(decoded, Body) and (errors := decoded.find_errors()):
        raise Invalid(errors=errors)
    return decoded


def wrong_fields(value: Any, kind: Any, at: str = "", *, strict: bool = True) -> list[FieldError]:
    """Return an error for each field of ``value`` that is wrong for a ``kind``; empty if none is. The JSON pointers of
    the errors begin with ``at``.
    """
    struct, many = _inner_struct(kind)
    if struct is not None and many and isinstance(value, (list, dict)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        inner = [e for n, item in items for e in wrong_fields(item, struct, at + json_pointer(str(n)), strict=strict)]
        return inner or _value_errors(value, kind, at, strict)
    if struct is not None and not many and isinstance(value, dict):
        return _field_errors(value, struct, at, strict)
    return _value_errors(value, kind, at, strict)


@functools.cache
def fields_by_name(struct: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """Return the fields of a Struct by their names in JSON."""
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def _field_errors(value: dict[str, Any], struct: type[msgspec.Struct], at: str, strict: bool) -> list[FieldError]:
    known, errors = fields_by_name(struct), list[FieldError]()
    if struct.__struct_config__.forbid_unknown_fields:
        errors += [FieldError(at + json_pointer(name), "Unknown field") for name in value if name not in known]
    for name, field in known.items():
        if name in value:
            errors += wrong_fields(value[name], field.type, at + json_pointer(name), strict=strict)
        elif field.required:
            errors.append(FieldError(at + json_pointer(name), "Required"))
    return errors


def _value_errors(value: Any, kind: Any, at: str, strict: bool) -> list[FieldError]:
    try:
        msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        first = first_error(error, at)
        words = _type_description(kind) if "regex" in first[1] or "enum" in first[1] else None
        return [FieldError(first[0], f"Expected {words}") if words else first]
    return nul_errors(value, at)


def first_error(error: Exception, at: str = "") -> FieldError:
    """Return the error for which msgspec refused a value. Its pointer begins with ``at``."""
    text = str(error)
    found = _PATH_IN_ERROR.search(text)
    if not found:
        return FieldError(at, text)
    steps = "".join(json_pointer(name or index) for name, index in _PATH_STEP.findall(found[1]) if index != "...")
    return FieldError(at + steps, text[: found.start()])


@functools.cache
def _inner_struct(kind: Any) -> tuple[type[msgspec.Struct] | None, bool]:
    """Return the Struct inside ``kind`` (None: none), and whether ``kind`` is a list of Structs or a map to Structs. A
    Struct that is an array in JSON has no names of fields, so it is checked as one value.
    """
    origin = get_origin(kind)
    if origin is Annotated:
        return _inner_struct(get_args(kind)[0])
    if origin in (Union, UnionType):
        return next((found for part in get_args(kind) if (found := _inner_struct(part))[0]), (None, False))
    if origin is list or origin is dict:
        return _inner_struct(get_args(kind)[-1])[0], True
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct) and not kind.__struct_config__.array_like
    return (kind, False) if is_struct else (None, False)


def _type_description(kind: Any) -> str | None:
    """Return a description of the expected text for a type with a pattern or a list of words; None if there is none. A
    refusal contains it instead of the regular expression, because a regular expression helps nobody to fill in a form.
    Only the innermost description describes the type; an outer one describes the purpose of the field.
    """
    if isinstance(kind, msgspec.Meta):
        return kind.description
    if choices := _allowed_words(kind):
        return f"one of {', '.join(choices)}" if len(choices) <= MAX_LISTED_WORDS else None
    return next((found for part in get_args(kind) if (found := _type_description(part))), None)


def _allowed_words(kind: Any) -> list[str]:
    """Return the words that a type allows, if the type is a Literal or a union of Literals; else an empty list."""
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
    return [choice for part in parts for choice in _allowed_words(part)]
