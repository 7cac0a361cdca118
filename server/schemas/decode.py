"""Bytes of a request to a Struct, or one refusal that names every wrong field.

msgspec stops at the first wrong field, which sends a person round a form once for each mistake. So a body
is decoded by the compiled decoder, at its full speed; only when that refuses is it looked at again, untyped
and field by field, to say all that is wrong with it. (Rejected: validating field by field always: four
times the work for each good request, to spare nothing to the bad ones.)
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec

from engine.errors import FieldError, Invalid, NotJson, NotText

T = TypeVar("T", bound=msgspec.Struct)

NUL = b"\\u0000"
"""What JSON that has NUL in a text has in it; what has this in it may still be another text."""
MAX_EXACT = 2**53
"""The largest integer that every JSON reader, Lua's and a browser's too, gives back as it came."""
MAX_CHOICES = 20
"""The longest list of words that a refusal names in full."""
MAX_ERRORS = 100
"""More wrong fields than a person reads; beyond it the list is cut."""

_AT = re.compile(r" - at `(?:key in )?`?\$?([^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A request body or query, or a frame. Unknown fields are refused; ``wrong`` adds what no single field can say, and
    ``also`` says the same as JSON Schema, for the document.

    Fields of a type with ``extra={"typed": normalise}`` in its ``Meta`` hold what people type: ``normalise`` is applied
    to them once they are decoded, so that nothing behind this class sees two spellings of one text.
    """

    also: ClassVar[dict[str, Any]] = {}
    together: ClassVar[tuple[str, ...]] = ()
    """Parameters of a query of which all are given or none."""

    def __post_init__(self) -> None:
        for name, normalise in _typed(type(self)):
            if isinstance(value := getattr(self, name), str):
                setattr(self, name, normalise(value))

    def wrong(self) -> list[FieldError]:
        """What is wrong across fields, once each field is good by itself."""
        return []

    @classmethod
    def forgiven(cls, value: dict[str, Any]) -> dict[str, Any]:
        """``value``, which was refused, without those of its parts that may be left out for being wrong."""
        return value


@functools.cache
def _typed(struct: type[msgspec.Struct]) -> list[tuple[str, Callable[[str], str]]]:
    fields = msgspec.structs.fields(struct)
    return [(field.name, normalise) for field in fields if (normalise := _normalise(field.type))]


def _normalise(kind: Any) -> Callable[[str], str] | None:
    if isinstance(kind, msgspec.Meta):
        return (kind.extra or {}).get("typed")
    return next((found for part in get_args(kind) if (found := _normalise(part))), None)


class NoQuery(Body):
    """A route that takes no query parameters refuses them, like any unknown field."""


class Nothing(Body):
    """A body without fields, which may be left out."""


@functools.cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def body(kind: type[T], raw: bytes) -> T:
    """``raw`` JSON as a ``kind``; an empty body is the empty object, so that a step without arguments needs
    none.

    Raises NotJson or NotText (400) for what is not JSON, NaN included, and Invalid (422) with every wrong field.
    """
    raw = raw or b"{}"
    try:
        value: T = _decoder(kind).decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        value = again(kind, _untyped(raw), _first(error))
    if NUL in raw and (errors := nul_in(msgspec.json.decode(raw))):
        raise Invalid(errors=errors[:MAX_ERRORS])
    return _whole(value)


def nul_in(value: Any, at: str = "") -> list[FieldError]:
    """Every text inside ``value`` that has NUL in it, which PostgreSQL does not store: checked once for all texts of a
    request. A name of a field is pointed at by the object that has it.
    """
    if isinstance(value, str):
        return [FieldError(at, "Text without NUL, please")] if "\0" in value else []
    if isinstance(value, dict):
        names = [error for name in value for error in nul_in(name, at)]
        return names or [error for name, item in value.items() for error in nul_in(item, at + pointer(str(name)))]
    items = value if isinstance(value, list) else ()
    return [error for n, item in enumerate(items) for error in nul_in(item, f"{at}/{n}")]


def _untyped(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except RecursionError:
        raise NotJson("Nested too deep") from None
    except UnicodeDecodeError as error:
        raise NotText(str(error)) from None
    except msgspec.DecodeError as error:
        raise NotJson(str(error)) from None


def again(kind: type[T], value: Any, first: FieldError) -> T:
    """``value``, which the compiled decoder refused for ``first``, as a ``kind`` without what may be left out. Raises
    Invalid with every wrong field.
    """
    forgiven = kind.forgiven(value) if isinstance(value, dict) and issubclass(kind, Body) else value
    meant = integral(forgiven, kind)
    errors = wrong_in(meant, kind)
    if errors or repr(meant) == repr(value):
        raise Invalid(errors=(errors or [first])[:MAX_ERRORS])
    return msgspec.convert(meant, kind)


def integral(value: Any, kind: Any) -> Any:
    """``value`` with the whole numbers among the fields of ``kind`` as integers: to JSON Schema, and to JavaScript,
    50.0 is one. What stands deeper, in metadata, stays as it was sent.
    """
    struct, many = _shape(kind)
    if struct is not None and many and isinstance(value, list):
        return [integral(item, struct) for item in value]
    if struct is not None and not many and isinstance(value, dict):
        types = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
        return {name: integral(item, types.get(name)) for name, item in value.items()}
    whole = isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT
    return int(value) if whole else value


def query(kind: type[T], raw: bytes) -> T:
    """A query string as a ``kind``; numbers and booleans are read from their text. Raises Invalid."""
    given = pairs(raw)
    values: dict[str, str] = {}
    twice = [FieldError(pointer(name), "Given more than once") for name, _ in given if _seen(values, name)]
    values.update(given)
    if errors := twice or nul_in(values):
        raise Invalid(errors=errors[:MAX_ERRORS])
    try:
        value = msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(errors=wrong_in(values, kind, strict=False) or [_first(error)]) from None
    return _whole(value)


def pairs(raw: bytes) -> list[tuple[str, str]]:
    """The parameters of a query string in order, those without a value too. Raises NotText."""
    try:
        return parse_qsl(raw.decode(), keep_blank_values=True, errors="strict") if raw else []
    except UnicodeDecodeError as error:
        raise NotText(str(error)) from None


def _seen(values: dict[str, str], name: str) -> bool:
    before = name in values
    values[name] = ""
    return before


def _whole(value: T) -> T:
    if isinstance(value, Body) and (errors := value.wrong()):
        raise Invalid(errors=errors)
    return value


def wrong_in(value: Any, kind: Any, at: str = "", *, strict: bool = True) -> list[FieldError]:
    """Every wrong field of ``value`` taken as a ``kind``, by JSON pointer below ``at``; empty if there
    is none.
    """
    struct, many = _shape(kind)
    if struct is not None and many and isinstance(value, (list, dict)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        inner = [e for n, item in items for e in wrong_in(item, struct, at + pointer(str(n)), strict=strict)]
        return inner or _leaf(value, kind, at, strict)
    if struct is not None and not many and isinstance(value, dict):
        return _fields(value, struct, at, strict)
    return _leaf(value, kind, at, strict)


def _fields(value: dict[str, Any], struct: type[msgspec.Struct], at: str, strict: bool) -> list[FieldError]:
    known = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    errors: list[FieldError] = []
    if struct.__struct_config__.forbid_unknown_fields:
        errors += [FieldError(at + pointer(name), "Unknown field") for name in value if name not in known]
    for name, field in known.items():
        if name in value:
            errors += wrong_in(value[name], field.type, at + pointer(name), strict=strict)
        elif field.required:
            errors.append(FieldError(at + pointer(name), "Required"))
    return errors


def _leaf(value: Any, kind: Any, at: str, strict: bool) -> list[FieldError]:
    try:
        msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        told = _first(error, at)
        words = _words(kind) if "regex" in told[1] or "enum" in told[1] else None
        return [FieldError(told[0], f"Expected {words}") if words else told]
    return nul_in(value, at)


def _first(error: Exception, at: str = "") -> FieldError:
    text = str(error)
    found = _AT.search(text)
    if not found:
        return FieldError(at, text)
    steps = "".join(pointer(name or index) for name, index in _STEP.findall(found[1]) if index != "...")
    return FieldError(at + steps, text[: found.start()])


def pointer(name: str) -> str:
    """``name`` as one step of a JSON pointer."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


@functools.cache
def _shape(kind: Any) -> tuple[type[msgspec.Struct] | None, bool]:
    """The Struct inside ``kind``, and whether it is a list of them, or a map to them."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _shape(get_args(kind)[0])
    if origin in (Union, UnionType):
        return next((found for part in get_args(kind) if (found := _shape(part))[0]), (None, False))
    if origin is list or origin is dict:
        return _shape(get_args(kind)[-1])[0], True
    return (kind, False) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else (None, False)


def _words(kind: Any) -> str | None:
    """What a text with a pattern or of a list should be, in words: a regular expression helps nobody to fill in a
    form. The innermost description tells it, that of the type; one around it tells what the field is for.
    """
    if isinstance(kind, msgspec.Meta):
        return kind.description
    if choices := _choices(kind):
        return f"one of {', '.join(choices)}" if len(choices) <= MAX_CHOICES else None
    return next((found for part in get_args(kind) if (found := _words(part))), None)


def _choices(kind: Any) -> list[str]:
    """The texts of a type that is a list of them, or a union of such lists."""
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    return [c for part in get_args(kind) for c in _choices(part)] if get_origin(kind) in (Union, UnionType) else []
