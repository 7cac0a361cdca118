"""The interface as TypeScript types, for the pages of ``web/``.

``python -m server.api.typescript FILE`` writes them, from the same OpenAPI document that clients read: an interface for
each schema, and the table ``Operations`` with query, body and reply of each route. ``make web`` and ``make check`` call
it. The result is not in the repository, because it is generated from the code, and a bundle contains no types.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from engine.blueprint import catalogue
from engine.blueprint.catalogue import Blueprints
from server.api import openapi
from server.api.routes import ROUTES
from server.schemas import payloads

_HEAD = "// Written by `python -m server.api.typescript` from the OpenAPI document. Do not edit.\n"
_WORD = re.compile(r"[A-Za-z_$][\w$]*")
_SIMPLE = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}

Schema = dict[str, Any]


def types_text(document: Schema) -> str:
    """Return the TypeScript file for an OpenAPI document."""
    schemas = document["components"]["schemas"]
    parts = [f"export type {_type_name(name)} = {type_of(schema)};" for name, schema in sorted(schemas.items())]
    rows = [
        f"  {json.dumps(f'{method.upper()} {path}')}: {_operation(operation)};"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    return "\n".join([_HEAD, *parts, "", "export interface Operations {", *rows, "}", ""])


def type_of(schema: Schema) -> str:
    """Return a JSON Schema as a TypeScript type. Constraints that TypeScript does not have, such as patterns, are left
    out.
    """
    if "$ref" in schema:
        return _type_name(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "properties" in schema:
        return _object(schema)
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " | ".join(dict.fromkeys(type_of(part) for part in schema[union]))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(type_of({**schema, "type": each}) for each in kind)
    if kind == "array":
        return _array(schema)
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"Record<string, {type_of(inner) if isinstance(inner, dict) and inner else 'unknown'}>"
    return _SIMPLE.get(kind or "", "unknown")


def _array(schema: Schema) -> str:
    if "prefixItems" in schema:
        least = schema.get("minItems", len(schema["prefixItems"]))
        items = [f"{type_of(item)}{'?' if place >= least else ''}" for place, item in enumerate(schema["prefixItems"])]
        return f"[{', '.join(items)}]"
    return f"({type_of(schema.get('items') or {})})[]"


def _object(schema: Schema) -> str:
    needed = set(schema.get("required", ()))
    members = [
        f"{name if _WORD.fullmatch(name) else json.dumps(name)}{'' if name in needed else '?'}: {type_of(kind)}"
        for name, kind in schema["properties"].items()
    ]
    return f"{{ {'; '.join(members)} }}"


def _operation(operation: Schema) -> str:
    query: Schema = {}
    needed: list[str] = []
    for parameter in operation["parameters"]:
        if parameter["in"] == "query":
            inner = parameter["schema"].get("properties") if parameter.get("explode") else None
            query |= inner or {parameter["name"]: parameter["schema"]}
            needed += [parameter["name"]] if parameter.get("required") else []
    body = _body_type(operation.get("requestBody"))
    reply = next((_content_type(one) for status, one in operation["responses"].items() if status[0] == "2"), "null")
    return f"{{ query: {_object({'properties': query, 'required': needed})}; body: {body}; reply: {reply} }}"


def _body_type(body: Schema | None) -> str:
    if body is None:
        return "undefined"
    content = body["content"].get("application/json")
    found = type_of(content["schema"]) if content else "Blob"
    return found if body["required"] else f"{found} | undefined"


def _content_type(response: Schema) -> str:
    content = response.get("content", {}).get("application/json")
    return type_of(content["schema"]) if content else "null"


def _type_name(name: str) -> str:
    return re.sub(r"\W", "_", name)


def current_types() -> str:
    """Return the TypeScript file of this version, with the shipped blueprints."""
    blueprints = catalogue.load_blueprints("home_service", catalogue.shipped_folder())
    return types_text(msgspec.json.decode(openapi.document(ROUTES, blueprints))) + push_types_text(blueprints)


def push_types_text(blueprints: Blueprints) -> str:
    """Return the type `PushType`: every type of an event or of a live push, those of the blueprints' own announcements
    too. So no page can wait for a type that does not exist. A family such as `announcement.*` includes every last word.
    """
    own = {event for blueprint in blueprints.by_name.values() for event in blueprint.events}
    names = [
        f"`{name.removesuffix('*')}${{string}}`" if name.endswith("*") else json.dumps(name)
        for name in sorted({*payloads.EVENT_DATA, *payloads.LIVE_PUSH_DATA, *own})
    ]
    return f"export type PushType = {' | '.join(names)};\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(current_types(), "utf-8")
