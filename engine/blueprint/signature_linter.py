"""The linter of signatures. If a blueprint's customer signs, only the step that signs may request the payment."""

from __future__ import annotations

from collections.abc import Iterator

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
    return problems


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
    ends = {command.to, command.marks} & set(blueprint.price.hours)
    yield from (f"signs, but price.hours has {name!r}: the signed record must contain the hours" for name in ends)


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
    after = set().union(*(_states_after(blueprint, each) for each in signing.values()))
    if command.effect in (*HOLDER_EFFECTS, "release") and not after.isdisjoint(command.from_):
        yield "gives a signed job another holder: the record names who did the work"


def _states_after(blueprint: Blueprint, command: Command) -> set[str]:
    """Return the states that a job can be in after the signature."""
    reached: set[str] = set()
    new = {command.to} & set(blueprint.states)
    while new:
        reached |= new
        following = {blueprint.states[state].next_state for state in new}
        following |= {each.to for each in blueprint.commands.values() if new.intersection(each.from_)}
        new = (following & set(blueprint.states)) - reached
    return reached
