"""A zone is written anew from SQL, whatever state Redis comes back in, and wherever a rebuild was interrupted."""

from __future__ import annotations

from engine.rebuild import rebuilder
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE
from engine.workers import archiver
from tests.rebuild.scene import open_scene


async def test_an_emptied_redis_is_written_anew(engine: Engine) -> None:
    """After FLUSHALL the zone opens above the archive's head, in a new epoch, and technicians are online as before."""
    scene = await open_scene(engine)
    await archiver.run_once(engine)
    before, head = engine.store.zones[DEFAULT_ZONE].epoch, await scene.read_head()
    await scene.empty_redis()
    [report] = await rebuilder.run_once(engine)
    assert (report.word, report.seq) == ("EMPTY", head)
    state = engine.store.zones[DEFAULT_ZONE]
    assert state.open and state.epoch != before and await scene.read_head() == head
    assert await engine.store.command("HGET", keys.technician(DEFAULT_ZONE, scene.technician_id), "online") == b"1"
    claimed = await scene.book_and_claim()
    assert claimed.seq > head
