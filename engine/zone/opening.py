"""Open a zone only if Redis contains the same log that the database has recorded.

Otherwise an acknowledged claim could be given to another technician, because a backup was restored, or because the
address of Redis leads to a server that a failover has replaced. So Redis is compared with the database on every new
connection. If Redis is empty, behind, or has another log, the zone stays closed with the reason. While the database is
away, a closed zone does not open; an open zone stays open if the new connection finds the epoch that this process has
stored."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import structlog

from engine.errors import CalloutError
from engine.sql.database import Archive
from engine.store import keys
from engine.store.connection import OpenZones, SendCommand, Store
from engine.store.pipeline import Pipeline
from engine.store.shard import Shard
from engine.types import NEWEST_FORMAT, Epoch, Zone
from engine.zone import records
from engine.zone.records import ZoneRecord

DATABASE_TIMEOUT_S = 3.0
"""How long the database may take to answer: less than the time limit for preparing a new connection."""

MAX_ATTEMPTS = 3

_unfinished_queries: set[asyncio.Task[Any]] = set()

T = TypeVar("T")

log = structlog.get_logger(__name__)

CLOSED_REASONS: Mapping[str, str] = {
    "EMPTY": "Redis is empty but the archive is not: a server rebuilds the zone from the database",
    "BEHIND": "Redis is behind the archive (an older backup or AOF): a server writes what is missing from the database",
    "FOREIGN": "Redis has another history of the log than the archive: a server rebuilds the zone from the database",
    "OLDER": "Redis holds an older history of the log than was seen: does its name lead to a server that was replaced?",
    "HOLE": "Redis has dropped events that the archive has not got: is it the right database, and its latest state?",
    "FOREIGN_ROW": "the archive has a row of another program in the place of the next event (the archiver logs which"
    " and where): remove it, and the zone opens by itself",
    "OTHER_DATABASE": "Redis belongs to another database: is --database the right one?",
    "CLOSED": "the zone was closed by an operator",
    "PAUSED": "paused: an operator has closed the zone; `callout zone open` opens it",
    "STALE_RELEASE": "a newer release writes this zone: replace this process by that release",
    "REBUILDING": "rebuilding: a process writes its keys from the database",
}

REBUILT_WORDS = frozenset({"EMPTY", "BEHIND", "FOREIGN", "REBUILDING"})
"""The words of the zones that a server rebuilds without an operator (engine/rebuild/). ``REBUILDING``: a process began
this, and may have died since. The others need an operator: a zone must not be rebuilt because an address is wrong.
"""


MAX_ZONES_AT_ONCE = 16
"""How many zones are compared at the same time."""


class ZoneOpenReply(NamedTuple):
    """The reply of the script ``zone_open``. ``word`` is "OK" or a key of ``CLOSED_REASONS``. ``epochs`` are the epochs
    in Redis with their first seqs. ``progress`` is a text: how many rows a running rebuild has written."""

    word: str
    seq: int = 0
    epoch: Epoch = Epoch("")
    epochs: Mapping[Epoch, int] = {}
    progress: str = ""
    format: int = 1

    @property
    def reason(self) -> str:
        """Return why the zone is closed, as a sentence."""
        return CLOSED_REASONS[self.word] + self.progress


def make_zone_opener(archive: Archive) -> OpenZones:
    """Return the function that opens the zones on a new connection. The store runs it before the first mutation on the
    connection.
    """

    async def open_zones(store: Store, shard: Shard, pipe: Pipeline, zones: Sequence[Zone]) -> None:
        store.known_format = archive.known_format
        known = await _answer_in_time(records.read_records(archive, zones))
        at_once = asyncio.Semaphore(MAX_ZONES_AT_ONCE)

        async def open_one(zone: Zone) -> None:
            async with at_once:
                store.zones[zone].shard = shard
                if isinstance(known, str):
                    await _reopen_known_epoch(store, pipe, zone, shard.run_id, reason=known)
                else:
                    await _open_zone(store, pipe, archive, zone, known[zone], shard.run_id)

        done = await asyncio.gather(*(open_one(zone) for zone in zones), return_exceptions=True)
        for failure in filter(None, done):
            raise failure

    return open_zones


async def _open_zone(
    store: Store, pipe: Pipeline, archive: Archive, zone: Zone, record: ZoneRecord, run_id: str
) -> None:
    """Compare Redis with the database record ``record`` and open the zone, or close it with the reason. A new epoch is
    recorded in the database before any command runs in that epoch.
    """
    if record.paused:
        return store.close_zone(zone, CLOSED_REASONS["PAUSED"], "PAUSED")
    known: Mapping[Zone, ZoneRecord] | str = {zone: record}
    for _ in range(MAX_ATTEMPTS):
        if isinstance(known, str):
            return store.close_zone(zone, f"the archive cannot be asked: {known}")
        record = known[zone]
        answer = await compare_with_sql(store, pipe.submit_urgent, zone, run_id, "1", record)
        if answer.word != "OK":
            return store.close_zone(zone, answer.reason, answer.word)
        written = answer.epochs == record.epochs or await _answer_in_time(
            records.record_epochs(archive, zone, record, answer.epochs)
        )
        if written is True:
            return _mark_open(store, zone, answer)
        known = await _answer_in_time(records.read_records(archive, [zone])) if written is False else written
    store.close_zone(zone, "another server opens it at this moment")


async def _reopen_known_epoch(store: Store, pipe: Pipeline, zone: Zone, run_id: str, *, reason: str) -> None:
    """Reopen a zone without the database if the zone was open and Redis has the epoch that this process has stored.
    Otherwise close the zone; ``reason`` is the reason why the database gave no answer.
    """
    answer = ZoneOpenReply("UNCOMPARED")
    if store.zones[zone].open:
        answer = await compare_with_sql(store, pipe.submit_urgent, zone, run_id, "0", ZoneRecord("", 0, {}))
    if answer.word == "OK":
        _mark_open(store, zone, answer)
    else:
        store.close_zone(zone, CLOSED_REASONS.get(answer.word, f"the archive cannot be asked: {reason}"))


async def _answer_in_time(query: Coroutine[Any, Any, T]) -> T | str:
    """Return the result of a query, or the reason why there is none after ``DATABASE_TIMEOUT_S``.

    The query is not cancelled at the timeout, because a cancelled transaction would cost a connection to the database.
    """
    task = asyncio.create_task(query)
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_S):
            return await asyncio.shield(task)
    except TimeoutError:
        _unfinished_queries.add(task)
        task.add_done_callback(_discard_result)
        return "it does not answer"
    except CalloutError as error:
        return str(error)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _discard_result(task: asyncio.Task[Any]) -> None:
    _unfinished_queries.discard(task)
    _ = task.cancelled() or task.exception()  # reading the exception marks it as handled


async def compare_with_sql(
    store: Store, send: SendCommand, zone: Zone, run_id: str, compared: str, record: ZoneRecord
) -> ZoneOpenReply:
    """Compare a zone's log in Redis with the database's ``record`` of it by the script ``zone_open``, which opens the
    zone if they agree. With "look" for ``compared`` it changes nothing. Return the script's reply.
    """
    state = store.zones[zone]
    args = script_arguments(
        run_id, compared, record, believed=state.epoch, seen_seq=state.seq, knows=store.known_format
    )
    reply = await store.run_without_epoch(send, "zone_open", keys=script_keys(zone), args=args)
    if reply[0] != b"OK":
        progress = ": {} of {} rows".format(*(n.decode() for n in reply[1:])) if len(reply) > 1 else ""
        return ZoneOpenReply(reply[0].decode(), progress=progress)
    rest = reply[5].decode().split()
    epochs = {Epoch(name): int(first) for name, first in zip(rest[::2], rest[1::2], strict=True)}
    return ZoneOpenReply("OK", int(reply[2]), Epoch(reply[4].decode()), epochs, format=int(reply[6]))


def script_keys(zone: Zone) -> dict[str, str]:
    """Return the keys of the script ``zone_open``."""
    return {"meta": keys.zone_meta(zone), "epochs": keys.epochs(zone), "log": keys.log(zone)}


def script_arguments(
    run_id: str, compared: str, record: ZoneRecord, *, believed: str = "", seen_seq: int = 0, knows: int = NEWEST_FORMAT
) -> dict[str, str | int]:
    """Return the arguments of the script ``zone_open``. ``believed`` is the newest epoch of the zone that this process
    has seen, ``seen_seq`` the highest seq in it, and ``knows`` the newest format of a zone that this process knows.
    """
    known = " ".join(f"{epoch} {first}" for epoch, first in record.epochs.items())
    archive: dict[str, str | int] = {"archived": record.archived, "known": known, "database": record.database}
    return {
        "run_id": run_id,
        "compared": compared,
        **archive,
        "believed": believed,
        "seen": seen_seq,
        "format": record.format,
        "knows": knows,
    }


def _mark_open(store: Store, zone: Zone, answer: ZoneOpenReply) -> None:
    """Store the epoch and seq of Redis as this process's state, and allow commands in the zone."""
    state = store.zones[zone]
    if not state.open or state.epoch != answer.epoch:
        log.info("zone_open", zone=zone, epoch=answer.epoch, seq=answer.seq)
    if state.epoch != answer.epoch:
        state.seq = 0
    state.epoch, state.open, state.why, state.word = answer.epoch, True, "", ""
    state.seq, state.format = max(state.seq, answer.seq), answer.format
