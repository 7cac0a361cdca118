"""The tables of ``docs/protocol.md`` that the code knows by itself: routes, objects, ops, events, limits.

``python -m server.api.reference`` writes them into the page, each between ``<!-- table: NAME -->`` and ``<!-- end
-->``; what stands around them is written by hand. A test compares the page with the code."""

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

from engine.blueprint import catalogue as blueprints
from engine.blueprint.event_catalogue import BY_TYPE
from engine.blueprint.schema import Blueprint
from engine.identity.limits import LIMITS
from engine.types import MANAGERS, OPS, ROLES
from server.api.route import Route
from server.api.routes import ROUTES
from server.gateway.ops import OPS as SOCKET_OPS
from server.gateway.session_limiter import PINGS
from server.schemas import frames
from server.schemas.ops import KINDS, REPLIES, Op
from server.schemas.payloads import EVENTS, LIVE, shape_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

WORDS: dict[Any, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    datetime: "time",
    Any: "anything",
    type(None): "null",
}


def filled(page: str) -> str:
    """``page`` with each of its tables as the code has it now."""
    return _TABLE.sub(lambda part: f"{part[1]}\n{TABLES[part[2]]()}\n\n{part[3]}", page)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines])


# Types in words


def _plain(kind: Any) -> Any:
    """A type without what is annotated and without being unset."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        parts = [part for part in get_args(kind) if part is not UnsetType]
        return Union[tuple(_plain(part) for part in parts)]  # noqa: UP007
    return kind


def said(kind: Any) -> str:
    """A type in the words of the page: ``text or null``, ``list of Offer``."""
    kind = _plain(kind)
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(said(part) for part in parts))
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in parts)
    if origin in (list, tuple):
        return f"list of {said(parts[0])}"
    if origin is dict:
        return "object" if parts[1] is Any else f"object of {said(parts[1])}"
    if origin is not None:
        return said(origin)
    return WORDS.get(kind) or (f"*{_named(kind)}*" if isinstance(kind, type) else said(kind.__value__))


def _named(kind: type) -> str:
    return kind.__name__


def _fields(kind: Any) -> tuple[FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def _names(kind: Any) -> str:
    """The members of an object by name; those with a question mark may be left out."""
    return ", ".join(field.encode_name + ("" if field.required else "?") for field in _fields(kind))


def _is_object(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _inner(kind: Any) -> Iterator[type]:
    """The objects that stand in a type, those inside them included."""
    kind = _plain(kind)
    for part in get_args(kind):
        yield from _inner(part)
    origin = get_origin(kind) or kind
    if _is_object(origin):
        yield origin
        for field in _fields(kind):
            yield from () if isinstance(_plain(field.type), TypeVar) else _inner(field.type)


# The tables


def routes() -> str:
    """Every route: who may, what it takes, what it answers."""
    head = ("route", "who", "takes", "answers", "what it does")
    return _table(head, ((f"`{r.method} {r.path}`", _who(r), _takes(r), _answers(r), _does(r)) for r in ROUTES))


def _who(route: Route) -> str:
    if route.roles is None:
        return "anyone"
    if route.roles == frozenset(ROLES):
        who = ["every role"]
    else:
        groups = [("managers", MANAGERS), ("ops", OPS)]
        name, group = next((each for each in groups if each[1] <= route.roles), ("", frozenset()))
        who = [role for role in ROLES if role in route.roles - group] + [name] * bool(name)
    return ", ".join(who) + _tie(route)


def _tie(route: Route) -> str:
    if route.policy.by_blueprint:
        return "; by the blueprint"
    if not route.policy.may:
        return ""
    return f"; of the {route.policy.of}: {', '.join(sorted(word.replace('_', ' ') for word in route.policy.may))}"


def _takes(route: Route) -> str:
    body = f"`{{{names}}}`" if route.body is not None and (names := _names(route.body)) else ""
    query = "&".join(f"{field.encode_name}=" for field in _fields(route.query))
    return " ".join(filter(None, (body, f"`?{query}`" if query else "")))


def _answers(route: Route) -> str:
    body = _shown(route.reply) if route.reply is not None else ""
    perhaps = f", or 200 {_shown(route.perhaps)}" if route.perhaps is not None else ""
    statuses = " or ".join(str(status) for status in (route.status, *route.also))
    return f"{statuses} {body}".strip() + perhaps + (" · key" if route.keyed else "")


def _shown(kind: Any) -> str:
    if get_origin(kind) is not None:
        inner = ", ".join(said(part) for part in get_args(kind))
        return f"`{{{_names(get_origin(kind))}}}` of {inner}"
    return f"`{{{_names(kind)}}}`" if _is_object(kind) else "a document"


def _does(route: Route) -> str:
    return (inspect.getdoc(route.handler) or "").partition("\n\n")[0].replace("\n", " ")


def objects() -> str:
    """Every object that stands inside a request, an answer, a reply or an event."""
    whole = [kind for r in ROUTES for kind in (r.body, r.reply, r.perhaps) if kind is not None]
    whole += [*KINDS.values(), *REPLIES.values(), frames.Opened, *EVENTS.values(), *LIVE.values()]
    outer = {get_origin(kind) or kind for kind in whole}
    found = {inner for kind in whole for inner in _inner(kind)}
    named = {inner for kind in found for field in _fields(kind) for inner in _inner(field.type)}
    named |= {inner for kind in whole for part in get_args(kind) for inner in _inner(part)}
    named |= {kind for kind in outer if kind in named}
    return _table(("object", "members"), sorted((f"*{_named(kind)}*", _members(kind)) for kind in named))


def _members(kind: Any) -> str:
    return "; ".join(f"`{f.encode_name}{'' if f.required else '?'}` {said(f.type)}" for f in _fields(kind))


def ops() -> str:
    """Every op of the socket."""
    head = ("op", "takes", "`ok` of the reply", "meter")
    return _table(
        head, ((f"`{name}`", _op_takes(kind), _shown(REPLIES[kind]), _meter(kind)) for name, kind in KINDS.items())
    )


def _op_takes(kind: type[Op]) -> str:
    return f"`{{{', '.join(name for name in _names(kind).split(', ') if name != 'id?')}}}`"


def _meter(kind: type[Op]) -> str:
    return SOCKET_OPS[kind].meter if kind in SOCKET_OPS else PINGS.name if _named(kind) == "Ping" else ""


def events() -> str:
    """Every type of event: what is in it, and who hears of it."""
    shipped = [*blueprints.load("home_service", blueprints.shipped()).by_name.values()]
    own = {command.event for each in shipped for command in each.commands.values()}
    kinds = sorted({*EVENTS, *own} - {"announcement.*"})
    rows = [(f"`{kind}`", _data(shape_of(kind)), _audience(kind, shipped), _seen(kind, shipped)) for kind in kinds]
    rows.append(("`announcement.*`", "as given", BY_TYPE["announcement.*"].recipients, ""))
    return _table(("type", "`data`", "to", "called"), rows)


def live() -> str:
    """Every type of push that is in no log."""
    return _table(("type", "`data`", "to"), ((f"`{k}`", _data(LIVE[k]), BY_TYPE[k].recipients) for k in LIVE))


def _data(kind: Any) -> str:
    return f"`{{{_names(kind)}}}`" if _is_object(kind) else "as given"


def _audience(kind: str, shipped: Sequence[Blueprint]) -> str:
    """Whom the engine addresses, then the words of the shipped blueprints, in brackets those that not all use."""
    said_by = [set(each.events[kind].to) for each in shipped if kind in each.events and each.events[kind].to]
    event = BY_TYPE.get(kind)
    by_engine = event.recipients if event else ""
    default = ", ".join(event.audience.split()) if event and event.audience else "by the blueprint"
    words = sorted(set().union(*said_by).difference(re.split(r"[ ,;]+", by_engine)))
    always = [word for word in words if all(word in each for each in said_by)]
    some = [word for word in words if word not in always]
    return ", ".join(filter(None, [by_engine, *always, f"({', '.join(some)})" if some else ""])) or default


def _seen(kind: str, shipped: Sequence[Blueprint]) -> str:
    rules = [(each.name, each.events[kind].as_) for each in shipped if kind in each.events]
    named = [(name, [as_] if isinstance(as_, str) else as_.values()) for name, as_ in rules if as_]
    return "; ".join(f"{name}: {', '.join(f'`{word}`' for word in words)}" for name, words in named)


def limits() -> str:
    """Every meter."""
    kinds = [*LIMITS.values(), PINGS]
    rows = ((f"`{kind.name}`", str(kind.count), f"{kind.per_s:g} s") for kind in kinds)
    return _table(("meter", "most", "in"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "routes": routes,
    "objects": objects,
    "ops": ops,
    "events": events,
    "live": live,
    "limits": limits,
}

if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
