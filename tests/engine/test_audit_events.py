"""Commands that change only SQL, and each reading of a chat room by staff, become `audit.*` events in the log."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from engine.audit.staff_reads import MAX_WAITING_READINGS, StaffReads
from engine.domain import blocks, profile, services
from engine.domain.profile import ProfilePatch
from engine.errors import CalloutError, Forbidden, Unavailable
from engine.identity import accounts, audit_events
from engine.identity.accounts import NewAccount
from engine.runtime import Engine
from engine.sql.audit_tables import audit_outbox
from engine.store.connection import Store
from engine.types import Principal, RoomId, TechnicianId, UserId
from tests.support import event_log, people
from tests.support.people import ADMIN
from tests.support.postgres import on_both_databases


async def read_audit_events(engine: Engine) -> list[tuple[str, str, dict[str, Any]]]:
    """Append the waiting audit entries to the log. Return type, actor and data of each `audit.*` event in the log."""
    await audit_events.append_waiting(engine)
    found = [event for event in await event_log.events(engine) if event.type.startswith("audit.")]
    return [(event.type, event.actor, event_log.payload(event)) for event in found]


async def count_waiting_entries(engine: Engine) -> int:
    """Return how many audit entries in SQL still wait to be appended to the log."""
    async with engine.archive.begin_read() as conn:
        return (await conn.execute(select(func.count()).select_from(audit_outbox))).scalar() or 0


async def register(engine: Engine, role: Any = "customer") -> UserId:
    """Register a user and return their id."""
    new = NewAccount(email=f"{role}@example.org", password="correct horse", name="Ann", role=role, phone="+1 555 0100")
    return (await accounts.register_user(engine, new)).value.user.id


async def test_a_refused_command_leaves_no_event(engine: Engine) -> None:
    """A command that is refused, or that changes nothing, causes no audit event."""
    user = await register(engine)
    before = len(await read_audit_events(engine))
    customer = Principal(user, "customer")
    with pytest.raises(Forbidden):
        await services.create_service(
            engine, customer, services.NewService(name="x", category="y", base_amount=1, currency="EUR")
        )
    with pytest.raises(CalloutError):
        await accounts.suspend_user(engine, ADMIN, ADMIN.id, reason="x")
    await accounts.reinstate_user(engine, ADMIN, user)
    assert len(await read_audit_events(engine)) == before


@on_both_databases
async def test_commands_on_sql_are_events(engine: Engine) -> None:
    """Accounts, roles, profiles, prices and blocks: each command is one event, in the order of the commands, with who
    did it. No event has an address, a phone number, a name or a reason.
    """
    customer, technician = await register(engine), await register(engine, "technician")
    service = await people.service(engine)
    await services.patch_service(engine, ADMIN, service, {"base_amount": 7000})
    await profile.patch_technician(
        engine, ADMIN, TechnicianId(technician), ProfilePatch(capacity=3, phone="+1 555 0111", services=[service])
    )
    caller = Principal(customer, "customer")
    await blocks.put_block(engine, caller, technician)
    await blocks.lift_block(engine, caller, technician)
    await accounts.suspend_user(engine, ADMIN, customer, reason="fraud")
    await accounts.patch_user(engine, ADMIN, customer, role="mediator", active=True)
    found = await read_audit_events(engine)
    admin, of_customer = "admin:cli_admin", f"customer:{customer}"
    assert [(kind, actor, data["entity"], data["id"]) for kind, actor, data in found] == [
        ("audit.user_created", of_customer, "user", customer),
        ("audit.user_created", f"technician:{technician}", "user", technician),
        ("audit.service_created", admin, "service", service),
        ("audit.service_changed", admin, "service", service),
        ("audit.technician_changed", admin, "technician", technician),
        ("audit.block_set", of_customer, "user", technician),
        ("audit.block_lifted", of_customer, "user", technician),
        ("audit.user_changed", admin, "user", customer),
        ("audit.user_changed", admin, "user", customer),
    ]
    assert found[3][2]["changed"] == {"base_amount": 7000}
    assert found[4][2]["fields"] == ["capacity", "phone", "services"]
    assert found[4][2]["changed"] == {"capacity": 3, "services": [service]}
    assert (found[7][2]["command"], found[7][2]["active"]) == ("suspend", False)
    assert (found[8][2]["role"], found[8][2]["active"]) == ("mediator", True)
    for secret in ("555", "example.org", "Ann", "fraud"):
        assert secret not in str(found)
    assert await read_audit_events(engine) == found and await count_waiting_entries(engine) == 0


async def test_an_event_waits_for_a_closed_zone_and_is_appended_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Redis does not answer, the audit event waits in SQL, in a row that was committed with the command. If the
    event was appended and its row could not be deleted, the next round does not append the event again.
    """

    async def refuse(self: Store, *args: Any, **more: Any) -> Any:
        raise Unavailable("closed")

    await register(engine)
    engine.staff_reads.note("room_read", ADMIN, RoomId("room_main_1"))
    with monkeypatch.context() as closed:
        closed.setattr(Store, "run", refuse)
        with pytest.raises(Unavailable):
            await audit_events.append_waiting(engine)
    assert await count_waiting_entries(engine) == 1
    async with engine.archive.begin_read() as conn:
        (row,) = (await conn.execute(select(audit_outbox))).mappings().all()
    assert len(await read_audit_events(engine)) == 2
    async with engine.archive.begin_write() as conn:
        await conn.execute(audit_outbox.insert().values(**row))
    assert len(await read_audit_events(engine)) == 2


async def test_each_room_that_staff_read_is_an_event_once_a_minute(engine: Engine) -> None:
    """However often a member of staff reads a room in a minute, the log has one event; reading a list of rooms is one
    event that names the rooms. A second server that recorded the same reading adds no event.
    """
    other = Principal(UserId("cli_ops_manager"), "ops_manager")
    reads = StaffReads()
    for each in (engine.staff_reads, reads):
        for _ in range(3):
            each.note("room_read", ADMIN, RoomId("room_main_1"))
            each.note("rooms_listed", ADMIN, RoomId("room_main_1"))
            each.note("rooms_listed", ADMIN, RoomId("room_main_2"))
        each.note("room_read", other, RoomId("room_main_1"))
    found = await read_audit_events(engine)
    rooms = ["room_main_1", "room_main_2"]
    assert found == [
        ("audit.room_read", "admin:cli_admin", {"entity": "room", "id": "room_main_1"}),
        ("audit.room_read", "ops_manager:cli_ops_manager", {"entity": "room", "id": "room_main_1"}),
        ("audit.rooms_listed", "admin:cli_admin", {"entity": "room", "rooms": rooms}),
    ]
    engine.staff_reads.note("room_read", ADMIN, RoomId("room_main_1"))
    engine.staff_reads.put_back(reads.take()[0])
    assert await read_audit_events(engine) == found


def test_reads_of_staff_beyond_the_limit_are_counted() -> None:
    """At most ``MAX_WAITING_READINGS`` reads of rooms by staff wait to be written to the audit. Further
    reads are only counted.
    """
    reads = StaffReads()
    for number in range(MAX_WAITING_READINGS + 2):
        reads.note("room_read", ADMIN, RoomId(f"room_main_{number}"))
    taken, lost = reads.take()
    assert (len(taken), lost) == (MAX_WAITING_READINGS, 2)
    assert reads.take() == ([], 0)


async def test_a_slow_process_deletes_no_entry_of_a_later_command(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes append the same waiting entry. Before the slower one deletes the row, a command adds a new row, to
    which SQLite gives the same id. The new row stays until its event is in the log.
    """
    append, other_process_is_done = audit_events._append_audit_event, False

    async def append_slowly(*args: Any) -> None:
        nonlocal other_process_is_done
        await append(*args)
        if not other_process_is_done:
            other_process_is_done = True
            await audit_events.append_waiting(engine)
            async with engine.archive.begin_write() as conn:
                await audit_events.add_row(conn, "admin:cli_admin", "user_changed", "user", "second")

    async with engine.archive.begin_write() as conn:
        await audit_events.add_row(conn, "admin:cli_admin", "user_changed", "user", "first")
    monkeypatch.setattr(audit_events, "_append_audit_event", append_slowly)
    await audit_events.append_waiting(engine)
    assert other_process_is_done and await count_waiting_entries(engine) == 1
    assert [data["id"] for _, _, data in await read_audit_events(engine)] == ["first", "second"]
