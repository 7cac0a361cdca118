"""A gateway drops its replay buffer of a zone when a person's data was erased there."""

from __future__ import annotations

from engine.identity.log_append import append_event
from engine.types import DEFAULT_ZONE
from server.serve import RunningServer
from tests.support.wait import wait_until


async def test_the_replay_buffer_is_dropped(server: RunningServer) -> None:
    """After the event `subject.erased` the buffer has none of the events before it. Later events are stored in it
    again."""
    assert server.gateway
    tail = server.gateway.relay.tails[DEFAULT_ZONE]
    engine = server.engine
    key = "00000000-0000-4000-8000-00000000000"
    await append_event(engine, "announcement.a", channels="role:ops", data=b"{}", actor="engine", key=key + "1")
    await wait_until(lambda: tail.buffer.first_seq is not None)
    data = b'{"user":"usr_anna","seqs":[1]}'
    await append_event(engine, "subject.erased", channels="", data=data, actor="engine", key=key + "2")
    await wait_until(lambda: tail.buffer.first_seq is None)
    dropped_at = tail.cursor
    await append_event(engine, "announcement.b", channels="role:ops", data=b"{}", actor="engine", key=key + "3")
    await wait_until(lambda: tail.buffer.first_seq == dropped_at + 1)
