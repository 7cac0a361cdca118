"""The shards of a Redis Cluster: its primaries, and which of them has a key.

A table of the slots says which primary has a key. It is read again when a node replies that a slot has moved, and
whenever a connection is lost or a primary is silent. ``MOVED`` promises that nothing was done, so the command is sent
once more, to the new owner. A zone is compared with the database on its new owner before any command runs there: the
owner is another process, so another epoch begins.
"""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import count
from time import monotonic
from typing import Any

import structlog
from redis.asyncio import Redis

from engine.errors import CalloutError, Unavailable
from engine.store import keys
from engine.store.error_replies import ErrorReply, Moved
from engine.store.pipeline import CALL_TIMEOUT_S, Pipeline
from engine.store.redis_url import Node, connect_to_node, create_node_client, parse_url
from engine.store.routed_reads import RoutedReads
from engine.store.shard import Shard, ShardContext
from engine.store.shards import Shards
from engine.store.stream_connection import Reads
from engine.types import Zone

SLOTS = 16_384
ASK_TIMEOUT_S = 1.0
"""How long a node may take to tell the table of slots. Then another node is asked."""
MIN_REFRESH_PAUSE_S = 0.2

SlotRange = tuple[int, int, Node]
"""The first and the last slot of a range, and its primary."""

log = structlog.get_logger(__name__)


def slot_of(key: str) -> int:
    """Return the slot of a key, by its hash tag if it has one."""
    begin = key.find("{")
    end = key.find("}", begin + 1) if begin >= 0 else -1
    return binascii.crc_hqx((key[begin + 1 : end] if end > begin + 1 else key).encode(), 0) % SLOTS


class ClusterShards(Shards):
    """The primaries of a cluster that have slots."""

    is_cluster = True

    def __init__(self, url: str, zones: Sequence[Zone], context: ShardContext) -> None:
        self._parts = parse_url(url)
        self._slot_of_zone = {zone: slot_of(keys.zone_meta(zone)) for zone in zones}
        self._context = context
        self._by_node: dict[Node, Shard] = {}
        self._owners: list[Shard | None] = [None] * SLOTS
        self._reads = RoutedReads(self)
        self._lock = asyncio.Lock()
        self._refreshed_at = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def all(self) -> Iterable[Shard]:
        """Return all shards."""
        return list(self._by_node.values())

    @property
    def reads(self) -> Reads:
        """Return the connection for the plain reads of all callers: each goes to the shard of its key."""
        return self._reads

    def shard_of(self, key: str) -> Shard:
        """Return the shard that has ``key``. Raises Unavailable if no primary is known."""
        shard = self._owners[slot_of(key)]
        if shard is None:
            raise Unavailable(f"no primary of the cluster has the slot {slot_of(key)}")
        return shard

    def clients(self, **options: Any) -> dict[str, Redis]:
        """Return a new redis-py client of each primary."""
        return {str(node): create_node_client(self._parts, node, **options) for node in self._by_node}

    def client_of(self, key: str, **options: Any) -> Redis:
        """Return a redis-py client of the primary that has ``key``. Raises Unavailable."""
        shard = self.shard_of(key)
        node = next(node for node, each in self._by_node.items() if each is shard)
        return create_node_client(self._parts, node, **options)

    def zones_of(self, shard: Shard) -> list[Zone]:
        """Return the zones that are on ``shard``."""
        return [zone for zone, slot in self._slot_of_zone.items() if self._owners[slot] is shard]

    def groups(self, zones: Iterable[Zone]) -> list[list[Zone]]:
        """Return the zones in groups: those of one group have the same slot. One command cannot read from two slots."""
        groups: dict[int, list[Zone]] = {}
        for zone in zones:
            groups.setdefault(self._slot_of_zone[zone], []).append(zone)
        return list(groups.values())

    async def discover(self) -> None:
        """Read the table of slots. Raises Unavailable if no node that the URL names returns it."""
        self._apply_slot_ranges(await self._read_ranges())

    async def open(self) -> None:
        """Connect to every primary. Raises Unavailable."""
        for shard in self.all:
            await shard.open()

    async def follow(self, moved: Moved) -> Shard:
        """Return the shard that a node named when it refused a command with ``moved``, and record that this shard has
        the slot. Raises Unavailable.
        """
        node = Node(moved.host, moved.port)
        if node not in self._by_node:
            await self._refresh(node)
        shard = self._by_node.get(node)
        if shard is None:
            raise moved
        if not moved.asks and self._owners[moved.slot] is not shard:
            self._owners[moved.slot] = shard
            self._refresh_soon()
        return shard

    async def close(self) -> None:
        """Close all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for shard in self.all:
            await shard.close()

    # The table of slots

    def _refresh_soon(self) -> None:
        """Read the table of slots, unless that is being done."""
        if not self._lock.locked():
            self._run_in_background(self._refresh())

    async def _refresh(self, hint: Node | None = None) -> None:
        """Read the table of slots again. Open the shards that are new, and close those without slots a little later, so
        that replies under way still come."""
        async with self._lock:
            wait_s = self._refreshed_at + MIN_REFRESH_PAUSE_S - monotonic()
            if wait_s > 0 and hint is None:
                await asyncio.sleep(wait_s)
            try:
                ranges = await self._read_ranges(hint)
            except Unavailable as error:
                log.warning("cluster_away", error=str(error))
                return
            finally:
                self._refreshed_at = monotonic()
            new, lost = self._apply_slot_ranges(ranges)
            for shard in lost:
                self._run_in_background(_close_later(shard))
            for shard in new:
                self._run_in_background(shard.open(keeps_trying=True))

    def _apply_slot_ranges(self, ranges: Sequence[SlotRange]) -> tuple[list[Shard], list[Shard]]:
        """Record who has which slots. Return the shards that are new, and those that have no slots any more."""
        nodes = {node for *_, node in ranges}
        lost = [self._by_node.pop(node) for node in set(self._by_node) - nodes]
        new = {node: self._make_shard(node) for node in nodes if node not in self._by_node}
        self._by_node |= new
        self._owners = [None] * SLOTS
        for first, last, node in ranges:
            self._owners[first : last + 1] = [self._by_node[node]] * (last + 1 - first)
        if self._context.acknowledgements.replicas:
            for shard in self.all:
                shard.set_probe_key(self._probe_key_of(shard))
        if new or lost:
            log.info("cluster_shards", shards=sorted(map(str, nodes)))
        return list(new.values()), lost

    def _make_shard(self, node: Node) -> Shard:
        shard = Shard(str(node), partial(self._connect, node), self._context)
        shard.pipeline.when_silent = self._refresh_soon
        return shard

    def _probe_key_of(self, shard: Shard) -> str:
        """Return a key that is in one of the shard's slots."""
        names = (keys.write_probe(Zone(str(number))) for number in count())
        return next(name for name in names if self._owners[slot_of(name)] is shard)

    async def _connect(self, node: Node, pipe: Pipeline) -> None:
        """Connect a pipeline to one primary. A reconnect also asks whether another one has its slots now."""
        shard = self._by_node.get(node)
        if shard is None:
            raise Unavailable(f"{node} has no slots of the cluster any more")
        if shard.run_id:
            self._refresh_soon()
        await connect_to_node(pipe, self._parts, node)

    async def _read_ranges(self, hint: Node | None = None) -> list[SlotRange]:
        """Return the table of slots, from the first node that sees the whole cluster, else from the last one that
        answers. Raises Unavailable if none answers."""
        up_first = sorted(self._by_node, key=lambda node: not self._by_node[node].pipeline.is_up)
        ranges: list[SlotRange] = []
        problems = []
        for node in dict.fromkeys([*([hint] if hint else []), *up_first, *self._parts.nodes]):
            try:
                is_whole, found = await self._ask_node(node)
            except (OSError, CalloutError, ErrorReply) as error:
                problems.append(f"{node}: {error or 'it does not answer'}")
                continue
            ranges = found or ranges
            if is_whole and found:
                break
        if not ranges:
            raise Unavailable(f"no node of the cluster tells its slots ({'; '.join(problems)})")
        return ranges

    async def _ask_node(self, node: Node) -> tuple[bool, list[SlotRange]]:
        """Return whether ``node`` sees the whole cluster, and its table of slots."""
        pipe = Pipeline(lambda pipe: connect_to_node(pipe, self._parts, node), _no_preparation)
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                await pipe.open()
                state = await pipe.submit_urgent("CLUSTER", "INFO")
                found = await pipe.submit_urgent("CLUSTER", "SLOTS")
        finally:
            await pipe.close()
        ranges = [(first, last, _node_of(owner, node.host)) for first, last, owner, *_ in found]
        return b"cluster_state:ok" in state, ranges

    def _run_in_background(self, work: Any) -> None:
        task = asyncio.create_task(work, name="cluster")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _node_of(owner: Sequence[Any], asked_host: str) -> Node:
    """Return the address of a node in a reply to ``CLUSTER SLOTS``: "" stands for the host that was asked."""
    host = (owner[0] or b"").decode()
    return Node(asked_host if host in ("", "?") else host, int(owner[1]))


async def _close_later(shard: Shard) -> None:
    try:
        await asyncio.sleep(CALL_TIMEOUT_S)
    finally:
        await shard.close()


async def _no_preparation(_: Pipeline) -> None: ...
