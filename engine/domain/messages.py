"""Chat messages: members of a room say and read them.

A message has a number in its room, without holes. Its sender gives it a ``client_id``: a repeat of the message under
the same ``client_id`` stores nothing and returns the first message, however late it comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from engine.domain import rooms
from engine.domain.job_queries import Page
from engine.domain.rooms import actor_of, parse_room_id
from engine.errors import FieldError, Indeterminate, Invalid, LookInArchive, Unavailable
from engine.idempotency import in_redis
from engine.sql.paging import check_limit, decode_cursor, encode_cursor
from engine.store import keys
from engine.store.connection import ScriptReply
from engine.store.scripts import Args
from engine.types import Principal, RoomId, Zone, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

DIGEST_CHARACTERS = 32
"""How much of a message's fingerprint is stored for each ``client_id``: 128 bits, in hex digits."""


class MessageDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A message to say. ``text`` is in NFC and has 1 to 4,000 characters; ``files`` are ids."""

    text: str
    client_id: str
    files: tuple[str, ...] = ()


class MessageOutcome(msgspec.Struct, frozen=True):
    """The outcome of ``say``: the message as JSON, and the seq of its event. ``repeated``: it was said before."""

    message: msgspec.Raw
    seq: int
    repeated: bool
    key: str


class MessageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a room's messages: those below ``before``, the newest first, or those above ``after``, the oldest
    first. Without both, the newest.
    """

    before: int | None = None
    after: int | None = None
    limit: int = 50
    cursor: str | None = None

    def with_place(self) -> MessageQuery:
        """Return the query with ``before`` or ``after`` in the place of the cursor. Raises Invalid for a wrong cursor,
        and for both ``before`` and ``after``.
        """
        if self.before is not None and self.after is not None:
            raise Invalid(errors=[FieldError("/before", "Not together with after")])
        if self.cursor is None:
            return self
        side, n = decode_cursor(self.cursor, tuple[Literal["before", "after"], int])
        return MessageQuery(limit=self.limit, **{side: n})


class _Numbered(msgspec.Struct):
    n: int


_number_decoder = msgspec.json.Decoder(_Numbered)


async def say(
    engine: Engine, caller: Principal, room_id: str, draft: MessageDraft, *, key: str | None = None, trace: str = ""
) -> MessageOutcome:
    """Say a message in a room. A repeat under the same ``client_id`` returns the first message, also in a closed room.
    Without ``key`` no idempotency record is stored, because ``client_id`` is one.

    Raises NotFound, NotMember, RoomClosed, Invalid for a file that is not known, ReusedKey if the caller's
    ``client_id`` or ``key`` belongs to another message.
    """
    zone, room = parse_room_id(room_id)
    if draft.files:
        await rooms.read_room(engine, caller, room_id)  # a stranger does not learn which files exist
        raise Invalid(errors=[FieldError(f"/files/{place}", "No such file") for place in range(len(draft.files))])
    stored_key = in_redis.validate_key(key) if key is not None else ""
    fingerprint = in_redis.fingerprint_of(engine, "say", room, [draft.client_id, draft.text, draft.files])
    args: Args = {
        "user": caller.id,
        "client_id": draft.client_id,
        "digest": fingerprint[:DIGEST_CHARACTERS],
        "looked": 0,
        "message": new_id("msg"),
        "text": msgspec.json.encode(draft.text),
        "files": msgspec.json.encode(draft.files),
        "actor": actor_of(caller),
        "key": stored_key,
        "fingerprint": fingerprint,
        "trace": trace,
    }
    names = {**_script_keys(zone, room), "req": keys.idempotency_record(zone, caller.id, stored_key)}
    try:
        done = await engine.store.run(zone, "message_say", keys=names, args=args)
    except LookInArchive as error:
        raise Unavailable("This message may be in the archive, which cannot be read now") from error
    return MessageOutcome(_message_of_reply(done), done.seq, done.repeated, stored_key or in_redis.new_key())


def _script_keys(zone: Zone, room: RoomId) -> dict[str, str]:
    return {
        "meta": keys.zone_meta(zone),
        "room": keys.room(zone, room),
        "messages": keys.room_messages(zone, room),
        "read": keys.room_reads(zone, room),
        "sent": keys.room_sent(zone, room),
        "log": keys.log(zone),
    }


def _message_of_reply(done: ScriptReply) -> msgspec.Raw:
    """Return the message as JSON. A repeated message that is no longer in Redis is not in the reply."""
    if len(done.values) < 2:
        raise Indeterminate("Said before, but the message cannot be read now")
    return msgspec.Raw(done.values[1])


async def list_messages(engine: Engine, caller: Principal, room_id: str, query: MessageQuery) -> Page:
    """Return a page of a room's messages as JSON. A member receives those above their ``from_n``; ops all.

    Raises NotFound, NotMember, Invalid for a wrong limit or cursor and for both ``before`` and ``after``.
    """
    query, limit = query.with_place(), check_limit(query.limit)
    zone, room = parse_room_id(room_id)
    names = {
        "meta": keys.zone_meta(zone),
        "room": keys.room(zone, room),
        "messages": keys.room_messages(zone, room),
    }
    args: Args = {
        "user": caller.id,
        "staff": int(caller.is_ops),
        "above": query.after or 0,
        "below": "" if query.before is None else query.before,
        "limit": limit + 1,
        "oldest": int(query.after is not None),
    }
    done = await engine.store.read(zone, "message_list", keys=names, args=args)
    _, _, is_member, *messages = done.values
    rooms.record_staff_read(caller, room, is_member=is_member == b"1")
    side = "before" if query.after is None else "after"
    after = encode_cursor(side, _number_decoder.decode(messages[limit - 1]).n) if len(messages) > limit else None
    return Page(messages[:limit], after, {zone: {"epoch": engine.store.zones[zone].epoch, "seq": done.seq}})
