"""What scripts are told of a blueprint: each command as a plan, each state as a goal.

Both are made once and sent along with every step, so that Lua compares and writes without knowing any state by name.
A goal is `status phase mode life_ms timers`, ` free` where the holder has room again, ` asked` where they have not
accepted yet, ` waits` where the life counts from the job's time on, and ` > ` with the next where the job passes on at
once; timers are `<index>/<ms>` joined by commas, `w/<ms>` is the watchdog's first look, `-` none.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.blueprint.schema import Blueprint, Command, Does

EXPIRED = "job.expired"
"""The event of the command that ends a job that nobody took in time."""
BEYOND = ("needs", "unless", "starts", "marks", "locks_price", "charges", "refunds", "captures")
"""What makes a plan more than a move: guards and effects."""
COUNTS = ("tries", "reissues")
"""What a plan says even where it is 0."""

WATCH_EVERY_S = 30.0
"""How often the watchdog looks at a holder."""


class Plan(msgspec.Struct, frozen=True):
    """One command, ready to be sent. ``body`` is the JSON that lua/lib/step.lua and lua/lib/apply_step.lua read; what
    the command does not declare is left out. ``plain``: it has neither guards nor effects, so that a script that
    everybody waits for gets the rest as arguments and reads no JSON.
    """

    name: str
    spec: Command
    goal: str
    from_states: str
    audience: str
    tech_audience: str
    ended: str
    body: bytes
    plain: bool


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

    def by_engine(self, blueprint: Blueprint, state: str, *, does: Does | None = None, event: str = "") -> Plan | None:
        """The plan by which the engine itself does this to a job in ``state``; None where it has none."""
        for name, spec in blueprint.commands.items():
            if "engine" in spec.by and state in spec.states(("engine",)) and (spec.does == does or spec.event == event):
                return self.of(blueprint, name)
        return None

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
    words += f"{' asked' if found.asked else ''}{' waits' if blueprint.waits(state) else ''}"
    return f"{words} > {goal(blueprint, found.then, life_s)}" if found.then else words


def plan(blueprint: Blueprint, name: str, spec: Command, life_s: float | None = None) -> Plan:
    """Put a command's static part together."""
    told = _body(blueprint, name, spec, life_s)
    if found := [_body(blueprint, each, capture, life_s) for each, capture in captures(blueprint, spec)]:
        told["captures"] = found
    return Plan(
        name,
        spec,
        told["goal"],
        told["from"],
        told["audience"],
        told.get("tech_audience", ""),
        ended(blueprint),
        msgspec.json.encode(told),
        plain=told.keys().isdisjoint(BEYOND),
    )


def captures(blueprint: Blueprint, spec: Command) -> list[tuple[str, Command]]:
    """The commands that a payment captured earlier may take in the same step: those from where this one leads."""
    reached = {spec.to} if spec.to else set(spec.from_)
    known = blueprint.states
    while then := {known[state].then for state in reached if state in known} - {""} - reached:
        reached |= then
    return [
        (name, each)
        for name, each in blueprint.commands.items()
        if each.does == "capture" and spec.does != "capture" and not reached.isdisjoint(each.from_)
    ]


def _body(blueprint: Blueprint, name: str, spec: Command, life_s: float | None) -> dict[str, Any]:
    phase = blueprint.phase(spec.to)
    tech_audience = blueprint.declared_audience("technician.status")
    always = {
        "command": name,
        "by": " ".join(spec.by),
        "from": _words(spec.states(spec.by)),
        "event": spec.event,
        "audience": blueprint.audience(spec.event),
        "goal": goal(blueprint, spec.to, life_s),
        "does": spec.does,
        "closing": "expired" if spec.event == EXPIRED else "cancelled",
        "payment_audience": blueprint.audience("payment.requested"),
        "hours": blueprint.price.hours,
        "status_audience": blueprint.audience("job.status"),
        "unassigned_audience": blueprint.audience("job.unassigned"),
        "bids_audience": blueprint.audience("bid.closed"),
    }
    perhaps = {
        "needs": spec.needs,
        "unless": spec.unless,
        "marks": spec.marks,
        "locks_price": spec.locks_price,
        "charges": spec.charges,
        "refunds": _words(spec.refunds),
        "starts": blueprint.starts(spec),
        "code": spec.code,
        "tries": blueprint.codes.tries,
        "reissues": blueprint.codes.reissues,
        "only": {relation: _words(states) for relation, states in spec.only.items()},
        "closes": phase == "closed",
        "over": ended(blueprint),
        "tech_audience": tech_audience,
        "tech_reason": _day(blueprint, spec) if tech_audience else "",
    }
    return {**always, **{word: value for word, value in perhaps.items() if value or word in COUNTS}}


def _day(blueprint: Blueprint, spec: Command) -> str:
    """What a step means for its technician's day: they depart with the first that is work, and are free where there is
    room for another job; "" for a step that changes neither.
    """
    came, reached, state = [blueprint.states[each] for each in spec.from_], [], spec.to
    while state:
        reached.append(blueprint.states[state])
        state = reached[-1].then
    if any(each.terminal or each.frees for each in reached):
        return "" if all(each.frees for each in came) else "free"
    departs = any(each.phase == "active" for each in reached) and any(each.phase != "active" for each in came)
    return "departed" if departs else ""


def ended(blueprint: Blueprint) -> str:
    """How jobs in closed states ended, as scripts take it: ` cancelled=c expired=e `. Whoever asks for such a job is
    told that it was called off, or that nobody took it in time; one that its technician refused is neither.
    """
    found: dict[str, str] = {}
    for command in blueprint.commands.values():
        state = command.to
        while state and (on := blueprint.states[state].then):
            state = on
        if state and blueprint.phase(state) == "closed" and (command.event == EXPIRED or command.does != "refuse"):
            found[state] = "e" if command.event == EXPIRED else found.get(state, "c")
    return f" {' '.join(f'{state}={how}' for state, how in found.items())} " if found else ""


def _words(states: tuple[str, ...]) -> str:
    """Names with a space on each side of each, so that Lua finds a whole one by a plain search; "" for none."""
    return f" {' '.join(states)} " if states else ""
