"""Tests of what the shipped blueprints allow: which role may send which command in which state."""

from __future__ import annotations

from typing import Any

import pytest

from engine.blueprint import catalogue
from engine.blueprint.catalogue import Blueprints
from engine.blueprint.schema import Blueprint
from tests.support.job_views import view_of_job


def actions(blueprint: Blueprint, status: str, relations: list[str], **facts: Any) -> list[str]:
    """Return the commands that a caller with these relations may give to a job with a holder."""
    return blueprint.actions(view_of_job(blueprint, status, **facts), relations, now=0)


@pytest.fixture(scope="module")
def shipped() -> Blueprints:
    """Return the shipped blueprints."""
    return catalogue.load_blueprints("home_service", catalogue.shipped_folder())


def test_who_may_cancel_depends_on_the_state(shipped: Blueprints) -> None:
    """In `delivery` a customer may cancel until the order is prepared, and ops until it is on its way. In `marketplace`
    only ops may cancel work that awaits confirmation, with a refund, and nobody a scheduled job.
    """
    delivery, market = shipped.by_name["delivery"], shipped.by_name["marketplace"]
    assert "cancel" not in actions(delivery, "preparing", ["customer"])
    assert "cancel" in actions(delivery, "confirmed", ["customer"]) and "cancel" in actions(delivery, "ready", ["ops"])
    assert "cancel" not in actions(market, "awaiting_confirmation", ["customer"])
    assert "cancel" in actions(market, "awaiting_confirmation", ["ops"])
    assert market.commands["cancel"].refunds == ("awaiting_confirmation",)
    assert "cancel" not in actions(market, "scheduled", ["customer", "ops"])


def test_capture_waits_for_the_one_confirmation(shipped: Blueprints) -> None:
    """In `marketplace` the customer can confirm the work once; only after that is `capture`, the payment, possible."""
    market = shipped.by_name["marketplace"]
    assert actions(market, "awaiting_confirmation", ["customer"]) == ["confirm"]
    assert actions(market, "awaiting_confirmation", ["customer"], at=["confirmed"]) == []
    assert actions(market, "awaiting_confirmation", ["service"]) == []
    assert actions(market, "awaiting_confirmation", ["service"], at=["confirmed"]) == ["capture"]


def test_a_frozen_job_allows_only_the_mediators_commands(shipped: Blueprints) -> None:
    """While a dispute is open, only the mediator's commands that resolve it are possible."""
    direct = shipped.by_name["direct_booking"]
    relations = ["customer", "holder", "ops", "mediator"]
    settled = ["resolve_resume", "resolve_cancel", "resolve_complete"]
    assert actions(direct, "accepted", relations, frozen=True) == settled
    assert "dispute" in actions(direct, "accepted", ["customer"]) and "dispute" not in actions(
        direct, "requested", ["customer"]
    )
