"""The server as its operators see it: figures, processes, zones, settings, and the search of the staff."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from server.schemas.decode import Body
from server.schemas.fields import Moment
from server.schemas.objects import Shape


class StatsQuery(Body):
    """The start of the figures: only steps that ended after ``since`` are returned."""

    since: Moment | None = None


class StatsPoint(Shape, kw_only=True):
    """The figures of all processes in two seconds that ended at ``at``. ``claims_per_s``: jobs that technicians took.
    The percentiles are of the commands that were answered, null if there was none. ``lag_s``: from an event's commit to
    its hand-off, the longest of all gateways. ``errors``: requests that failed on the server's side.
    """

    at: datetime
    claims_per_s: float
    open_jobs: int
    p50_s: float | None
    p99_s: float | None
    lag_s: float
    sockets: int
    errors: int


class StatsReply(Shape):
    """``step_s`` is the length of a step in seconds."""

    step_s: int
    items: list[StatsPoint]


class ProcessItem(Shape):
    """A process of any server that uses the same Redis. ``seen_at`` is the time of its last sample."""

    id: str
    name: str
    host: str
    pid: int
    version: str
    roles: list[str]
    started_at: datetime
    seen_at: datetime
    sockets: int
    streams: int
    lag_s: float


class ZoneFacts(Shape):
    """A zone as the process that answers sees it. ``why`` says why it is closed. SQL has the log up to ``archived``,
    and ``lag_s`` is the age of the oldest event above ``archived``; notifications were derived up to ``pushed``.
    """

    zone: str
    open: bool
    why: str
    epoch: str
    seq: int
    archived: int
    lag_s: float
    pushed: int
    opened_at: datetime | None
    open_jobs: int


class StoreFacts(Shape):
    """One primary of Redis."""

    name: str
    version: str
    memory_bytes: int
    clients: int


class SystemFacts(Shape):
    """``problems`` are the reasons why the server is not ready, as in ``/readyz``."""

    processes: list[ProcessItem]
    zones: list[ZoneFacts]
    redis: list[StoreFacts]
    database: str
    problems: list[str]


class SystemReply(Shape):
    system: SystemFacts


class Setting(Shape, kw_only=True):
    """A setting of the process that answers. ``value`` is its text, "" for none, ``•••`` for a secret."""

    name: str
    value: str
    is_default: bool


class SettingsReply(Shape):
    items: list[Setting]


class SearchQuery(Body):
    q: Annotated[str, Meta(min_length=2, max_length=100, description="what to search for")]


class FoundThing(Shape):
    """A person or a job. ``title`` is a name or an address, ``detail`` a role or a status."""

    kind: Literal["user", "technician", "job"]
    id: str
    title: str
    detail: str


class SearchReply(Shape):
    items: list[FoundThing]
