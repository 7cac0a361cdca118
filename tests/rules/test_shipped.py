"""What ships is what it says it is: the tables of who may do what, from where, to where, and what clients see."""

from __future__ import annotations

import orjson
import pytest

from engine.rules import blueprint
from engine.rules.blueprint import Blueprints
from engine.rules.lifecycle import Blueprint

ALL = ("delivery", "direct_booking", "home_service", "managed", "marketplace")

STEPS = {
    "home_service": """
        claim: offered: broadcasted > accepted: job.accepted
        decline: offered: broadcasted > : offer.declined
        depart: holder: accepted > on_the_way: job.status
        arrive: holder: on_the_way > reached: job.status
        start: holder: reached > in_progress: job.status
        complete: holder: in_progress > completed: job.status
        cancel: customer ops: broadcasted accepted on_the_way reached > cancelled: job.cancelled
        unassign: holder ops: accepted on_the_way reached > broadcasted: job.unassigned
        reassign: ops: accepted on_the_way reached > accepted: job.assigned
        expire: engine: broadcasted > expired: job.expired""",
    "marketplace": """
        bid: technician: open > : bid.created
        withdraw: technician: open > : bid.closed
        award: customer: open > scheduled: job.assigned
        accept: offered: requested > scheduled: job.assigned
        decline: offered: requested > open: job.status
        start: holder: scheduled > in_progress: job.started
        complete: holder: in_progress > completed_by_technician: job.completed
        confirm: customer engine: awaiting_confirmation > : payment.requested
        capture: service: awaiting_confirmation > paid: payment.received
        reissue: customer: scheduled in_progress > : job.updated
        cancel: customer ops: open requested awaiting_confirmation > cancelled: job.cancelled
        unassign: customer holder ops: scheduled > open: job.unassigned
        expire: engine: open requested > expired: job.expired""",
    "direct_booking": """
        accept: offered: requested > accepted: job.accepted
        decline: offered: requested > declined: job.status
        start: holder: accepted > in_progress: job.status
        complete: holder: in_progress > completed: job.status
        cancel: customer ops: requested accepted in_progress > cancelled: job.cancelled
        dispute: customer holder: accepted in_progress > : job.disputed
        resolve_resume: mediator: accepted in_progress > : job.resolved
        resolve_cancel: mediator: accepted in_progress > cancelled: job.cancelled
        resolve_complete: mediator: accepted in_progress > completed: job.resolved
        expire: engine: requested > expired: job.expired""",
    "managed": """
        assign: engine ops: requested > assigned: job.assigned
        accept: holder: assigned > accepted: job.accepted
        decline: holder engine: assigned > requested: job.status
        depart: holder: accepted > on_the_way: job.status
        start: holder: on_the_way > in_progress: job.status
        finish: holder: in_progress > work_done: job.status
        sign: customer: work_done > signed: job.status
        capture: service: signed > paid: payment.received
        dispute: customer: work_done > disputed: job.status
        resolve_resume: mediator: disputed > work_done: job.status
        resolve_cancel: mediator: disputed > cancelled: job.status
        cancel: customer ops: requested assigned accepted on_the_way > cancelled: job.cancelled
        unassign: ops: assigned accepted on_the_way > requested: job.unassigned
        reassign: ops: assigned accepted on_the_way > assigned: job.assigned
        expire: engine: requested > expired: job.expired""",
    "delivery": """
        confirm: ops: placed > confirmed: job.status
        prepare: ops: confirmed > preparing: job.status
        ready: ops: preparing > ready: job.status
        claim: offered: ready > : job.accepted
        decline: offered: ready > : offer.declined
        assign: ops: confirmed preparing ready > : job.assigned
        reassign: ops: confirmed preparing ready > : job.assigned
        unassign: ops: ready on_the_way > ready: job.unassigned
        depart: holder: ready > on_the_way: job.status
        deliver: holder: on_the_way > delivered: job.status
        cancel: customer ops: placed confirmed preparing ready > cancelled: job.cancelled""",
}

SEEN = {
    "home_service": {"offer.created": "new_job_broadcast", "job.accepted": "job_accepted"},
    "marketplace": {
        **{"job.assigned": "JOB_ASSIGNED", "job.started": "JOB_STARTED", "job.completed": "JOB_COMPLETED"},
        **{"job.cancelled": "JOB_CANCELLED", "payment.received": "PAYMENT_CAPTURED", "price.changed": "PRICE_CHANGED"},
    },
    "direct_booking": {
        **{"message.created": "new_message", "room.joined": "user_joined", "mediator.invited": "mediator_invited"}
    },
    "managed": {"job.created": "booking_update", "job.status": "booking_update", "job.cancelled": "booking_update"},
    "delivery": {
        **{"job.created": "order:new", "job.status": "order:status:update", "job.cancelled": "order:cancelled"},
        **{"technician.status": "delivery:status:update", "position": "delivery:location:update"},
        **{"payment.received": "payment:received", "notification": "notification:new"},
        **{"business.status": "business:status:update", "promotion": "offer:new"},
    },
}


@pytest.fixture(scope="module")
def shipped() -> Blueprints:
    """What ships."""
    return blueprint.load("home_service", blueprint.shipped())


def table(found: Blueprint) -> list[str]:
    """One line for each command."""
    return [f"{name}: {' '.join(c.by)}: {' '.join(c.from_)} > {c.to}: {c.event}" for name, c in found.commands.items()]


@pytest.mark.parametrize("name", ALL)
def test_the_commands_are_those_of_the_scenario(shipped: Blueprints, name: str) -> None:
    """Each command, who may give it, from where, to where, and the event that tells of it; and no other."""
    assert table(shipped.by_name[name]) == [line.strip() for line in STEPS[name].strip().splitlines()]


@pytest.mark.parametrize("name", ALL)
def test_clients_see_the_names_of_the_scenario(shipped: Blueprints, name: str) -> None:
    """Each event under the name that clients of that system know it by."""
    data = b'{"job":{"id":"j","status":"%s"}}' % shipped.by_name[name].initial.encode()
    assert {kind: shipped.view(f"{name}@1", kind, data)[0] for kind in SEEN[name]} == SEEN[name]


def test_every_job_event_of_managed_has_one_name(shipped: Blueprints) -> None:
    """Whatever happens to a booking there is a booking_update."""
    events = shipped.by_name["managed"].events
    assert {rule.as_ for kind, rule in events.items() if kind.startswith("job.")} == {"booking_update"}


def test_some_may_only_from_fewer_states(shipped: Blueprints) -> None:
    """A customer cancels an order before it is prepared, ops until it is on its way; work done is cancelled by ops."""
    delivery, market = shipped.by_name["delivery"], shipped.by_name["marketplace"]
    assert "cancel" not in delivery.actions("preparing", ["customer"])
    assert "cancel" in delivery.actions("confirmed", ["customer"]) and "cancel" in delivery.actions("ready", ["ops"])
    assert "cancel" not in market.actions("awaiting_confirmation", ["customer"])
    assert "cancel" in market.actions("awaiting_confirmation", ["ops"])
    assert market.commands["cancel"].refunds == ("awaiting_confirmation",)
    assert "cancel" not in market.actions("scheduled", ["customer", "ops"])


def test_a_confirmation_stands_once_and_before_the_money(shipped: Blueprints) -> None:
    """Capture waits for the confirmation, which is given once."""
    market = shipped.by_name["marketplace"]
    assert market.actions("awaiting_confirmation", ["customer"]) == ["confirm"]
    assert market.actions("awaiting_confirmation", ["customer"], at=["confirmed"]) == []
    assert market.actions("awaiting_confirmation", ["service"]) == []
    assert market.actions("awaiting_confirmation", ["service"], at=["confirmed"]) == ["capture"]


def test_frozen_leaves_the_mediator_alone(shipped: Blueprints) -> None:
    """While a dispute is open nothing goes on but what settles it."""
    direct = shipped.by_name["direct_booking"]
    everybody = ["customer", "holder", "ops", "mediator"]
    settled = ["resolve_resume", "resolve_cancel", "resolve_complete"]
    assert direct.actions("accepted", everybody, frozen=True) == settled
    assert "dispute" in direct.actions("accepted", ["customer"]) and "dispute" not in direct.actions(
        "requested", ["customer"]
    )


def test_marketplace_events_carry_the_fields_of_its_clients(shipped: Blueprints) -> None:
    """By path, as a constant, and never in the place of what is the engine's."""
    job = {"id": "j1", "status": "scheduled", "amount": 900, "at": {"in_progress": "2026-01-01T00:00:00.000Z"}}
    data = orjson.dumps({"job": job, "technician": {"id": "t1"}, "payment": {"reference": "p1"}})
    told = {kind: orjson.loads(shipped.view("marketplace@1", kind, data)[1]) for kind in SEEN["marketplace"]}
    assert all(each["job"] == job for each in told.values())
    assert [told["job.assigned"][name] for name in ("jobId", "status", "technicianId")] == ["j1", "scheduled", "t1"]
    assert told["job.started"]["startedAt"] == "2026-01-01T00:00:00.000Z"
    assert told["payment.received"]["paymentId"] == "p1"
    assert (told["price.changed"]["newAmount"], told["price.changed"]["paymentIntentUpdated"]) == (900, False)


def test_technicians_are_found_as_each_system_finds_them(shipped: Blueprints) -> None:
    """Broadcast, bids or the one named, the one named, the best chosen; an order only once it is ready."""
    seeking = {
        name: {s: v.seeks for s, v in b.states.items() if v.seeks != "none"} for name, b in shipped.by_name.items()
    }
    assert seeking == {
        "home_service": {"broadcasted": "broadcast"},
        "marketplace": {"open": "bids", "requested": "direct"},
        "direct_booking": {"requested": "direct"},
        "managed": {"requested": "allocate"},
        "delivery": {"ready": "broadcast"},
    }


def test_silence_is_answered_by_the_engine(shipped: Blueprints) -> None:
    """Who does not answer in a minute has declined; what is not confirmed in two days is confirmed."""
    [timer] = shipped.by_name["managed"].states["assigned"].timers
    assert (timer.after_s, timer.command) == (60, "decline")
    timer = shipped.by_name["marketplace"].states["awaiting_confirmation"].timers[0]
    assert (timer.after_s, timer.command) == (48 * 3600, "confirm")
