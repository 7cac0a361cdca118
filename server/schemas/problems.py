"""The problem object of RFC 9457, in the one shape that HTTP bodies and WebSocket replies share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from engine.errors import CalloutError, Internal, MethodNotAllowed

MEDIA_TYPE = b"application/problem+json"
TYPE_PREFIX = "/problems/"
NOSNIFF = (b"x-content-type-options", b"nosniff")
"""A header of all answers: many contain text that people wrote, and a browser must not show any as a page."""


class WrongMethod(MethodNotAllowed):
    """Raised if the path exists, but not with the method of the request. ``allowed`` becomes the ``Allow`` header."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = tuple(sorted(allowed))
        super().__init__(f"Allowed here: {', '.join(self.allowed)}")


class Problem(msgspec.Struct, kw_only=True):
    """A refusal as clients receive it. Some codes add members of their own (``job``, ``attempts_left``). A refusal that
    was stored in an idempotency record has ``"repeated": true``.
    """

    type: str
    code: str
    title: str
    status: int
    detail: str | None
    errors: list[WrongField]
    retry_after: float | None
    temporary: bool
    request_id: str


class WrongField(msgspec.Struct):
    """An error of one field. ``pointer`` is a JSON pointer into the body, or ``/`` and the name of a parameter or
    header.
    """

    pointer: str
    detail: str


def problem_object(error: BaseException, request_id: str = "") -> dict[str, Any]:
    """Return the problem object of ``error``. For an error that is not a CalloutError the code is ``internal``, and the
    text of the error is omitted.

    Members that are JSON bytes (the present ``job`` of a version conflict) become ``msgspec.Raw``.
    """
    refusal = error if isinstance(error, CalloutError) else Internal()
    return {
        "type": TYPE_PREFIX + refusal.code,
        "code": refusal.code,
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail if refusal.status != 500 else None,
        "errors": [{"pointer": pointer, "detail": detail} for pointer, detail in refusal.errors],
        "retry_after": refusal.retry_after,
        "temporary": refusal.temporary,
        "request_id": request_id,
        **({"repeated": True} if refusal.repeated else {}),
        **{name: _embed_json(value) for name, value in refusal.extra.items()},
    }


def _embed_json(value: Any) -> Any:
    return msgspec.Raw(value) if isinstance(value, bytes) else value


def encode_problem(error: BaseException, request_id: str = "") -> bytes:
    """Return the problem object of ``error`` as compact JSON."""
    return msgspec.json.encode(problem_object(error, request_id))


def problem_headers(error: BaseException) -> list[tuple[bytes, bytes]]:
    """Return the headers of ``error``: challenge of a 401, ``Retry-After``, ``Allow``, ``Idempotency-Replayed``."""
    result: list[tuple[bytes, bytes]] = []
    if not isinstance(error, CalloutError):
        return result
    if error.status == 401:
        expired = ', error="invalid_token", error_description="expired"' if error.code == "token_expired" else ""
        result.append((b"www-authenticate", f'Bearer realm="callout"{expired}'.encode()))
    if error.retry_after is not None:
        result.append((b"retry-after", str(max(1, -int(-error.retry_after // 1))).encode()))
    if isinstance(error, WrongMethod):
        result.append((b"allow", ", ".join(error.allowed).encode()))
    if error.repeated:
        result.append((b"idempotency-replayed", b"true"))
    return result
