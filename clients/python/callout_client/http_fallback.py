"""Socket operations as HTTP requests, for a client without a socket. The other operations need a socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Arguments = dict[str, Any]
Route = tuple[str, str, Arguments]
"""Method, path and body."""


def http_route(frame: Arguments, me: str) -> Route | None:
    """Return the HTTP request for a frame of the user ``me``; None if the operation is only possible on a socket."""
    make = _ROUTES.get(frame["op"])
    return (
        make({name: value for name, value in frame.items() if name not in ("op", "key", "trace")}, me) if make else None
    )


def _of_job(path: str, **fixed: Any) -> Callable[[Arguments, str], Route]:
    return lambda arguments, me: ("POST", f"/v1/jobs/{arguments.pop('job')}/{path}", {**fixed, **arguments})


def _command(arguments: Arguments, me: str) -> Route:
    return "POST", f"/v1/jobs/{arguments.pop('job')}/{arguments.pop('command')}", arguments


def _of_technician(path: str) -> Callable[[Arguments, str], Route]:
    return lambda arguments, me: ("PUT", f"/v1/technicians/{me}/{path}", arguments)


def _of_room(path: str) -> Callable[[Arguments, str], Route]:
    return lambda arguments, me: ("POST", f"/v1/rooms/{arguments.pop('room')}/{path}", arguments)


_ROUTES: dict[str, Callable[[Arguments, str], Route]] = {
    "claim": _of_job("claim"),
    "decline": _of_job("respond", status="rejected"),
    "command": _command,
    "availability": _of_technician("availability"),
    "location": _of_technician("location"),
    "say": _of_room("messages"),
    "read": _of_room("read"),
}
KEYED = frozenset(_ROUTES)
"""Operations with an idempotency key: a repeated request is applied once. All of them can be HTTP requests."""
