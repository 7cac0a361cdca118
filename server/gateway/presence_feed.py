"""The presence feed: informs the sessions of one gateway when a user whom they watch comes online or goes offline.

A session watches a user from its op ``presence``, or its subscription to ``presence:<user>``, to its end. One loop for
all sessions reads the last signs of life of all watched users once a second, and nothing while nobody watches. A change
is sent to a session only if its user may know it at that moment (engine/domain/presence.py); a session whose user has
lost that right stops watching.

While Redis is away no change is sent: a read that fails says nothing about users. After all processes or Redis were
stopped, nobody can have given a sign of life, so no user is reported as offline within one lease after that (G6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import msgspec
import structlog

from engine.clock import now_ms
from engine.domain import presence
from engine.domain.presence import UserPresence
from engine.errors import CalloutError, FieldError, Invalid, NotFound
from engine.process.loops import not_cancelled
from engine.runtime import Engine
from engine.store import keys
from engine.technicians.live import presence_lease_ms
from engine.types import DEFAULT_ZONE, Principal
from server.gateway.frames import PayloadEncoder
from server.gateway.hub import Hub
from server.gateway.session import Session

PRESENCE_TYPE = "presence"
PRESENCE_PREFIX = "presence:"
READ_INTERVAL_S = 1.0
MAX_READ_AT_ONCE = 200
"""How many users are read at the same time. Other tasks of the process run between two batches."""
MAX_RIGHTS_AT_ONCE = 25
"""How many watchers' rights are read at the same time."""
ZONE_STOPPED_MS = 5_000
"""After this time without a script the zone counts as stopped, as in lua/lib/clock.lua."""

log = structlog.get_logger(__name__)


class PresenceFeed:
    """The users whom sessions of this gateway watch, each with the state that their watchers know."""

    def __init__(self, engine: Engine, hubs: Sequence[Hub], payloads: PayloadEncoder) -> None:
        self._engine = engine
        self._hubs = hubs
        self._payloads = payloads
        self._known: dict[str, UserPresence | None] = {}
        """By watched user. None: the state was not read yet."""
        self._unsent: dict[str, set[Session]] = {}
        """Sessions that restored a subscription and do not know the user's present state."""

    @property
    def watched_count(self) -> int:
        """Return how many users are watched."""
        return len(self._known)

    async def watch(self, session: Session, users: Iterable[str]) -> list[UserPresence]:
        """Return the presence of those ``users`` whose presence the session's user may know, and send the session each
        change from now on. Raises Invalid if the session would watch too many users, Unavailable.
        """
        visible = await presence.find_visible(self._engine, session.caller, list(users))
        wanted = [user for user in dict.fromkeys(users) if user in visible]
        new = {f"{PRESENCE_PREFIX}{user}" for user in wanted}.difference(session.channels)
        if len(new) + sum(name.startswith(PRESENCE_PREFIX) for name in session.channels) > presence.MAX_USERS_PER_QUERY:
            raise Invalid(
                errors=[FieldError("/users", f"A session watches at most {presence.MAX_USERS_PER_QUERY} users")]
            )
        for user in wanted:
            session.subscribe(f"{PRESENCE_PREFIX}{user}")
            self._known.setdefault(user, None)
        try:
            read = await presence.read_presence(self._engine, wanted)
        except CalloutError:
            for name in new:
                session.unsubscribe(name)
            raise
        # The known state is returned, and not the one just read, because later changes are computed from the known one.
        return [known if (known := self._record_first_state(state)) is not None else state for state in read]

    async def watch_one(self, session: Session, user: str) -> UserPresence:
        """Watch one user. Raises NotFound if the session's user may not know their presence, Invalid, Unavailable."""
        found = await self.watch(session, [user])
        if not found:
            raise NotFound
        return found[0]

    async def may_watch(self, caller: Principal, user: str) -> bool:
        """Return whether the caller may know the presence of ``user`` now. Raises Unavailable."""
        return bool(await presence.find_visible(self._engine, caller, [user]))

    def restore(self, session: Session) -> None:
        """Watch the users of the subscriptions with which ``session`` connected. The next turn sends the session their
        present state, because the session may have missed changes.
        """
        for name in session.channels:
            if name.startswith(PRESENCE_PREFIX):
                user = name.removeprefix(PRESENCE_PREFIX)
                self._known.setdefault(user, None)
                self._unsent.setdefault(user, set()).add(session)

    def _record_first_state(self, state: UserPresence) -> UserPresence | None:
        """Record the first known state of a watched user. Return the state that is known now."""
        if state.user in self._known and self._known[state.user] is None:
            self._known[state.user] = state
        return self._known.get(state.user)

    # changes

    async def run(self) -> None:
        """Read the watched users once a second and send the changes, until cancelled."""
        while not_cancelled():
            await asyncio.sleep(READ_INTERVAL_S)
            try:
                await self.send_changes()
            except CalloutError as error:
                log.warning("presence_waits", error=str(error), watched=len(self._known))
            except Exception:  # the task's boundary
                log.exception("presence_failed")

    async def send_changes(self) -> None:
        """Read all watched users once, and send each change to the watchers who may know it. Raises Unavailable."""
        for user in [user for user in self._known if not self._watchers(user)]:
            del self._known[user]
            self._unsent.pop(user, None)
        users = list(self._known)
        for start in range(0, len(users), MAX_READ_AT_ONCE):
            for state in await presence.read_presence(self._engine, users[start : start + MAX_READ_AT_ONCE]):
                await self._send_change(state)

    async def _send_change(self, read: UserPresence) -> None:
        user, unsent = read.user, self._unsent.get(read.user, set())
        if user not in self._known:
            return
        known = self._known[user]
        state = read if read.online or known is None else msgspec.structs.replace(read, last_seen=known.last_seen)
        has_changed = known is not None and known.online != state.online
        if has_changed and not state.online and await self._is_grace_period():
            return
        watchers = self._watchers(user) if has_changed else [each for each in self._watchers(user) if each in unsent]
        if watchers:
            await self._send(state, watchers)
        # The new state is stored only now: if a right could not be checked, the next turn sends the change.
        if user in self._known:
            self._known[user] = state
            # Sessions that came while the rights were read know the earlier state, or none.
            late = set(self._watchers(user)).difference(watchers)
            self._unsent[user] = late if has_changed else late & self._unsent.get(user, set())
            if not self._unsent[user]:
                del self._unsent[user]

    async def _send(self, state: UserPresence, watchers: Sequence[Session]) -> None:
        """Send a user's state to those watchers who may know it. The others stop watching."""
        payload = self._payloads.encode_live_push(PRESENCE_TYPE, now_ms(), state)
        frames = {hub.frames.subprotocol: hub.frames.frame(payload) for hub in self._hubs}
        by_caller: dict[tuple[str, str], list[Session]] = {}
        for session in watchers:
            by_caller.setdefault((session.caller.id, session.caller.role), []).append(session)
        groups = list(by_caller.values())
        for start in range(0, len(groups), MAX_RIGHTS_AT_ONCE):
            part = groups[start : start + MAX_RIGHTS_AT_ONCE]
            rights = await asyncio.gather(*(self.may_watch(group[0].caller, state.user) for group in part))
            for group, may in zip(part, rights, strict=True):
                for session in group:
                    if may:
                        session.push(frames[session.hub.frames.subprotocol])
                    else:
                        session.unsubscribe(f"{PRESENCE_PREFIX}{state.user}")

    def _watchers(self, user: str) -> list[Session]:
        return [session for hub in self._hubs for session in hub.members(f"{PRESENCE_PREFIX}{user}")]

    async def _is_grace_period(self) -> bool:
        """Return whether the zone ``main`` stands still, or was stopped less than one lease ago (lua/lib/clock.lua)."""
        read = self._engine.store.read_connection
        time_ms = await read.time_ms()
        fields = ["now", "opened_at", "offset", "skew"]
        seen, opened_at, *ahead = await read.hmget(keys.zone_meta(DEFAULT_ZONE), fields)
        now = time_ms + sum(int(value or 0) for value in ahead)
        return now - int(seen or 0) > ZONE_STOPPED_MS or now - int(opened_at or 0) < presence_lease_ms(self._engine)
