"""Tests of `/v1/blueprints`: the states, commands and events that a client needs to show jobs and their actions."""

from __future__ import annotations

from typing import Any

from server.serve import RunningServer
from tests.server.http.client import Client, code_of


def index_by(items: list[dict[str, Any]], member: str = "name") -> dict[str, dict[str, Any]]:
    """Return the items by the value of one of their members."""
    return {item[member]: item for item in items}


async def test_a_token_is_required(nobody: Client) -> None:
    """Without a token the list and a single blueprint are refused with 401 `unauthenticated`."""
    assert code_of(await nobody("GET", "/v1/blueprints")) == (401, "unauthenticated")
    assert code_of(await nobody("GET", "/v1/blueprints/delivery")) == (401, "unauthenticated")


async def test_an_unknown_blueprint_is_not_found(customer: Client) -> None:
    """An unknown name and an unknown version of a blueprint are refused with 404 `not_found`."""
    for name in ("nothing", "delivery@999", "delivery@", "%20"):
        assert code_of(await customer("GET", f"/v1/blueprints/{name}")) == (404, "not_found"), name


async def test_all_are_listed_and_one_is_the_default(customer: Client, site: RunningServer) -> None:
    """The list contains every blueprint, sorted by name. Only the server's default blueprint has `default`."""
    reply = (await customer("GET", "/v1/blueprints")).json()
    assert [item["name"] for item in reply["items"]] == sorted(site.engine.blueprints.by_name)
    assert [item["name"] for item in reply["items"] if item["default"]] == [site.engine.settings.blueprint]
    assert reply["next"] is None


async def test_a_blueprint_lists_its_states_commands_edits_and_events(customer: Client) -> None:
    """A blueprint contains its states in order with phase and text, who may send each command in which states, which
    fields may be edited in which states, and the event names.
    """
    blueprint = (await customer("GET", "/v1/blueprints/marketplace")).json()["blueprint"]
    assert (blueprint["initial"], blueprint["named"], blueprint["technician"]) == ("open", "requested", "optional")
    assert [state["name"] for state in blueprint["states"]][:3] == ["open", "requested", "scheduled"]
    states, commands = index_by(blueprint["states"]), index_by(blueprint["commands"])
    assert (states["paid"]["phase"], states["paid"]["says"]) == ("done", "Paid")
    assert states["completed_by_technician"]["then"] == "awaiting_confirmation"
    assert commands["start"]["code"] == "start" and commands["start"]["from"] == {"holder": ["scheduled"]}
    assert commands["cancel"]["from"]["customer"] == ["open", "requested"]
    assert commands["cancel"]["from"]["ops"] == ["open", "requested", "awaiting_confirmation"]
    assert "to" not in commands["confirm"] and commands["capture"]["to"] == "paid"
    assert blueprint["edit"]["open"] == ["*"] and blueprint["propose"] == ["scheduled"]
    assert blueprint["price_source"] == "customer"
    events = index_by(blueprint["events"], "type")
    assert (events["job.assigned"]["event"], events["job.created"]["event"]) == ("JOB_ASSIGNED", "job.created")


async def test_a_blueprint_says_where_a_price_comes_from(customer: Client) -> None:
    """Clients can see before a booking whether the service, the customer or a quote sets the price."""
    listed = index_by((await customer("GET", "/v1/blueprints")).json()["items"])
    sources = {name: listed[name]["price_source"] for name in ("home_service", "marketplace", "managed")}
    assert sources == {"home_service": "catalogue", "marketplace": "customer", "managed": "quote"}


async def test_names_by_reason_and_announcements_are_listed(customer: Client) -> None:
    """`offer.closed` lists its event names by reason, and an announcement has the member `announcement`."""
    home = (await customer("GET", "/v1/blueprints/home_service")).json()["blueprint"]
    assert index_by(home["events"], "type")["offer.closed"]["by_reason"] == {"taken": "job_taken"}
    delivery = (await customer("GET", "/v1/blueprints/delivery")).json()["blueprint"]
    assert index_by(delivery["events"], "type")["promotion"] == {
        "type": "promotion",
        "event": "offer:new",
        "announcement": True,
    }


async def test_a_version_of_a_blueprint_can_be_read(customer: Client) -> None:
    """A blueprint can be read by `<name>@<version>`, which a job contains for its whole life."""
    version = (await customer("GET", "/v1/blueprints/delivery")).json()["blueprint"]["version"]
    blueprint = (await customer("GET", f"/v1/blueprints/delivery@{version}")).json()["blueprint"]
    assert (blueprint["name"], blueprint["version"]) == ("delivery", version)
