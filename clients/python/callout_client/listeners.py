"""Whom a client tells, and of what. All are plain calls, one after the other: what takes long belongs into a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from callout_client.failures import Ended, Refusal

Frame = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Status:
    """Offline is for good, until ``open``. ``code`` and ``reason`` say why where it is not connected."""

    status: Literal["connected", "reconnecting", "offline"]
    transport: Literal["socket", "polling"] | None = None
    code: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sync:
    """Begin anew: what is known of ``zones`` may be out of date. ``snapshot`` is ``/v1/sync``; None, with ``error``,
    where it was refused. ``reasons`` are the server's, by zone: ``too_old``, ``epoch``, or None at the first time.
    """

    zones: tuple[str, ...]
    reasons: Mapping[str, str | None]
    snapshot: Frame | None
    error: Refusal | None = None


@dataclass(frozen=True, slots=True)
class On:
    """The listeners of one client. One that raises ends it: nobody else can say what an event half handled means.

    ``event``   each push once, logged ones in the log's order: when it returns, the event counts as handled.
    ``status``  each change of ``Status``.
    ``sync``    at the first connection, and wherever events may have been lost. The pushes of those zones wait for it,
                and go on from the snapshot's cursor. Without it no snapshot is fetched, and the zone goes on from its
                head: for who fetches his state by himself.
    ``joined``  each connect reply of a socket as it is, before all that follows from it.
    ``repeat``  each logged push that had been handled before: for who counts them.
    """

    event: Callable[[Frame], None]
    status: Callable[[Status], None] = lambda status: None
    sync: Callable[[Sync], None] | None = None
    joined: Callable[[Frame], None] = lambda ok: None
    repeat: Callable[[Frame], None] = lambda event: None


def tell(listener: Callable[..., None], about: object) -> None:
    """Raises Ended where the listener raises."""
    try:
        listener(about)
    except Exception as error:  # the caller's function
        raise Ended(f"a listener raised {error!r}") from error
