"""The state of technicians as of events that were archived before the table ``technician_states`` existed.

A row that exists has what later events say: a number is replaced only by a higher one.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"

EVENTS_PER_PAGE = 2_000
Key = tuple[str, str]
"""A technician and a zone."""

_events = sa.table("events", *map(sa.column, ("zone", "seq", "type", "to", "at", "data")))
_states = sa.table(
    "technician_states", *map(sa.column, ("technician", "zone", "online", "works", "accepted", "asked", "free_at"))
)


class _State:
    """What events say of one technician. ``online`` and ``works`` are None if none says it."""

    def __init__(self) -> None:
        self.online: bool | None = None
        self.works: str | None = None
        self.accepted = self.asked = self.free_at = 0


def upgrade() -> None:
    states: dict[Key, _State] = defaultdict(_State)
    holders: dict[str, str | None] = {}
    connection, last = op.get_bind(), ("", -1)
    columns = _events.c
    is_wanted = columns.type.in_(("technician.status", "session.work", "offer.created")) | columns.type.like("job.%")
    while True:
        after = sa.tuple_(columns.zone, columns.seq) > last
        query = sa.select(_events).where(after, is_wanted).order_by(columns.zone, columns.seq).limit(EVENTS_PER_PAGE)
        rows = connection.execute(query).all()
        for row in rows:
            try:
                _fold(states, holders, row)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue  # not an event of Callout: the archiver left it out too
        if len(rows) < EVENTS_PER_PAGE:
            break
        last = (rows[-1].zone, rows[-1].seq)
    for key, state in states.items():
        _write(connection, key, state)


def _fold(states: dict[Key, _State], holders: dict[str, str | None], row: Any) -> None:
    users = [channel.removeprefix("user:") for channel in row.to.split() if channel.startswith("user:")]
    if row.type == "offer.created":
        for user in users:
            states[user, row.zone].asked += 1
        return
    data = msgspec.json.decode(row.data)
    job, former = data.get("job"), data.get("former")
    if row.type == "session.work":
        for user in users:
            states[user, row.zone].works = " ".join(f"{service}:{seq}" for service, seq in data["works"].items())
    elif row.type == "technician.status":
        state = states[data["technician"]["id"], row.zone]
        if job is None:
            state.online = data["online"]
        if data["online"] or job is not None:  # they came online, got a job or became free
            state.free_at = max(state.free_at, row.at)
    elif isinstance(job, dict) and job.keys() >= {"customer", "version"}:  # the whole job
        holder = job["technician"]["id"] if job["technician"] else None
        if former:
            of_former = states[former["id"], row.zone]
            of_former.free_at = max(of_former.free_at, row.at)
        if holder and (former or holders.get(job["id"]) != holder):
            of_holder = states[holder, row.zone]
            of_holder.accepted, of_holder.free_at = of_holder.accepted + 1, max(of_holder.free_at, row.at)
        holders[job["id"]] = holder


def _write(connection: sa.Connection, key: Key, state: _State) -> None:
    columns = _states.c
    this = (columns.technician == key[0]) & (columns.zone == key[1])
    row = connection.execute(sa.select(_states).where(this)).one_or_none()
    if row is None:
        values = {"online": bool(state.online), "works": state.works or "", "accepted": state.accepted}
        values |= {"asked": state.asked, "free_at": state.free_at}
        connection.execute(sa.insert(_states).values(technician=key[0], zone=key[1], **values))
        return
    values = {name: max(getattr(row, name), getattr(state, name)) for name in ("accepted", "asked", "free_at")}
    values["online"] = row.online if state.online is None else state.online
    values["works"] = row.works if state.works is None else state.works
    connection.execute(sa.update(_states).where(this).values(values))


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
