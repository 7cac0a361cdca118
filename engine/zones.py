"""Opening a zone: is what Redis holds the life of the log that the archive knows?

A claim once acknowledged must not be handed out again because a backup was restored. So a zone opens only after
Redis has been compared with the archive; found empty, behind or of another life it stays closed, and says so.
A server that did not restart needs no comparison: the database may be away while the network blinks.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from engine.archive import reader
from engine.archive.database import Archive
from engine.errors import CalloutError
from engine.store import keys
from engine.store.connection import Opener, Store, ZoneState
from engine.store.pipeline import Pipeline
from engine.types import Epoch, Zone

log = structlog.get_logger(__name__)

WHY: Mapping[str, str] = {
    "EMPTY": "Redis is empty but the archive is not: bring back Redis' own file",
    "BEHIND": "Redis is behind the archive (an older backup or AOF): bring back its latest file",
    "FOREIGN": "Redis holds another life of the log than the archive: is it the right database?",
    "CLOSED": "the zone was closed by an operator",
}


def opener(archive: Archive) -> Opener:
    """What the store runs on each new connection, before any mutation travels on it."""

    async def open_zones(store: Store, pipe: Pipeline, run_id: str) -> None:
        for zone, state in store.zones.items():
            await _open(store, pipe, archive, zone, state, run_id)

    return open_zones


async def _open(store: Store, pipe: Pipeline, archive: Archive, zone: Zone, state: ZoneState, run_id: str) -> None:
    reply = await _ask(store, pipe, zone, run_id, compared="0", archived="0", known="")
    if reply[0] == b"UNCOMPARED":
        try:
            checkpoint = await reader.checkpoint(archive, zone)
            known = await reader.epochs(archive, zone)
        except CalloutError as error:
            store.close_zone(zone, f"the archive cannot be asked: {error}")
            return
        # What this process has itself seen is knowledge too: an archive that lags must not make an emptied
        # Redis look new.
        archived = max(checkpoint.seq if checkpoint else 0, min(state.seq, 1))
        pairs = " ".join(f"{epoch} {first}" for epoch, first in known.items())
        reply = await _ask(store, pipe, zone, run_id, compared="1", archived=str(archived), known=pairs)
    word = reply[0].decode()
    if word != "OK":
        store.close_zone(zone, WHY.get(word, word))
        return
    already = state.open and state.epoch == reply[4].decode()
    state.epoch, state.open, state.why = Epoch(reply[4].decode()), True, ""
    state.seq = max(state.seq, int(reply[2]))
    if not already:
        log.info("zone_open", zone=zone, epoch=state.epoch, seq=int(reply[2]))


async def _ask(store: Store, pipe: Pipeline, zone: Zone, run_id: str, **archive: str) -> list[bytes]:
    names = {"meta": keys.meta(zone), "epochs": keys.epochs(zone)}
    return await store.ask(pipe.urgent, "zone_open", keys=names, args={"run_id": run_id, **archive})
