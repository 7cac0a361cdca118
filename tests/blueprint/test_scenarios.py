"""Tests that each of the five shipped blueprints is as specified in scenarios.py: states, commands, events, names,
fields and audiences.
"""

from __future__ import annotations

import msgspec
import orjson
import pytest

from engine.blueprint import catalogue
from engine.blueprint.arrival import Arrival
from engine.blueprint.catalogue import Blueprints
from engine.blueprint.compiler import compile_command
from engine.blueprint.edit_table import PRICE_FIELDS
from engine.blueprint.event_catalogue import MEMBERS_OF_DECLARABLE_EVENTS
from engine.blueprint.schema import UNLIMITED_WAVE_SIZE, EventRule
from engine.rules.job_document import EDITABLE_MEMBERS
from tests.blueprint.scenarios import EXPECTED_BLUEPRINTS, ExpectedBlueprint

for_each_blueprint = pytest.mark.parametrize(
    ("name", "expected"), EXPECTED_BLUEPRINTS.items(), ids=list(EXPECTED_BLUEPRINTS)
)


@pytest.fixture(scope="module")
def shipped() -> Blueprints:
    """Return the shipped blueprints."""
    return catalogue.load_blueprints("home_service", catalogue.shipped_folder())


def split_lines(block: str) -> list[str]:
    """Return the lines of a table in scenarios.py, without their indentation."""
    return [line.strip() for line in block.strip().splitlines()]


def rule_lines(event_type: str, rule: EventRule) -> list[str]:
    """Return the rule of an event as lines of the table, one for each name that clients see."""
    names = (
        {event_type: rule.as_ or event_type}
        if isinstance(rule.as_, str)
        else {f"{event_type} ({r})": n for r, n in rule.as_.items()}
    )
    rest = f"{' '.join(rule.to) or '-'}: {' '.join(rule.notify) or '-'}"
    return [f"{what} > {name}: {rest}" for what, name in names.items()]


def test_every_shipped_blueprint_is_specified(shipped: Blueprints) -> None:
    """Every shipped blueprint is specified in scenarios.py, so that none is without a test."""
    assert set(shipped.by_name) == set(EXPECTED_BLUEPRINTS)


@for_each_blueprint
def test_states(shipped: Blueprints, name: str, expected: ExpectedBlueprint) -> None:
    """The states are the specified ones in their order, with the search mode of each and the states in which a
    technician has not accepted yet.
    """
    states = shipped.by_name[name].states
    assert list(states) == expected.states.split()
    assert {state: s.search_mode for state, s in states.items() if s.search_mode != "none"} == expected.search_modes
    assert tuple(state for state, s in states.items() if s.is_asked) == expected.unaccepted_states


@for_each_blueprint
def test_commands(shipped: Blueprints, name: str, expected: ExpectedBlueprint) -> None:
    """The commands are exactly the specified ones: who may send each, from which states, to which state, its event and
    its message.
    """
    commands = shipped.by_name[name].commands
    table = [
        f"{what}: {' '.join(c.by)}: {' '.join(c.from_)} > {c.to}: {c.event}: {c.message or '-'}"
        for what, c in commands.items()
    ]
    assert table == split_lines(expected.commands)
    assert {what: c.only for what, c in commands.items() if c.only} == expected.states_of_role


@for_each_blueprint
def test_edits(shipped: Blueprints, name: str, expected: ExpectedBlueprint) -> None:
    """Each state allows edits of exactly the specified fields of the job."""
    assert {state: " ".join(fields) for state, fields in shipped.by_name[name].edit.items()} == expected.editable_fields


def test_marketplace_allows_edits_until_the_start(shipped: Blueprints) -> None:
    """In `marketplace` all fields can be edited while the job is open, and all but the price once it is scheduled,
    where only an accepted proposal changes the price. After `start` nothing can be edited.
    """
    market = shipped.by_name["marketplace"]
    assert {state for state, fields in market.edit.items() if fields == ("*",)} == {"open", "requested"}
    assert set(market.edit["scheduled"]) == EDITABLE_MEMBERS - PRICE_FIELDS and market.price.propose == ("scheduled",)
    assert market.commands["start"].locks_price and market.edit.keys() == {"open", "requested", "scheduled"}


@for_each_blueprint
def test_tracked_states(shipped: Blueprints, name: str, expected: ExpectedBlueprint) -> None:
    """The customer sees the technician's position in exactly the specified states."""
    blueprint = shipped.by_name[name]
    assert [state for state in blueprint.states if blueprint.is_tracked(state)] == expected.tracked_states.split()


@for_each_blueprint
def test_events(shipped: Blueprints, name: str, expected: ExpectedBlueprint) -> None:
    """The events have exactly the specified names for clients, audiences, notified roles and added fields."""
    rules = shipped.by_name[name].events
    assert [line for kind, rule in rules.items() for line in rule_lines(kind, rule)] == split_lines(expected.events)
    assert {kind: rule.fields for kind, rule in rules.items() if rule.fields} == expected.added_fields


@for_each_blueprint
def test_status_words(shipped: Blueprints, name: str, expected: ExpectedBlueprint) -> None:
    """Clients see the specified status word for each state, or the state's own name where no word is specified."""
    blueprint = shipped.by_name[name]
    assert {
        state: blueprint.status_word(state) for state in blueprint.states if blueprint.status_word(state) != state
    } == expected.status_words
    assert all(not expected.status_words or state in expected.status_words for state in blueprint.states)


@for_each_blueprint
def test_numbers(shipped: Blueprints, name: str, expected: ExpectedBlueprint) -> None:
    """Waves, lifetimes, timers with commands, and the state from which the customer sees the technician are the
    specified ones.
    """
    blueprint = shipped.by_name[name]
    assert {what: getattr(blueprint.dispatch, what) for what in expected.dispatch} == expected.dispatch
    assert blueprint.dispatch.head_start is None
    if expected.waves is not None:
        assert tuple((w.size, w.radius_m, w.interval_s) for w in blueprint.dispatch.waves) == expected.waves
        rest, walks = blueprint.wave(len(expected.waves) + 1)
        assert (rest.size, rest.interval_s, walks) == (UNLIMITED_WAVE_SIZE, blueprint.dispatch.repeat_s, True)
    timers = tuple((s, t.after_s, t.command) for s, v in blueprint.states.items() for t in v.timers if t.command)
    assert timers == expected.timers
    assert (blueprint.track_from, blueprint.track_lead_s, blueprint.contact_s) == (expected.track_from, 3600, 86_400)
    assert [state for state in blueprint.states if blueprint.is_on_the_way(state)] == [expected.track_from]
    assert blueprint.arrival == Arrival(near_m=500, at_m=60, leave_m=150, fixes=2)


def test_every_job_event_of_managed_has_one_name(shipped: Blueprints) -> None:
    """In `managed` clients see every `job.*` event as `booking_update`."""
    managed = shipped.by_name["managed"]
    kinds = {kind for kind in MEMBERS_OF_DECLARABLE_EVENTS if kind.startswith("job.")} | {
        c.event for c in managed.commands.values()
    }
    data = b'{"job":{"id":"j","status":"signed"}}'
    names = {shipped.client_event(managed.key, kind, data)[0] for kind in kinds if kind.startswith("job.")}
    assert names == {"booking_update"}


@pytest.mark.parametrize(("state", "word"), EXPECTED_BLUEPRINTS["marketplace"].status_words.items())
def test_marketplace_adds_fields_with_its_status_words(shipped: Blueprints, state: str, word: str) -> None:
    """In `marketplace` the added fields of each event contain the client's status word, and `job.status` in it stays
    the engine's state.
    """
    job = {"id": "j1", "status": state, "amount": 900, "at": {"in_progress": "2026-01-01T00:00:00.000Z"}}
    data = orjson.dumps(
        {"job": job, "technician": {"id": "t1"}, "payment": {"reference": "p1"}, "payment_requested": False}
    )
    values = {"jobId": "j1", "status": word, "technicianId": "t1", "paymentId": "p1", "newAmount": 900}
    values |= {"startedAt": "2026-01-01T00:00:00.000Z", "paymentIntentUpdated": False}
    for kind, fields in EXPECTED_BLUEPRINTS["marketplace"].added_fields.items():
        payload = orjson.loads(shipped.client_event(shipped.by_name["marketplace"].key, kind, data)[1])
        assert payload["job"] == job
        assert {name: payload[name] for name in fields} == {name: values[name] for name in fields}, kind


@pytest.mark.parametrize("reason", ["taken", "cancelled", "expired", "withdrawn", "reassigned"])
def test_offer_closed_is_job_taken_only_if_taken(shipped: Blueprints, reason: str) -> None:
    """In `home_service` clients see `offer.closed` as `job_taken` if the reason is `taken`, and as `offer.closed` for
    each other reason; `bookingId` is added in both cases.
    """
    data = orjson.dumps({"job": {"id": "j1"}, "reason": reason, "message": "m"})
    name, payload = shipped.client_event(shipped.default.key, "offer.closed", data)
    assert name == ("job_taken" if reason == "taken" else "offer.closed")
    assert orjson.loads(payload) == {"job": {"id": "j1"}, "reason": reason, "message": "m", "bookingId": "j1"}


def test_an_offer_comes_with_a_notification(shipped: Blueprints) -> None:
    """In `home_service` an offer comes with a notification that is in no list of notifications; `delivery` declares
    none.
    """
    data = orjson.dumps({"offer": {"job": {"id": "j1", "status": "broadcasted"}, "status": "sent"}})
    title, body = shipped.offer_notice(shipped.default.key, data) or ("", "")
    assert (title, bool(body)) == ("New job available", True)
    assert shipped.notices_of_event(shipped.default.key, "offer.created", data) == []
    assert shipped.offer_notice(shipped.by_name["delivery"].key, data) is None


@pytest.mark.parametrize(
    ("kind", "data", "titles"),
    [
        ("payment.requested", {"command": "confirm", "payment": {"kind": "charge"}}, {"t1": "Confirmed"}),
        ("payment.requested", {"payment": {"kind": "charge"}}, {}),
        ("payment.requested", {"payment": {"kind": "refund"}}, {}),
        ("job.status", {"command": "confirm"}, {"t1": "Confirmed", "c1": "Job update"}),
        ("job.status", {"command": "capture"}, {"c1": "Job update"}),
        ("payment.received", {"payment": {"kind": "charge"}}, {"t1": "Payment received"}),
    ],
)
def test_the_technician_is_notified_of_confirmation_and_payment(
    shipped: Blueprints, kind: str, data: dict[str, object], titles: dict[str, str]
) -> None:
    """In `marketplace` the technician is notified of the confirmation, also of a prepaid job, and of the payment, but
    not of a refund.
    """
    job = {"id": "j1", "status": "awaiting_confirmation", "customer": {"id": "c1"}, "technician": {"id": "t1"}}
    notices = shipped.notices_of_event(shipped.by_name["marketplace"].key, kind, orjson.dumps({"job": job, **data}))
    assert {each.user: each.title for each in notices} == titles


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("home_service", {"depart": "departed", "complete": "free", "cancel": "free", "expire": "free"}),
        ("marketplace", {"start": "departed", "complete": "free", "cancel": "free", "expire": "free"}),
        ("delivery", {"depart": "departed", "deliver": "free", "cancel": "free"}),
    ],
)
def test_plans_report_departed_and_free_once(shipped: Blueprints, name: str, reasons: dict[str, str]) -> None:
    """The compiled plans send `technician.status` with the reason `departed` at the first command of the work and
    `free` at its end; commands between send none.
    """
    blueprint = shipped.by_name[name]
    watched = msgspec.structs.replace(
        blueprint, events={**blueprint.events, "technician.status": EventRule(to=("ops",))}
    )
    plans = {
        what: orjson.loads(compile_command(watched, what, spec).plan_json) for what, spec in watched.commands.items()
    }
    assert {what: body["tech_reason"] for what, body in plans.items() if "tech_reason" in body} == reasons
