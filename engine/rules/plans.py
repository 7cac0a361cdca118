"""What scripts are told of a blueprint: each command as a plan, each state as a goal.

Both are made once and sent along with every step, so that Lua compares and writes without knowing any state by name.
A goal is `status phase mode life_ms timers`, ` free` where the holder has room again, and ` > ` with the next where the
job passes on at once; timers are `<index>/<ms>` joined by commas, `w/<ms>` is the watchdog's first look, `-` none.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.rules.lifecycle import Blueprint, Command

WATCH_EVERY_S = 30.0
"""How often the watchdog looks at a holder."""


class Plan(msgspec.Struct, frozen=True):
    """One command, ready to be sent. ``body`` is the JSON that lua/lib/step.lua and lua/lib/moving.lua read."""

    name: str
    spec: Command
    goal: str
    froms: str
    told: str
    tech_told: str
    body: bytes


class Plans:
    """The plans made so far, by blueprint and command. ``life_s`` overrides every blueprint's job lifetime."""

    def __init__(self, life_s: float | None = None) -> None:
        self._life_s = life_s
        self._made: dict[tuple[str, str], Plan] = {}

    def of(self, blueprint: Blueprint, name: str) -> Plan | None:
        """The plan of a command; None where the blueprint has no such command."""
        made = self._made.get((blueprint.key, name))
        if made is None and (spec := blueprint.commands.get(name)) is not None:
            made = self._made[blueprint.key, name] = plan(blueprint, name, spec, self._life_s)
        return made

    def life_ms(self, blueprint: Blueprint, state: str) -> int:
        """How long a job in this state is looked for a technician for; 0: for ever, or it is not."""
        return life_ms(blueprint, state, self._life_s)

    def goal(self, blueprint: Blueprint, state: str) -> str:
        """The goal of a state, as scripts take it."""
        return goal(blueprint, state, self._life_s)


def life_ms(blueprint: Blueprint, state: str, life_s: float | None = None) -> int:
    """How long a technician is looked for in ``state``, in ms; 0 where that has no end, or none is."""
    lasts = blueprint.dispatch.job_s if life_s is None else life_s
    return round(lasts * 1000) if blueprint.states[state].seeks != "none" else 0


def goal(blueprint: Blueprint, state: str, life_s: float | None = None) -> str:
    """What entering ``state`` means; "" for no state: the job stays where it is."""
    if not state:
        return ""
    found, lasts = blueprint.states[state], life_ms(blueprint, state, life_s)
    timers = [f"{index}/{round(timer.after_s * 1000)}" for index, timer in enumerate(found.timers)]
    if found.watch is not None:
        timers.append(f"w/{round(WATCH_EVERY_S * 1000)}")
    words = f"{state} {found.phase} {found.seeks} {lasts} {','.join(timers) or '-'}{' free' if found.frees else ''}"
    return f"{words} > {goal(blueprint, found.then, life_s)}" if found.then else words


def plan(blueprint: Blueprint, name: str, spec: Command, life_s: float | None = None) -> Plan:
    """Put a command's static part together."""
    told = _body(blueprint, name, spec, life_s)
    found = [_body(blueprint, each, capture, life_s) for each, capture in _captures(blueprint, spec)]
    body = msgspec.json.encode({**told, "captures": found})
    return Plan(name, spec, str(told["goal"]), str(told["from"]), str(told["told"]), str(told["tech_told"]), body)


def _captures(blueprint: Blueprint, spec: Command) -> list[tuple[str, Command]]:
    """The commands that a payment captured earlier may take in the same step: those from where this one leads."""
    reached = {spec.to} if spec.to else set(spec.from_)
    while then := {blueprint.states[state].then for state in reached} - {""} - reached:
        reached |= then
    return [
        (name, each)
        for name, each in blueprint.commands.items()
        if each.does == "capture" and spec.does != "capture" and not reached.isdisjoint(each.from_)
    ]


def _body(blueprint: Blueprint, name: str, spec: Command, life_s: float | None) -> dict[str, Any]:
    phase = blueprint.phase(spec.to)
    tech_told = blueprint.audience("technician.status") if "technician.status" in blueprint.events else ""
    return {
        "command": name,
        "by": " ".join(spec.by),
        "from": _words(spec.from_),
        "event": spec.event,
        "told": blueprint.audience(spec.event),
        "goal": goal(blueprint, spec.to, life_s),
        "does": spec.does,
        "code": spec.code,
        "tries": blueprint.codes.tries,
        "reissues": blueprint.codes.reissues,
        "needs": spec.needs,
        "unless": spec.unless,
        "marks": spec.marks,
        "locks_price": spec.locks_price,
        "only": {relation: _words(states) for relation, states in spec.only.items()},
        "charges": spec.charges,
        "refunds": _words(spec.refunds),
        "paid": blueprint.audience("payment.requested"),
        "hours": blueprint.price.hours,
        "starts": blueprint.starts(spec),
        "closes": phase == "closed",
        "closing": "expired" if spec.event == "job.expired" else "cancelled",
        "on_told": blueprint.audience("job.status") or "customer holder ops",
        "left_told": blueprint.audience("job.unassigned"),
        "bids_told": blueprint.audience("bid.closed"),
        "tech_told": tech_told,
        "tech_reason": {"active": "departed", "done": "free", "closed": "free"}.get(phase, ""),
    }


def _words(states: tuple[str, ...]) -> str:
    """Names with a space on each side of each, so that Lua finds a whole one by a plain search."""
    return f" {' '.join(states)} "
