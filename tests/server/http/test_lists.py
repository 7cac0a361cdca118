"""Lists: all of them come in pages alike, what a cursor may be, and what they say of how far they know."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, get_origin
from urllib.parse import urlencode

import pytest

from engine.domain import disputes
from engine.sql.paging import encode_cursor
from engine.types import DEFAULT_ZONE, JobId, Role
from engine.workers import scheduler
from server.api.route import Route
from server.api.routes import ROUTES
from server.schemas.lists import Items, ListQuery, LiveItems
from server.serve import Running
from tests.server.http import market, people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book, Join
from tests.support.wait import wait_until


def is_list(route: Route) -> bool:
    """Whether a route answers with items and the cursor of the next page."""
    return get_origin(route.reply) in (Items, LiveItems)


LISTS = [route.name for route in ROUTES if is_list(route)]


class List(NamedTuple):
    """A list with more than one item: who reads it, where, and narrowed to what."""

    reader: Client
    path: str
    query: Mapping[str, str] = MappingProxyType({})

    async def __call__(self, **more: Any) -> Any:
        """The answer to a request for it."""
        return await self.reader("GET", f"{self.path}?{urlencode({**self.query, **more})}")


Lists = dict[str, List]


@pytest.fixture(scope="module")
async def lists(site: Running, staff: dict[Role, Client], join: Join, nobody: Client) -> Lists:
    """Each list of the table with several items in it."""
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
    await _disputed(carla, tom, service)
    job = f"/v1/jobs/{await _disputed(carla, tom, service)}"
    for reference in ("pi_1", "pi_2"):
        word = {"reference": reference, "status": "failed", "amount": 1, "currency": "EUR"}
        assert (await staff["service"]("POST", f"{job}/payments", word)).status_code == 201
    found = {
        "jobs_find": List(carla, "/v1/jobs"),
        "jobs_history": List(carla, f"{job}/history"),
        "jobs_waves": List(admin, f"/v1/jobs/{offered[0]}/waves"),
        "payments_find": List(admin, f"{job}/payments"),
        "bids_find": List(carla, f"{bid_for}/bids"),
        "offers_find": List(tom, "/v1/offers"),
        "disputes_find": List(carla, "/v1/disputes"),
        "blocks_find": List(dora, "/v1/me/blocks"),
        "logins_find": List(await _twice(nobody), "/v1/me/sessions"),
        "users_find": List(admin, "/v1/users", {"role": "technician"}),
        "blueprints_find": List(carla, "/v1/blueprints"),
        "catalogue_find": List(carla, "/v1/services", {"category": category}),
        "technicians_find": List(carla, "/v1/technicians", {"service": service}),
        "notifications_find": List(carla, "/v1/notifications"),
    }
    await wait_until(lambda: _several(found["notifications_find"]), what="two notifications")
    return found


async def _disputed(customer: Client, technician: Client, service: str) -> str:
    job = (await people.book(customer, service, blueprint="direct_booking", technician=technician.user))["id"]
    await market.run_command(technician, job, "accept")
    assert (await customer("POST", f"/v1/jobs/{job}/disputes", {"reason": "It drips"})).status_code == 201
    return str(job)


async def _twice(nobody: Client) -> Client:
    """A customer who has signed in twice."""
    who = {"email": f"{uuid.uuid4().hex}@example.org", "password": "correct horse"}
    assert (await nobody("POST", "/v1/auth/register", {**who, "name": "Eve", "role": "customer"})).is_success
    told = (await nobody("POST", "/v1/auth/login", who)).json()
    return Client(nobody.http, told["access_token"], told["user"]["id"])


async def _several(one: List) -> bool:
    return len((await one()).json()["items"]) > 1


def test_every_list_takes_limit_and_cursor() -> None:
    """And its answer is one that says what comes next."""
    assert [route.name for route in ROUTES if issubclass(route.query, ListQuery)] == LISTS


@pytest.mark.parametrize("name", LISTS)
async def test_no_list_takes_a_wrong_page(name: str, lists: Lists) -> None:
    """Of a limit that is none, or a cursor that no page of it gave, the refusal names the parameter."""
    for limit in ("0", "201", "-1", "ten", "1.5", ""):
        assert pointers(await lists[name](limit=limit)) == {"/limit"}, limit
    for cursor in ("", "nonsense!", "AAAA", encode_cursor("x", "y", "z")):
        assert pointers(await lists[name](cursor=cursor)) == {"/cursor"}, cursor
    assert pointers(await lists[name](page=2)) == {"/page"}


@pytest.mark.parametrize("name", LISTS)
async def test_every_list_comes_in_pages(name: str, lists: Lists) -> None:
    """By ones it is what it is as a whole: each item once, in the same order, the last page without a next one."""
    one, whole = lists[name], (await lists[name](limit=200)).json()
    assert whole["next"] is None
    assert len(whole["items"]) > 1
    step = 1 if len(whole["items"]) < 20 else len(whole["items"]) // 3
    items: list[Any] = []
    more: dict[str, str] = {}
    while True:
        answer = await one(limit=step, **more)
        page = answer.json()
        assert len(page["items"]) <= step
        items += page["items"]
        if page["next"] is None:
            break
        more = {"cursor": page["next"]}
        assert urlencode(more) in answer.headers["link"]
    assert items == whole["items"]
    assert code_of(await one(limit=step, cursor="A" * 600)) == (422, "invalid")


@pytest.mark.parametrize("number", [2**63, -(2**63), 10**40])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/users", "/v1/notifications"])
async def test_a_cursor_that_no_column_holds_is_refused(path: str, number: int, admin: Client) -> None:
    """A number beyond 64 bits is none that a page gave: invalid, not a fault of the server."""
    answer = await admin("GET", f"{path}?cursor={encode_cursor(number, 'x')}")
    assert pointers(answer) == {"/cursor"}


@pytest.mark.parametrize("lat", [85.1, -90])
async def test_nobody_is_near_a_pole(lat: float, customer: Client, service: str) -> None:
    """Where no position can be indexed nothing can be looked for."""
    answer = await customer("GET", f"/v1/technicians?service={service}&lat={lat}&lon=0")
    assert pointers(answer) == {"/lat"}


async def test_an_empty_list_knows_how_far_too(customer: Client, staff: dict[Role, Client], book: Book) -> None:
    """Asked for somebody else's jobs, a list is empty and still carries `as_of`, not below what was given."""
    await book(customer)
    whole = (await customer("GET", "/v1/jobs")).json()["as_of"]["main"]
    for who, query in ((customer, "?customer=somebody"), (staff["mediator"], "")):
        found = (await who("GET", f"/v1/jobs{query}")).json()
        assert found["items"] == []
        assert found["as_of"]["main"]["epoch"] == whole["epoch"]
        assert found["as_of"]["main"]["seq"] >= whole["seq"]


async def test_disputes_are_looked_for_in_parts(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few jobs a script looks at, all disputes are found, each once."""
    whole = (await lists["disputes_find"]()).json()["items"]
    monkeypatch.setattr(disputes, "BATCH_SIZE", 2)
    assert (await lists["disputes_find"]()).json()["items"] == whole
