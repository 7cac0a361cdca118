"""A blueprint: a job's life as a declared thing, read from TOML.

From this one table come the target and the states passed to Lua, the permission check, the names clients see and
the notifications. Nothing else in the code knows a state by name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import orjson

from engine.types import OPS, Phase, Role

EVERYBODY = 1_000_000_000
"""The size of a wave that leaves nobody out. It is made in turns of 256 (lua/lib/search.lua); bounded to one turn,
rounds would ask the nearest over and over, and a crowd of them would keep the job from everybody else."""

NOUNS = frozenset(
    (
        *("session", "job", "offer", "bid", "price", "payment", "code", "room", "message", "mediator", "technician"),
        *("notification", "position", "typing", "presence", "token", "fix"),
    )
)
"""What the engine's own events begin with: nobody may announce such a one."""

Mode = Literal["broadcast", "bids", "direct", "allocate", "none"]
Relation = Literal["offered", "holder", "customer", "ops", "service", "engine"]


class BlueprintError(ValueError):
    """Blueprints that cannot be used; ``problems`` names everything wrong, over all files."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Wave(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One round: at most ``size`` offers within ``radius_m`` (0: the whole zone), the next ``interval_s`` later."""

    size: int
    radius_m: int
    interval_s: float


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """score = km × distance − rating × rating − acceptance share × acceptance − hours waiting × waiting."""

    distance: float = 1.0
    rating: float = 0.0
    acceptance: float = 0.0
    waiting: float = 0.0


class Dispatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a technician is found. Lifetimes in seconds; ``job_s`` 0 means that the job does not expire."""

    mode: Mode
    offer_s: float = 60.0
    job_s: float = 900.0
    repeat_s: float = 60.0
    waves: tuple[Wave, ...] = ()
    weights: Weights = Weights()


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A state: the phase it belongs to and the sentence that tells a person of it."""

    phase: Phase
    says: str

    @property
    def terminal(self) -> bool:
        """Whether nothing follows."""
        return self.phase in ("done", "closed")


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """A step: who may take it, from where, to where, and the event that tells of it."""

    by: tuple[Relation, ...]
    from_: tuple[str, ...]
    event: str
    to: str = ""
    message: str | None = None


class Notice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person is notified of; ``{says}`` and ``{technician.name}`` are filled in."""

    title: str
    body: str


class EventRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"as_": "as"}):
    """Who hears of an event, under which name (by reason, where it is a table), with which fields added. An
    ``announcement`` is of no job: ops make it, and say to which roles.
    """

    to: tuple[str, ...] = ()
    as_: str | dict[str, str] = ""
    fields: dict[str, str] = {}
    notify: dict[Literal["customer", "holder"], Notice] = {}
    announcement: bool = False


class Blueprint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One declared lifecycle. ``key`` (``home_service@1``) is what a job and its events carry."""

    name: str
    version: int
    title: str
    dispatch: Dispatch
    states: dict[str, State]
    commands: dict[str, Command]
    events: dict[str, EventRule]

    @property
    def key(self) -> str:
        """Name and version: a running job keeps the blueprint it began with."""
        return f"{self.name}@{self.version}"

    @property
    def initial(self) -> str:
        """The first state declared."""
        return next(iter(self.states))

    def phase(self, state: str) -> str:
        """The phase of a state; "" for no state."""
        return self.states[state].phase if state else ""

    def audience(self, event: str) -> str:
        """The words for those who hear of an event, as scripts take them."""
        rule = self.events.get(event)
        return " ".join(rule.to) if rule else ""

    def wave(self, number: int) -> tuple[Wave, bool]:
        """Wave ``number`` (from 1) and whether it walks the zone: after the last one declared, everybody else."""
        if number <= len(self.dispatch.waves):
            declared = self.dispatch.waves[number - 1]
            return declared, declared.radius_m == 0
        return Wave(size=EVERYBODY, radius_m=0, interval_s=self.dispatch.repeat_s), True

    def actions(self, state: str, relations: Iterable[str]) -> list[str]:
        """The commands that somebody in these relations to a job may give now, in declared order."""
        held = set(relations)
        return [n for n, c in self.commands.items() if state in c.from_ and held & set(c.by)]


class Told(msgspec.Struct, frozen=True):
    """A notification that an event gives rise to."""

    user: str
    kind: str
    title: str
    body: str
    job: str


class _Reason(msgspec.Struct):
    reason: str = ""


_reason = msgspec.json.Decoder(_Reason)


class Blueprints:
    """All blueprints by name, and by key for what runs already. ``default`` names those of a zone's other events."""

    def __init__(self, all_of: Iterable[Blueprint], default: str) -> None:
        self.by_name: dict[str, Blueprint] = {b.name: b for b in all_of}
        self.by_key: dict[str, Blueprint] = {b.key: b for b in self.by_name.values()}
        self.default = self.by_name[default]

    def of(self, key: str) -> Blueprint:
        """The blueprint of a job or event; the default one for events without a job or of a life unknown here."""
        return self.by_key.get(key) or self.by_name.get(key.partition("@")[0]) or self.default

    def announcing(self, event: str) -> Blueprint | None:
        """The blueprint that declares ``event`` as an announcement, the default one before others."""
        declared = [b for b in (self.default, *self.by_name.values()) if event in b.events]
        return next((b for b in declared if b.events[event].announcement), None)

    def view(self, key: str, kind: str, data: bytes) -> tuple[str, bytes]:
        """An event as clients of its blueprint see it: its name, and its data with the fields added.

        The data is parsed only where the blueprint asks for it: most events pass as they stand in the log.
        """
        rule = self.of(key).events.get(kind)
        if rule is None:
            return kind, data
        name = rule.as_ if isinstance(rule.as_, str) else rule.as_.get(_reason.decode(data).reason, kind)
        return name or kind, _with_fields(rule.fields, data) if rule.fields else data

    def notices(self, key: str, kind: str, data: bytes) -> list[Told]:
        """Whom an event of this blueprint is to be notified to, and in which words."""
        blueprint = self.of(key)
        rule = blueprint.events.get(kind)
        if rule is None or not rule.notify:
            return []
        found = orjson.loads(data)
        job = found["job"]
        users = {"customer": job.get("customer"), "holder": job.get("technician")}
        words = _Words(found, blueprint.states[job["status"]].says)
        return [
            Told(
                users[who]["id"],
                kind,
                notice.title.format_map(words),
                notice.body.format_map(words),
                job["id"],
            )
            for who, notice in rule.notify.items()
            if users[who]
        ]


class _Dotted:
    """Lets ``{technician.name}`` read JSON."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self._value = value

    def __getattr__(self, name: str) -> Any:
        found = self._value.get(name)
        return _Dotted(found) if isinstance(found, dict) else found


class _Words(dict[str, Any]):
    def __init__(self, data: Mapping[str, Any], says: str) -> None:
        super().__init__({n: _Dotted(v) if isinstance(v, dict) else v for n, v in data.items()}, says=says)


def _with_fields(fields: Mapping[str, str], data: bytes) -> bytes:
    found = orjson.loads(data)
    for name, path in fields.items():
        value: Any = found
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        found[name] = value
    return orjson.dumps(found)


def relations(role: Role, user: str, *, customer: str, holder: str, offered: bool) -> list[Relation]:
    """How a caller stands to a job. None at all means that he may not know of it."""
    stands: list[tuple[bool, Relation]] = [
        (role in OPS, "ops"),
        (role == "service", "service"),
        (user == customer, "customer"),
        (role == "technician" and user == holder, "holder"),
        (role == "technician" and offered, "offered"),
    ]
    return [name for holds, name in stands if holds]


def load(default: str, *folders: Path) -> Blueprints:
    """Read all blueprints of the folders; a later folder's wins. Raises BlueprintError with every problem."""
    found: dict[str, Blueprint] = {}
    problems: list[str] = []
    for path in (p for folder in folders for p in sorted(folder.glob("*.toml"))):
        try:
            blueprint = msgspec.convert(tomllib.loads(path.read_text()), Blueprint)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            problems.append(f"{path.name}: {error}")
            continue
        problems += [f"{path.name}: {problem}" for problem in check(blueprint)]
        found[blueprint.name] = blueprint
    if default not in found and not problems:
        problems.append(f"the default blueprint {default!r} is not among {', '.join(sorted(found)) or 'none'}")
    if problems:
        raise BlueprintError(problems)
    return Blueprints(found.values(), default)


def shipped() -> Path:
    """The folder of the blueprints that come with Callout."""
    return Path(__file__).resolve().parents[1] / "blueprints"


def check(blueprint: Blueprint) -> list[str]:
    """What is wrong with a blueprint beyond its shape, one sentence each."""
    states = blueprint.states
    problems = []
    for name, command in blueprint.commands.items():
        ends = [*command.from_, *([command.to] if command.to else [])]
        problems += [f"command {name}: unknown state {s!r}" for s in ends if s not in states]
        problems += [
            f"command {name}: leaves the terminal state {s!r}"
            for s in command.from_
            if s in states and states[s].terminal
        ]
        if command.event not in blueprint.events:
            problems.append(f"command {name}: its event {command.event!r} is told to nobody")
    announced = [name for name, rule in blueprint.events.items() if rule.announcement]
    problems += [f"event {n!r} is the engine's, no announcement" for n in announced if n.partition(".")[0] in NOUNS]
    reached = {blueprint.initial} | {c.to for c in blueprint.commands.values()}
    problems += [f"state {s!r} cannot be reached" for s in states if s not in reached]
    return problems
