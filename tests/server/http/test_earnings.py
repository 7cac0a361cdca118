"""Tests of earnings, statements and payouts over HTTP."""

from __future__ import annotations

import csv
import io
import uuid

from engine.events import ms_of
from engine.types import Role
from server.http.statement_csv import safe_cell
from server.serve import RunningServer
from tests.server.http import people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Join
from tests.support import booked_money, event_log
from tests.support.wait import wait_until

MARCH_MS = ms_of("2026-02-28T22:00:00Z")
"""The time of the first earnings. There is one each hour: in UTC, two are in February and the rest in March."""


async def approved_technician(join: Join, staff: dict[Role, Client]) -> Client:
    """Return a technician with a profile."""
    technician = await join("technician")
    await people.approve(technician, staff["admin"], await people.make_service(staff["admin"]))
    return technician


async def test_earnings_are_the_technicians_and_of_ops(
    site: RunningServer, join: Join, staff: dict[Role, Client], nobody: Client
) -> None:
    """Only the technician and ops may read earnings and statements. A balance and a statement add up. A month ends in
    the time zone that the statement names.
    """
    tom, other, carla = await approved_technician(join, staff), await join("technician"), await join("customer")
    await booked_money.book_earnings(site.engine, tom.user, 5, 7, 11, -2, at=MARCH_MS)
    for path in (f"/v1/technicians/{tom.user}/earnings", f"/v1/technicians/{tom.user}/statements?month=2026-03"):
        assert (await nobody("GET", path)).status_code == 401
        assert code_of(await carla("GET", path)) == (403, "forbidden")
        assert code_of(await staff["service"]("GET", path)) == (403, "forbidden")
        assert code_of(await other("GET", path)) == (404, "not_found")
    for month in ("2026-13", "2026-3", "1899-01", "2026-01-01", ""):
        refused = await tom("GET", f"/v1/technicians/{tom.user}/statements?month={month}")
        assert pointers(refused) == {"/month"}, month

    found = (await tom("GET", f"/v1/technicians/{tom.user}/earnings")).json()
    (balance,) = found["balance"]
    assert {**balance, "as_of": 0} == {"currency": "EUR", "pending": 0, "available": 21, "paid_out": 0, "as_of": 0}
    assert balance["as_of"]["main"]["epoch"].startswith("e1-")
    assert [item["amount"] for item in found["items"]] == [-2, 11, 7, 5]
    statements = [
        (await staff["admin"]("GET", f"/v1/technicians/{tom.user}/statements?month={month}")).json()["statement"]
        for month in ("2026-01", "2026-02", "2026-03", "2099-12")
    ]
    assert [each["timezone"] for each in statements] == ["UTC"] * 4
    assert [[(t["opening"], t["closing"]) for t in each["totals"]] for each in statements] == [
        *([], [(0, 12)], [(12, 21)], [(21, 21)])
    ]
    assert [line["balance"] for line in statements[2]["lines"]] == [23, 21]
    assert [each["final"] for each in statements][1::2] == [True, False]

    table = await tom("GET", f"/v1/technicians/{tom.user}/statements?month=2026-03&format=csv")
    assert table.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [(row["kind"], row["amount"], row["balance"]) for row in rows] == [
        *(("opening", "", "12"), ("earned", "11", "23"), ("earned", "-2", "21"), ("closing", "", "21"))
    ]
    asked = await tom("GET", f"/v1/technicians/{tom.user}/statements?month=2026-03", Accept="text/csv")
    assert asked.text == table.text


def test_a_cell_is_never_a_formula() -> None:
    """A text that a spreadsheet program would treat as a formula gets an apostrophe; numbers and other texts do not
    change.
    """
    for text in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"):
        assert safe_cell(text) == f"'{text}"
    assert [safe_cell(value) for value in (-5, "earned", None)] == [-5, "earned", None]


async def test_a_payout_over_http(site: RunningServer, join: Join, staff: dict[Role, Client], nobody: Client) -> None:
    """Only ops and services can request payouts. The technician receives each change of a payout once. A repeat of the
    key or of the reference returns the same payout.
    """
    tom = await approved_technician(join, staff)
    await booked_money.book_earnings(site.engine, tom.user, 500)
    body = {"technician": tom.user, "amount": 500, "currency": "EUR", "reference": f"tr_{uuid.uuid4().hex}"}
    assert (await nobody("POST", "/v1/payouts", body)).status_code == 401
    assert code_of(await tom("POST", "/v1/payouts", body)) == (403, "forbidden")
    assert code_of(await staff["service"]("POST", "/v1/payouts", {**body, "technician": "usr_no"})) == (
        404,
        "not_found",
    )
    for wrong, pointer in (
        ({"amount": 0}, "/amount"),
        ({"currency": "XXQ"}, "/currency"),
        ({"reference": ""}, "/reference"),
    ):
        assert pointers(await staff["service"]("POST", "/v1/payouts", {**body, **wrong})) == {pointer}
    more = {**body, "amount": 501}
    assert code_of(await staff["service"]("POST", "/v1/payouts", more)) == (409, "insufficient_balance")

    key = str(uuid.uuid4())
    first = await staff["service"]("POST", "/v1/payouts", body, Idempotency_Key=key)
    assert first.status_code == 201, first.text
    payout = first.json()["payout"]
    assert {name: payout[name] for name in (*body, "status")} == {**body, "status": "requested"}
    again = await staff["service"]("POST", "/v1/payouts", body, Idempotency_Key=key)
    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")
    assert code_of(await staff["service"]("POST", "/v1/payouts", more, Idempotency_Key=key)) == (422, "reused_key")
    assert (await staff["admin"]("POST", "/v1/payouts", body)).json() == first.json()
    assert code_of(await staff["admin"]("POST", "/v1/payouts", more)) == (409, "duplicate")
    path = f"/v1/payouts/{payout['id']}"
    assert code_of(await tom("POST", path, {"status": "paid"})) == (403, "forbidden")
    assert pointers(await staff["service"]("POST", path, {"status": "requested"})) == {"/status"}
    for _ in range(2):
        assert (await staff["service"]("POST", path, {"status": "paid"})).json()["payout"]["status"] == "paid"
    assert code_of(await staff["service"]("POST", path, {"status": "failed"})) == (409, "illegal_transition")
    listed = (await staff["admin"]("GET", f"/v1/payouts?technician={tom.user}&status=paid")).json()["items"]
    assert listed == [{**payout, "status": "paid"}]

    async def paid_out() -> bool:
        (balance,) = (await tom("GET", f"/v1/technicians/{tom.user}/earnings")).json()["balance"]
        return bool((balance["available"], balance["paid_out"]) == (0, 500))

    await wait_until(paid_out, what="the payout in the balance")
    told = [
        (event.type, event_log.payload(event)["payout"]["status"])
        for event in await event_log.events(site.engine)
        if event.type.startswith("payout.") and f"user:{tom.user}" in event.to
    ]
    assert told == [("payout.requested", "requested"), ("payout.paid", "paid")]
