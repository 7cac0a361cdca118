"""Opening a zone: is what Redis holds the life of the log that the archive knows?

A claim once acknowledged must not be handed out again because a backup was restored, or because the name of Redis leads
to a server that was passed over. So Redis is compared with the archive on every new connection; found empty, behind or
of another life the zone stays closed, and says so. With the database away a zone does not open; one that was open
goes on where the connection comes back to the very epoch that this process knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, NamedTuple, TypeVar

import structlog

from engine.errors import CalloutError
from engine.sql.database import Archive
from engine.store import keys
from engine.store.connection import Opener, Send, Store, ZoneState
from engine.store.pipeline import Pipeline
from engine.types import Epoch, Zone
from engine.zone import records
from engine.zone.records import Standing

ASK_S = 3.0
"""How long the archive may take to answer: less than what a new connection is given to be prepared."""

TRIES = 3

_unanswered: set[asyncio.Task[Any]] = set()

T = TypeVar("T")

log = structlog.get_logger(__name__)

WHY: Mapping[str, str] = {
    "EMPTY": "Redis is empty but the archive is not: bring back Redis' own file",
    "BEHIND": "Redis is behind the archive (an older backup or AOF): bring back its latest file",
    "FOREIGN": "Redis holds another life of the log than the archive: is it the right database?",
    "OLDER": "Redis holds an older life of the log than was seen: does its name lead to a server that was replaced?",
    "HOLE": "Redis has dropped events that the archive has not got: is it the right database, and its latest state?",
    "OTHER_DATABASE": "Redis belongs to another database: is --database the right one?",
    "CLOSED": "the zone was closed by an operator",
}


class Answer(NamedTuple):
    """What ``zone_open`` says; ``lives`` are the epochs in Redis where something was compared."""

    word: str
    seq: int = 0
    epoch: Epoch = Epoch("")
    lives: Mapping[Epoch, int] = {}


def opener(archive: Archive) -> Opener:
    """What the store runs on each new connection, before any mutation travels on it."""

    async def open_zones(store: Store, pipe: Pipeline, run_id: str) -> None:
        known = await _told(records.of(archive, list(store.zones)))
        for zone, state in store.zones.items():
            if isinstance(known, str):
                await _go_on(store, pipe, zone, state, run_id, why=known)
            else:
                await _open(store, pipe, archive, zone, known[zone], run_id)

    return open_zones


async def judge(store: Store, archive: Archive, zone: Zone) -> None:
    """An archiver could not go on: where Redis and the archive do contradict each other, close the zone for everybody.

    Raises Unavailable, Indeterminate.
    """
    at = (await records.of(archive, [zone]))[zone]
    answer = await ask(store, store.packed.submit, zone, store.run_id, "look", at)
    if answer.word != "OK":
        await store.run(zone, "zone_close", keys={"meta": keys.meta(zone)}, args={"why": answer.word})
        store.close_zone(zone, WHY[answer.word])


async def _open(store: Store, pipe: Pipeline, archive: Archive, zone: Zone, at: Standing, run_id: str) -> None:
    """Compare, and have what opened written down before anything is done in it."""
    known: Mapping[Zone, Standing] | str = {zone: at}
    for _ in range(TRIES):
        if isinstance(known, str):
            return store.close_zone(zone, f"the archive cannot be asked: {known}")
        at = known[zone]
        answer = await ask(store, pipe.urgent, zone, run_id, "1", at)
        if answer.word != "OK":
            return store.close_zone(zone, WHY[answer.word])
        written = answer.lives == at.epochs or await _told(records.begin(archive, zone, at, answer.lives))
        if written is True:
            return _follow(store, zone, answer)
        known = await _told(records.of(archive, [zone])) if written is False else written
    store.close_zone(zone, "another server opens it at this moment")


async def _go_on(store: Store, pipe: Pipeline, zone: Zone, state: ZoneState, run_id: str, *, why: str) -> None:
    """With the archive away: only in the epoch that this process has in hand."""
    answer = Answer("UNCOMPARED")
    if state.open:
        answer = await ask(store, pipe.urgent, zone, run_id, "0", Standing("", 0, {}))
    if answer.word == "OK":
        _follow(store, zone, answer)
    else:
        store.close_zone(zone, WHY.get(answer.word, f"the archive cannot be asked: {why}"))


async def _told(question: Coroutine[Any, Any, T]) -> T | str:
    """What the archive answers, or why it does not. A new connection is not kept waiting for it, and the question is
    not broken off: half a transaction would cost a connection to the database.
    """
    task = asyncio.create_task(question)
    try:
        async with asyncio.timeout(ASK_S):
            return await asyncio.shield(task)
    except TimeoutError:
        _unanswered.add(task)
        task.add_done_callback(_answered)
        return "it does not answer"
    except CalloutError as error:
        return str(error)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def _answered(task: asyncio.Task[Any]) -> None:
    _unanswered.discard(task)
    _ = task.cancelled() or task.exception()  # nobody waits for it any more


async def ask(store: Store, send: Send, zone: Zone, run_id: str, compared: str, at: Standing) -> Answer:
    """Run ``zone_open``; ``compared`` is its argument."""
    state = store.zones[zone]
    args = arguments(run_id, compared, at, believed=state.epoch, seen=state.seq)
    reply = await store.run_without_epoch(send, "zone_open", keys=places(zone), args=args)
    if reply[0] != b"OK":
        return Answer(reply[0].decode())
    rest = reply[5].decode().split()
    lives = {Epoch(name): int(first) for name, first in zip(rest[::2], rest[1::2], strict=True)}
    return Answer("OK", int(reply[2]), Epoch(reply[4].decode()), lives)


def places(zone: Zone) -> dict[str, str]:
    """The keys of ``zone_open``."""
    return {"meta": keys.meta(zone), "epochs": keys.epochs(zone), "log": keys.log(zone)}


def arguments(run_id: str, compared: str, at: Standing, *, believed: str = "", seen: int = 0) -> dict[str, str | int]:
    """The arguments of ``zone_open``."""
    known = " ".join(f"{epoch} {first}" for epoch, first in at.epochs.items())
    archive: dict[str, str | int] = {"archived": at.archived, "known": known, "database": at.database}
    return {"run_id": run_id, "compared": compared, **archive, "believed": believed, "seen": seen}


def _follow(store: Store, zone: Zone, answer: Answer) -> None:
    state = store.zones[zone]
    if not state.open or state.epoch != answer.epoch:
        log.info("zone_open", zone=zone, epoch=answer.epoch, seq=answer.seq)
    if state.epoch != answer.epoch:
        state.seq = 0
    state.epoch, state.open, state.why = answer.epoch, True, ""
    state.seq = max(state.seq, answer.seq)
