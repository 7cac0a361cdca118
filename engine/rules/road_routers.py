"""The HTTP formats of two routing servers: the table service of OSRM, and the matrix of Valhalla.

Formats: https://project-osrm.org/docs/v5.24.0/api/#table-service and
https://valhalla.github.io/valhalla/api/matrix/api-reference/.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from engine.rules.travel import Place

RouterKind = Literal["osrm", "valhalla"]
KINDS: tuple[RouterKind, ...] = ("osrm", "valhalla")
MAX_PLACES = 50
"""The most origins, and the most destinations, of one request: OSRM's default limit is 100 places in all, Valhalla's
2,500 pairs."""
Table = list[list[float | None]]
"""Seconds from each origin to each destination; None where there is no way."""


class RouterAddress(NamedTuple):
    """A router: its kind and its base URL, without a slash at the end."""

    kind: RouterKind
    url: str


class WrongTable(ValueError):
    """Raised if the reply of a router is not a table of the expected size."""


class RouterRequest(NamedTuple):
    """A request for a table. ``body`` is the JSON of a POST; None is a GET."""

    path: str
    body: bytes | None


class _OsrmReply(msgspec.Struct):
    durations: Table


class _ValhallaPair(msgspec.Struct):
    time: float | None = None


class _ValhallaTable(msgspec.Struct):
    durations: Table


class _ValhallaReply(msgspec.Struct):
    sources_to_targets: list[list[_ValhallaPair]] | _ValhallaTable


def parse_router_address(text: str) -> RouterAddress:
    """Return the router of a setting like ``osrm+http://HOST:PORT``. Raises ValueError."""
    kind, plus, url = text.partition("+")
    found = next((each for each in KINDS if each == kind), None)
    scheme, _, host = url.partition("://")
    if found is None or not plus or scheme not in ("http", "https") or not host.strip("/"):
        raise ValueError("is no osrm+http://HOST:PORT or valhalla+http://HOST:PORT (or https)")
    return RouterAddress(found, url.rstrip("/"))


def router_problems(text: str) -> Iterator[str]:
    """Yield the problem of the setting ``router``."""
    try:
        parse_router_address(text)
    except ValueError as error:
        yield f"router: {text!r} {error}"


def table_request(kind: RouterKind, origins: Sequence[Place], destinations: Sequence[Place]) -> RouterRequest:
    """Return the request for the table from all origins to all destinations."""
    if kind == "osrm":
        places = ";".join(f"{lon:.5f},{lat:.5f}" for lat, lon in (*origins, *destinations))
        sources = ";".join(map(str, range(len(origins))))
        targets = ";".join(str(len(origins) + at) for at in range(len(destinations)))
        query = f"sources={sources}&destinations={targets}&annotations=duration"
        return RouterRequest(f"/table/v1/driving/{places}?{query}", None)
    body = {"sources": _encode_places(origins), "targets": _encode_places(destinations), "costing": "auto"}
    return RouterRequest("/sources_to_targets", msgspec.json.encode(body))


def parse_table(kind: RouterKind, body: bytes, rows: int, columns: int) -> Table:
    """Return the table of a router's answer, which must have ``rows`` origins and ``columns`` destinations. Raises
    WrongTable.
    """
    try:
        table = _decode_osrm(body) if kind == "osrm" else _decode_valhalla(body)
    except msgspec.DecodeError as error:
        raise WrongTable(str(error)) from error
    if len(table) != rows or any(len(row) != columns for row in table):
        raise WrongTable(f"not {rows} × {columns}")
    if any(seconds is not None and not 0 <= seconds < math.inf for row in table for seconds in row):
        raise WrongTable("a time below 0")
    return table


def _encode_places(places: Sequence[Place]) -> list[dict[str, float]]:
    return [{"lat": lat, "lon": lon} for lat, lon in places]


def _decode_osrm(body: bytes) -> Table:
    return msgspec.json.decode(body, type=_OsrmReply).durations


def _decode_valhalla(body: bytes) -> Table:
    found = msgspec.json.decode(body, type=_ValhallaReply).sources_to_targets
    return found.durations if isinstance(found, _ValhallaTable) else [[pair.time for pair in row] for row in found]
