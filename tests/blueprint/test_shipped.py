"""What follows from the tables of the shipped blueprints (scenarios.py) for who may do what, and when."""

from __future__ import annotations

import pytest

from engine.blueprint import catalogue
from engine.blueprint.catalogue import Blueprints


@pytest.fixture(scope="module")
def shipped() -> Blueprints:
    """What ships."""
    return catalogue.load_blueprints("home_service", catalogue.shipped_folder())


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
