"""The OpenAPI 3.1 document, made from the table of routes and the Structs of requests and answers.

Nothing is written twice: summaries are the first lines of the handlers' docstrings, schemas come from msgspec (JSON
Schema 2020-12, the dialect of OpenAPI 3.1), refusals come from the tree of errors in engine/errors.py. A test sends
requests that the document allows, and checks every answer against the document.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec

from engine.errors import ERROR_OF_CODE, MEANING_OF_CODE
from server.api.derived_examples import derive, reply_example, request_example
from server.schemas.events import StreamEvent
from server.schemas.problems import Problem

if TYPE_CHECKING:
    from engine.blueprint.catalogue import Blueprints
    from server.api.route import Route
    from server.schemas.decode import Body

SCHEMA_REF = "#/components/schemas/{name}"
PROBLEM_MEDIA_TYPE = "application/problem+json"

Schema = dict[str, Any]

_PARAM = re.compile(r"{(\w+)}")
_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
_UUID_SCHEMA = {"type": "string", "format": "uuid"}
_KEY_TEXT = (
    "A UUID that the caller chooses. A repeated request with the same key gets the first answer and has no effect."
)
_IF_MATCH_TEXT = (
    "The version of the job that the step expects. A weak tag is compared by its value; `*` is any version."
)


def document(routes: Sequence[Route], blueprints: Blueprints) -> bytes:
    """Return the document of ``routes`` as JSON, with the names and the tables of commands of ``blueprints``."""
    kinds: list[Any] = [Problem, StreamEvent]
    kinds += [
        kind for route in routes for kind in (route.body, route.reply, route.reply_with_problem) if kind is not None
    ]
    schemas, parts = msgspec.json.schema_components(kinds, ref_template=SCHEMA_REF)
    named = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    _add_constraints(parts, routes, blueprints)
    paths: dict[str, Schema] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, named, blueprints)
    about = {"title": "Callout", "version": version("callout"), "license": {"name": "Apache-2.0"}}
    whole = {
        "openapi": "3.1.0",
        "info": {**about, "description": _info_text()},
        "paths": paths,
        "components": {
            "schemas": parts,
            "responses": _problem_responses(named[id(Problem)]),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }
    return msgspec.json.encode(_ecma_patterns(whole))


def _info_text() -> str:
    rows = [
        f"| `{code}` | {kind.status} | {kind.title} | {MEANING_OF_CODE[code]} |" for code, kind in _codes_by_status()
    ]
    return "\n".join(
        [
            "Sends jobs to people in real time: each job is offered to suitable technicians, and exactly one gets it.",
            "",
            "Unknown fields are refused; clients ignore fields, states and codes that they do not know. No text of a "
            "request may contain NUL. `/asyncapi.json` describes the messages of the socket.",
            "",
            "Every refusal is a problem object. These are its codes:",
            "",
            "| code | status | title | means |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def _codes_by_status() -> list[tuple[str, Any]]:
    return sorted(ERROR_OF_CODE.items(), key=lambda each: (each[1].status, each[0]))


def _ecma_patterns(value: Any) -> Any:
    """Return the schema ``value`` with its patterns translated from Python to ECMA-262. There ``$`` matches only at the
    end of the text, and ``\\s`` does not match the separators that Python counts as white space.
    """
    if isinstance(value, list):
        return [_ecma_patterns(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _ecma_pattern(item) if name == "pattern" and isinstance(item, str) else _ecma_patterns(item)
        for name, item in value.items()
    }


def _ecma_pattern(pattern: str) -> str:
    pattern = pattern.replace(r"$(?!\n)", "$").replace(r"[\s\S]", "[ANY]")
    pattern = re.sub(r"\[\^([^\]]*)\\s", r"[^\1\\s\\x1c-\\x1f\\x85", pattern)
    return pattern.replace(r"\S", r"[^\s\x85]").replace("[ANY]", r"[\s\S]")


def _add_constraints(schemas: Schema, routes: Sequence[Route], blueprints: Blueprints) -> None:
    """Add to ``schemas`` what types do not express: rules that concern several fields, and the names that
    blueprints define.
    """
    for body in {route.body for route in routes if route.body is not None}:
        schemas[body.__name__].update(body.rules_schema)
    names = [*sorted(blueprints.by_name), None]
    schemas["NewJob"]["properties"]["blueprint"].update(enum=names)
    declared = {n for b in blueprints.by_name.values() for n, rule in b.events.items() if rule.announcement}
    own = {"required": ["roles"], "properties": {"event": {"pattern": r"^announcement\."}, "roles": {"type": "array"}}}
    schemas["NewAnnouncement"]["anyOf"] = [{"properties": {"event": {"enum": sorted(declared)}}}, own]


def _operation(route: Route, schemas_by_id: dict[int, Any], blueprints: Blueprints) -> Schema:
    summary, _, rest = (inspect.getdoc(route.handler) or "").partition("\n\n")
    steps = _commands_table(blueprints) if "{command}" in route.path else ""
    operation: Schema = {
        "operationId": route.name,
        "tags": [route.name.partition("_")[0]],
        "summary": summary.replace("\n", " "),
        "description": "\n\n".join(filter(None, [rest, _roles_text(route), steps])),
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": _responses(route, schemas_by_id),
        "security": [{"bearer": []}] if route.roles is not None else [],
    }
    if route.body is not None:
        content = {"schema": schemas_by_id[id(route.body)], "example": request_example(route)}
        operation["requestBody"] = {"required": not _may_be_empty(route.body), "content": {"application/json": content}}
    elif route.takes_bytes or route.raw_body:
        operation["requestBody"] = {"required": True, "content": route.raw_content}
    return operation


def _may_be_empty(body: type[Body]) -> bool:
    try:
        return not msgspec.convert({}, body).find_errors()
    except msgspec.ValidationError:
        return False


def _roles_text(route: Route) -> str:
    return f"For: {', '.join(sorted(route.roles))}." if route.roles is not None else "For anyone."


def _commands_table(blueprints: Blueprints) -> str:
    """Return a table of the commands of each blueprint: the callers, the states before, the state after."""
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


def _responses(route: Route, schemas_by_id: dict[int, Any]) -> Schema:
    refusals = {str(status): _response_ref(f"Problem{status}") for status in _refusal_statuses(route)}
    done = {str(status): _success_response(route, schemas_by_id) for status in (route.status, *route.other_statuses)}
    if route.reply_with_problem is not None:
        report = _response_object(schemas_by_id[id(route.reply_with_problem)], "Done, with a report")
        report["content"]["application/json"]["example"] = derive(route.reply_with_problem)
        done["200"] = report
    return {**refusals, **done, "default": _response_ref("Problem")}


def _response_ref(response: str) -> dict[str, str]:
    return {"$ref": f"#/components/responses/{response}"}


def _refusal_statuses(route: Route) -> Iterable[int]:
    """Yield the statuses that a refusal of ``route`` may have. They depend on what the route checks."""
    yield from (400, 422, 500, 503)
    yield from (401, 403) if route.roles is not None else (401,) if route.takes_bytes else ()
    if "{" in route.path or route.policy.object_kind != "nothing":
        yield 404
    if route.body is not None or route.takes_bytes or route.raw_body:
        yield 413
    if route.limit_name:
        yield 429
    if route.has_key:
        yield from (409, 504)
    if route.is_conditional:
        yield 412
    if route.body is not None and "code" in route.body.__struct_fields__:
        yield 423


def _problem_responses(schema: Any) -> Schema:
    """Return a response for each status of a refusal, with its codes, and a response for all other statuses."""
    by_status: dict[int, list[str]] = {}
    for code, kind in _codes_by_status():
        by_status.setdefault(kind.status, []).append(f"`{code}`: {MEANING_OF_CODE[code]}")
    by_status[400] = ["`invalid`: the body is not JSON, or the body or the query is not UTF-8."]
    responses = {
        f"Problem{status}": _response_object(schema, " ".join(texts), PROBLEM_MEDIA_TYPE)
        for status, texts in by_status.items()
    }
    return {
        **responses,
        "Problem": _response_object(schema, "A refusal or a failure, identified by `code`.", PROBLEM_MEDIA_TYPE),
    }


def _response_object(schema: Any, description: str, media: str = "application/json") -> Schema:
    return {"description": description, "content": {media: {"schema": schema}}}


def _success_response(route: Route, schemas_by_id: dict[int, Any]) -> Schema:
    if route.reply is None:
        return {"description": "Done"}
    done = _response_object(schemas_by_id[id(route.reply)], "Done")
    done["content"]["application/json"]["example"] = reply_example(route)
    if route.may_stream:
        done["content"]["text/event-stream"] = {"schema": schemas_by_id[id(StreamEvent)]}
    return done


# Parameters


def _path_parameters(route: Route) -> list[Schema]:
    schema = {"type": "string", "pattern": _ID_PATTERN}
    return [
        {"name": name, "in": "path", "required": True, "schema": _UUID_SCHEMA if name == "key" else schema}
        for name in _PARAM.findall(route.path)
    ]


def _query_parameters(route: Route) -> list[Schema]:
    """Return the parameters of the query. Their schemas exclude null. Parameters that must be sent together are the
    members of one object.
    """
    (schema,), parts = msgspec.json.schema_components([route.query], ref_template=SCHEMA_REF)
    inner = parts[schema["$ref"].rpartition("/")[2]]
    kinds = {name: _without_null(kind) for name, kind in inner["properties"].items()}
    both = {name: kinds.pop(name) for name in route.query.required_together}
    needed = inner.get("required", ())
    found = [{"name": name, "in": "query", "required": name in needed, "schema": kind} for name, kind in kinds.items()]
    if both:
        whole = {"type": "object", "properties": both, "required": list(both), "additionalProperties": False}
        found.append({"name": "position", "in": "query", "style": "form", "explode": True, "schema": whole})
    return found


def _without_null(schema: Schema) -> Schema:
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        schema = {**{name: value for name, value in schema.items() if name != "anyOf"}, **options[0]}
    return {name: value for name, value in schema.items() if (name, value) != ("default", None)}


def _header_parameters(route: Route) -> list[Schema]:
    match = {"type": "string", "pattern": r'^(\*|(W/)?"[0-9]{1,15}"|[0-9]{1,15})$', "examples": ['"7"']}
    found = []
    if route.has_key:
        found.append({"name": "Idempotency-Key", "in": "header", "description": _KEY_TEXT, "schema": _UUID_SCHEMA})
    if route.is_conditional:
        found.append({"name": "If-Match", "in": "header", "description": _IF_MATCH_TEXT, "schema": match})
    return [{**header, "required": False} for header in found]
