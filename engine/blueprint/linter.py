"""The linter of blueprints: it checks states, commands and numbers beyond their types, and reports every problem.

Each problem is one sentence that begins with its place. The modules ``*_linter`` check parts of a blueprint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

import msgspec

from engine.blueprint.audience import PARTY_WORDS
from engine.blueprint.compiler import EXPIRED_EVENT
from engine.blueprint.event_linter import check_events
from engine.blueprint.file_linter import file_problems
from engine.blueprint.hold_linter import hold_problems
from engine.blueprint.lock_linter import lock_problems
from engine.blueprint.match_linter import match_problems
from engine.blueprint.price_linter import price_problems
from engine.blueprint.reach import first_states, next_states, states_from
from engine.blueprint.relation import Relation
from engine.blueprint.schedule_linter import schedule_problems
from engine.blueprint.schema import HOLDER_EFFECTS, Blueprint, Command, Effect, EventRule, Mode, State, Timer
from engine.blueprint.signature_linter import signature_problems
from engine.blueprint.tracking_linter import tracking_problems
from engine.blueprint.vocabulary import DISPUTE_OUTCOMES, RESERVED_ROUTE_WORDS
from engine.rules.job_document import EDITABLE_MEMBERS

NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""Names are used in URL paths, in JSON and between spaces in the arguments of scripts."""

LATE_EVENT_STEPS = ("warn", "escalate")
TIMER_EFFECTS: frozenset[Effect] = frozenset({"move", "release"})
"""The effects that a timer may have: all others need arguments from a caller."""

RELATIONS_OF_EFFECT: dict[Effect, frozenset[Relation]] = {
    "take": frozenset({"offered"}),
    "refuse": frozenset({"offered"}),
    "bid": frozenset({"technician"}),
    "withdraw": frozenset({"technician"}),
    "award": frozenset({"customer"}),
    "assign": frozenset({"ops", "engine"}),
    "capture": frozenset({"service"}),
}
"""For some effects, the only relations to which a command with this effect may be given (``by``)."""

NEEDED_EFFECTS_OF_MODE: dict[Mode, tuple[Effect, ...]] = {
    "broadcast": ("take",),
    "direct": ("take",),
    "bids": ("bid", "award"),
    "allocate": ("assign",),
}
"""The effects that a search mode needs to find a technician."""

# the tables whose members are tables, by the name of the table
SECTION_TYPES = {"states": State, "commands": Command, "events": EventRule}


def check_blueprint(blueprint: Blueprint) -> list[str]:
    """Return the problems of a blueprint, one sentence each."""
    problems = [*_top_level_problems(blueprint), *_dispatch_problems(blueprint), *match_problems(blueprint)]
    problems += [*schedule_problems(blueprint), *hold_problems(blueprint), *lock_problems(blueprint)]
    problems += [*signature_problems(blueprint), *file_problems(blueprint)]
    for name, state in blueprint.states.items():
        problems += [f"state {name}: {problem}" for problem in _state_problems(blueprint, name, state)]
    for name, command in blueprint.commands.items():
        problems += [f"command {name}: {problem}" for problem in _command_problems(blueprint, name, command)]
    return [*problems, *_reachability_problems(blueprint), *_edit_problems(blueprint), *check_events(blueprint)]


MAX_NUMBER = 1_000_000_000
"""The largest number that a blueprint may contain: 31 years, in seconds."""


def shape_problems(raw: Mapping[str, Any]) -> list[str]:
    """Return the problems of a parsed file in which a value has a wrong type, one sentence each."""
    kinds = {field.name: field for field in msgspec.structs.fields(Blueprint)}
    problems = [f"unknown field {name!r}" for name in raw if name not in kinds]
    problems += [f"{name} is missing" for name, field in kinds.items() if field.required and name not in raw]
    for name, value in raw.items():
        if name in SECTION_TYPES and isinstance(value, dict):
            for entry, inner in value.items():
                problems += _type_errors(f"{name}.{entry}", inner, SECTION_TYPES[name])
        elif name in kinds:
            problems += _type_errors(name, value, kinds[name].type)
    return problems + [f"{place}: {number} is beyond {MAX_NUMBER:,}" for place, number in _unbounded_numbers("", raw)]


def _unbounded_numbers(path: str, raw: Any) -> Iterator[tuple[str, float]]:
    """Yield path and value of each number in the decoded TOML ``raw`` that is too large or ``nan``. Every comparison
    with ``nan`` is false, so the other checks do not find it."""
    if isinstance(raw, float | int) and not abs(raw) <= MAX_NUMBER:
        yield path, raw
    items = raw.items() if isinstance(raw, dict) else enumerate(raw, 1) if isinstance(raw, list) else ()
    for name, inner in items:
        yield from _unbounded_numbers(f"{path}.{name}" if path else str(name), inner)


def _type_errors(path: str, raw: Any, declared_type: Any) -> Iterator[str]:
    try:
        msgspec.convert(raw, declared_type)
    except msgspec.ValidationError as error:
        text, _, within = str(error).partition(" - at `$")
        yield f"{path}{within.rstrip('`')}: {text}"


def _top_level_problems(blueprint: Blueprint) -> Iterator[str]:
    if not NAME_PATTERN.fullmatch(blueprint.name):
        yield f"name {blueprint.name!r} is not small letters, digits and _"
    if blueprint.version < 1:
        yield "version must be 1 or more"
    if not blueprint.states:
        yield "states: there are none"
    if blueprint.named and blueprint.named not in blueprint.states:
        yield f"named: unknown state {blueprint.named!r}"
    if blueprint.named and not blueprint.technician:
        yield 'named: no booking can name a technician; say technician = "optional" or "required"'
    if blueprint.technician == "optional" and not blueprint.named:
        yield "technician: optional, but named does not say in which state the job of a named one begins"
    yield from tracking_problems(blueprint)
    yield from _confirmation_code_problems(blueprint)
    yield from _room_problems(blueprint)
    yield from (f"price: {problem}" for problem in price_problems(blueprint))


def _confirmation_code_problems(blueprint: Blueprint) -> Iterator[str]:
    asked = {command.code for command in blueprint.commands.values()}
    yield from (f"codes: no command asks for the {p!r} code" for p in blueprint.codes.purposes if p not in asked)
    yield from (f"codes: {p!r} is not small letters, digits and _" for p in blueprint.codes.purposes if not _is_name(p))
    if blueprint.codes.tries < 1 or blueprint.codes.reissues < 0:
        yield "codes: tries must be 1 or more, reissues 0 or more"


def _room_problems(blueprint: Blueprint) -> Iterator[str]:
    rule = blueprint.room
    if rule is None:
        return
    yield from (
        f"room: members: {word!r} is neither customer nor holder" for word in rule.members if word not in PARTY_WORDS
    )
    if not rule.members or len(set(rule.members)) < len(rule.members):
        yield "room: members must name customer, holder or both, each once"
    if not 0 <= rule.closes_s < inf:
        yield "room: closes_s must be a number of seconds, not below 0"
    if rule.opens == "acceptance" and all(c.effect not in HOLDER_EFFECTS for c in blueprint.commands.values()):
        yield 'room: it never opens: no command gives the job a holder; say opens = "booking"'


def _dispatch_problems(blueprint: Blueprint) -> Iterator[str]:
    dispatch = blueprint.dispatch
    above = {"offer_s": dispatch.offer_s, "repeat_s": dispatch.repeat_s}
    if dispatch.head_start is not None:
        above |= {"head_start.first": dispatch.head_start.first, "head_start.s": dispatch.head_start.delay_s}
    names = ("job_s", "lead_s", "grace_s", "open_offers", "preferred_s", "newcomer_jobs", "radius_m")
    least = {name: getattr(dispatch, name) for name in names}
    yield from (f"dispatch: {name} must be more than 0" for name, value in above.items() if value <= 0)
    yield from (f"dispatch: {name} must not be below 0" for name, value in least.items() if value < 0)
    if not 0 <= dispatch.newcomers <= 1:
        yield "dispatch: newcomers is a share, from 0 to 1"
    reached = 0
    for number, wave in enumerate(dispatch.waves, 1):
        if wave.size < 1 or wave.interval_s <= 0 or wave.radius_m < 0:
            yield f"dispatch: wave {number} needs a size and an interval_s above 0, and a radius_m not below"
        elif reached < 0:
            yield f"dispatch: wave {number} comes after one of the whole zone (radius_m 0), which must be the last"
        elif 0 < wave.radius_m < reached:
            yield f"dispatch: wave {number} has a smaller radius_m than the one before"
        reached = wave.radius_m or -1


def _state_problems(blueprint: Blueprint, state_name: str, state: State) -> Iterator[str]:
    if not _is_name(state_name):
        yield "its name is not small letters, digits and _"
    if state.next_state:
        yield from _next_state_problems(blueprint, state_name, state)
    if state.search_mode != "none":
        yield from _search_problems(blueprint, state_name, state)
    for number, timer in enumerate(state.timers, 1):
        yield from (f"timer {number} {problem}" for problem in _timer_problems(blueprint, state_name, state, timer))
    if state.watch is not None:
        yield from _watchdog_problems(blueprint, state_name, state)


def _next_state_problems(blueprint: Blueprint, state_name: str, state: State) -> Iterator[str]:
    if state.next_state not in blueprint.states:
        yield f"then: unknown state {state.next_state!r}"
        return
    if state.is_terminal:
        yield f"then: it passes on to {state.next_state!r}, though it is terminal ({state.phase})"
    visited, following = {state_name}, state.next_state
    while following in blueprint.states and following not in visited:
        visited.add(following)
        following = blueprint.states[following].next_state
    if following in visited:
        yield f"then: it passes on in a circle, back to {following!r}"
    if state.search_mode != "none" or state.timers or state.watch is not None:
        yield "then: a job leaves this state at once, so it can have no seeks, timers or watch"
    if state_name in (blueprint.initial_state, blueprint.named):
        yield "then: a job cannot begin in a state that it leaves at once"


def _search_problems(blueprint: Blueprint, state_name: str, state: State) -> Iterator[str]:
    here = [c for c in blueprint.commands.values() if state_name in c.from_states(c.by)]
    if state.phase != "open":
        yield f"it seeks ({state.search_mode}) though its phase is {state.phase}, not open"
    for effect in NEEDED_EFFECTS_OF_MODE[state.search_mode]:
        found = [
            c
            for c in here
            if c.effect == effect and (state.search_mode != "allocate" or state_name in c.from_states(("engine",)))
        ]
        if not found:
            by = " by the engine" if state.search_mode == "allocate" else ""
            yield f'it seeks ({state.search_mode}), but no command from it does "{effect}"{by}'
    if state.search_mode == "direct" and not blueprint.technician:
        yield "it seeks (direct), but no booking can name a technician: say technician at the top"
    expires = any(c.event == EXPIRED_EVENT and state_name in c.from_states(("engine",)) for c in here)
    if blueprint.dispatch.job_s > 0 and not expires:
        yield "it seeks and dispatch.job_s is not 0, but no command by the engine with event job.expired ends it"


def _timer_problems(blueprint: Blueprint, state_name: str, state: State, timer: Timer) -> Iterator[str]:
    if timer.after_s <= 0:
        yield "must have an after_s above 0"
    if state.is_terminal:
        yield f"never runs out: nothing follows {state_name!r}"
    if bool(timer.warn) == bool(timer.command):
        yield "needs one of warn and command, and not both"
    if timer.warn and timer.warn not in LATE_EVENT_STEPS:
        yield f"warn: {timer.warn!r} is none of {', '.join(LATE_EVENT_STEPS)}"
    if not timer.command:
        return
    command = blueprint.commands.get(timer.command)
    if command is None:
        yield f"gives an unknown command {timer.command!r}"
    elif "engine" not in command.by or state_name not in command.from_:
        yield f"gives {timer.command!r}, which is not by the engine from {state_name!r}"
    elif command.effect not in TIMER_EFFECTS or command.code:
        yield f"gives {timer.command!r}, which needs somebody to give it"


def _watchdog_problems(blueprint: Blueprint, state_name: str, state: State) -> Iterator[str]:
    watch = state.watch
    assert watch is not None
    numbers = (watch.still_s, watch.still_m, watch.away_m, watch.dark_s, watch.grace_s)
    if min(numbers) < 0 or not (watch.still_s or watch.away_m or watch.dark_s):
        yield "watch: one of still_s, away_m and dark_s must be above 0, and none below"
    if state.is_terminal:
        yield f"watch: nothing follows {state_name!r}"
    released = any(c.effect == "release" and state_name in c.from_ for c in blueprint.commands.values())
    if watch.release and not released:
        yield f'watch: it may release, but no command from {state_name!r} does "release"'


def _command_problems(blueprint: Blueprint, command_name: str, command: Command) -> Iterator[str]:
    if not _is_name(command_name) or command_name in RESERVED_ROUTE_WORDS:
        yield "its name is not small letters, digits and _, or the name of another route"
    if not command.by or not command.from_:
        yield "it can never run: by and from must each have at least one value"
    yield from _from_and_to_problems(blueprint, command)
    yield from _guard_problems(blueprint, command)
    yield from _effect_problems(blueprint, command_name, command)
    yield from _no_move_problems(command)


def _from_and_to_problems(blueprint: Blueprint, command: Command) -> Iterator[str]:
    states = blueprint.states
    ends = [*command.from_, *([command.to] if command.to else [])]
    yield from (f"unknown state {s!r}" for s in ends if s not in states)
    yield from (f"leaves the terminal state {s!r}" for s in command.from_ if s in states and states[s].is_terminal)
    yield from (f"only: {r!r} is not in by" for r in command.only if r not in command.by)
    if command.to in states:
        yield from _target_problems(command, states[command.to])
    if command.effect in HOLDER_EFFECTS:
        over = [s for s in ([command.to] if command.to else command.from_) if s in states and states[s].frees_holder]
        yield from (f"gives the job a holder in {s!r}, where the work is over" for s in over)
    narrowed = {s for each in command.only.values() for s in each} | set(command.refunds)
    yield from (f"only, refunds: {s!r} is not in from" for s in sorted(narrowed.difference(command.from_)))


def _target_problems(command: Command, target: State) -> Iterator[str]:
    if command.effect in HOLDER_EFFECTS and target.is_terminal:
        yield f"gives the job a holder in {command.to!r}, where the work is over"
    if target.next_state and (command.effect in (*HOLDER_EFFECTS, "refuse") or command.event == EXPIRED_EVENT):
        yield f'does "{command.effect}" to {command.to!r}, a state that the job leaves at once'
    if command.effect in ("bid", "withdraw"):
        yield f'does "{command.effect}", which leaves the job where it is: it has no to'


def _guard_problems(blueprint: Blueprint, command: Command) -> Iterator[str]:
    marks = _mark_names(blueprint)
    known = marks | set(blueprint.states)
    unknown = (name for name in (*command.needs, *command.unless) if name not in known)
    yield from (f"needs or unless {name!r}, which is no state and no command marks" for name in unknown)
    if command.marks in blueprint.states or (command.marks and not _is_name(command.marks)):
        yield f"marks {command.marks!r}, which is a state or not small letters, digits and _"
    if command.code and command.code not in blueprint.codes.purposes:
        yield f"asks for the code {command.code!r}, which is not among codes.purposes"
    if command.code and set(command.by) != {"holder"}:
        yield 'asks for a code, so by must be ["holder"]: nobody else may enter the code'


def _no_move_problems(command: Command) -> Iterator[str]:
    """Yield a problem if a command that changes no state declares ``marks`` or another effect of a change, or if a
    command that ends a job declares conditions.
    """
    moves = command.effect not in ("bid", "withdraw") and (command.effect != "refuse" or command.to != "")
    if not moves and (command.marks or command.locks_price or command.charges or command.refunds):
        yield f'does "{command.effect}" and changes no state: it can have no marks, locks_price, charges or refunds'
    if command.event == EXPIRED_EVENT and (command.needs or command.unless):
        yield "ends the job when its time is over, so it can have neither needs nor unless"


def _effect_problems(blueprint: Blueprint, command_name: str, command: Command) -> Iterator[str]:
    allowed = RELATIONS_OF_EFFECT.get(command.effect)
    if allowed and not allowed.issuperset(command.by):
        yield f'does "{command.effect}", which is by {" or ".join(sorted(allowed))} alone'
    if allowed is None and not {"offered", "technician"}.isdisjoint(command.by):
        yield f'is by offered or technician, who may not send a command that does "{command.effect}"'
    if command.effect == "take" or (command.effect == "refuse" and command.to):
        bidding = [s for s in command.from_ if s in blueprint.states and blueprint.states[s].search_mode == "bids"]
        yield from (f"answers an offer in {s!r}, where offers are invitations to bid" for s in bidding)
    if command.effect == "release" and not command.to:
        yield 'does "release", but has no to: the state of the job without its holder'
    if command.effect == "reissue" and not blueprint.codes.purposes:
        yield 'does "reissue", but the blueprint has no codes'
    if command.effect == "capture" and command.charges:
        yield "charges, but it is taken when the price is paid, so it never requests anything"
    if command.effect == "freeze":
        frozen = [command.to] if command.to else command.from_
        thawed = {s for c in blueprint.commands.values() if c.effect == "thaw" for s in c.from_}
        yield from (f"freezes the job in {s!r}, where nothing thaws it" for s in frozen if s not in thawed)
        searching = [s for s in frozen if s in blueprint.states and blueprint.states[s].search_mode != "none"]
        yield from (f"freezes the job in {s!r}, which searches for a technician" for s in searching)
    if (command.effect == "thaw") != (command.resolves != ""):
        yield 'does "thaw" without resolves, or has resolves without "thaw"'
    if command.resolves and command.resolves not in DISPUTE_OUTCOMES:
        yield f"resolves {command.resolves!r}, which is none of {', '.join(sorted(DISPUTE_OUTCOMES))}"
    twins = [n for n, c in blueprint.commands.items() if _answer_same_offers(c, command) and n < command_name]
    yield from (f"has the same effect as {twin!r} from the same state" for twin in twins)


def _answer_same_offers(first: Command, second: Command) -> bool:
    """Return whether an HTTP route that selects a command by its effect could not choose between the two commands: both
    have the same effect, and may be given in the same state.
    """
    same = first.effect == second.effect and first.resolves == second.resolves
    by_effect = first.effect in ("bid", "withdraw", "award", "capture", "freeze", "thaw")
    return same and by_effect and not set(first.from_).isdisjoint(second.from_)


def _reachability_problems(blueprint: Blueprint) -> Iterator[str]:
    """Yield a problem for each state that cannot be reached, and for each that cannot be left and is not an end."""
    reached = states_from(blueprint, first_states(blueprint))
    yield from (f"state {s!r} cannot be reached" for s in blueprint.states if s not in reached)
    for name, state in blueprint.states.items():
        if not state.is_terminal and not next_states(blueprint, name) - {name}:
            yield f"state {name!r} cannot be left, and is neither done nor closed"


def _edit_problems(blueprint: Blueprint) -> Iterator[str]:
    states = blueprint.states
    for name, fields in blueprint.edit.items():
        if name not in states or states[name].is_terminal:
            yield f"edit: {name!r} is no state, or a terminal one"
        yield from (f"edit: {name}: unknown field {f!r}" for f in fields if f != "*" and f not in EDITABLE_MEMBERS)
    for name in blueprint.price.propose:
        if name not in states or states[name].is_terminal:
            yield f"price: propose: {name!r} is no state, or a terminal one"
    known = _mark_names(blueprint) | set(states)
    yield from (
        f"price: hours: {n!r} is no state and no command marks it" for n in blueprint.price.hours if n not in known
    )
    if len(blueprint.price.hours) not in (0, 2):
        yield "price: hours must have two names, each a state or a mark: the start and the end of the hours"


def _mark_names(blueprint: Blueprint) -> set[str]:
    return {command.marks for command in blueprint.commands.values() if command.marks}


def _is_name(text: str) -> bool:
    return NAME_PATTERN.fullmatch(text) is not None
