"""Tests of bids over HTTP: refused bids, the replies, and which bids each user may read."""

from __future__ import annotations

import uuid

import pytest

from tests.server.http import people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book, Join

MARKETPLACE = {"blueprint": "marketplace"}


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"amount": -1}, {"/amount"}),
        ({"amount": "10"}, {"/amount"}),
        ({"amount": 1.5, "note": 3}, {"/amount", "/note"}),
        ({"note": "x" * 4001}, {"/note"}),
        ({"price": 1}, {"/price"}),
    ],
)
async def test_a_bad_bid_is_refused(
    body: dict[str, object], wrong: set[str], technician: Client, customer: Client, book: Book
) -> None:
    """A bid with invalid fields is refused, the refusal names each of them, and no bid is stored."""
    job = (await book(customer, **MARKETPLACE))["id"]
    assert pointers(await technician("POST", f"/v1/jobs/{job}/bids", body)) == wrong
    assert (await customer("GET", f"/v1/jobs/{job}/bids")).json()["items"] == []


async def test_a_job_or_bid_that_the_caller_may_not_see_is_404(
    technician: Client, customer: Client, join: Join, book: Book, admin: Client
) -> None:
    """A job without bidding, an unknown job or bid, and a job or bid of somebody else are refused with 404. A bid by a
    technician without an approved profile is refused with 403 `profile_incomplete`.
    """
    other_job, job = (await book(customer))["id"], (await book(customer, **MARKETPLACE))["id"]
    assert code_of(await technician("POST", f"/v1/jobs/{other_job}/bids", {}))[0] == 404
    bid = (await technician("POST", f"/v1/jobs/{job}/bids", {})).json()["bid"]["id"]
    stranger = await join("customer")
    unfit = await join("technician")
    for caller, method, path in (
        (customer, "POST", f"/v1/jobs/{job}/bids/bid_none/accept"),
        (customer, "POST", f"/v1/jobs/{job}/bids/%7Bmain%7D/accept"),
        (stranger, "POST", f"/v1/jobs/{job}/bids/{bid}/accept"),
        (stranger, "GET", f"/v1/jobs/{job}/bids"),
        (unfit, "GET", f"/v1/jobs/{job}/bids"),
        (unfit, "POST", f"/v1/jobs/{job}/bids/{bid}/withdraw"),
        (admin, "GET", "/v1/jobs/job_main_00000000000000000000000000/bids"),
    ):
        assert code_of(await caller(method, path, None if method == "GET" else {})) == (404, "not_found"), path
    assert code_of(await unfit("POST", f"/v1/jobs/{job}/bids", {})) == (403, "profile_incomplete")


async def test_bid_commands_are_refused_on_the_command_route(technician: Client, customer: Client, book: Book) -> None:
    """The route for commands refuses `bid`, `withdraw` and `award`, which need further arguments. The refusal names the
    route to use.
    """
    job = (await book(customer, **MARKETPLACE))["id"]
    for caller, command in ((technician, "bid"), (technician, "withdraw"), (customer, "award")):
        refused = await caller("POST", f"/v1/jobs/{job}/{command}", {})
        assert code_of(refused) == (422, "invalid") and "/v1/jobs/{id}/bids" in refused.json()["detail"]


async def test_versions_must_agree_and_be_the_current_one(technician: Client, customer: Client, book: Book) -> None:
    """`If-Match` and the body's `version` have the same meaning. Two different values are refused with `invalid`, and a
    value that is not the job's version with 412 `version_conflict`.
    """
    job = (await book(customer, **MARKETPLACE))["id"]
    path = f"/v1/jobs/{job}/bids"
    assert pointers(await technician("POST", path, {"version": 1}, If_Match='"2"')) == {"/version"}
    stale = await technician("POST", path, {}, If_Match='"9"')
    assert code_of(stale) == (412, "version_conflict") and stale.json()["job"]["version"] == 1
    bid = (await technician("POST", path, {"version": 1}, If_Match='"1"')).json()["bid"]["id"]
    assert code_of(await customer("POST", f"{path}/{bid}/accept", {"version": 9})) == (412, "version_conflict")
    accepted = await customer("POST", f"{path}/{bid}/accept", {"version": 1})
    assert accepted.status_code == 200 and accepted.headers["etag"] == '"2"'


async def test_a_bid_is_made_once_withdrawn_and_made_again(technician: Client, customer: Client, book: Book) -> None:
    """A bid returns 201 with Location, a second bid is refused with `duplicate`, and a repeat with the same key returns
    the first reply. After `withdraw` the technician can bid again.
    """
    job = (await book(customer, **MARKETPLACE))["id"]
    path, key = f"/v1/jobs/{job}/bids", str(uuid.uuid4())
    answer = await technician("POST", path, {"amount": 8000, "note": "Tomorrow"}, Idempotency_Key=key)
    assert answer.status_code == 201 and answer.headers["location"] == path
    assert answer.json()["message"] == "Bid received" and answer.json()["bid"]["status"] == "open"
    assert code_of(await technician("POST", path, {"amount": 1})) == (409, "duplicate")
    again = await technician("POST", path, {"amount": 8000, "note": "Tomorrow"}, Idempotency_Key=key)
    assert again.json() == answer.json() and again.headers["idempotency-replayed"] == "true"
    bid = answer.json()["bid"]["id"]
    withdrawn = await technician("POST", f"{path}/{bid}/withdraw")
    assert withdrawn.json()["bid"] == {**answer.json()["bid"], "status": "withdrawn"}
    assert code_of(await customer("POST", f"{path}/{bid}/accept")) == (409, "illegal_transition")
    assert (await technician("POST", path)).json()["bid"]["amount"] is None


async def test_bids_are_shown_to_the_customer_ops_and_their_bidder(
    technician: Client, customer: Client, join: Join, book: Book, admin: Client, service: str
) -> None:
    """The customer and ops read all bids, in pages, and a technician only their own. Accepting a bid sets the job's
    amount and holder, and the other bid becomes `declined`.
    """
    job = (await book(customer, **MARKETPLACE))["id"]
    path = f"/v1/jobs/{job}/bids"
    other = await join("technician")
    await people.approve(other, admin, service)
    for caller, amount in ((technician, 8000), (other, 7000)):
        read = (await caller("GET", f"/v1/jobs/{job}")).json()["job"]
        assert read["actions"] == ["bid"] and read.get("customer") is None
        assert (await caller("POST", path, {"amount": amount})).status_code == 201
        assert (await caller("GET", f"/v1/jobs/{job}")).json()["job"]["actions"] == ["withdraw"]
    listed = (await admin("GET", path)).json()
    assert [bid["amount"] for bid in listed["items"]] == [8000, 7000] and listed["as_of"]["main"]["seq"] > 0
    first = await customer("GET", f"{path}?limit=1")
    assert [bid["amount"] for bid in first.json()["items"]] == [8000] and 'rel="next"' in first.headers["link"]
    rest = (await customer("GET", f"{path}?limit=1&cursor={first.json()['next']}")).json()
    assert [bid["amount"] for bid in rest["items"]] == [7000] and rest["next"] is None
    assert [bid["amount"] for bid in (await other("GET", path)).json()["items"]] == [7000]
    answer = await customer("POST", f"{path}/{rest['items'][0]['id']}/accept")
    assert answer.json()["message"] == "Bid accepted"
    assert (answer.json()["job"]["amount"], answer.json()["job"]["technician"]["id"]) == (7000, other.user)
    assert {bid["status"] for bid in (await customer("GET", path)).json()["items"]} == {"declined", "accepted"}
    history = (await customer("GET", f"/v1/jobs/{job}/history")).json()["items"]
    assert [line["command"] for line in history if line["actor"] == f"customer:{customer.user}"][:2] == [
        "create",
        "award",
    ]
