"""Compile a blueprint for Lua: each command to a plan, each state to a state entry.

Both are compiled once and sent with every step, so that the scripts contain no names of states.

A state entry is the text `status phase mode lifetime_ms timers`. Then follow `free` if the holder may take another job,
`asked` if the technician has not accepted yet, `waits` if the lifetime counts from the job's scheduled time,
`tracks/<ms>` if the holder's position is shared from this many ms before that time on, `travels/<arrival>` if they are
on the way (lua/lib/arrival.lua), `matches/<rule>` if the job waits for matching windows (lua/lib/window.lua), and `>`
with the next state entry if the job moves on at once; each has a space before it. Timers are `<index>/<ms>` joined by
commas; `w/<ms>` is the watchdog's first check; `-` means none.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.blueprint import reach, wave_plan
from engine.blueprint.schema import Blueprint, Command, Effect

EXPIRED_EVENT = "job.expired"
"""The event of the command that ends a job which no technician took in time."""
PLAN_MEMBERS_SENT_IF_ZERO = ("tries", "reissues")
"""The members of a plan that its JSON contains even if they are 0."""

WATCHDOG_INTERVAL_S = 30.0
"""The interval of the watchdog's checks of a holder."""


class Plan(msgspec.Struct, frozen=True):
    """One compiled command. ``plan_json`` is the JSON that lua/lib/step.lua and lua/lib/apply_step.lua read; it
    contains only what the command declares.
    """

    command: Command
    state_entry: str
    plan_json: bytes


class PlanCache:
    """A cache of plans by blueprint and command. ``life_s`` (seconds) replaces the job lifetime of every blueprint."""

    def __init__(self, life_s: float | None = None) -> None:
        self._life_s = life_s
        self._made: dict[tuple[str, str], Plan] = {}

    def find_plan(self, blueprint: Blueprint, command: str) -> Plan | None:
        """Return the plan of a command; None if the blueprint has no such command."""
        made = self._made.get((blueprint.key, command))
        if made is None and (spec := blueprint.commands.get(command)) is not None:
            made = self._made[blueprint.key, command] = compile_command(blueprint, command, spec, self._life_s)
        return made

    def find_engine_plan(
        self, blueprint: Blueprint, state: str, *, effect: Effect | None = None, event: str = ""
    ) -> Plan | None:
        """Return the plan of the command that the engine itself may give to a job in ``state`` and that has this effect
        or event; None if there is no such command.
        """
        for name, spec in blueprint.commands.items():
            if (
                "engine" in spec.by
                and state in spec.from_states(("engine",))
                and (spec.effect == effect or spec.event == event)
            ):
                return self.find_plan(blueprint, name)
        return None

    def search_lifetime_ms(self, blueprint: Blueprint, state: str) -> int:
        """Return for how many ms the engine searches for a technician in ``state``; 0 if it searches without end or not
        at all.
        """
        return search_lifetime_ms(blueprint, state, self._life_s)

    def state_entry(self, blueprint: Blueprint, state: str) -> str:
        """Return what happens when a job enters ``state``, as text for the scripts; the docstring of this module has
        the format.
        """
        return state_entry(blueprint, state, self._life_s)


def search_lifetime_ms(blueprint: Blueprint, state: str, life_s: float | None = None) -> int:
    """Return for how many ms the engine searches for a technician in ``state``; 0 if it searches without end or not at
    all.
    """
    lasts = blueprint.dispatch.job_s if life_s is None else life_s
    return round(lasts * 1000) if blueprint.states[state].search_mode != "none" else 0


def state_entry(blueprint: Blueprint, state: str, life_s: float | None = None) -> str:
    """Return what happens when a job enters ``state``, as text in the format of this module's docstring. Return "" for
    the state "", which stands for the target of a command that changes no state.
    """
    if not state:
        return ""
    found, lasts = blueprint.states[state], search_lifetime_ms(blueprint, state, life_s)
    timers = [f"{index}/{round(timer.after_s * 1000)}" for index, timer in enumerate(found.timers)]
    if found.watch is not None:
        timers.append(f"w/{round(WATCHDOG_INTERVAL_S * 1000)}")
    words = f"{state} {found.phase} {found.search_mode} {lasts} {','.join(timers) or '-'}"
    words += f"{' free' if found.frees_holder else ''}{' asked' if found.is_asked else ''}"
    words += " waits" if blueprint.waits_for_schedule(state) else ""
    words += f" tracks/{round(blueprint.track_lead_s * 1000)}" if blueprint.is_tracked(state) else ""
    words += f" travels/{_arrival_text(blueprint)}" if blueprint.is_on_the_way(state) else ""
    matches = wave_plan.match_rule_text(blueprint.dispatch) if found.search_mode == "allocate" else ""
    words += f" matches/{matches}" if matches else ""
    return f"{words} > {state_entry(blueprint, found.next_state, life_s)}" if found.next_state else words


def _arrival_text(blueprint: Blueprint) -> str:
    """Return what the blueprint declares about a technician's arrival, as text for lua/lib/arrival.lua."""
    arrival = blueprint.arrival
    events = ("technician.near", "technician.arrived", "job.late")
    audiences = (blueprint.audience(event).replace(" ", ",") for event in events)
    return "/".join((f"{arrival.near_m}/{arrival.at_m}/{arrival.leave_m}/{arrival.fixes}", *audiences))


def compile_command(blueprint: Blueprint, command_name: str, spec: Command, life_s: float | None = None) -> Plan:
    """Compile a command, with the plans of the commands for a captured payment (effect ``capture``) that may be applied
    in the same step. The event of that payment is in the log already, so such a command emits a plain ``job.status``.
    """
    body = _plan_members(blueprint, command_name, spec, life_s)
    plain = {"event": "job.status", "audience": body["status_audience"]}
    if found := [
        {**_plan_members(blueprint, each, capture, life_s), **plain}
        for each, capture in capture_commands(blueprint, spec)
    ]:
        body["captures"] = found
    return Plan(spec, body["state_entry"], msgspec.json.encode(body))


def capture_commands(blueprint: Blueprint, spec: Command) -> list[tuple[str, Command]]:
    """Return the commands for a captured payment (effect ``capture``) from the states that the command ``spec``
    reaches. If the payment was captured earlier, such a command is applied in the same step as ``spec``.
    """
    reached = {spec.to} if spec.to else set(spec.from_)
    known = blueprint.states
    while then := {known[state].next_state for state in reached if state in known} - {""} - reached:
        reached |= then
    return [
        (name, each)
        for name, each in blueprint.commands.items()
        if each.effect == "capture" and spec.effect != "capture" and not reached.isdisjoint(each.from_)
    ]


def _plan_members(blueprint: Blueprint, command_name: str, spec: Command, life_s: float | None) -> dict[str, Any]:
    """Return the members of a plan's JSON."""
    tech_audience = blueprint.declared_audience("technician.status")
    always = {
        "command": command_name,
        "by": " ".join(spec.by),
        "from": _join_names(spec.from_states(spec.by)),
        "event": spec.event,
        "audience": blueprint.audience(spec.event),
        "state_entry": state_entry(blueprint, spec.to, life_s),
        "effect": spec.effect,
        "closing": "expired" if spec.event == EXPIRED_EVENT else "cancelled",
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
        "holds": spec.holds,
        "may_hold": blueprint.may_hold,
        "signs": spec.signs,
        "after_signature": spec.effect == "capture" and reach.is_signed(blueprint),
        "refunds": _join_names(spec.refunds),
        "starts": blueprint.starts_work(spec),
        "code": spec.code,
        "tries": blueprint.codes.tries,
        "reissues": blueprint.codes.reissues,
        "only": {relation: _join_names(states) for relation, states in spec.only.items()},
        "closes": blueprint.phase(spec.to) == "closed",
        "over": end_of_closed_states(blueprint),
        "tech_audience": tech_audience,
        "tech_reason": _technician_reason(blueprint, spec) if tech_audience else "",
        "room": compile_room(blueprint),
        "commission": blueprint.price.commission_text if _reaches_done(blueprint, spec) else "",
        "files": list(spec.needs_files.items()),
    }
    return {**always, **{word: value for word, value in perhaps.items() if value or word in PLAN_MEMBERS_SENT_IF_ZERO}}


def _reaches_done(blueprint: Blueprint, spec: Command) -> bool:
    """Return whether the command brings a job to a state of the phase ``done``."""
    state = spec.to
    while state and blueprint.states[state].phase != "done":
        state = blueprint.states[state].next_state
    return bool(state)


def compile_room(blueprint: Blueprint) -> dict[str, Any] | None:
    """Return the fields of ``plan.room``, which lua/lib/room_step.lua reads; None if the jobs have no room."""
    rule = blueprint.room
    if rule is None:
        return None
    made: dict[str, Any] = {"opens": rule.opens, "closes_ms": round(rule.closes_s * 1000)}
    return made | dict.fromkeys(rule.members, True)


def compile_room_json(blueprint: Blueprint) -> str:
    """Return ``compile_room`` as JSON for lua/job_create.lua; "" if there is none."""
    rule = compile_room(blueprint)
    return msgspec.json.encode(rule).decode() if rule else ""


def _technician_reason(blueprint: Blueprint, spec: Command) -> str:
    """Return the reason in ``technician.status``: ``departed`` for the first step into an active state, ``free`` for a
    step after which the technician may take another job, "" for every other step.
    """
    origins, reached, state = [blueprint.states[each] for each in spec.from_], [], spec.to
    while state:
        reached.append(blueprint.states[state])
        state = reached[-1].next_state
    if any(each.is_terminal or each.frees_holder for each in reached):
        return "" if all(each.frees_holder for each in origins) else "free"
    departs = any(each.phase == "active" for each in reached) and any(each.phase != "active" for each in origins)
    return "departed" if departs else ""


def end_of_closed_states(blueprint: Blueprint) -> str:
    """Return how jobs ended in closed states, as `` cancelled=c expired=e ``. Later commands are refused
    as ``cancelled`` (c) or ``expired`` (e). States that only a technician's refusal reaches are left out.
    """
    found: dict[str, str] = {}
    for command in blueprint.commands.values():
        state = command.to
        while state and (on := blueprint.states[state].next_state):
            state = on
        if (
            state
            and blueprint.phase(state) == "closed"
            and (command.event == EXPIRED_EVENT or command.effect != "refuse")
        ):
            found[state] = "e" if command.event == EXPIRED_EVENT else found.get(state, "c")
    return f" {' '.join(f'{state}={how}' for state, how in found.items())} " if found else ""


def _join_names(states: tuple[str, ...]) -> str:
    """Join names with a space before and after each, so that Lua can find a whole name by plain search; "" for none."""
    return f" {' '.join(states)} " if states else ""
