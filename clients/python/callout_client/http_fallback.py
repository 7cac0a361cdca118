"""Socket operations as HTTP requests, for a client without a socket. The other operations need a socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Arguments = dict[str, Any]
HttpRequest = tuple[str, str, Arguments]
"""Method, path and body."""


def http_route(frame: Arguments, me: str) -> HttpRequest | None:
    """Return the HTTP request for a frame of the user ``me``; None if the operation is only possible on a socket."""
    make = _ROUTES.get(frame["op"])
    return (
        make({name: value for name, value in frame.items() if name not in ("op", "key", "trace")}, me) if make else None
    )


def _job_route(path: str, **fixed: Any) -> Callable[[Arguments, str], HttpRequest]:
    return lambda arguments, me: ("POST", f"/v1/jobs/{arguments.pop('job')}/{path}", {**fixed, **arguments})


def _command_route(arguments: Arguments, me: str) -> HttpRequest:
    return "POST", f"/v1/jobs/{arguments.pop('job')}/{arguments.pop('command')}", arguments


def _technician_route(path: str) -> Callable[[Arguments, str], HttpRequest]:
    return lambda arguments, me: ("PUT", f"/v1/technicians/{me}/{path}", arguments)


def _room_route(path: str) -> Callable[[Arguments, str], HttpRequest]:
    return lambda arguments, me: ("POST", f"/v1/rooms/{arguments.pop('room')}/{path}", arguments)


_ROUTES: dict[str, Callable[[Arguments, str], HttpRequest]] = {
    "claim": _job_route("claim"),
    "decline": _job_route("respond", status="rejected"),
    "command": _command_route,
    "availability": _technician_route("availability"),
    "location": _technician_route("location"),
    "say": _room_route("messages"),
    "read": _room_route("read"),
}
KEYED_OPS = frozenset(_ROUTES)
"""Operations with an idempotency key: a repeated request is applied once. All of them can be HTTP requests."""
