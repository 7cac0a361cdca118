"""Tests that `/asyncapi.json` and the code have the same ops, replies, events, live pushes and close codes: none is
missing in the document, and the document contains no other.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from engine.blueprint import catalogue, event_catalogue, vocabulary
from engine.blueprint.catalogue import Blueprints
from engine.blueprint.event_catalogue import EventType
from engine.blueprint.schema import Blueprint, EventRule
from engine.store import scripts
from server.api import asyncapi
from server.gateway import protocol
from server.gateway.frames import INTERNAL_PREFIXES
from server.gateway.ops import OPS
from server.schemas import ops, payloads
from server.schemas.ops import OP_STRUCTS
from tests.server.http.client import Client

GATEWAY_DIR = Path(protocol.__file__).parent
EMITTED_TYPES = {
    kind
    for script in scripts.load_installed_library().values()
    for kind in script.emits
    if not kind.startswith(INTERNAL_PREFIXES)
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Return the AsyncAPI document for the shipped blueprints."""
    loaded_document: dict[str, Any] = json.loads(
        asyncapi.document(catalogue.load_blueprints("home_service", catalogue.shipped_folder()))
    )
    return loaded_document


def messages(document: dict[str, Any], kind: str) -> set[str]:
    """Return the names of all messages of a kind: `op`, `reply`, `event` or `live`."""
    return {n.partition(".")[2] for n in document["components"]["messages"] if n.startswith(f"{kind}.")}


def nested_objects(value: Any) -> list[dict[str, Any]]:
    """Return every object inside ``value``, at any depth."""
    if isinstance(value, dict):
        return [value, *(node for inner in value.values() for node in nested_objects(inner))]
    return [node for inner in value for node in nested_objects(inner)] if isinstance(value, list) else []


async def test_the_document_needs_no_token(nobody: Client, document: dict[str, Any]) -> None:
    """`/asyncapi.json` is served without a token, equal to the document that the code generates."""
    answer = await nobody("GET", "/asyncapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == document


def test_the_document_has_what_asyncapi_requires(document: dict[str, Any]) -> None:
    """The document contains what AsyncAPI 3.0 requires, each `$ref` points to an object in it, and each operation uses
    messages of its own channel.
    """
    assert document["asyncapi"] == "3.0.0" and {"title", "version"} <= set(document["info"])
    for node in nested_objects(document):
        if isinstance(node.get("$ref"), str):
            place: Any = document
            for step in node["$ref"].removeprefix("#/").split("/"):
                place = place[step.replace("~1", "/").replace("~0", "~")]
            assert place
    for name, operation in document["operations"].items():
        assert operation["action"] in ("send", "receive"), name
        channel_messages = document["channels"][operation["channel"]["$ref"].rpartition("/")[2]]["messages"]
        replied = operation.get("reply", {"messages": []})["messages"]
        for ref in (*operation["messages"], *replied):
            assert ref["$ref"].rpartition("/")[2] in channel_messages, name
    for name, message in document["components"]["messages"].items():
        assert message["summary"] and message["payload"], name


def test_ops_are_those_that_the_server_decodes(document: dict[str, Any]) -> None:
    """The document describes exactly the ops that the server decodes, each with its reply. The code declares a reply
    type for each op.
    """
    decoded = {str(kind.__struct_config__.tag) for kind in get_args(ops.Op)}
    assert messages(document, "op") == messages(document, "reply") == decoded == set(OP_STRUCTS)
    assert {n for n, o in document["operations"].items() if o["action"] == "receive"} == decoded
    assert set(ops.REPLIES) == {*OPS, ops.Connect, ops.Ping}


def test_events_are_those_that_scripts_append(document: dict[str, Any]) -> None:
    """The document describes exactly the event types that scripts can append, except those for gateways, and the types
    that shipped blueprints declare: the events of their commands and their announcements.
    """
    families = tuple(kind[:-1] for kind in EMITTED_TYPES if kind.endswith("*"))
    assert set(payloads.EVENT_DATA) >= EMITTED_TYPES
    assert {kind for kind in payloads.EVENT_DATA if not kind.startswith(families)} <= EMITTED_TYPES
    shipped = catalogue.load_blueprints("home_service", catalogue.shipped_folder()).by_name.values()
    blueprint_events = {command.event for each in shipped for command in each.commands.values()}
    blueprint_events |= {name for each in shipped for name, rule in each.events.items() if rule.announcement}
    assert messages(document, "event") == set(payloads.EVENT_DATA) | blueprint_events


@pytest.mark.parametrize(
    "event", [*event_catalogue.LOGGED_EVENTS, *event_catalogue.LIVE_EVENTS], ids=lambda event: event.type
)
def test_payloads_have_the_members_of_the_catalogue(event: EventType) -> None:
    """The members of an event type in the event catalogue are fields of its documented payload, and include each field
    that is always present.
    """
    if not event.payload.name:
        return
    shape = {**payloads.EVENT_DATA, **payloads.LIVE_PUSH_DATA}[event.type]
    fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    required = {name for name, field in fields.items() if field.required}
    assert shape.__name__ == event.payload.name
    assert required <= set(event.payload.members) <= set(fields)
    for name, inner in event.payload.members.items():
        members = {f.encode_name for struct in structs_in(fields[name].type) for f in msgspec.structs.fields(struct)}
        assert inner <= members, name


def test_reasons_of_closed_offers() -> None:
    """A blueprint may name exactly the reasons of `offer.closed` that the document lists."""
    assert set(get_args(get_type_hints(payloads.OfferClosed)["reason"])) == vocabulary.OFFER_CLOSE_REASONS


def structs_in(kind: Any) -> list[type[msgspec.Struct]]:
    """Return the Struct classes that a type contains, also in a union or an annotation."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [struct for part in get_args(kind) for struct in structs_in(part)]


def test_blueprints_name_no_other_events() -> None:
    """Each event type in a shipped blueprint, apart from the `job.` types, is one that scripts append, that gateways
    push, or that is planned.
    """
    for each in catalogue.load_blueprints("home_service", catalogue.shipped_folder()).by_name.values():
        declared = {name for name, rule in each.events.items() if not rule.announcement}
        event_types = {
            kind for kind in (declared | {c.event for c in each.commands.values()}) if not kind.startswith("job.")
        }
        known = EMITTED_TYPES | set(payloads.LIVE_PUSH_DATA) | {event.type for event in event_catalogue.PLANNED_EVENTS}
        assert event_types <= known, each.name


def test_live_pushes_are_those_that_the_gateway_sends(document: dict[str, Any]) -> None:
    """The document describes exactly the pushes that gateways send without the log, and lists each event name that a
    blueprint declares for `position`.
    """
    sent_types = set()
    for path in GATEWAY_DIR.glob("*.py"):
        source = path.read_text()
        words = {n.targets[0].id: n.value.value for n in ast.parse(source).body if _is_text_constant(n)}  # type: ignore[attr-defined]
        sent_types |= {words[name] for name in re.findall(r"\.encode_live_push\(([A-Z_]+),", source)}
    assert messages(document, "live") == set(payloads.LIVE_PUSH_DATA) == sent_types
    names = document["components"]["messages"]["live.position"]["payload"]["properties"]["event"]["examples"]
    assert names == ["delivery:location:update", "position"]


def _is_text_constant(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def test_close_codes(document: dict[str, Any]) -> None:
    """The description of the socket's channel names exactly the close codes of the gateway."""
    text = document["channels"]["socket"]["description"]
    assert set(map(int, re.findall(r"\b[1-4]\d{3}\b", text))) == {code.value for code in protocol.Close}


def test_names_and_announcements_of_a_blueprint() -> None:
    """The document lists the event names that a blueprint declares, and describes each declared announcement as an
    event type of its own.
    """
    base = catalogue.load_blueprints("home_service", catalogue.shipped_folder()).default
    rule = EventRule(announcement=True)
    blueprint = _replace_events(base, {**base.events, "promotion": rule})
    own_document = json.loads(asyncapi.document(Blueprints([blueprint], blueprint.name)))
    command_events = {command.event for command in blueprint.commands.values()}
    assert messages(own_document, "event") == set(payloads.EVENT_DATA) | command_events | {"promotion"}
    names = own_document["components"]["messages"]["event.offer.closed"]["payload"]["properties"]["event"]["examples"]
    assert names == ["job_taken", "offer.closed"]


def _replace_events(base: Blueprint, events: dict[str, EventRule]) -> Blueprint:
    return msgspec.structs.replace(base, events=events)
