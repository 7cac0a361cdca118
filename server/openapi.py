"""The OpenAPI 3.1 document, made from the table of routes and the Structs that decode and describe.

Nothing is written twice: summaries are the first lines of the handlers' docstrings, schemas are msgspec's
(JSON Schema 2020-12, which 3.1 speaks), refusals are the tree of engine/errors.py.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec

from engine.errors import BY_CODE
from server.problems import Problem

if TYPE_CHECKING:
    from engine.rules.blueprint import Blueprints
    from server.endpoint import Route

REF = "#/components/schemas/{name}"

_PARAM = re.compile(r"{(\w+)}")


def document(routes: Sequence[Route], blueprints: Blueprints) -> bytes:
    """The document of ``routes`` as JSON; the steps of jobs are told from ``blueprints``."""
    kinds = [Problem, *(kind for route in routes for kind in (route.body, route.reply, route.perhaps) if kind)]
    schemas, parts = msgspec.json.schema_components(kinds, ref_template=REF)
    named = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, named, blueprints)
    refusal = _content(named[id(Problem)], _codes(), "application/problem+json")
    bearer = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "Callout", "version": version("callout"), "license": {"name": "Apache-2.0"}},
            "paths": paths,
            "components": {
                "schemas": parts,
                "responses": {"Problem": refusal},
                "securitySchemes": {"bearer": bearer},
            },
        }
    )


def _operation(route: Route, named: dict[int, Any], blueprints: Blueprints) -> dict[str, Any]:
    summary, _, rest = (inspect.getdoc(route.handler) or "").partition("\n\n")
    steps = _steps(blueprints) if "{command}" in route.path else ""
    operation: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.name.partition("_")[0]],
        "summary": summary.replace("\n", " "),
        "description": "\n\n".join(filter(None, [rest, _who(route), steps])),
        "parameters": [*_path(route), *_query(route), *_headers(route)],
        "responses": {
            str(route.status): _done(route, named),
            **({"200": _content(named[id(route.perhaps)], "Done, with something to tell")} if route.perhaps else {}),
            "default": {"$ref": "#/components/responses/Problem"},
        },
        "security": [{"bearer": []}] if route.roles is not None else [],
    }
    if route.body is not None:
        needed = any(field.required for field in msgspec.structs.fields(route.body))
        schema = {"application/json": {"schema": named[id(route.body)]}}
        operation["requestBody"] = {"required": needed, "content": schema}
    return operation


def _who(route: Route) -> str:
    return f"For: {', '.join(sorted(route.roles))}." if route.roles is not None else "For anyone."


def _steps(blueprints: Blueprints) -> str:
    """A table of each blueprint's commands: who may give them, from which states, and where they lead."""
    tables = []
    for blueprint in blueprints.by_name.values():
        rows = [
            f"| {name} | {', '.join(step.by)} | {', '.join(step.from_)} | {step.to or 'the same'} |"
            for name, step in blueprint.commands.items()
        ]
        tables.append(
            "\n".join([f"`{blueprint.name}`", "", "| command | by | from | to |", "|---|---|---|---|", *rows])
        )
    return "\n\n".join(tables)


def _content(schema: Any, description: str, media: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema}}}


def _done(route: Route, named: dict[int, Any]) -> dict[str, Any]:
    if route.reply is None:
        return {"description": "Done"}
    done = _content(named[id(route.reply)], "Done")
    if route.streams:
        done["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return done


def _codes() -> str:
    lines = [f"{kind.status} `{code}`: {kind.title}" for code, kind in BY_CODE.items()]
    return "A refusal or a failure. Codes: " + "; ".join(sorted(lines)) + "."


def _path(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAM.findall(route.path)
    ]


def _query(route: Route) -> list[dict[str, Any]]:
    (schema,), parts = msgspec.json.schema_components([route.query], ref_template=REF)
    inner = parts[schema["$ref"].rpartition("/")[2]]
    needed = inner.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": kind}
        for name, kind in inner["properties"].items()
    ]


def _headers(route: Route) -> list[dict[str, Any]]:
    if not route.keyed:
        return []
    key = {"type": "string", "format": "uuid"}
    match = {"type": "string", "description": "the version that a step expects, in quotes"}
    return [
        {"name": "Idempotency-Key", "in": "header", "required": False, "schema": key},
        {"name": "If-Match", "in": "header", "required": False, "schema": match},
    ]
