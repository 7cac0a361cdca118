"""Compute the states that a job can reach by the commands of a blueprint."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from engine.blueprint.schema import HOLDER_EFFECTS, Blueprint, Command


def states_from(
    blueprint: Blueprint, starts: Iterable[str], permits: Callable[[Command], bool] = lambda command: True
) -> set[str]:
    """Return the states that a job can be in from ``starts`` on, these included, by commands that ``permits`` accepts.
    A job leaves a state with ``then`` only for the state that ``then`` names.
    """
    reached: set[str] = set()
    new = set(starts).intersection(blueprint.states)
    while new:
        reached |= new
        new = {state for name in new for state in _next_states(blueprint, name, permits)} - reached
    return reached


def _next_states(blueprint: Blueprint, state: str, permits: Callable[[Command], bool]) -> set[str]:
    if following := blueprint.states[state].next_state:
        return {following}.intersection(blueprint.states)
    taken = (each for each in blueprint.commands.values() if state in each.from_ and permits(each))
    return {each.to for each in taken}.intersection(blueprint.states)


def next_states(blueprint: Blueprint, state: str) -> set[str]:
    """Return the states to which a job can move from a state."""
    return _next_states(blueprint, state, lambda command: True)


def first_states(blueprint: Blueprint) -> set[str]:
    """Return the states in which a job can begin."""
    return {next(iter(blueprint.states), ""), blueprint.named}.intersection(blueprint.states)


def targets_of(commands: Iterable[Command]) -> set[str]:
    """Return the target states of the commands; a command without ``to`` has none."""
    return {state for each in commands for state in ((each.to,) if each.to else each.from_)}


def states_before(blueprint: Blueprint, permits: Callable[[Command], bool]) -> set[str]:
    """Return the states that a job can reach without any command for which ``permits`` is true."""
    return states_from(blueprint, first_states(blueprint), lambda command: not permits(command))


def is_signed(blueprint: Blueprint) -> bool:
    """Return whether the customer signs the job. Then nobody is paid for the job before the signature."""
    return any(command.signs for command in blueprint.commands.values())


def states_after_signature(blueprint: Blueprint) -> set[str]:
    """Return the states that a job can be in after its customer has signed."""
    return states_from(blueprint, targets_of(each for each in blueprint.commands.values() if each.signs))


def states_without_holder(blueprint: Blueprint) -> set[str]:
    """Return the states in which a job may have no technician: nobody got it yet, or the one who had it left."""
    left = targets_of(each for each in blueprint.commands.values() if each.effect == "release")
    starts = first_states(blueprint) | left
    return states_from(blueprint, starts, lambda command: command.effect not in HOLDER_EFFECTS)


def states_with_holder(blueprint: Blueprint, permits: Callable[[Command], bool] = lambda command: True) -> set[str]:
    """Return the states in which a job may have a technician who got it by a command that ``permits`` accepts."""
    given = (each for each in blueprint.commands.values() if each.effect in HOLDER_EFFECTS and permits(each))
    return states_from(blueprint, targets_of(given), lambda command: command.effect != "release")
