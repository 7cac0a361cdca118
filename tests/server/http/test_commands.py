"""Several steps in one call, for who was without a connection: in order, each under its own key, up to a refusal."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.serve import Running
from tests.server.http import market, people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book
from tests.support import event_log

NOWHERE = "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g"


def item(command: str, **more: Any) -> dict[str, Any]:
    """One command with a key of its own."""
    return {"command": command, "key": str(uuid.uuid4()), **more}


async def run(who: Client, job: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Send them; gives what became of each."""
    answer = await who("POST", f"/v1/jobs/{job}/commands", {"items": items})
    assert answer.status_code == 200, answer.text
    told: list[dict[str, Any]] = answer.json()["items"]
    return told


def became(items: list[dict[str, Any]]) -> list[str]:
    """The status of each, or the code of the refused one."""
    return [each["error"]["code"] if "error" in each else each["status"] for each in items]


@pytest.mark.parametrize(
    ("items", "named"),
    [
        ([], {"/items"}),
        ([{"command": "depart"}] * 51, {"/items"}),
        ([{"key": "x"}], {"/items/0/command", "/items/0/key"}),
        ([{"command": "depart", "wings": 2}], {"/items/0/wings"}),
    ],
)
async def test_what_is_malformed(at_work: Client, items: list[dict[str, Any]], named: set[str]) -> None:
    """At most 50, at least one, each a command; nothing of it is done."""
    found = pointers(await at_work("POST", f"/v1/jobs/{NOWHERE}/commands", {"items": items}))
    assert found == named


async def test_the_first_refusal_ends_it(at_work: Client, customer: Client, book: Book) -> None:
    """What comes after is not tried, and what came before stands."""
    job = str((await book(customer))["id"])
    assert became(await run(customer, NOWHERE, [item("cancel"), item("cancel")])) == ["not_found", "not_tried"]
    await people.wait_for_offer(at_work, job)
    items = [item("claim"), item("depart"), item("complete"), item("arrive"), item("start")]
    told = await run(at_work, job, items)
    assert became(told) == ["done", "done", "illegal_transition", "not_tried", "not_tried"]
    assert [each["key"] for each in told] == [each["key"] for each in items]
    assert told[1]["job"]["status"] == "on_the_way" and told[1]["message"] == "On the way"
    assert told[2]["error"]["status"] == 409 and (await market.read_job(at_work, job))["status"] == "on_the_way"


async def test_sent_again_it_goes_on_where_it_was(site: Running, at_work: Client, customer: Client, book: Book) -> None:
    """The same call after a lost answer does nothing twice; a key used for something else is refused."""
    job = str((await book(customer))["id"])
    await people.wait_for_offer(at_work, job)
    items = [item("claim"), item("depart"), item("arrive"), item("start"), item("complete")]
    first = await run(at_work, job, items[:3])
    again = await run(at_work, job, items)
    assert became(again) == ["done"] * 5
    assert [each.get("repeated", False) for each in again] == [True, True, True, False, False]
    assert [each["job"]["version"] for each in again[:3]] == [each["job"]["version"] for each in first]
    assert became(await run(at_work, job, [{**items[4], "command": "start"}])) == ["reused_key"]
    steps = await market.job_events(site, "job.status", job)
    assert [event_log.payload(event)["command"] for event in steps] == ["depart", "arrive", "start", "complete"]


async def test_twice_at_once_it_is_done_once(site: Running, at_work: Client, customer: Client, book: Book) -> None:
    """Ten of the same call at once: each step is taken once."""
    job = str((await book(customer))["id"])
    await people.wait_for_offer(at_work, job)
    items = [item("claim"), item("depart"), item("arrive"), item("start"), item("complete")]
    await asyncio.gather(*(run(at_work, job, items) for _ in range(10)))
    assert (await market.read_job(at_work, job))["status"] == "completed"
    assert len(await market.job_events(site, "job.status", job)) == 4


async def test_when_it_happened(site: Running, at_work: Client, customer: Client, book: Book) -> None:
    """`occurred_at` is told and kept; never in the future; what is decided is decided by the server's clock."""
    job = str((await book(customer))["id"])
    await people.wait_for_offer(at_work, job)
    await market.run_command(at_work, job, "claim")
    now = datetime.now(UTC)
    ahead = (now + timedelta(hours=1)).isoformat()
    assert pointers(await market.send_command(at_work, job, "depart", occurred_at=ahead)) == {"/occurred_at"}
    [refused] = await run(at_work, job, [item("depart", occurred_at=ahead)])
    assert refused["error"]["errors"][0]["pointer"] == "/occurred_at"
    earlier = [(now - timedelta(minutes=left)).isoformat(timespec="milliseconds") for left in (20, 5)]
    names = ("depart", "arrive")
    told = await run(at_work, job, [item(n, occurred_at=at) for n, at in zip(names, earlier, strict=True)])
    assert became(told) == ["done", "done"]
    assert datetime.fromisoformat(told[1]["job"]["at"]["reached"]) >= now - timedelta(seconds=1)
    events = await market.job_events(site, "job.status", job)
    at = [datetime.fromisoformat(event_log.payload(event)["occurred_at"]) for event in events]
    assert at == [datetime.fromisoformat(text) for text in earlier]
    history = (await customer("GET", f"/v1/jobs/{job}/history")).json()["items"]
    assert [datetime.fromisoformat(each["occurred_at"]) for each in history[-2:]] == at
    assert history[0]["occurred_at"] is None
    fast = (datetime.now(UTC) + timedelta(seconds=20)).isoformat()
    await market.run_command(at_work, job, "start", occurred_at=fast)
    [*_, event] = await market.job_events(site, "job.status", job)
    assert datetime.fromisoformat(event_log.payload(event)["occurred_at"]) <= datetime.now(UTC)


async def test_codes_and_reasons_go_along(at_work: Client, customer: Client, book: Book) -> None:
    """Each item takes what its step takes."""
    job = await market.book_and_accept(customer, at_work, book)
    shown = await market.read_codes(customer, job)
    wrong = await run(
        at_work, job, [item("start", code=market.wrong_code(shown["start"])), item("start", code=shown["start"])]
    )
    assert became(wrong) == ["wrong_code", "not_tried"] and wrong[0]["error"]["attempts_left"] == 4
    told = await run(at_work, job, [item("start", code=shown["start"]), item("complete", code=shown["completion"])])
    assert became(told) == ["done", "done"]
    assert became(await run(customer, job, [item("confirm", version=1)])) == ["version_conflict"]
    assert code_of(await at_work("POST", f"/v1/jobs/{job}/commands", b"[]"))[1] == "invalid"
