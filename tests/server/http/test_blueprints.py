"""``/v1/blueprints``: what a client needs to name states, offer steps and understand events."""

from __future__ import annotations

from typing import Any

from server.serve import Running
from tests.server.http.client import Client, code_of


def by_name(items: list[dict[str, Any]], kind: str = "name") -> dict[str, dict[str, Any]]:
    """Items by one of their members."""
    return {item[kind]: item for item in items}


async def test_without_a_token_nothing(nobody: Client) -> None:
    """Who is nobody is told nothing."""
    assert code_of(await nobody("GET", "/v1/blueprints")) == (401, "unauthenticated")
    assert code_of(await nobody("GET", "/v1/blueprints/delivery")) == (401, "unauthenticated")


async def test_an_unknown_one_is_not_found(customer: Client) -> None:
    """Neither by name nor by version."""
    for name in ("nothing", "delivery@999", "delivery@", "%20"):
        assert code_of(await customer("GET", f"/v1/blueprints/{name}")) == (404, "not_found"), name


async def test_all_are_listed_and_one_is_the_default(customer: Client, site: Running) -> None:
    """The list is whole and in order; the default is the server's."""
    told = (await customer("GET", "/v1/blueprints")).json()
    assert [item["name"] for item in told["items"]] == sorted(site.engine.blueprints.by_name)
    assert [item["name"] for item in told["items"] if item["default"]] == [site.engine.settings.blueprint]
    assert told["next"] is None


async def test_one_says_its_states_steps_edits_and_events(customer: Client) -> None:
    """States in order with sentence and phase; who may take which step from where; what may be edited; the names."""
    told = (await customer("GET", "/v1/blueprints/marketplace")).json()["blueprint"]
    assert (told["initial"], told["named"], told["technician"]) == ("open", "requested", "optional")
    assert [state["name"] for state in told["states"]][:3] == ["open", "requested", "scheduled"]
    states, commands = by_name(told["states"]), by_name(told["commands"])
    assert (states["paid"]["phase"], states["paid"]["says"]) == ("done", "Paid")
    assert states["completed_by_technician"]["then"] == "awaiting_confirmation"
    assert commands["start"]["code"] == "start" and commands["start"]["from"] == {"holder": ["scheduled"]}
    assert commands["cancel"]["from"]["customer"] == ["open", "requested"]
    assert commands["cancel"]["from"]["ops"] == ["open", "requested", "awaiting_confirmation"]
    assert "to" not in commands["confirm"] and commands["capture"]["to"] == "paid"
    assert told["edit"]["open"] == ["*"] and told["propose"] == ["scheduled"]
    events = by_name(told["events"], "type")
    assert (events["job.assigned"]["event"], events["job.created"]["event"]) == ("JOB_ASSIGNED", "job.created")


async def test_names_by_reason_and_announcements_are_told(customer: Client) -> None:
    """`offer.closed` has its name by reason; what ops announce is marked."""
    home = (await customer("GET", "/v1/blueprints/home_service")).json()["blueprint"]
    assert by_name(home["events"], "type")["offer.closed"]["by_reason"] == {"taken": "job_taken"}
    delivery = (await customer("GET", "/v1/blueprints/delivery")).json()["blueprint"]
    assert by_name(delivery["events"], "type")["promotion"] == {
        "type": "promotion",
        "event": "offer:new",
        "announcement": True,
    }


async def test_a_running_jobs_own_version_can_be_read(customer: Client) -> None:
    """By the key that a job keeps for its whole life."""
    told = (await customer("GET", "/v1/blueprints/delivery@2")).json()["blueprint"]
    assert (told["name"], told["version"]) == ("delivery", 2)
