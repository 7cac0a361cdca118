"""The AsyncAPI 3.0 document: the messages of the socket and of the event stream.

It is made from the Structs that decode the ops (server/schemas/ops.py), and from the Structs that document replies and
events (server/schemas/frames.py, server/schemas/payloads.py). The headers of the Lua scripts list the event types, and
a test compares the document with these lists."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec

from server.gateway.frames import JsonFrames
from server.gateway.protocol import Close
from server.schemas import frames
from server.schemas.events import Frame
from server.schemas.ops import OP_STRUCTS, REPLIES
from server.schemas.payloads import EVENT_DATA, LIVE_PUSH_DATA, data_struct_of
from server.schemas.problems import Problem

if TYPE_CHECKING:
    from engine.blueprint.catalogue import Blueprints

SCHEMA_REF = "#/components/schemas/{name}"
SOCKET_CHANNEL, STREAM_CHANNEL = "socket", "events"
JSON = "application/json"

Schemas = dict[str, Any]


def document(blueprints: Blueprints) -> bytes:
    """Return the AsyncAPI document as JSON. The announcements and the names of events come from ``blueprints``."""
    ops = OP_STRUCTS
    kinds = [
        *ops.values(),
        *REPLIES.values(),
        *EVENT_DATA.values(),
        *LIVE_PUSH_DATA.values(),
        frames.Head,
        frames.StreamStart,
        frames.StreamEnd,
        Problem,
    ]
    schemas, parts = msgspec.json.schema_components(kinds, ref_template=SCHEMA_REF)
    named = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    messages = _messages(named, blueprints)
    streamed = [name for name in messages if name.startswith(("event.", "live.", "stream."))]
    return msgspec.json.encode(
        {
            "asyncapi": "3.0.0",
            "info": {"title": "Callout", "version": version("callout"), "license": {"name": "Apache-2.0"}},
            "defaultContentType": JSON,
            "channels": {
                SOCKET_CHANNEL: _channel_object(
                    "/v1/ws", _socket_text(), [n for n in messages if not n.startswith("stream.")]
                ),
                STREAM_CHANNEL: _channel_object("/v1/events", _event_stream_text(), streamed),
            },
            "operations": _operations(ops, messages),
            "components": {"messages": messages, "schemas": parts},
        }
    )


def _messages(schemas_by_id: dict[int, Any], blueprints: Blueprints) -> dict[str, Any]:
    """Return every message by ``<kind>.<name>``, such as ``op.claim``. ``schemas_by_id`` maps the ``id`` of each Struct
    to its schema."""
    ops = OP_STRUCTS
    types = [*EVENT_DATA, *_blueprint_types(blueprints), *_announcement_types(blueprints)]
    pushes = {name: _push_schema(name, schemas_by_id[id(_event_data_type(name))], blueprints) for name in types}
    messages = {
        f"op.{name}": _message_object(inspect.getdoc(kind), schemas_by_id[id(kind)]) for name, kind in ops.items()
    }
    messages |= {f"reply.{name}": _reply_schema(schemas_by_id[id(REPLIES[kind])]) for name, kind in ops.items()}
    messages |= {f"event.{name}": push for name, push in pushes.items()}
    messages |= {
        f"live.{name}": _live_push_schema(name, schemas_by_id[id(kind)], blueprints)
        for name, kind in LIVE_PUSH_DATA.items()
    }
    messages |= {
        "refusal": _message_object(
            "The error of an op; `id` is the id of the op.", _refusal_schema(schemas_by_id[id(Problem)])
        ),
        "head": _message_object(frames.Head.__doc__, schemas_by_id[id(frames.Head)]),
        "ping": _message_object(
            "The client answers with the same message, within `pong` seconds.", {"type": "object", "maxProperties": 0}
        ),
        "stream.connect": _message_object(frames.StreamStart.__doc__, schemas_by_id[id(frames.StreamStart)]),
        "stream.close": _message_object(frames.StreamEnd.__doc__, schemas_by_id[id(frames.StreamEnd)]),
    }
    return messages


def _announcement_types(blueprints: Blueprints) -> list[str]:
    found = {n for b in blueprints.by_name.values() for n, rule in b.events.items() if rule.announcement}
    return sorted(found)


def _blueprint_types(blueprints: Blueprints) -> list[str]:
    """Return the event types of steps that only blueprints define."""
    return sorted({c.event for b in blueprints.by_name.values() for c in b.commands.values()} - set(EVENT_DATA))


def _event_data_type(event_type: str) -> Any:
    return (
        data_struct_of(event_type)
        if event_type.partition(".")[0] == "job"
        else EVENT_DATA.get(event_type, EVENT_DATA["announcement.*"])
    )


def _message_object(description: str | None, payload: Any) -> dict[str, Any]:
    return {"summary": " ".join((description or "").split()), "contentType": JSON, "payload": payload}


def _reply_schema(schema: Any) -> dict[str, Any]:
    done = _object_schema({"id": {"type": ["integer", "string"]}, "ok": schema})
    done["properties"]["repeated"] = {
        "const": True,
        "description": "the outcome is of an earlier request under the same key",
    }
    return _message_object("Done.", done)


def _refusal_schema(schema: Any) -> dict[str, Any]:
    whole = _object_schema({"id": {"type": ["integer", "string"]}, "error": schema})
    return {**whole, "required": ["error"]}


def _push_schema(push_type: str, data: Any, blueprints: Blueprints) -> dict[str, Any]:
    """Return the message of a pushed event: a Frame of server/schemas/events.py with the ``data`` of its type."""
    names = sorted({push_type, *_client_names(push_type, blueprints)})
    fields: dict[str, Any] = {field.name: {} for field in msgspec.structs.fields(Frame)}
    known = {
        "type": {"type": "string", "pattern": rf"^{push_type[:-2]}\."}
        if push_type.endswith("*")
        else {"const": push_type},
        "event": {"type": "string", "examples": names},
        "zone": {"type": "string"},
        "seq": {"type": "integer"},
        "at": {"type": "string", "format": "date-time"},
        "data": data,
    }
    return _message_object(f"Names of this event for clients: {', '.join(names)}.", _object_schema({**fields, **known}))


def _live_push_schema(push_type: str, data: Any, blueprints: Blueprints) -> dict[str, Any]:
    """Return the message of a push that is stored in no log, such as a position."""
    at, names = {"type": "string", "format": "date-time"}, sorted({push_type, *_client_names(push_type, blueprints)})
    event = {"type": "string", "examples": names}
    fields = {"type": {"const": push_type}, "event": event, "at": at, "data": data}
    return _message_object("A live event: not stored in a log, and never replayed.", _object_schema(fields))


def _client_names(event_type: str, blueprints: Blueprints) -> Iterable[str]:
    for blueprint in blueprints.by_name.values():
        rule = blueprint.events.get(event_type)
        if rule is not None and rule.as_:
            yield from [rule.as_] if isinstance(rule.as_, str) else rule.as_.values()


def _object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _channel_object(address: str, description: str, messages: Iterable[str]) -> dict[str, Any]:
    refs = {name: {"$ref": f"#/components/messages/{_escape_name(name)}"} for name in messages}
    return {"address": address, "description": description, "messages": refs}


def _escape_name(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _operations(ops: Iterable[str], messages: Iterable[str]) -> dict[str, Any]:
    """Return an operation for each op and its reply, and the operations in which the server sends events."""

    def message_ref(channel: str, name: str) -> dict[str, str]:
        return {"$ref": f"#/channels/{channel}/messages/{_escape_name(name)}"}

    socket = {"$ref": f"#/channels/{SOCKET_CHANNEL}"}
    asked = {
        name: {
            "action": "receive",
            "channel": socket,
            "messages": [message_ref(SOCKET_CHANNEL, f"op.{name}")],
            "reply": {
                "channel": socket,
                "messages": [message_ref(SOCKET_CHANNEL, f"reply.{name}"), message_ref(SOCKET_CHANNEL, "refusal")],
            },
        }
        for name in ops
    }
    events = [name for name in messages if name.startswith(("event.", "live."))]
    pushed = [message_ref(SOCKET_CHANNEL, name) for name in (*events, "head", "ping")]
    streamed = [message_ref(STREAM_CHANNEL, name) for name in (*events, "stream.connect", "stream.close")]
    return {
        **asked,
        "push": {"action": "send", "channel": socket, "messages": pushed},
        "stream": {"action": "send", "channel": {"$ref": f"#/channels/{STREAM_CHANNEL}"}, "messages": streamed},
    }


def _socket_text() -> str:
    """Return the description of the WebSocket ``/v1/ws``."""
    codes = ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in Close)
    return f"WebSocket, subprotocol {JsonFrames.subprotocol}; one message is one object. Closes with: {codes}."


def _event_stream_text() -> str:
    """Return the description of the event stream of ``GET /v1/events``."""
    return (
        "Server-sent events; the id of each is the cursor of all zones. A block without data only changes the cursor. "
        "Events have no name, except the first, connect, and the last, close, if it can be sent."
    )
