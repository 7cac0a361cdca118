"""The linter of a blueprint's events: it finds events that never occur, events without an audience, and fields and
placeholders that the event does not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter

from engine.blueprint.audience import AUDIENCE_WORDS, PARTY_WORDS
from engine.blueprint.event_catalogue import EFFECT_OF_EVENT, MEMBERS_OF_DECLARABLE_EVENTS, PayloadMembers
from engine.blueprint.schema import (
    ENGINE_EVENT_NOUNS,
    OFFER_EVENT,
    STATE_FIELD_WORDS,
    Blueprint,
    Command,
    EventRule,
    NotificationText,
)
from engine.blueprint.vocabulary import (
    OFFER_CLOSE_REASONS,
    event_payload_members,
    event_sources,
    has_member,
    has_whole_job,
)


def check_events(blueprint: Blueprint) -> list[str]:
    """Return the problems of a blueprint's events, one sentence each."""
    problems = [f"{place}: {problem}" for place, problem in _command_problems(blueprint)]
    problems += [
        f"{place}: its event {event!r} has no audience" for place, event in _events_without_audience(blueprint)
    ]
    for name, rule in blueprint.events.items():
        found = _announcement_problems(name, rule) if rule.announcement else _event_problems(blueprint, name, rule)
        problems += [f"event {name}: {problem}" for problem in found]
    return problems


def _command_problems(blueprint: Blueprint) -> Iterator[tuple[str, str]]:
    """Yield, for each command whose ``event`` is not allowed, its place in the file and the problem."""
    for name, command in blueprint.commands.items():
        if problem := _command_event_problem(command):
            yield f"command {name}", problem


def _command_event_problem(command: Command) -> str:
    """Return the problem if the ``event`` of the command is not allowed; "" if it is allowed."""
    event = command.event
    if event in EFFECT_OF_EVENT or command.effect in ("bid", "withdraw", "capture"):
        ok = EFFECT_OF_EVENT.get(event) == command.effect and (command.effect != "refuse" or not command.to)
    elif event == "payment.requested":
        ok = command.charges
    elif command.effect == "refuse" and not command.to:
        ok = False
    else:
        ok = event.startswith("job.") and event not in MEMBERS_OF_DECLARABLE_EVENTS
    return "" if ok else f'its event {event!r} is not one of a command that does "{command.effect}"'


def _events_without_audience(blueprint: Blueprint) -> Iterator[tuple[str, str]]:
    """Yield each event that the blueprint may emit but for which it declares no audience, with the place in the file
    that causes it.
    """
    for place, event in event_sources(blueprint):
        rule = blueprint.events.get(event)
        if place and (rule is None or not rule.to):
            yield place, event


def _announcement_problems(event: str, rule: EventRule) -> Iterator[str]:
    """Yield the problems of the declaration of one announcement."""
    if event.partition(".")[0] in ENGINE_EVENT_NOUNS:
        yield f"{event!r} is an event of the engine, not an announcement"
    if rule.fields or rule.notify:
        yield "an announcement belongs to no job: it can have neither fields nor notify"
    yield from (f"to: {word!r} is no role" for word in rule.to if word in PARTY_WORDS or word not in AUDIENCE_WORDS)


def _event_problems(blueprint: Blueprint, event: str, rule: EventRule) -> Iterator[str]:
    """Yield the problems of the declaration of one event of a job."""
    found = event_payload_members(blueprint, event)
    if found is None:
        yield "it never occurs: neither a command nor the engine emits it"
        return
    yield from (f"to: unknown word {word!r}" for word in rule.to if word not in AUDIENCE_WORDS)
    if event == "offer.closed" and isinstance(rule.as_, dict):
        yield from (f"as: unknown reason {reason!r}" for reason in rule.as_ if reason not in OFFER_CLOSE_REASONS)
    yield from _field_problems(blueprint, rule, found)
    if rule.notify.keys() - {"offered"} and not has_whole_job(found):
        yield "notify: the event does not contain the whole job, so it can have no notify"
        return
    if "offered" in rule.notify and event != OFFER_EVENT:
        yield f"notify: offered is for {OFFER_EVENT} alone"
    for who, notice in rule.notify.items():
        yield from (f"notify.{who}.{problem}" for problem in _notice_problems(notice, found))


def _notice_problems(notice: NotificationText, members: PayloadMembers) -> Iterator[str]:
    """Yield the problems of a notice for an event with the members ``members``."""
    for part, text in (("title", notice.title), ("body", notice.body)):
        yield from (f"{part}: {problem}" for problem in _placeholder_problems(text, members))
    yield from (f"when: the event has no member {path!r}" for path in notice.when if not has_member(members, path))


def _field_problems(blueprint: Blueprint, rule: EventRule, members: PayloadMembers) -> Iterator[str]:
    """Yield the problems of the fields that a declaration adds to an event with the members ``members``."""
    marks = {command.marks for command in blueprint.commands.values()}
    for name, what in rule.fields.items():
        if name in members:
            yield f"fields: {name!r} is a member that the engine sets"
        if not isinstance(what, str):
            continue
        if what in STATE_FIELD_WORDS:
            if not has_member(members, "job.status"):
                yield f"fields: {name}: {what!r} needs the whole job, which the event does not contain"
        elif not has_member(members, what):
            yield f"fields: {name}: the event has no member {what!r}"
        elif what.startswith("job.at.") and what.removeprefix("job.at.") not in marks | set(blueprint.states):
            yield f"fields: {name}: {what!r} is no state and no command marks it"


def _placeholder_problems(notice_text: str, members: PayloadMembers) -> Iterator[str]:
    """Yield a problem for each placeholder of a text that an event with the members ``members`` does not have."""
    try:
        parts = list(Formatter().parse(notice_text))
    except ValueError as error:
        yield f"{notice_text!r}: {error}"
        return
    for _, path, form, conversion in parts:
        if path is None:
            continue
        if form or conversion or (path != "says" and not has_member(members, path)):
            yield "{" + path + "} is not a valid placeholder for this event"
