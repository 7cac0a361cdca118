"""The tables of ``docs/protocol.md`` that are made from the code: routes, objects, operations of the socket, events,
limits.

``python -m server.api.reference`` writes the tables into the page, each between ``<!-- table: NAME -->`` and ``<!-- end
-->``. The rest of the page is written by hand. A test compares the page with the code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import UnsetType
from msgspec.structs import FieldInfo

from engine.blueprint import catalogue
from engine.blueprint.event_catalogue import EVENT_TYPES
from engine.blueprint.schema import Blueprint
from engine.identity.limits import LIMITS
from engine.types import MANAGERS, OPS, ROLES
from server.api.route import Route
from server.api.routes import ROUTES
from server.gateway.ops import OPS as SOCKET_OPS
from server.gateway.session_limiter import PING_LIMIT
from server.schemas import frames
from server.schemas.ops import OP_STRUCTS, REPLIES, Op, Ping
from server.schemas.payloads import EVENT_DATA, LIVE_PUSH_DATA, data_struct_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
_TABLE_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

TYPE_TEXTS: dict[Any, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    datetime: "time",
    Any: "anything",
    type(None): "null",
}


def fill_tables(page: str) -> str:
    """Return ``page`` with each of its tables replaced by the table as the code defines it now."""
    return _TABLE_BLOCK.sub(lambda part: f"{part[1]}\n{TABLES[part[2]]()}\n\n{part[3]}", page)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines])


# Types as text


def _bare_type(hint: Any) -> Any:
    """Return a type without its annotations and without UnsetType."""
    if get_origin(hint) is Annotated:
        return _bare_type(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        parts = [part for part in get_args(hint) if part is not UnsetType]
        return Union[tuple(_bare_type(part) for part in parts)]  # noqa: UP007
    return hint


def type_text(hint: Any) -> str:
    """Return a type as the page writes it: ``text or null``, ``list of Offer``."""
    hint = _bare_type(hint)
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(type_text(part) for part in parts))
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in parts)
    if origin in (list, tuple):
        return f"list of {type_text(parts[0])}"
    if origin is dict:
        return "object" if parts[1] is Any else f"object of {type_text(parts[1])}"
    if origin is not None:
        return type_text(origin)
    return TYPE_TEXTS.get(hint) or (f"*{_object_name(hint)}*" if isinstance(hint, type) else type_text(hint.__value__))


def _object_name(struct: type) -> str:
    return struct.__name__


def _fields(struct: Any) -> tuple[FieldInfo, ...]:
    return msgspec.structs.fields(struct)


def _member_names(hint: Any) -> str:
    """Return the names of an object's members. A question mark follows the name of a member that may be absent."""
    return ", ".join(field.encode_name + ("" if field.required else "?") for field in _fields(hint))


def _is_object(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _inner_objects(hint: Any) -> Iterator[type]:
    """Yield the objects that a type contains, and the objects inside these."""
    hint = _bare_type(hint)
    for part in get_args(hint):
        yield from _inner_objects(part)
    origin = get_origin(hint) or hint
    if _is_object(origin):
        yield origin
        for field in _fields(hint):
            yield from () if isinstance(_bare_type(field.type), TypeVar) else _inner_objects(field.type)


# The tables


def routes_table() -> str:
    """Return the table of all routes: the callers, the arguments, the answer."""
    head = ("route", "who", "takes", "answers", "what it does")
    return _table(
        head,
        ((f"`{r.method} {r.path}`", _callers_text(r), _arguments(r), _answer_text(r), _summary(r)) for r in ROUTES),
    )


def _callers_text(route: Route) -> str:
    if route.roles is None:
        return "anyone"
    if route.roles == frozenset(ROLES):
        who = ["every role"]
    else:
        groups = [("managers", MANAGERS), ("ops", OPS)]
        name, group = next((each for each in groups if each[1] <= route.roles), ("", frozenset()))
        who = [role for role in ROLES if role in route.roles - group] + [name] * bool(name)
    return ", ".join(who) + _relation_text(route)


def _relation_text(route: Route) -> str:
    if route.policy.by_blueprint:
        return "; by the blueprint"
    if not route.policy.relations:
        return ""
    relations = sorted(relation.replace("_", " ") for relation in route.policy.relations)
    return f"; of the {route.policy.object_kind}: {', '.join(relations)}"


def _arguments(route: Route) -> str:
    body = f"`{{{names}}}`" if route.body is not None and (names := _member_names(route.body)) else ""
    query = "&".join(f"{field.encode_name}=" for field in _fields(route.query))
    return " ".join(filter(None, (body, f"`?{query}`" if query else "")))


def _answer_text(route: Route) -> str:
    body = _body_text(route.reply) if route.reply is not None else ""
    report = f", or 200 {_body_text(route.reply_with_problem)}" if route.reply_with_problem is not None else ""
    statuses = " or ".join(str(status) for status in (route.status, *route.other_statuses))
    return f"{statuses} {body}".strip() + report + (" · key" if route.has_key else "")


def _body_text(hint: Any) -> str:
    if get_origin(hint) is not None:
        inner = ", ".join(type_text(part) for part in get_args(hint))
        return f"`{{{_member_names(get_origin(hint))}}}` of {inner}"
    return f"`{{{_member_names(hint)}}}`" if _is_object(hint) else "a document"


def _summary(route: Route) -> str:
    return (inspect.getdoc(route.handler) or "").partition("\n\n")[0].replace("\n", " ")


def objects_table() -> str:
    """Return the table of all objects inside a request, an answer, a reply or an event."""
    whole = [kind for r in ROUTES for kind in (r.body, r.reply, r.reply_with_problem) if kind is not None]
    whole += [*OP_STRUCTS.values(), *REPLIES.values(), frames.StreamStart]
    whole += [*EVENT_DATA.values(), *LIVE_PUSH_DATA.values()]
    outer = {get_origin(kind) or kind for kind in whole}
    found = {inner for kind in whole for inner in _inner_objects(kind)}
    named = {inner for kind in found for field in _fields(kind) for inner in _inner_objects(field.type)}
    named |= {inner for kind in whole for part in get_args(kind) for inner in _inner_objects(part)}
    named |= {kind for kind in outer if kind in named}
    return _table(("object", "members"), sorted((f"*{_object_name(kind)}*", _typed_members(kind)) for kind in named))


def _typed_members(struct: Any) -> str:
    return "; ".join(f"`{f.encode_name}{'' if f.required else '?'}` {type_text(f.type)}" for f in _fields(struct))


def ops_table() -> str:
    """Return the table of the operations (``op``) that a client sends over the socket, such as ``claim``."""
    head = ("op", "takes", "`ok` of the reply", "meter")
    return _table(
        head,
        (
            (f"`{name}`", _op_arguments(kind), _body_text(REPLIES[kind]), _limit_name(kind))
            for name, kind in OP_STRUCTS.items()
        ),
    )


def _op_arguments(op_type: type[Op]) -> str:
    """Return the arguments of an operation of the socket."""
    return f"`{{{', '.join(name for name in _member_names(op_type).split(', ') if name != 'id?')}}}`"


def _limit_name(op_type: type[Op]) -> str:
    """Return the name of the limit that counts an operation of the socket."""
    return SOCKET_OPS[op_type].limit_name if op_type in SOCKET_OPS else PING_LIMIT.name if op_type is Ping else ""


def events_table() -> str:
    """Return the table of all event types: the data, the recipients, and the names for clients."""
    shipped = [*catalogue.load_blueprints("home_service", catalogue.shipped_folder()).by_name.values()]
    own = {command.event for each in shipped for command in each.commands.values()}
    kinds = sorted({*EVENT_DATA, *own} - {"announcement.*"})
    rows = [
        (f"`{kind}`", _data_text(data_struct_of(kind)), _audience(kind, shipped), _client_names(kind, shipped))
        for kind in kinds
    ]
    rows.append(("`announcement.*`", "as given", EVENT_TYPES["announcement.*"].recipients, ""))
    return _table(("type", "`data`", "to", "called"), rows)


def live_pushes_table() -> str:
    """Return the table of all types of pushes that are not stored in a log."""
    return _table(
        ("type", "`data`", "to"),
        ((f"`{k}`", _data_text(LIVE_PUSH_DATA[k]), EVENT_TYPES[k].recipients) for k in LIVE_PUSH_DATA),
    )


def _data_text(hint: Any) -> str:
    return f"`{{{_member_names(hint)}}}`" if _is_object(hint) else "as given"


def _audience(event_type: str, shipped: Sequence[Blueprint]) -> str:
    """Return the recipients that the engine sets, then those that the shipped blueprints set. Recipients that only some
    of these blueprints set are in brackets.
    """
    declared = [
        set(each.events[event_type].to) for each in shipped if event_type in each.events and each.events[event_type].to
    ]
    event = EVENT_TYPES.get(event_type)
    by_engine = event.recipients if event else ""
    default = ", ".join(event.audience.split()) if event and event.audience else "by the blueprint"
    words = sorted(set().union(*declared).difference(re.split(r"[ ,;]+", by_engine)))
    always = [word for word in words if all(word in each for each in declared)]
    some = [word for word in words if word not in always]
    return ", ".join(filter(None, [by_engine, *always, f"({', '.join(some)})" if some else ""])) or default


def _client_names(event_type: str, shipped: Sequence[Blueprint]) -> str:
    rules = [(each.name, each.events[event_type].as_) for each in shipped if event_type in each.events]
    named = [(name, [as_] if isinstance(as_, str) else as_.values()) for name, as_ in rules if as_]
    return "; ".join(f"{name}: {', '.join(f'`{word}`' for word in words)}" for name, words in named)


def limits_table() -> str:
    """Return the table of all rate limits."""
    kinds = [*LIMITS.values(), PING_LIMIT]
    rows = ((f"`{kind.name}`", str(kind.count), f"{kind.period_s:g} s") for kind in kinds)
    return _table(("meter", "most", "in"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "routes": routes_table,
    "objects": objects_table,
    "ops": ops_table,
    "events": events_table,
    "live": live_pushes_table,
    "limits": limits_table,
}

if __name__ == "__main__":
    PAGE.write_text(fill_tables(PAGE.read_text("utf-8")), "utf-8")
