"""Tests that all lists have pages of the same kind, refuse the same cursors, and state how complete they are."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, get_origin
from urllib.parse import urlencode

import pytest

from engine.domain import demand_pulse, disputes
from engine.errors import Invalid
from engine.rules.pulse import AreaPulse, cell_at
from engine.runtime import Engine
from engine.sql.paging import decode_cursor, encode_cursor
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Role
from engine.workers import scheduler
from server.api.route import Route
from server.api.routes import ROUTES
from server.schemas.earnings import EarningsReply
from server.schemas.lists import Items, ListQuery, LiveItems
from server.serve import RunningServer
from tests.server.http import market, people
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Book, Join
from tests.support import booked_money
from tests.support.photos import tiny_png
from tests.support.wait import wait_until


def is_list(route: Route) -> bool:
    """Return whether a route returns items and the cursor of the next page."""
    return get_origin(route.reply) in (Items, LiveItems) or route.reply is EarningsReply


LIST_ROUTES = [route.name for route in ROUTES if is_list(route)]


TOMORROW = datetime.now(UTC) + timedelta(days=1)
SLOT_QUERY = {"lat": str(HERE["lat"]), "lon": str(HERE["lon"])}
SLOT_QUERY |= {"from": TOMORROW.isoformat(), "to": (TOMORROW + timedelta(hours=5)).isoformat()}


class ListRequest(NamedTuple):
    """A request for a list that has more than one item: the client, the path and the query."""

    reader: Client
    path: str
    query: Mapping[str, str] = MappingProxyType({})

    async def __call__(self, **more: Any) -> Any:
        """Send the request with the query parameters ``more`` added, and return the response."""
        return await self.reader("GET", f"{self.path}?{urlencode({**self.query, **more})}")


ListRequests = dict[str, ListRequest]


@pytest.fixture(scope="module")
async def lists(site: RunningServer, staff: dict[Role, Client], join: Join, nobody: Client) -> ListRequests:
    """Create several items in each list of the route table, and return a request for each list."""
    admin, carla, dora = staff["admin"], await join("customer"), await join("customer")
    service, category = await people.make_service(admin), uuid.uuid4().hex
    for name in (service, await people.make_service(admin)):
        await admin("PATCH", f"/v1/services/{name}", {"category": category})
    tom, una = [await join("technician") for _ in range(2)]
    for technician in (tom, una):
        await people.approve(technician, admin, service)
        await admin("PATCH", f"/v1/technicians/{technician.user}", {"capacity": 10})
        await people.go_online(technician)
        assert (await dora("PUT", f"/v1/me/blocks/{technician.user}")).is_success
    offered = [(await people.book(carla, service))["id"] for _ in range(2)]
    for job in offered:
        await people.wait_for_offer(tom, job)
    await scheduler.open_wave(site.engine, DEFAULT_ZONE, JobId(offered[0]), 2)
    bid_for = f"/v1/jobs/{(await people.book(carla, service, blueprint='marketplace'))['id']}"
    for technician in (tom, una):
        assert (await technician("POST", f"{bid_for}/bids", {"amount": 8000})).status_code == 201
    await _book_disputed_job(carla, tom, service)
    job = f"/v1/jobs/{await _book_disputed_job(carla, tom, service)}"
    for reference in ("pi_1", "pi_2"):
        word = {"reference": reference, "status": "failed", "amount": 1, "currency": "EUR"}
        assert (await staff["service"]("POST", f"{job}/payments", word)).status_code == 201
    for number in range(2):
        assert (await carla("POST", f"{job}/photos", tiny_png(number))).status_code == 201
    for _ in range(2):
        assert (await carla("POST", f"{job}/shares", {})).status_code == 201
    await _store_pulses(site.engine)
    await booked_money.book_earnings(site.engine, tom.user, 1, 2)
    for _ in range(2):
        await booked_money.create_payout(site.engine, tom.user)
    requests = {
        "jobs_find": ListRequest(carla, "/v1/jobs"),
        "jobs_history": ListRequest(carla, f"{job}/history"),
        "jobs_waves": ListRequest(admin, f"/v1/jobs/{offered[0]}/waves"),
        "payments_find": ListRequest(admin, f"{job}/payments"),
        "files_find": ListRequest(carla, f"{job}/photos"),
        "shares_find": ListRequest(carla, f"{job}/shares"),
        "bids_find": ListRequest(carla, f"{bid_for}/bids"),
        "offers_find": ListRequest(tom, "/v1/offers"),
        "disputes_find": ListRequest(carla, "/v1/disputes"),
        "rooms_find": ListRequest(carla, "/v1/rooms"),
        "rooms_find_messages": ListRequest(carla, f"/v1/rooms/{await _say_twice(carla, job)}/messages"),
        "zones_find": ListRequest(carla, "/v1/zones"),
        "earnings_read": ListRequest(tom, f"/v1/technicians/{tom.user}/earnings"),
        "payouts_find": ListRequest(staff["service"], "/v1/payouts", {"technician": tom.user}),
        "demand_find": ListRequest(admin, "/v1/demand"),
        "demand_clusters": ListRequest(admin, "/v1/demand/clusters"),
        "blocks_find": ListRequest(dora, "/v1/me/blocks"),
        "logins_find": ListRequest(await _log_in_twice(nobody), "/v1/me/sessions"),
        "users_find": ListRequest(admin, "/v1/users", {"role": "technician"}),
        "blueprints_find": ListRequest(carla, "/v1/blueprints"),
        "services_find": ListRequest(carla, "/v1/services", {"category": category}),
        "technicians_find": ListRequest(carla, "/v1/technicians", {"service": service}),
        "notifications_find": ListRequest(carla, "/v1/notifications"),
        "slots_find": ListRequest(carla, "/v1/slots", {"service": service, **SLOT_QUERY}),
        "audit_find": ListRequest(admin, "/v1/audit", {"action": "payment.*"}),
        "audit_find_keys": ListRequest(nobody, "/v1/vault/keys"),
    }
    await wait_until(lambda: _has_several_items(requests["notifications_find"]), what="two notifications")
    return requests


async def _book_disputed_job(customer: Client, technician: Client, service: str) -> str:
    job = (await people.book(customer, service, blueprint="direct_booking", technician=technician.user))["id"]
    await market.run_command(technician, job, "accept")
    assert (await customer("POST", f"/v1/jobs/{job}/disputes", {"reason": "It drips"})).status_code == 201
    return str(job)


async def _store_pulses(engine: Engine) -> None:
    """Store the pulse of two cells that are far from each other."""
    cells = {cell_at(lat, 13.4): demand_pulse.encode_pulse(AreaPulse(sample=40)) for lat in (52.5, 53.5)}
    now = await engine.store.command("HGET", keys.zone_meta(DEFAULT_ZONE), "now")
    await demand_pulse.store_pulses(engine, DEFAULT_ZONE, "cell", cells, int(now))


async def _say_twice(customer: Client, job_path: str) -> str:
    """Say two messages in the room of a job, and return the room's id."""
    room = str((await customer("GET", job_path)).json()["job"]["room"])
    for text in ("Hello", "Are you there?"):
        said = await customer("POST", f"/v1/rooms/{room}/messages", {"text": text, "client_id": uuid.uuid4().hex})
        assert said.status_code == 201, said.text
    return room


async def _log_in_twice(nobody: Client) -> Client:
    """Register a customer, log them in again, and return the client of the second login."""
    login = {"email": f"{uuid.uuid4().hex}@example.org", "password": "correct horse"}
    assert (await nobody("POST", "/v1/auth/register", {**login, "name": "Eve", "role": "customer"})).is_success
    reply = (await nobody("POST", "/v1/auth/login", login)).json()
    return Client(nobody.http, reply["access_token"], reply["user"]["id"])


async def _has_several_items(list_request: ListRequest) -> bool:
    return len((await list_request()).json()["items"]) > 1


def test_every_list_accepts_limit_and_cursor() -> None:
    """The routes that accept `limit` and `cursor` are exactly those that return the cursor of the next page."""
    assert [route.name for route in ROUTES if issubclass(route.query, ListQuery)] == LIST_ROUTES


@pytest.mark.parametrize("name", LIST_ROUTES)
async def test_every_list_refuses_an_invalid_page(name: str, lists: ListRequests) -> None:
    """An invalid `limit`, a cursor that the list did not return, and an unknown parameter are refused. The refusal
    names the parameter.
    """
    for limit in ("0", "201", "-1", "ten", "1.5", ""):
        assert pointers(await lists[name](limit=limit)) == {"/limit"}, limit
    for cursor in ("", "nonsense!", "AAAA", encode_cursor("x", "y", "z")):
        assert pointers(await lists[name](cursor=cursor)) == {"/cursor"}, cursor
    assert pointers(await lists[name](page=2)) == {"/page"}


@pytest.mark.parametrize(
    "name", [name for name in LIST_ROUTES if name not in ("zones_find", "audit_find_keys")]
)  # there is one
async def test_every_list_has_pages(name: str, lists: ListRequests) -> None:
    """The pages of a list contain the items of the whole list, each once and in the same order. The last page has no
    `next`. A cursor of 600 characters is refused.
    """
    list_request, whole = lists[name], (await lists[name](limit=200)).json()
    assert whole["next"] is None
    assert len(whole["items"]) > 1
    step = 1 if len(whole["items"]) < 20 else len(whole["items"]) // 3
    items: list[Any] = []
    more: dict[str, str] = {}
    while True:
        answer = await list_request(limit=step, **more)
        page = answer.json()
        assert len(page["items"]) <= step
        items += page["items"]
        if page["next"] is None:
            break
        more = {"cursor": page["next"]}
        assert urlencode(more) in answer.headers["link"]
    assert items == whole["items"]
    assert code_of(await list_request(limit=step, cursor="A" * 600)) == (422, "invalid")


@pytest.mark.parametrize("number", [2**63, -(2**63), 10**40])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/users", "/v1/notifications"])
async def test_a_cursor_that_no_column_can_have_is_refused(path: str, number: int, admin: Client) -> None:
    """A cursor with a number of more than 64 bits, or with a zero byte, which a text of PostgreSQL cannot have, is
    refused with `invalid`, not with 500.
    """
    for cursor in (encode_cursor(number, "x"), encode_cursor(1, "a\0"), encode_cursor("a\0")):
        assert pointers(await admin("GET", f"{path}?cursor={cursor}")) == {"/cursor"}
    with pytest.raises(Invalid):
        decode_cursor(encode_cursor("a\0"), tuple[str])


@pytest.mark.parametrize("lat", [85.1, -90])
async def test_a_search_near_a_pole_is_refused(lat: float, customer: Client, service: str) -> None:
    """A search for technicians at a latitude that Redis cannot index is refused at `/lat`."""
    answer = await customer("GET", f"/v1/technicians?service={service}&lat={lat}&lon=0")
    assert pointers(answer) == {"/lat"}


async def test_an_empty_list_has_as_of(customer: Client, staff: dict[Role, Client], book: Book) -> None:
    """An empty list also has `as_of`, the cursor up to which the list is complete. Its seq is not lower than in an
    earlier reply.
    """
    await book(customer)
    as_of = (await customer("GET", "/v1/jobs")).json()["as_of"]["main"]
    for caller, query in ((customer, "?customer=somebody"), (staff["mediator"], "")):
        page = (await caller("GET", f"/v1/jobs{query}")).json()
        assert page["items"] == []
        assert page["as_of"]["main"]["epoch"] == as_of["epoch"]
        assert page["as_of"]["main"]["seq"] >= as_of["seq"]


async def test_disputes_are_read_in_batches(lists: ListRequests, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of disputes contains the same items if its script reads only two jobs in a run."""
    all_items = (await lists["disputes_find"]()).json()["items"]
    monkeypatch.setattr(disputes, "BATCH_SIZE", 2)
    assert (await lists["disputes_find"]()).json()["items"] == all_items
