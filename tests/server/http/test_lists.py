"""Lists: what a cursor may be, and what they say of how far they know."""

from __future__ import annotations

import pytest

from engine.archive.paging import encode_cursor
from engine.types import Role
from tests.server.http.client import Client, pointers
from tests.server.http.conftest import Book


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
