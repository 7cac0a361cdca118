"""Listeners and what they receive. They are called one after the other; long work belongs in a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from callout_client.errors import Ended, Refusal

Frame = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Status:
    """``offline`` lasts until ``open``. ``code`` and ``reason`` say why the client is not connected."""

    status: Literal["connected", "reconnecting", "offline"]
    transport: Literal["socket", "polling"] | None = None
    code: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sync:
    """Resynchronise: the known state of ``zones`` may be out of date.

    ``snapshot`` is the reply of ``/v1/sync``; if it was refused, it is None and ``error`` is set. ``reasons`` are the
    server's, by zone: ``too_old``, ``epoch``, or None at the first connection.
    """

    zones: tuple[str, ...]
    reasons: Mapping[str, str | None]
    snapshot: Frame | None
    error: Refusal | None = None


@dataclass(frozen=True, slots=True)
class On:
    """The listeners of one client. A listener that raises ends it: only the application knows what to do then.

    ``event``   each push once, logged ones in log order. When it returns, the event counts as handled.
    ``status``  each change of ``Status``.
    ``sync``    at the first connection, and when events may have been lost. The pushes of those zones wait for it and
                continue from the snapshot's cursor. Without this listener no snapshot is fetched, and the zone
                continues from its head: for applications that fetch their state themselves.
    ``joined``  each connect reply of a socket, before anything that follows from it.
    ``repeat``  each logged push that was handled before: for applications that count them.
    """

    event: Callable[[Frame], None]
    status: Callable[[Status], None] = lambda status: None
    sync: Callable[[Sync], None] | None = None
    joined: Callable[[Frame], None] = lambda ok: None
    repeat: Callable[[Frame], None] = lambda event: None


def tell(listener: Callable[..., None], about: object) -> None:
    """Call ``listener``. Raises Ended if it raises."""
    try:
        listener(about)
    except Exception as error:  # the caller's function
        raise Ended(f"a listener raised {error!r}") from error
