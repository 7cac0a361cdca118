"""The routes of the audit: the trail (who did what) is for ops, the signed heads and proofs are for anyone."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from engine.audit import signed_note
from engine.process.settings import Settings
from engine.rules import merkle_tree
from engine.types import DEFAULT_ZONE, Role
from engine.zone import control
from server.serve import run_server
from tests.conftest import SlowRefill
from tests.server.http import people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book
from tests.support.http import open_http
from tests.support.wait import wait_until


async def read(client: Client, path: str) -> dict[str, Any]:
    """Return the answer to a GET, which must succeed."""
    answer = await client("GET", path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def wait_for_head(nobody: Client) -> dict[str, Any]:
    """Return the newest head as soon as one is signed."""
    found: dict[str, Any] = {}

    async def has_head() -> bool:
        answer = await nobody("GET", "/v1/audit/main/head")
        found.update(answer.json())
        return answer.status_code == 200

    await wait_until(has_head, what="a head")
    head: dict[str, Any] = found["head"]
    return head


async def wait_for_entry(client: Client, query: str) -> list[dict[str, Any]]:
    """Return the entries of the audit trail for a query as soon as there is one."""
    items: list[dict[str, Any]] = []

    async def is_archived() -> bool:
        items[:] = (await read(client, f"/v1/audit?{query}"))["items"]
        return bool(items)

    await wait_until(is_archived, what="an entry")
    return items


async def test_only_ops_read_the_trail(staff: dict[Role, Client], nobody: Client, customer: Client) -> None:
    """Only ops may read the audit trail. An unknown zone is refused with `not_found`."""
    assert code_of(await nobody("GET", "/v1/audit")) == (401, "unauthenticated")
    assert code_of(await customer("GET", "/v1/audit")) == (403, "forbidden")
    for role, client in staff.items():
        answer = await client("GET", "/v1/audit")
        assert answer.status_code == (200 if role in ("ops_manager", "admin") else 403), role
    assert code_of(await staff["admin"]("GET", "/v1/audit?zone=north")) == (404, "not_found")


@pytest.mark.parametrize(
    ("query", "at"),
    [
        ("zone=Main", "/zone"),
        ("action=Job", "/action"),
        ("action=*", "/action"),
        ("entity=", "/entity"),
        ("id=a%20b", "/id"),
        ("actor=a%20b", "/actor"),
        ("from=yesterday", "/from"),
        ("to=2026-01-01T00:00:00", "/to"),
        ("cursor=nonsense", "/cursor"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "/to"),
        ("from=1969-12-31T23:59:59Z", "/from"),
        ("to=1960-01-01T00:00:00Z", "/to"),
        ("until=2026-01-01T00:00:00Z", "/until"),
    ],
)
async def test_a_wrong_filter_of_the_trail_is_invalid(admin: Client, query: str, at: str) -> None:
    """A malformed or unknown filter is refused with `invalid`, and the refusal has the pointer of the parameter."""
    assert pointers(await admin("GET", f"/v1/audit?{query}")) == {at}


@pytest.mark.parametrize(
    ("query", "at"),
    [
        ("", {"/from", "/to"}),
        ("?from=0&to=1", {"/from"}),
        ("?from=1&to=x", {"/to"}),
        ("?from=1&to=1&tree=0", {"/tree"}),
        ("?from=2&to=1", {"/to"}),
    ],
)
async def test_sizes_that_are_none_are_invalid(nobody: Client, query: str, at: set[str]) -> None:
    """Tree sizes that are missing, zero, not numbers or in the wrong order are refused with `invalid` and the pointer
    of the parameter."""
    assert pointers(await nobody("GET", f"/v1/audit/main/consistency{query}")) == at


async def test_what_the_tree_has_not_is_not_found(nobody: Client) -> None:
    """`not_found` is the refusal of an unknown zone, an event that no signed head covers, an invalid seq, and a size
    that no tree had."""
    for path in (
        "/v1/audit/north/head",
        "/v1/audit/north/1/proof",
        "/v1/audit/north/consistency?from=1&to=1",
        "/v1/audit/main/0/proof",
        "/v1/audit/main/99999999/proof",
        "/v1/audit/main/first/proof",
        "/v1/audit/main/9999999999999999999999/proof",
        "/v1/audit/main/consistency?from=1&to=99999999",
        "/v1/audit/main/consistency?from=1&to=1&tree=7",
    ):
        assert code_of(await nobody("GET", path)) == (404, "not_found"), path


async def test_a_closed_zone_still_shows_its_audit(settings: Settings, slow_refill: SlowRefill) -> None:
    """While an operator has paused the zone, every route of the audit answers as before, up to the limit of the
    protocol; an unknown zone is `not_found`. A route that needs the zone is `unavailable`.
    """
    async with (
        run_server(msgspec.structs.replace(settings, port=0, limits="on")) as server,
        open_http(server.url) as http,
    ):
        nobody, admin = Client(http), people.principal(server, http, "admin")
        paths = ("head", "1/proof", "consistency?from=1&to=1")
        zone = server.engine.store.zones[DEFAULT_ZONE]
        await control.set_paused(server.engine.archive, DEFAULT_ZONE, paused=True)
        await server.engine.store.reopen(DEFAULT_ZONE, stale=zone.epoch)
        assert not zone.open
        assert (await admin("GET", "/v1/audit")).status_code == 200
        assert (await nobody("GET", "/v1/vault/keys")).status_code == 200
        for path in paths:
            assert (await nobody("GET", f"/v1/audit/main/{path}")).status_code in (200, 404), path
            assert code_of(await nobody("GET", f"/v1/audit/north/{path}")) == (404, "not_found")
        assert code_of(await admin("GET", "/v1/audit?zone=north")) == (404, "not_found")
        assert code_of(await admin("GET", "/v1/zones/main/map?bbox=0,0,1,1")) == (503, "unavailable")
        slow_refill("requests")
        customer = people.principal(server, http, "customer")
        answers = [await customer("GET", "/v1/vault/keys") for _ in range(21)]
        assert [each.status_code for each in answers] == [200] * 20 + [429]
        assert answers[0].headers["ratelimit"].startswith('"requests";r=19;t=')
        assert code_of(answers[-1]) == (429, "rate_limited") and int(answers[-1].headers["retry-after"]) > 1


async def test_anyone_verifies_the_tree(admin: Client, nobody: Client, customer: Client, book: Book) -> None:
    """Anyone may read the newest signed head and verify its signature with a public key. Anyone may also read the proof
    of an event, whose leaf hash is in the trail, and the proof that the tree only grew.
    """
    await book(customer)
    shown = await wait_for_head(nobody)
    head = signed_note.parse_head(shown["note"])
    assert (shown["size"], shown["root"], shown["zone"]) == (head.size, head.root.hex(), "main")
    (key, *_) = (await read(nobody, "/v1/vault/keys"))["items"]
    assert (key["use"], key["alg"], "until" in key) == ("audit", "Ed25519", False)
    assert signed_note.is_signed_by(head, base64.b64decode(key["public"]))
    seq = shown["first_seq"] + shown["size"] - 1
    (entry,) = [each for each in await trail(admin) if each["seq"] == seq]
    proof = await read(nobody, f"/v1/audit/main/{seq}/proof")
    signed, given = signed_note.parse_head(proof["head"]["note"]), proof["proof"]
    assert given["leaf"] == entry["leaf"] and given["index"] == seq - shown["first_seq"]
    hashes = [bytes.fromhex(value) for value in given["hashes"]]
    leaf = bytes.fromhex(given["leaf"])
    assert merkle_tree.proves_inclusion(leaf, given["index"], signed.size, hashes, signed.root)
    first = await read(nobody, f"/v1/audit/main/{shown['first_seq']}/proof")
    grown = (await read(nobody, f"/v1/audit/main/consistency?from=1&to={head.size}"))["consistency"]
    path = [bytes.fromhex(value) for value in grown["hashes"]]
    one = bytes.fromhex(first["proof"]["leaf"])
    assert (grown["from"], grown["to"]) == (1, head.size)
    assert merkle_tree.proves_consistency(1, one, head.size, head.root, path)


async def trail(admin: Client) -> list[dict[str, Any]]:
    """Return the whole trail."""
    items, query = [], "?limit=200"
    while True:
        page = await read(admin, f"/v1/audit{query}")
        items += page["items"]
        if page["next"] is None:
            return items
        query = f"?limit=200&cursor={page['next']}"


async def test_the_trail_says_who_did_what(admin: Client, customer: Client, book: Book) -> None:
    """The entries of a job are found by its id, by the actor with an action, and in a span of time."""
    job = (await book(customer))["id"]
    await wait_for_entry(admin, f"entity=job&id={job}")
    (made,) = await wait_for_entry(admin, f"entity=job&id={job}&action=job.created")
    assert (made["actor"], made["entity"], made["id"]) == (f"customer:{customer.user}", "job", job)
    assert len(made["leaf"]) == 64
    whole = await wait_for_entry(admin, f"actor=customer:{customer.user}&action=job.*")
    assert made in whole
    at = made["at"]
    assert made in (await read(admin, f"/v1/audit?from={at}&action=job.created"))["items"]
    assert made not in (await read(admin, f"/v1/audit?to={at}&action=job.created"))["items"]
    assert (await read(admin, f"/v1/audit?entity=room&id={job}"))["items"] == []


async def test_a_change_of_a_price_is_in_the_trail(admin: Client) -> None:
    """A command that changes only SQL, such as a new price of a service, has an entry with its actor in the trail, and
    a leaf in the audit tree as events have."""
    service = await people.make_service(admin)
    assert (await admin("PATCH", f"/v1/services/{service}", {"base_amount": 4321})).status_code == 200
    (entry,) = await wait_for_entry(admin, f"action=audit.service_changed&entity=service&id={service}")
    assert (entry["actor"].partition(":")[0], len(entry["leaf"])) == ("admin", 64)
