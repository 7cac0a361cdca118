"""Disputes in chat rooms: mediators are invited, one of them takes the dispute and is a member of the room until it is
resolved.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
import pytest

from engine.domain import disputes, room_members, rooms
from engine.errors import Forbidden, IllegalTransition, NotFound, NotMember, ReusedKey, RoomClosed, Taken
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal
from tests.support import chat, event_log, people
from tests.support.chat import Chat, book_with_room, read_room, room_events, say, send_command, texts

UNKNOWN_DISPUTE = "dsp_main_01jb4zqk3m8r5t7v9x2c6d8f0g"


async def open_dispute(engine: Engine, job: Chat, who: Principal | None = None, reason: str = 'It "leaks"') -> str:
    """Open a dispute about an accepted job and return its id."""
    done = await disputes.open_dispute(engine, who or job.customer, job.job, reason)
    return str(msgspec.json.decode(done.dispute)["id"])


async def disputed_job(engine: Engine) -> tuple[Chat, str]:
    """Book a job whose technician accepts it, let the customer say "before", and open a dispute."""
    job = await book_with_room(engine)
    await send_command(engine, job.technician, job.job, "accept")
    await say(engine, job.customer, job.room, "before")
    return job, await open_dispute(engine, job)


async def mediator_events(engine: Engine) -> list[tuple[str, set[str], dict[str, Any]]]:
    """Return type, channels and data of the events about mediators."""
    found = [event for event in await event_log.events(engine) if event.type.startswith("mediator.")]
    return [(event.type, set(event.to), event_log.payload(event)) for event in found]


async def open_disputes(engine: Engine, who: Principal) -> dict[str, Any]:
    """Return the open disputes that the user's list contains, by their ids."""
    page = await disputes.find_disputes(engine, who)
    return {item["id"]: item for item in map(msgspec.json.decode, page.items)}


async def test_a_dispute_is_not_taken_by_others(engine: Engine) -> None:
    """Only mediators and ops take a dispute. An unknown dispute is not found, and a mediator who joins a room without a
    dispute is no member.
    """
    job = await book_with_room(engine)
    mia = await chat.staff(engine)
    for who in (job.customer, job.technician, Principal(mia.id, "service"), Principal(mia.id, "onboarding_manager")):
        with pytest.raises(Forbidden):
            await disputes.take_dispute(engine, who, UNKNOWN_DISPUTE)
    for unknown in (UNKNOWN_DISPUTE, "x", ""):
        with pytest.raises(NotFound):
            await disputes.take_dispute(engine, mia, unknown)
    with pytest.raises(NotMember):
        await rooms.join_room(engine, mia, job.room)
    assert not await mediator_events(engine)


async def test_a_dispute_invites_mediators(engine: Engine) -> None:
    """The step that opens a dispute sets `mediator_invited` on the room, and the members, all mediators and ops receive
    `mediator.invited` with the dispute and the room.
    """
    job, dispute = await disputed_job(engine)
    assert (await read_room(engine, job.customer, job.room))["mediator_invited"] is True
    [(kind, to, data)] = await mediator_events(engine)
    assert (kind, to) == (
        "mediator.invited",
        {f"user:{job.customer.id}", "user:tom", "role:mediator", "role:ops"},
    )
    summary = {"id": dispute, "job": job.job, "reason": 'It "leaks"', "status": "open"}
    assert data == {"dispute": summary, "room": {"id": job.room}}


@pytest.mark.parametrize("by_join", [True, False])
async def test_the_first_mediator_has_the_dispute(engine: Engine, *, by_join: bool) -> None:
    """`take`, or the first `join` of a mediator, makes them the dispute's mediator and a member who reads everything;
    the others receive `mediator.taken`. Another mediator gets `taken`, by either way, and resolves nothing.
    """
    job, dispute = await disputed_job(engine)
    mia, max_ = await chat.staff(engine), await chat.staff(engine)
    if by_join:
        assert len((await rooms.join_room(engine, mia, job.room)).messages) == 1
    else:
        taken = await disputes.take_dispute(engine, mia, dispute)
        assert taken.room is not None and msgspec.json.decode(taken.room)["id"] == job.room
        assert msgspec.json.decode(taken.dispute)["mediator"] == {"id": mia.id, "role": "mediator"}
    for call in (
        disputes.take_dispute(engine, max_, dispute),
        rooms.join_room(engine, max_, job.room),
        disputes.resolve_dispute(engine, max_, dispute, "resume"),
        disputes.resolve_dispute(engine, people.ADMIN, dispute, "resume"),
    ):
        with pytest.raises(Taken):
            await call
    kind, to, data = (await mediator_events(engine))[-1]
    assert kind == "mediator.taken" and {f"user:{job.customer.id}", "user:tom", "role:mediator", "role:ops"} < to
    assert data["user"] == {"id": mia.id, "name": mia.name, "role": "mediator"}
    assert data["dispute"] == {"id": dispute, "job": job.job, "reason": 'It "leaks"', "status": "open"}
    assert await texts(engine, mia, job.room) == ["before"]
    await say(engine, mia, job.room, "What happened?")
    assert f"user:{mia.id}" in (await room_events(engine, job.room))[-1][1]
    room = await read_room(engine, job.customer, job.room)
    assert [(member["id"], member["from_n"]) for member in room["members"]][-1] == (mia.id, 0)
    assert (await open_disputes(engine, max_))[dispute]["mediator"]["id"] == mia.id
    with pytest.raises(NotMember):
        await texts(engine, max_, job.room)


async def test_a_repeated_take_acts_once(engine: Engine) -> None:
    """The same mediator gets the same answer again, with the same key and with another one. The key is refused for
    another dispute.
    """
    job, dispute = await disputed_job(engine)
    mia, key = await chat.staff(engine), str(uuid.uuid4())
    first = await disputes.take_dispute(engine, mia, dispute, key=key)
    other = str(uuid.uuid4())
    for again in (key, other, other):
        repeat = await disputes.take_dispute(engine, mia, dispute, key=again)
        assert (repeat.dispute, repeat.room, repeat.repeated) == (first.dispute, first.room, True)
    assert [kind for kind, _, _ in await mediator_events(engine)] == ["mediator.invited", "mediator.taken"]
    with pytest.raises(ReusedKey):
        await open_and_take(engine, job, mia, key)


async def open_and_take(engine: Engine, job: Chat, mia: Principal, key: str) -> None:
    """Resolve the job's dispute, open another one and take it with ``key``."""
    [dispute] = await open_disputes(engine, mia)
    await disputes.resolve_dispute(engine, mia, dispute, "resume")
    await disputes.take_dispute(engine, mia, await open_dispute(engine, job), key=key)


async def test_two_mediators_race_and_one_has_it(engine: Engine) -> None:
    """Of ten mediators who take or join at once, exactly one has the dispute."""
    job, dispute = await disputed_job(engine)
    staff = [await chat.staff(engine) for _ in range(4)]

    async def attempt(who: Principal, *, joins: bool) -> str:
        try:
            await (rooms.join_room(engine, who, job.room) if joins else disputes.take_dispute(engine, who, dispute))
        except Taken:
            return ""
        return who.id

    tries = [attempt(who, joins=joins) for who in staff for joins in (True, False)]
    winners = set(await asyncio.gather(*tries)) - {""}
    assert len(winners) == 1
    assert [data["user"]["id"] for kind, _, data in await mediator_events(engine) if kind == "mediator.taken"] == [
        *winners
    ]
    members = (await read_room(engine, job.customer, job.room))["members"]
    assert [member["id"] for member in members if member["role"] == "mediator"] == [*winners]


@pytest.mark.parametrize("outcome", ["resume", "cancel"])
async def test_resolving_ends_the_membership_in_that_step(engine: Engine, outcome: str) -> None:
    """When the mediator resolves the dispute, their membership ends: they and the members receive `room.left`, and
    afterwards the mediator can neither read nor join nor receives events. The room of a cancelled job closes after
    that.
    """
    job, dispute = await disputed_job(engine)
    mia = await chat.staff(engine)
    await rooms.join_room(engine, mia, job.room)
    await disputes.resolve_dispute(engine, mia, dispute, outcome)
    events = await room_events(engine, job.room)
    left = next(event for event in events if event[0] == "room.left")
    assert left[1] == {f"user:{mia.id}", f"user:{job.customer.id}", "user:tom"} and left[2]["user"]["id"] == mia.id
    assert left[2]["room"]["mediator_invited"] is False and len(left[2]["room"]["members"]) == 2
    assert [kind for kind, _, _ in events][-1] == ("room.left" if outcome == "resume" else "room.closed")
    for call in (rooms.read_room(engine, mia, job.room), rooms.join_room(engine, mia, job.room)):
        with pytest.raises(NotMember):
            await call
    with pytest.raises(NotMember):
        await say(engine, mia, job.room, "One more thing")
    with pytest.raises(IllegalTransition):
        await disputes.take_dispute(engine, mia, dispute)
    if outcome == "cancel":
        with pytest.raises(RoomClosed):
            await say(engine, job.customer, job.room, "late")
        return
    await say(engine, job.customer, job.room, "Thank you")
    assert f"user:{mia.id}" not in (await room_events(engine, job.room))[-1][1]
    again = await open_dispute(engine, job, job.technician)
    assert (await read_room(engine, job.customer, job.room))["mediator_invited"] is True
    assert "mediator" not in (await open_disputes(engine, mia))[again]


async def test_a_resolution_takes_a_dispute_that_nobody_has_taken(engine: Engine) -> None:
    """A mediator who resolves a dispute that nobody has taken is its mediator for that step alone."""
    job, dispute = await disputed_job(engine)
    mia = await chat.staff(engine)
    done = await disputes.resolve_dispute(engine, mia, dispute, "resume")
    assert msgspec.json.decode(done.dispute)["mediator"] == {"id": mia.id, "role": "mediator"}
    kind, _, data = (await room_events(engine, job.room))[-1]
    assert (kind, data["user"]["id"], data["room"]["mediator_invited"]) == ("room.left", mia.id, False)
    with pytest.raises(NotMember):
        await texts(engine, mia, job.room)


async def test_ops_take_a_dispute_from_its_mediator(engine: Engine) -> None:
    """When ops take a dispute, its mediator's membership ends in that step, and from then on only that ops user can
    resolve it. If they are removed from the room, mediators are invited again.
    """
    job, dispute = await disputed_job(engine)
    mia, olga = await chat.staff(engine), await chat.staff(engine, "ops_manager")
    await disputes.take_dispute(engine, mia, dispute)
    await disputes.take_dispute(engine, olga, dispute)
    left, opened = [event for event in await room_events(engine, job.room) if event[0].startswith("room.")][-2:]
    assert (left[0], left[2]["user"]["id"], opened[0], opened[1]) == (
        "room.left",
        mia.id,
        "room.opened",
        {f"user:{olga.id}"},
    )
    for call in (texts(engine, mia, job.room), rooms.read_room(engine, mia, job.room)):
        with pytest.raises(NotMember):
            await call
    with pytest.raises(Taken):
        await disputes.resolve_dispute(engine, mia, dispute, "resume")
    await room_members.remove_member(engine, people.ADMIN, job.room, olga.id)
    kind, to, data = (await mediator_events(engine))[-1]
    assert (kind, to) == ("mediator.invited", {f"user:{job.customer.id}", "user:tom", "role:mediator", "role:ops"})
    assert (
        data == (await mediator_events(engine))[0][2] and "mediator" not in (await open_disputes(engine, mia))[dispute]
    )
    assert (await read_room(engine, job.customer, job.room))["mediator_invited"] is True
    await disputes.take_dispute(engine, mia, dispute)
    await disputes.take_dispute(engine, olga, dispute)
    await disputes.resolve_dispute(engine, olga, dispute, "complete")
    room = await read_room(engine, job.customer, job.room)
    assert len(room["members"]) == 2 and not room["mediator_invited"]


async def test_mediators_are_invited_anew_only_for_an_open_dispute(engine: Engine) -> None:
    """If ops remove a mediator who has not taken the dispute, no mediator is invited. The removal of the dispute's
    mediator invites mediators once, even if it is repeated.
    """
    job, dispute = await disputed_job(engine)
    mia, max_, key = await chat.staff(engine), await chat.staff(engine), str(uuid.uuid4())
    await room_members.add_member(engine, people.ADMIN, job.room, max_.id)
    await room_members.remove_member(engine, people.ADMIN, job.room, max_.id)
    await disputes.take_dispute(engine, mia, dispute)
    for _ in range(2):
        await room_members.remove_member(engine, people.ADMIN, job.room, mia.id, key=key)
    kinds = [kind for kind, _, _ in await mediator_events(engine)]
    assert kinds == ["mediator.invited", "mediator.taken", "mediator.invited"]
    await disputes.take_dispute(engine, max_, dispute)
    await disputes.resolve_dispute(engine, max_, dispute, "resume")


async def test_a_dispute_is_taken_without_an_open_room(engine: Engine) -> None:
    """A dispute about a job without an open room is taken too: its sides are notified, and the reply has no room."""
    job = await book_with_room(engine)
    await send_command(engine, job.technician, job.job, "accept")
    await engine.store.redis.hset(keys.room(DEFAULT_ZONE, job.room), "state", "closed")
    mia = await chat.staff(engine)
    dispute = await open_dispute(engine, job)
    assert (await disputes.take_dispute(engine, mia, dispute)).room is None
    [(kind, to, data)] = await mediator_events(engine)
    assert (kind, to) == ("mediator.taken", {f"user:{job.customer.id}", "user:tom", "role:mediator", "role:ops"})
    assert "room" not in data
    await disputes.resolve_dispute(engine, mia, dispute, "resume")


async def test_a_mediator_makes_a_room_large(engine: Engine) -> None:
    """The mediator who is the 65th member receives the room's channel, as all members do, until the room is small
    again: gateways receive `session.room` after the event of the membership.
    """
    job, dispute = await disputed_job(engine)
    await chat.fill_room(engine, job.room, 62)
    mia = await chat.staff(engine)
    await disputes.take_dispute(engine, mia, dispute)
    await disputes.resolve_dispute(engine, mia, dispute, "resume")
    told = [
        (event.type, event_log.payload(event).get("is_member"), f"user:{mia.id}" in event.to)
        for event in await event_log.events(engine)
    ]
    taken, resolved = told.index(("room.opened", None, True)), told.index(("room.left", None, True))
    assert ("session.room", True, True) in told[taken:resolved]
    assert ("session.room", False, True) in told[resolved:]
