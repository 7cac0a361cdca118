"""The AsyncAPI 3.0 document: the messages of the socket and of the event stream.

Made from the Structs that decode the ops (server/schemas/ops.py), and from those that promise replies and events
(server/schemas/frames.py, server/schemas/payloads.py). The scripts' headers say which types of events exist, and a
test compares them."""

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
from server.schemas.ops import KINDS, REPLIES
from server.schemas.payloads import EVENTS, LIVE, shape_of
from server.schemas.problems import Problem

if TYPE_CHECKING:
    from engine.blueprint.catalogue import Blueprints

REF = "#/components/schemas/{name}"
SOCKET, STREAM = "socket", "events"
JSON = "application/json"

Schemas = dict[str, Any]


def document(blueprints: Blueprints) -> bytes:
    """Return the document as JSON; ``blueprints`` give the announcements and the names of events."""
    ops = KINDS
    kinds = [
        *ops.values(),
        *REPLIES.values(),
        *EVENTS.values(),
        *LIVE.values(),
        frames.Head,
        frames.Opened,
        frames.Closed,
        Problem,
    ]
    schemas, parts = msgspec.json.schema_components(kinds, ref_template=REF)
    named = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    messages = _messages(named, blueprints)
    streamed = [name for name in messages if name.startswith(("event.", "live.", "stream."))]
    return msgspec.json.encode(
        {
            "asyncapi": "3.0.0",
            "info": {"title": "Callout", "version": version("callout"), "license": {"name": "Apache-2.0"}},
            "defaultContentType": JSON,
            "channels": {
                SOCKET: _channel("/v1/ws", _socket_text(), [n for n in messages if not n.startswith("stream.")]),
                STREAM: _channel("/v1/events", _stream_text(), streamed),
            },
            "operations": _operations(ops, messages),
            "components": {"messages": messages, "schemas": parts},
        }
    )


def _messages(named: dict[int, Any], blueprints: Blueprints) -> dict[str, Any]:
    """Return every message by ``<kind>.<name>``; ``named`` are the schemas of their Structs."""
    ops = KINDS
    types = [*EVENTS, *_own(blueprints), *_announced(blueprints)]
    pushes = {name: _push(name, named[id(_data_of(name))], blueprints) for name in types}
    messages = {f"op.{name}": _message(inspect.getdoc(kind), named[id(kind)]) for name, kind in ops.items()}
    messages |= {f"reply.{name}": _reply(named[id(REPLIES[kind])]) for name, kind in ops.items()}
    messages |= {f"event.{name}": push for name, push in pushes.items()}
    messages |= {f"live.{name}": _live(name, named[id(kind)], blueprints) for name, kind in LIVE.items()}
    messages |= {
        "refusal": _message("An op that was refused, by its id.", _refused(named[id(Problem)])),
        "head": _message(frames.Head.__doc__, named[id(frames.Head)]),
        "ping": _message(
            "The client answers with the same, within `pong` seconds.", {"type": "object", "maxProperties": 0}
        ),
        "stream.connect": _message(frames.Opened.__doc__, named[id(frames.Opened)]),
        "stream.close": _message(frames.Closed.__doc__, named[id(frames.Closed)]),
    }
    return messages


def _announced(blueprints: Blueprints) -> list[str]:
    found = {n for b in blueprints.by_name.values() for n, rule in b.events.items() if rule.announcement}
    return sorted(found)


def _own(blueprints: Blueprints) -> list[str]:
    """Return the types that blueprints chose for their steps."""
    return sorted({c.event for b in blueprints.by_name.values() for c in b.commands.values()} - set(EVENTS))


def _data_of(name: str) -> Any:
    return shape_of(name) if name.partition(".")[0] == "job" else EVENTS.get(name, EVENTS["announcement.*"])


def _message(text: str | None, payload: Any) -> dict[str, Any]:
    return {"summary": " ".join((text or "").split()), "contentType": JSON, "payload": payload}


def _reply(schema: Any) -> dict[str, Any]:
    done = _object({"id": {"type": ["integer", "string"]}, "ok": schema})
    done["properties"]["repeated"] = {
        "const": True,
        "description": "the outcome is of an earlier request under the same key",
    }
    return _message("Done.", done)


def _refused(schema: Any) -> dict[str, Any]:
    whole = _object({"id": {"type": ["integer", "string"]}, "error": schema})
    return {**whole, "required": ["error"]}


def _push(name: str, data: Any, blueprints: Blueprints) -> dict[str, Any]:
    """Return a frame of server/schemas/events.py with the data of its type."""
    names = sorted({name, *_named(name, blueprints)})
    fields: dict[str, Any] = {field.name: {} for field in msgspec.structs.fields(Frame)}
    known = {
        "type": {"type": "string", "pattern": rf"^{name[:-2]}\."} if name.endswith("*") else {"const": name},
        "event": {"type": "string", "examples": names},
        "zone": {"type": "string"},
        "seq": {"type": "integer"},
        "at": {"type": "string", "format": "date-time"},
        "data": data,
    }
    return _message(f"To clients it may be called {', '.join(names)}.", _object({**fields, **known}))


def _live(name: str, data: Any, blueprints: Blueprints) -> dict[str, Any]:
    at, names = {"type": "string", "format": "date-time"}, sorted({name, *_named(name, blueprints)})
    event = {"type": "string", "examples": names}
    fields = {"type": {"const": name}, "event": event, "at": at, "data": data}
    return _message("Live only: in no log, and never replayed.", _object(fields))


def _named(name: str, blueprints: Blueprints) -> Iterable[str]:
    for blueprint in blueprints.by_name.values():
        rule = blueprint.events.get(name)
        if rule is not None and rule.as_:
            yield from [rule.as_] if isinstance(rule.as_, str) else rule.as_.values()


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _channel(address: str, text: str, messages: Iterable[str]) -> dict[str, Any]:
    refs = {name: {"$ref": f"#/components/messages/{_step(name)}"} for name in messages}
    return {"address": address, "description": text, "messages": refs}


def _step(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _operations(ops: Iterable[str], messages: Iterable[str]) -> dict[str, Any]:
    """Return each op with its reply, and the operations in which the server sends events."""

    def on(channel: str, name: str) -> dict[str, str]:
        return {"$ref": f"#/channels/{channel}/messages/{_step(name)}"}

    socket = {"$ref": f"#/channels/{SOCKET}"}
    asked = {
        name: {
            "action": "receive",
            "channel": socket,
            "messages": [on(SOCKET, f"op.{name}")],
            "reply": {"channel": socket, "messages": [on(SOCKET, f"reply.{name}"), on(SOCKET, "refusal")]},
        }
        for name in ops
    }
    events = [name for name in messages if name.startswith(("event.", "live."))]
    pushed = [on(SOCKET, name) for name in (*events, "head", "ping")]
    streamed = [on(STREAM, name) for name in (*events, "stream.connect", "stream.close")]
    return {
        **asked,
        "push": {"action": "send", "channel": socket, "messages": pushed},
        "stream": {"action": "send", "channel": {"$ref": f"#/channels/{STREAM}"}, "messages": streamed},
    }


def _socket_text() -> str:
    codes = ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in Close)
    return f"WebSocket, subprotocol {JsonFrames.subprotocol}; one message is one object. Closes with: {codes}."


def _stream_text() -> str:
    return (
        "Server-sent events; the id of each is the cursor of all zones. A block without data moves it alone. "
        "Events are unnamed; connect is the first, close the last, where one can be sent."
    )
