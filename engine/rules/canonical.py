"""Canonical JSON (RFC 8785) of a restricted domain: one text for one value, so that its digest can be signed.

The domain has no floats, integers of at most 2^53 - 1, names in ASCII and texts without lone surrogates. In this domain
the encoder of the standard library writes exactly what RFC 8785 prescribes. For other values the two differ (the number
1.0, the order of names beyond U+FFFF, large integers). Therefore all other values are refused. (Rejected: the package
rfc8785 as a dependency. It is the oracle of the tests.)
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

MAX_INTEGER = 2**53 - 1
"""The largest integer that every reader of JSON reads exactly."""
MAX_DEPTH = 16

_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


class NotCanonical(ValueError):
    """Raised for a value outside the domain. ``pointer`` is the JSON pointer of the value."""

    def __init__(self, pointer: str, why: str) -> None:
        super().__init__(f"{pointer or '/'}: {why}")
        self.pointer = pointer


def canonical_json(value: Any) -> bytes:
    """Return the canonical JSON of ``value`` in UTF-8. Raises NotCanonical."""
    _check(value, (), 0)
    return _encode(value).encode()


def digest_of(text: bytes) -> str:
    """Return the SHA-256 of a text in hexadecimal."""
    return sha256(text).hexdigest()


_Path = tuple[Any, ...]
"""Where a value is: ``(path of the list or object, name)``. A pointer is made of it for a refusal alone."""


def _check(value: Any, path: _Path, depth: int) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise NotCanonical(_pointer(path), "an integer beyond 2^53 - 1")
    elif isinstance(value, str):
        _check_text(value, path)
    elif depth == MAX_DEPTH:
        raise NotCanonical(_pointer(path), f"more than {MAX_DEPTH} levels")
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _check(item, (path, position), depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str) or not name.isascii():
                raise NotCanonical(_pointer(path), f"the name {name!r} is not ASCII")
            _check(item, (path, name), depth + 1)
    else:
        raise NotCanonical(_pointer(path), f"a {type(value).__name__}")


def _check_text(text: str, path: _Path) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotCanonical(_pointer(path), "a lone surrogate") from None


def _pointer(path: _Path) -> str:
    steps: list[str] = []
    while path:
        path, step = path
        steps.append(f"/{step}")
    return "".join(reversed(steps))
