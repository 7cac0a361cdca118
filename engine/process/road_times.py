"""Travel times by road, from a routing server (OSRM or Valhalla) that the operator runs. Without a router, the learnt
times apply.

A router may be slow or unreachable. Therefore a reply waits for it at most ``BUDGET_S``; after that the learnt times
apply, and ``source`` says so. After a failure the router gets no requests for ``PAUSE_S``, so that only one reply is
late. The answers are cached by pairs of H3 cells and hour.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from engine.rules.cells import cell_of
from engine.rules.distances import distance_m
from engine.rules.road_routers import MAX_PLACES, RouterAddress, WrongTable, parse_table, table_request
from engine.rules.travel import Place, TravelModel

if TYPE_CHECKING:
    import httpx

BUDGET_S = 0.15
PAUSE_S = 5.0
MAX_REQUESTS = 8
"""The most requests that wait for an answer. While there are this many, the learnt times apply."""
MAX_ANSWER_BYTES = 1_000_000
MAX_KNOWN = 50_000
CELL_RESOLUTION = 9
"""The resolution of the H3 cells (about 350 m wide). An answer applies to all places of the two cells, for an hour."""
LEAST_M = 500.0
"""The router is not asked about places that are nearer: over such short distances the learnt times are better."""
HOUR_MS = 3_600_000

_Pair = tuple[int, int, int]

log = structlog.get_logger(__name__)


class RoadTimes:
    """The router of a process, with its stored answers. Without ``router``, all times are the learnt ones."""

    def __init__(self, router: RouterAddress | None) -> None:
        self._router = router
        self._known: OrderedDict[_Pair, float] = OrderedDict()
        self._client = _open_client() if router else None
        self._asked: set[asyncio.Task[bool]] = set()
        self._paused_until = float("-inf")

    async def close(self) -> None:
        """End all requests and close the connections."""
        for task in list(self._asked):
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    def model_by_road(self, model: TravelModel, origin: Place, destination: Place, at: int) -> TravelModel:
        """Return the model with the stored time for these places and the bounds of ``model``. If there is none, return
        ``model`` itself, and ask the router in the background, for the next call.
        """
        metres = distance_m(*origin, *destination)
        if self._router is None or metres < LEAST_M:
            return model
        pace = self._known.get(_pair_of(origin, destination, at))
        if pace is not None:
            return msgspec.structs.replace(model, seconds_per_km=pace, exponent=1.0, source=self._router.kind)
        if self._may_ask():
            task = asyncio.create_task(self._ask([origin], [destination], at))
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)
        return model

    async def ask_for(self, origins: Sequence[Place], destinations: Sequence[Place], at: int) -> bool:
        """Ask the router, within ``BUDGET_S`` in all, for the pairs that are not stored and not near. Return whether
        all are stored afterwards.
        """
        if self._router is None:
            return False
        pairs = [(origin, destination) for origin in origins for destination in destinations]
        far = [pair for pair in pairs if distance_m(*pair[0], *pair[1]) >= LEAST_M]
        missing = [pair for pair in far if _pair_of(*pair, at) not in self._known]
        if missing and self._may_ask():
            some, others = (list(dict.fromkeys(side)) for side in zip(*missing, strict=True))
            parts = [
                (some[row : row + MAX_PLACES], others[column : column + MAX_PLACES])
                for row in range(0, len(some), MAX_PLACES)
                for column in range(0, len(others), MAX_PLACES)
            ]
            await asyncio.gather(*(self._ask(*part, at) for part in parts))
        return all(_pair_of(*pair, at) in self._known for pair in far)

    def _may_ask(self) -> bool:
        return monotonic() >= self._paused_until and len(self._asked) < MAX_REQUESTS

    async def _ask(self, origins: Sequence[Place], destinations: Sequence[Place], at: int) -> bool:
        """Ask for one table and store it. Return False if the router has not answered in time or has not sent a
        table.
        """
        import httpx

        try:
            # httpx limits each phase only; this limits all of them.
            async with asyncio.timeout(BUDGET_S):
                table = await self._request_table(origins, destinations)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, WrongTable) as error:
            self._paused_until = monotonic() + PAUSE_S
            log.warning("router_failed", error=str(error) or type(error).__name__, pause_s=PAUSE_S)
            return False
        for origin, row in zip(origins, table, strict=True):
            for destination, seconds in zip(destinations, row, strict=True):
                self._store(origin, destination, at, seconds)
        return True

    async def _request_table(self, origins: Sequence[Place], destinations: Sequence[Place]) -> Any:
        assert self._router is not None
        assert self._client is not None
        wanted = table_request(self._router.kind, origins, destinations)
        method, headers = ("GET" if wanted.body is None else "POST"), {"Content-Type": "application/json"}
        url = f"{self._router.url}{wanted.path}"
        async with self._client.stream(method, url, content=wanted.body, headers=headers) as response:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise WrongTable("the answer is too long")
        if response.status_code != 200:
            raise WrongTable(f"HTTP {response.status_code}")
        return parse_table(self._router.kind, bytes(body), len(origins), len(destinations))

    def _store(self, origin: Place, destination: Place, at: int, seconds: float | None) -> None:
        """Store the pace (s for 1 km of the straight distance); nothing if the router knows no way (None)."""
        metres = distance_m(*origin, *destination)
        if seconds is None or metres < LEAST_M:
            return
        self._known[_pair_of(origin, destination, at)] = seconds / metres * 1000
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def _open_client() -> httpx.AsyncClient:
    """Return the client. It is created at the start, because creating it takes longer than ``BUDGET_S``."""
    import httpx  # imported here, because most servers have no router

    limits = httpx.Limits(max_connections=MAX_REQUESTS)
    return httpx.AsyncClient(timeout=BUDGET_S, limits=limits, follow_redirects=False)


def _pair_of(origin: Place, destination: Place, at: int) -> _Pair:
    return cell_of(*origin, CELL_RESOLUTION), cell_of(*destination, CELL_RESOLUTION), at // HOUR_MS
