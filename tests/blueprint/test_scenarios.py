"""Each of the five systems that ship is the one agreed: its states, steps, names, words, fields and audiences."""

from __future__ import annotations

import msgspec
import orjson
import pytest

from engine.blueprint import catalogue
from engine.blueprint.catalogue import Blueprints
from engine.blueprint.compiler import compile_command
from engine.blueprint.edit_table import PRICE_FIELDS
from engine.blueprint.event_catalogue import MEMBERS_OF_DECLARABLE_EVENTS
from engine.blueprint.schema import UNLIMITED_WAVE_SIZE, EventRule
from engine.rules.job_document import EDITABLE_MEMBERS
from tests.blueprint.scenarios import SYSTEMS, System

each_system = pytest.mark.parametrize(("name", "system"), SYSTEMS.items(), ids=list(SYSTEMS))


@pytest.fixture(scope="module")
def shipped() -> Blueprints:
    """What ships."""
    return catalogue.load_blueprints("home_service", catalogue.shipped_folder())


def lines(text: str) -> list[str]:
    """The lines of a table."""
    return [line.strip() for line in text.strip().splitlines()]


def heard(kind: str, rule: EventRule) -> list[str]:
    """An event's rule as lines of the table, one for each name."""
    names = {kind: rule.as_ or kind} if isinstance(rule.as_, str) else {f"{kind} ({r})": n for r, n in rule.as_.items()}
    rest = f"{' '.join(rule.to) or '-'}: {' '.join(rule.notify) or '-'}"
    return [f"{what} > {name}: {rest}" for what, name in names.items()]


def test_nothing_else_ships(shipped: Blueprints) -> None:
    """A blueprint that nobody has written down here would be held by no test."""
    assert set(shipped.by_name) == set(SYSTEMS)


@each_system
def test_states(shipped: Blueprints, name: str, system: System) -> None:
    """All of them in order, how each looks for a technician, and in which one is merely asked."""
    states = shipped.by_name[name].states
    assert list(states) == system.states.split()
    assert {state: s.seeks for state, s in states.items() if s.seeks != "none"} == system.seeks
    assert tuple(state for state, s in states.items() if s.asked) == system.asked


@each_system
def test_commands(shipped: Blueprints, name: str, system: System) -> None:
    """Who may give each, from where, to where, the event that tells of it, what is answered; and no other."""
    commands = shipped.by_name[name].commands
    table = [
        f"{what}: {' '.join(c.by)}: {' '.join(c.from_)} > {c.to}: {c.event}: {c.message or '-'}"
        for what, c in commands.items()
    ]
    assert table == lines(system.commands)
    assert {what: c.only for what, c in commands.items() if c.only} == system.only


@each_system
def test_edits(shipped: Blueprints, name: str, system: System) -> None:
    """Which fields of the job may be changed in which state, and no other."""
    assert {state: " ".join(fields) for state, fields in shipped.by_name[name].edit.items()} == system.edit


def test_in_the_market_all_but_the_price_moves_until_the_start_code(shipped: Blueprints) -> None:
    """Open: everything. Scheduled: place and time too, but no price; only an accepted proposal makes another."""
    market = shipped.by_name["marketplace"]
    assert {state for state, fields in market.edit.items() if fields == ("*",)} == {"open", "requested"}
    assert set(market.edit["scheduled"]) == EDITABLE_MEMBERS - PRICE_FIELDS and market.price.propose == ("scheduled",)
    assert market.commands["start"].locks_price and market.edit.keys() == {"open", "requested", "scheduled"}


@each_system
def test_who_is_followed(shipped: Blueprints, name: str, system: System) -> None:
    """From the state agreed until the work is over: who waits for a confirmation or money is followed by nobody."""
    found = shipped.by_name[name]
    assert [state for state in found.states if found.tracks(state)] == system.follow.split()


@each_system
def test_events(shipped: Blueprints, name: str, system: System) -> None:
    """The name that clients see, who hears of it and who is notified; no other event is named."""
    rules = shipped.by_name[name].events
    assert [line for kind, rule in rules.items() for line in heard(kind, rule)] == lines(system.events)
    assert {kind: rule.fields for kind, rule in rules.items() if rule.fields} == system.fields


@each_system
def test_words(shipped: Blueprints, name: str, system: System) -> None:
    """What clients call each state: its own name, unless their system has a word for it."""
    found = shipped.by_name[name]
    assert {state: found.word(state) for state in found.states if found.word(state) != state} == system.words
    assert all(not system.words or state in system.words for state in found.states)


@each_system
def test_numbers(shipped: Blueprints, name: str, system: System) -> None:
    """Waves, lifetimes, what the engine does by itself after how long, and from where on a customer sees the way."""
    found = shipped.by_name[name]
    assert {what: getattr(found.dispatch, what) for what in system.dispatch} == system.dispatch
    assert found.dispatch.head_start is None
    if system.waves is not None:
        assert tuple((w.size, w.radius_m, w.interval_s) for w in found.dispatch.waves) == system.waves
        rest, walks = found.wave(len(system.waves) + 1)
        assert (rest.size, rest.interval_s, walks) == (UNLIMITED_WAVE_SIZE, found.dispatch.repeat_s, True)
    given = tuple((s, t.after_s, t.command) for s, v in found.states.items() for t in v.timers if t.command)
    assert given == system.timers
    assert (found.track_from, found.track_lead_s, found.contact_s) == (system.track_from, 3600, 86_400)


def test_every_job_event_of_managed_has_one_name(shipped: Blueprints) -> None:
    """Whatever happens to a booking there is a booking_update, whoever makes it happen."""
    managed = shipped.by_name["managed"]
    kinds = {kind for kind in MEMBERS_OF_DECLARABLE_EVENTS if kind.startswith("job.")} | {
        c.event for c in managed.commands.values()
    }
    data = b'{"job":{"id":"j","status":"signed"}}'
    seen = {shipped.view(managed.key, kind, data)[0] for kind in kinds if kind.startswith("job.")}
    assert seen == {"booking_update"}


@pytest.mark.parametrize(("state", "word"), SYSTEMS["marketplace"].words.items())
def test_marketplace_tells_its_own_words(shipped: Blueprints, state: str, word: str) -> None:
    """Each event of that system says `status` in its clients' words; `job.status` stays the engine's."""
    job = {"id": "j1", "status": state, "amount": 900, "at": {"in_progress": "2026-01-01T00:00:00.000Z"}}
    data = orjson.dumps({"job": job, "technician": {"id": "t1"}, "payment": {"reference": "p1"}})
    values = {"jobId": "j1", "status": word, "technicianId": "t1", "paymentId": "p1", "newAmount": 900}
    values |= {"startedAt": "2026-01-01T00:00:00.000Z", "paymentIntentUpdated": False}
    for kind, fields in SYSTEMS["marketplace"].fields.items():
        told = orjson.loads(shipped.view(shipped.by_name["marketplace"].key, kind, data)[1])
        assert told["job"] == job
        assert {name: told[name] for name in fields} == {name: values[name] for name in fields}, kind


@pytest.mark.parametrize("reason", ["taken", "cancelled", "expired", "withdrawn", "reassigned"])
def test_job_taken_is_for_what_was_taken(shipped: Blueprints, reason: str) -> None:
    """`{bookingId, message}` under that name where somebody else has it; every other end keeps the engine's name."""
    data = orjson.dumps({"job": {"id": "j1"}, "reason": reason, "message": "m"})
    name, told = shipped.view(shipped.default.key, "offer.closed", data)
    assert name == ("job_taken" if reason == "taken" else "offer.closed")
    assert orjson.loads(told) == {"job": {"id": "j1"}, "reason": reason, "message": "m", "bookingId": "j1"}


def test_who_is_offered_a_job_is_told_so(shipped: Blueprints) -> None:
    """By a notice that goes with the offer and stands in no list; where none is declared there is none."""
    data = orjson.dumps({"offer": {"job": {"id": "j1", "status": "broadcasted"}, "status": "sent"}})
    title, body = shipped.invitation(shipped.default.key, data) or ("", "")
    assert (title, bool(body)) == ("New job available", True)
    assert shipped.notices(shipped.default.key, "offer.created", data) == []
    assert shipped.invitation(shipped.by_name["delivery"].key, data) is None


@pytest.mark.parametrize(
    ("kind", "data", "titles"),
    [
        ("payment.requested", {"payment": {"kind": "charge"}}, {"t1": "Confirmed"}),
        ("payment.requested", {"payment": {"kind": "refund"}}, {}),
        ("job.status", {"command": "confirm"}, {"t1": "Confirmed", "c1": "Job update"}),
        ("job.status", {"command": "capture"}, {"c1": "Job update"}),
        ("payment.received", {"payment": {"kind": "charge"}}, {"t1": "Payment received"}),
    ],
)
def test_the_technician_hears_of_confirmation_and_money(
    shipped: Blueprints, kind: str, data: dict[str, object], titles: dict[str, str]
) -> None:
    """In `marketplace`: that the work was confirmed, paid before or not, and that the money came; not of a refund."""
    job = {"id": "j1", "status": "awaiting_confirmation", "customer": {"id": "c1"}, "technician": {"id": "t1"}}
    told = shipped.notices(shipped.by_name["marketplace"].key, kind, orjson.dumps({"job": job, **data}))
    assert {each.user: each.title for each in told} == titles


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("home_service", {"depart": "departed", "complete": "free", "cancel": "free", "expire": "free"}),
        ("marketplace", {"start": "departed", "complete": "free", "cancel": "free", "expire": "free"}),
        ("delivery", {"depart": "departed", "deliver": "free", "cancel": "free"}),
    ],
)
def test_a_technicians_day_is_told_once(shipped: Blueprints, name: str, day: dict[str, str]) -> None:
    """Departed with the first step that is work, free where the work is over; steps between say neither."""
    found = shipped.by_name[name]
    watched = msgspec.structs.replace(found, events={**found.events, "technician.status": EventRule(to=("ops",))})
    plans = {what: orjson.loads(compile_command(watched, what, spec).body) for what, spec in watched.commands.items()}
    assert {what: body["tech_reason"] for what, body in plans.items() if "tech_reason" in body} == day
