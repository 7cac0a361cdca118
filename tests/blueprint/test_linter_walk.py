"""An independent walk through all situations of a job finds no flaw in what the linter accepts: nobody is paid
unsigned, and nothing is declared that can never happen. The blueprints are a valid one with random changes.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import msgspec

from engine.blueprint.linter import check_blueprint
from engine.blueprint.schema import HOLDER_EFFECTS, Blueprint
from tests.support.sizes import choose_size

DRAWS = choose_size(500, 10_000)
AUDIENCE = {"to": ["customer", "holder", "ops"]}
FLOW = ("wanted", "asked", "held", "working", "ready", "agreed", "frozen")
PHASES = dict(zip(FLOW, ("open", "assigned", "assigned", *["active"] * 4), strict=True))
ENDS = {"done": "done", "off": "closed", "late": "closed"}
TOLERATED = ("never occurs", "cannot be reached", "cannot be left")
"""Problems that concern neither money nor signatures."""
COMMANDS: dict[str, dict[str, Any]] = {
    "assign": {"does": "assign", "by": ["engine", "ops"], "from": ["wanted"], "to": "asked", "event": "job.assigned"},
    "accept": {"by": ["holder"], "from": ["asked"], "to": "held"},
    "work": {"by": ["holder"], "from": ["held"], "to": "working"},
    "finish": {"by": ["holder"], "from": ["working"], "to": "ready"},
    "sign": {"by": ["customer"], "from": ["ready"], "to": "agreed", "event": "job.signed", "signs": True},
    "capture": {"does": "capture", "by": ["service"], "from": ["agreed"], "to": "done", "event": "payment.received"},
    "dispute": {"does": "freeze", "by": ["customer"], "from": ["ready"], "to": "frozen"},
    "resume": {"does": "thaw", "by": ["mediator"], "from": ["frozen"], "to": "ready", "resolves": "resume"},
    "release": {"does": "release", "by": ["holder"], "from": ["held"], "to": "wanted"},
    "skip": {"by": ["ops"], "from": ["working"], "to": "ready"},
    "cancel": {"by": ["ops"], "from": ["wanted"], "to": "off"},
    "expire": {"by": ["engine"], "from": ["wanted"], "to": "late", "event": "job.expired"},
}
PLAIN = {
    "pay": {"by": ["ops"], "from": ["ready"], "to": "agreed"},
    "close": {"by": ["ops"], "from": ["agreed"], "to": "done"},
}
"""What a blueprint without a signature has in its place."""


class Situation(NamedTuple):
    """The state of a job; whether it has a technician, is signed, has money held, and has a fixed price."""

    state: str
    has_holder: bool = False
    is_signed: bool = False
    is_held: bool = False
    is_fixed: bool = False


def draw_blueprint(draw: random.Random) -> Blueprint:
    """Return the valid blueprint with one to four random changes."""
    commands = {name: {"event": f"job.{name}", **command} for name, command in COMMANDS.items()}
    if draw.random() < 0.3:
        del commands["sign"]
        commands |= {name: {"event": f"job.{name}", **command} for name, command in PLAIN.items()}
    for _ in range(draw.randint(1, 4)):
        command = commands[draw.choice(sorted(commands.keys() - {"assign", "cancel", "expire"}))]
        change: dict[str, Any] = draw.choice(
            (
                {"to": draw.choice((*FLOW, "done"))},
                {"from": sorted({*command["from"], draw.choice(FLOW)})},
                {"from": [draw.choice(FLOW)]},
                draw.choice(({"charges": True}, {"locks_price": True}, {"needs_files": {"photo": 1}})),
            )
        )
        command.update(change)
    commands["assign"]["holds"] = draw.random() < 0.5
    if "sign" in commands:
        commands["sign"]["charges"] = draw.random() < 0.5
    events = {command["event"] for command in commands.values()}
    events |= {"job.created", "job.status", "job.updated", "job.unassigned", "payment.requested"}
    events |= {"price.proposed", "price.changed", "price.rejected"}
    states = {name: {"phase": phase, "says": name} for name, phase in (PHASES | ENDS).items()}
    states["wanted"]["seeks"] = "allocate"
    raw: dict[str, Any] = {"name": "drawn", "version": 1, "title": "Drawn", "states": states, "commands": commands}
    states["asked"] |= {"asked": True}  # type: ignore[dict-item]
    raw["events"] = dict.fromkeys(events, AUDIENCE)
    raw["price"] = {"commission": {"per_mille": 100}} | (
        {"propose": [draw.choice(FLOW)]} if draw.random() < 0.2 else {}
    )
    raw["edit"] = {draw.choice(FLOW): draw.choice((["amount"], ["notes"], ["*"]))} if draw.random() < 0.2 else {}
    return msgspec.convert(raw, Blueprint)


def walk(blueprint: Blueprint) -> tuple[set[Situation], set[tuple[str, Situation]]]:
    """Return the situations that a job can be in, and the commands that are possible in each."""
    first = Situation(blueprint.initial_state)
    seen, waiting, given = {first}, [first], set[tuple[str, Situation]]()
    while waiting:
        now = waiting.pop()
        for name, command in blueprint.commands.items():
            if now.state not in command.from_ or (command.effect == "release" and not now.has_holder):
                continue
            given.add((name, now))
            gives, leaves = command.effect in HOLDER_EFFECTS, command.effect == "release"
            then = Situation(
                command.to or now.state,
                gives or (now.has_holder and not leaves),
                now.is_signed or command.signs,
                command.holds if gives else now.is_held and not leaves and not command.charges,
                now.is_fixed or command.signs or command.locks_price,
            )
            if then not in seen:
                seen.add(then)
                waiting.append(then)
    return seen, given


def flaws_of(blueprint: Blueprint) -> set[str]:
    """Return what is wrong with a blueprint."""
    seen, given = walk(blueprint)
    signs = any(command.signs for command in blueprint.commands.values())
    spec = blueprint.commands
    found = {"done unsigned" for each in seen if signs and blueprint.phase(each.state) == "done" and not each.is_signed}
    found |= {
        "price edited while money is held"
        for each in seen
        if each.is_held and {"amount", "*"} & {*_edits(blueprint, each)}
    }
    found |= {"paid unsigned" for name, now in given if spec[name].effect == "capture" and signs and not now.is_signed}
    found |= {"signed twice" for name, now in given if spec[name].signs and now.is_signed}
    found |= {"signed without a technician" for name, now in given if spec[name].signs and not now.has_holder}
    found |= {"files after the signature" for name, now in given if spec[name].needs_files and now.is_signed}
    found |= {
        "edited after the signature"
        for each in seen
        if each.is_signed and _edits(blueprint, each) and not _is_open(seen, each)
    }
    if blueprint.may_hold and not any(spec[name].charges and now.is_held for name, now in given):
        found.add("a hold that nothing charges")
    for state in blueprint.price.propose:
        if not any(each.state == state and not each.is_fixed for each in seen) and any(e.state == state for e in seen):
            found.add("a proposal of a fixed price")
    if not any(each.has_holder for each in seen if blueprint.phase(each.state) == "done"):
        found.add("a commission of nobody")
    return found


def _edits(blueprint: Blueprint, now: Situation) -> tuple[str, ...]:
    return blueprint.edit.get(now.state, ())


def _is_open(seen: set[Situation], now: Situation) -> bool:
    """Return whether a job can be in this state unsigned too."""
    return any(each.state == now.state and not each.is_signed for each in seen)


def test_what_the_linter_accepts_is_sound() -> None:
    """Each accepted blueprint is without a flaw, and each flaw is among those of the refused ones."""
    draw, accepted, refused = random.Random(15), 0, set[str]()
    for _ in range(DRAWS):
        blueprint = draw_blueprint(draw)
        problems = [each for each in check_blueprint(blueprint) if not any(text in each for text in TOLERATED)]
        if problems:
            refused |= flaws_of(blueprint)
        else:
            accepted += 1
            assert flaws_of(blueprint) == set(), blueprint.commands
    assert accepted > DRAWS // 10
    assert len(refused) >= 8, refused
