"""Blueprints as clients see them: the names of states for people, the steps that exist, and the names of events for
clients.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from engine.blueprint.schema import Blueprint, Mode
from engine.types import Phase
from server.schemas.objects import Shape


class State(Shape):
    """A state of a blueprint. ``word`` is its name for clients, ``says`` its text for people. ``then`` is the state to
    which the job moves at once.
    """

    name: str
    word: str
    phase: Phase
    says: str
    seeks: Mode
    then: str | None = None


class Command(Shape, rename={"source": "from"}):
    """A command of a blueprint. ``from`` lists, for each relation to the job, the states in which the command is
    allowed. Without ``to`` the state does not change. ``code`` is the purpose of the confirmation code that the command
    needs.
    """

    name: str
    source: dict[str, list[str]]
    event: str
    to: str | None = None
    code: str | None = None
    resolves: Annotated[str | None, Meta(description="the outcome of the dispute, if the command resolves one")] = None


class Event(Shape):
    """An event of a blueprint. ``event`` is its name for clients. ``by_reason`` has the names for clients that depend
    on the event's reason.
    """

    type: str
    event: str
    by_reason: dict[str, str] | None = None
    announcement: bool = False


class PublicBlueprint(Shape):
    """A blueprint. ``named`` is the first state of a job that names a technician. ``edit`` lists, for each state, the
    fields that may be changed (``*``: all of them). ``price_source`` says where the price of a booking usually comes
    from (``catalogue``: its service); with ``quote`` no booking names an amount. ``propose`` lists the states
    in which another price may be proposed.
    """

    name: str
    version: int
    title: str
    default: bool
    technician: Literal["no", "optional", "required"]
    initial: str
    states: list[State]
    commands: list[Command]
    edit: dict[str, list[str]]
    price_source: Literal["catalogue", "customer", "quote"]
    propose: list[str]
    events: list[Event]
    named: str | None = None


class BlueprintReply(Shape):
    blueprint: PublicBlueprint


def public_view(blueprint: Blueprint, *, default: bool) -> PublicBlueprint:
    """Return a blueprint as clients see it."""
    return PublicBlueprint(
        name=blueprint.name,
        version=blueprint.version,
        title=blueprint.title,
        default=default,
        technician=blueprint.technician or "no",
        initial=blueprint.initial_state,
        named=blueprint.named or None,
        states=_states(blueprint),
        commands=_commands(blueprint),
        edit={state: list(fields) for state, fields in blueprint.edit.items()},
        price_source=blueprint.price.source,
        propose=list(blueprint.price.propose),
        events=_events(blueprint),
    )


def _states(blueprint: Blueprint) -> list[State]:
    return [
        State(
            name=name,
            word=blueprint.status_word(name),
            phase=s.phase,
            says=s.text,
            seeks=s.search_mode,
            then=s.next_state or None,
        )
        for name, s in blueprint.states.items()
    ]


def _commands(blueprint: Blueprint) -> list[Command]:
    return [
        Command(
            name=name,
            source={relation: list(c.from_states([relation])) for relation in c.by},
            event=c.event,
            to=c.to or None,
            code=c.code or None,
            resolves=c.resolves or None,
        )
        for name, c in blueprint.commands.items()
    ]


def _events(blueprint: Blueprint) -> list[Event]:
    return [
        Event(
            type=name,
            event=rule.as_ or name if isinstance(rule.as_, str) else name,
            by_reason=rule.as_ if isinstance(rule.as_, dict) else None,
            announcement=rule.announcement,
        )
        for name, rule in blueprint.events.items()
    ]
