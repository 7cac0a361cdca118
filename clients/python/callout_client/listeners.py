"""Listeners and what they receive. Listeners are called one after the other, so start a task for long work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from callout_client.errors import Ended, Refusal

Frame = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the client. It is ``offline`` before ``open`` and after the end. ``code`` and ``reason`` are the
    cause if the client is not connected.
    """

    status: Literal["connected", "reconnecting", "offline"]
    transport: Literal["socket", "polling"] | None = None
    code: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sync:
    """A request to replace the known state of ``zones``, because it may be out of date.

    ``snapshot`` is the answer of ``/v1/sync``. If the server refused the request, ``snapshot`` is None and ``error`` is
    set. ``reasons`` are the server's reasons by zone: ``too_old``, ``epoch``, or None at the first connection.
    """

    zones: tuple[str, ...]
    reasons: Mapping[str, str | None]
    snapshot: Frame | None
    error: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Listeners:
    """The listeners of one client. If a listener raises, the client ends, because only the application can handle the
    error.

    ``event``   receives each push once, logged pushes in log order. When it returns, the event counts as handled.
    ``status``  receives each change of ``Status``.
    ``sync``    receives a Sync at the first connection, and when events may have been lost. The pushes of those zones
                wait until it returns, and continue from the snapshot's cursor. Without a ``sync`` listener no snapshot
                is requested, and the zone continues from its head: for applications that request their state
                themselves.
    ``joined``  receives each connect reply of a socket, before all calls that result from this reply.
    ``repeat``  receives each logged push that was handled before: for applications that count repeats.
    """

    event: Callable[[Frame], None]
    status: Callable[[Status], None] = lambda status: None
    sync: Callable[[Sync], None] | None = None
    joined: Callable[[Frame], None] = lambda ok: None
    repeat: Callable[[Frame], None] = lambda event: None


def call_listener(listener: Callable[..., None], argument: object) -> None:
    """Call ``listener`` with ``argument``. Raises Ended if ``listener`` raises."""
    try:
        listener(argument)
    except Exception as error:  # ``listener`` is a function of the application, and may raise any error
        raise Ended(f"a listener raised {error!r}") from error
