"""The linter of signatures. If a blueprint's customer signs, only the step that signs may request the payment, and
nobody is paid without the signature.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.blueprint.reach import states_after_signature, states_before, states_without_holder
from engine.blueprint.schema import HOLDER_EFFECTS, Blueprint, Command
from engine.blueprint.vocabulary import SIGNING_ROUTE_WORD

SIGNED_EVENT = "job.signed"


def signature_problems(blueprint: Blueprint) -> list[str]:
    """Return the problems of the blueprint's signature, one sentence each."""
    signing = {name: command for name, command in blueprint.commands.items() if command.signs}
    problems = [
        f"command {name}: {text}" for name, command in signing.items() for text in _signing_problems(blueprint, command)
    ]
    if len(signing) > 1:
        problems.append(f"signs: a job is signed once, so only one command can have it, and not {', '.join(signing)}")
    for name, command in blueprint.commands.items():
        if not command.signs:
            problems += [f"command {name}: {text}" for text in _other_problems(blueprint, name, command, signing)]
    return [*problems, *(_lifecycle_problems(blueprint) if signing else ())]


def _signing_problems(blueprint: Blueprint, command: Command) -> Iterator[str]:
    """Yield the problems of the command that signs: members that it must not have, or that it lacks."""
    if set(command.by) != {"customer"}:
        yield 'signs, so by must be ["customer"]: nobody else may sign, and no timer'
    if len(command.from_) != 1 or command.only:
        yield "signs, so from must be one state, and only cannot be there"
    if command.effect != "move" or command.code:
        yield "signs, so it can have neither does nor code"
    if command.event != SIGNED_EVENT:
        yield f"signs, so its event must be {SIGNED_EVENT!r}"
    if not command.to or command.to in command.from_:
        yield "signs, so it must have a to: a state that the job reaches by the signature alone"
    elif any(state.next_state == command.to for state in blueprint.states.values()):
        yield f"signs, but a state passes on to {command.to!r}: a job must reach it by the signature alone"
    elif blueprint.phase(command.to if command.to in blueprint.states else "") == "closed":
        yield f"signs, but {command.to!r} is closed: nobody earns the money that the signature asks for"
    yield from _place_problems(blueprint, command)


def _place_problems(blueprint: Blueprint, command: Command) -> Iterator[str]:
    """Yield the states in which nobody may sign: no technician has accepted the job, or the job is signed already."""
    vacant, after = states_without_holder(blueprint), states_after_signature(blueprint)
    for name in command.from_:
        state = blueprint.states.get(name)
        if state and (state.phase not in ("assigned", "active") or state.is_asked or name in vacant):
            yield f"signs in {name!r}, where a job may have no technician who has accepted it"
        if state and name in after:
            yield f"signs in {name!r}, to which a signed job can return: nobody signs a job twice"


def _other_problems(blueprint: Blueprint, name: str, command: Command, signing: dict[str, Command]) -> Iterator[str]:
    """Yield the problems of another command: its effects that are impossible because a command of the blueprint
    signs.
    """
    if name == SIGNING_ROUTE_WORD:
        yield f"its name is that of the route that signs: say signs = true, or choose another name than {name!r}"
    if command.event == SIGNED_EVENT:
        yield f"its event {SIGNED_EVENT!r} is that of a command that signs"
    if not signing:
        return
    if command.charges:
        yield f"charges, but {next(iter(signing))!r} signs: the signature alone asks for the money"
    if any(command.to == each.to for each in signing.values()):
        yield f"leads to {command.to!r}, which the signature alone may reach"
    if command.effect in (*HOLDER_EFFECTS, "release") and not states_after_signature(blueprint).isdisjoint(
        command.from_
    ):
        yield "gives a signed job another holder: the record names who did the work"


def _lifecycle_problems(blueprint: Blueprint) -> Iterator[str]:
    """Yield the ways in which a job is paid without a signature, or in which its price changes after the signature."""
    before, after = states_before(blueprint, lambda command: command.signs), states_after_signature(blueprint)
    for name, command in blueprint.commands.items():
        early = [state for state in command.from_ if command.effect == "capture" and state in before]
        yield from (f"command {name}: takes a payment in {state!r}, which is reached unsigned" for state in early)
    for state in blueprint.states:
        if state in before and blueprint.phase(state) == "done":
            yield f"signs: the technician is paid in {state!r} (done), which is reached unsigned"
    late = after | {each.marks for each in blueprint.commands.values() if each.signs or after & set(each.from_)}
    yield from (
        f"price: hours: {name!r} comes with the signature or after it, and the signed record must contain the hours"
        for name in blueprint.price.hours
        if name in late
    )
    yield from (
        f"edit: {state!r} comes after the signature, and a signed job is not edited"
        for state, fields in blueprint.edit.items()
        if fields and state in after - before
    )
