"""Chat messages: members of a room say them. message_history.py reads them.

A message has a number in its room, without holes. Its sender gives it a ``client_id``: a repeat of the message under
the same ``client_id`` stores nothing and returns the first message, even if it comes very late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.archive import room_reader
from engine.archive.room_reader import FirstMessage
from engine.domain import archived_rooms
from engine.domain.files import files_of_message
from engine.domain.rooms import actor_of, parse_room_id
from engine.errors import (
    Indeterminate,
    LookInArchive,
    NotFound,
    ReusedKey,
    RoomClosed,
    Unavailable,
)
from engine.files.file_object import AttachedFiles, file_ids
from engine.idempotency import in_redis
from engine.store import keys
from engine.store.connection import ScriptReply
from engine.store.scripts import Args
from engine.types import Principal, RoomId, Zone, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_SAY_ATTEMPTS = 4
"""How often ``say`` calls its script at most. Before each further call it searches SQL for an earlier message with the
same ``client_id``, because Redis has forgotten the oldest ones.
"""
DIGEST_LENGTH = 32
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


class _ComparedContent(msgspec.Struct):
    """The text and the files of a stored message. A repeat with the same ``client_id`` must have the same."""

    text: str
    files: AttachedFiles


_content_decoder = msgspec.json.Decoder(_ComparedContent)


async def say(
    engine: Engine, caller: Principal, room_id: str, draft: MessageDraft, *, key: str | None = None, trace: str = ""
) -> MessageOutcome:
    """Say a message in a room. A repeat under the same ``client_id`` returns the first message, also in a closed room.
    Without ``key`` no idempotency record is stored, because ``client_id`` is one.

    Raises NotFound, NotMember, RoomClosed, Invalid for a file that is not known, ReusedKey if the caller's
    ``client_id`` or ``key`` belongs to another message.
    """
    zone, room = parse_room_id(room_id)
    attached = await files_of_message(engine, caller, room_id, draft.files, draft.client_id) if draft.files else []
    stored_key = in_redis.validate_key(key) if key is not None else ""
    fingerprint = in_redis.fingerprint_of(engine, "say", room, [draft.client_id, draft.text, draft.files])
    args: Args = {
        "user": caller.id,
        "client_id": draft.client_id,
        "digest": message_digest(engine, room, draft.client_id, draft.text, draft.files),
        "looked": 0,
        "message": new_id("msg"),
        "text": msgspec.json.encode(draft.text),
        "files": msgspec.json.encode(attached),
        "actor": actor_of(caller),
        "key": stored_key,
        "fingerprint": fingerprint,
        "trace": trace,
    }
    names = {**_script_keys(zone, room), "req": keys.idempotency_record(zone, caller.id, stored_key)}
    for _ in range(MAX_SAY_ATTEMPTS):
        try:
            done = await engine.store.run(zone, "message_say", keys=names, args=args)
        except NotFound:
            return await _repeat_in_archived_room(engine, caller, zone, room, draft)
        except LookInArchive:
            first = await room_reader.first_message(engine.archive, zone, room, caller.id, draft.client_id)
            if first.message is not None:
                return _outcome_of_first_message(first, draft)
            args = {**args, "looked": first.looked}
        else:
            return MessageOutcome(await _message_of_reply(engine, room, done), done.seq, done.repeated)
    raise Unavailable("The archive is behind what Redis has forgotten")


def message_digest(engine: Engine, room: RoomId, client_id: str, text: str, files: tuple[str, ...]) -> str:
    """Return a digest of a message. It shows whether a message with the same ``client_id`` is a repeat or another
    message.
    """
    return in_redis.fingerprint_of(engine, "say", room, [client_id, text, files])[:DIGEST_LENGTH]


async def _repeat_in_archived_room(
    engine: Engine, caller: Principal, zone: Zone, room: RoomId, draft: MessageDraft
) -> MessageOutcome:
    """Return the first message of a repeat in a room that Redis no longer has. Raises RoomClosed for a new message."""
    await archived_rooms.read_room(engine, caller, room)
    first = await room_reader.first_message(engine.archive, zone, room, caller.id, draft.client_id)
    if first.message is None:
        raise RoomClosed
    return _outcome_of_first_message(first, draft)


def _outcome_of_first_message(first: FirstMessage, draft: MessageDraft) -> MessageOutcome:
    """Return the outcome of a repeat whose first message is in SQL. Raises ReusedKey if ``draft`` has another text."""
    message = msgspec.Raw(first.message or b"")
    said = _content_decoder.decode(message)
    if (said.text, file_ids(said.files)) != (draft.text, draft.files):
        raise ReusedKey
    return MessageOutcome(message, first.seq, repeated=True)


def _script_keys(zone: Zone, room: RoomId) -> dict[str, str]:
    return {
        "meta": keys.zone_meta(zone),
        "room": keys.room(zone, room),
        "messages": keys.room_messages(zone, room),
        "read": keys.room_reads(zone, room),
        "sent": keys.room_sent(zone, room),
        "log": keys.log(zone),
    }


async def _message_of_reply(engine: Engine, room: RoomId, done: ScriptReply) -> msgspec.Raw:
    """Return the message as JSON. A repeated message that is no longer in Redis is in SQL."""
    if len(done.values) > 1:
        return msgspec.Raw(done.values[1])
    n = int(done.values[0])
    for message in await room_reader.messages_after(engine.archive, room, n - 1, n + 1, 1):
        return msgspec.Raw(message)
    raise Indeterminate("Said before, but the message cannot be read now")
