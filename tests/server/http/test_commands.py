"""Tests of the route that sends several commands in one request, for a client that was offline. The commands run in
order, each with its own key, up to the first refusal.
"""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.serve import RunningServer
from tests.server.http import market, people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book
from tests.support import event_log

UNKNOWN_JOB = "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g"


def command_item(command: str, **more: Any) -> dict[str, Any]:
    """Return one command of the list, with a new idempotency key."""
    return {"command": command, "key": str(uuid.uuid4()), **more}


async def send_items(caller: Client, job: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Send the commands in one request, assert that the reply is 200, and return the result of each command."""
    answer = await caller("POST", f"/v1/jobs/{job}/commands", {"items": items})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["items"]
    return results


def item_statuses(items: list[dict[str, Any]]) -> list[str]:
    """Return for each command its status, `done` or `not_tried`, or the code of its refusal."""
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
async def test_a_malformed_list_is_refused(technician: Client, items: list[dict[str, Any]], named: set[str]) -> None:
    """A list is refused if it is empty, has more than 50 commands, or contains a malformed command. The refusal names
    the field.
    """
    wrong = pointers(await technician("POST", f"/v1/jobs/{UNKNOWN_JOB}/commands", {"items": items}))
    assert wrong == named


async def test_the_first_refusal_ends_the_list(technician: Client, customer: Client, book: Book) -> None:
    """The commands after the first refused command are `not_tried`, and the commands before it remain done."""
    job = str((await book(customer))["id"])
    assert item_statuses(await send_items(customer, UNKNOWN_JOB, [command_item("cancel"), command_item("cancel")])) == [
        "not_found",
        "not_tried",
    ]
    await people.wait_for_offer(technician, job)
    items = [
        command_item("claim"),
        command_item("depart"),
        command_item("complete"),
        command_item("arrive"),
        command_item("start"),
    ]
    results = await send_items(technician, job, items)
    assert item_statuses(results) == ["done", "done", "illegal_transition", "not_tried", "not_tried"]
    assert [each["key"] for each in results] == [each["key"] for each in items]
    assert results[1]["job"]["status"] == "on_the_way" and results[1]["message"] == "On the way"
    assert results[2]["error"]["status"] == 409 and (await market.read_job(technician, job))["status"] == "on_the_way"


async def test_a_repeated_list_continues_after_the_commands_that_were_done(
    site: RunningServer, technician: Client, customer: Client, book: Book
) -> None:
    """A longer list that begins with the same commands and keys runs only the new commands. Another command with a used
    key is refused with `reused_key`.
    """
    job = str((await book(customer))["id"])
    await people.wait_for_offer(technician, job)
    items = [
        command_item("claim"),
        command_item("depart"),
        command_item("arrive"),
        command_item("start"),
        command_item("complete"),
    ]
    first = await send_items(technician, job, items[:3])
    again = await send_items(technician, job, items)
    assert item_statuses(again) == ["done"] * 5
    assert [each.get("repeated", False) for each in again] == [True, True, True, False, False]
    assert [each["job"]["version"] for each in again[:3]] == [each["job"]["version"] for each in first]
    assert item_statuses(await send_items(technician, job, [{**items[4], "command": "start"}])) == ["reused_key"]
    steps = await market.job_events(site, "job.status", job)
    assert [event_log.payload(event)["command"] for event in steps] == ["depart", "arrive", "start", "complete"]


async def test_concurrent_repeats_of_a_list_run_each_command_once(
    site: RunningServer, technician: Client, customer: Client, book: Book
) -> None:
    """Ten concurrent requests with the same list run each of its commands once."""
    job = str((await book(customer))["id"])
    await people.wait_for_offer(technician, job)
    items = [
        command_item("claim"),
        command_item("depart"),
        command_item("arrive"),
        command_item("start"),
        command_item("complete"),
    ]
    await asyncio.gather(*(send_items(technician, job, items) for _ in range(10)))
    assert (await market.read_job(technician, job))["status"] == "completed"
    assert len(await market.job_events(site, "job.status", job)) == 4


async def test_occurred_at_is_stored_with_the_event(
    site: RunningServer, technician: Client, customer: Client, book: Book
) -> None:
    """`occurred_at` is stored with the event and shown in the history. A time 20 s ahead is reduced to the server's
    time, and a time an hour ahead is refused. The job's own times come from the server's clock.
    """
    job = str((await book(customer))["id"])
    await people.wait_for_offer(technician, job)
    await market.run_command(technician, job, "claim")
    now = datetime.now(UTC)
    ahead = (now + timedelta(hours=1)).isoformat()
    assert pointers(await market.send_command(technician, job, "depart", occurred_at=ahead)) == {"/occurred_at"}
    [refused] = await send_items(technician, job, [command_item("depart", occurred_at=ahead)])
    assert refused["error"]["errors"][0]["pointer"] == "/occurred_at"
    earlier = [(now - timedelta(minutes=minutes)).isoformat(timespec="milliseconds") for minutes in (20, 5)]
    names = ("depart", "arrive")
    results = await send_items(
        technician, job, [command_item(n, occurred_at=at) for n, at in zip(names, earlier, strict=True)]
    )
    assert item_statuses(results) == ["done", "done"]
    assert datetime.fromisoformat(results[1]["job"]["at"]["reached"]) >= now - timedelta(seconds=1)
    events = await market.job_events(site, "job.status", job)
    at = [datetime.fromisoformat(event_log.payload(event)["occurred_at"]) for event in events]
    assert at == [datetime.fromisoformat(text) for text in earlier]
    history = (await customer("GET", f"/v1/jobs/{job}/history")).json()["items"]
    assert [datetime.fromisoformat(each["occurred_at"]) for each in history[-2:]] == at
    assert history[0]["occurred_at"] is None
    fast = (datetime.now(UTC) + timedelta(seconds=20)).isoformat()
    await market.run_command(technician, job, "start", occurred_at=fast)
    [*_, event] = await market.job_events(site, "job.status", job)
    assert datetime.fromisoformat(event_log.payload(event)["occurred_at"]) <= datetime.now(UTC)


async def test_items_have_the_arguments_of_their_commands(technician: Client, customer: Client, book: Book) -> None:
    """Each item accepts the arguments of its command, such as `code` and `version`. A wrong code ends the list, and a
    body that is not an object is `invalid`.
    """
    job = await market.book_and_accept(customer, technician, book)
    codes = await market.read_codes(customer, job)
    wrong = await send_items(
        technician,
        job,
        [command_item("start", code=market.wrong_code(codes["start"])), command_item("start", code=codes["start"])],
    )
    assert item_statuses(wrong) == ["wrong_code", "not_tried"] and wrong[0]["error"]["attempts_left"] == 4
    results = await send_items(
        technician,
        job,
        [command_item("start", code=codes["start"]), command_item("complete", code=codes["completion"])],
    )
    assert item_statuses(results) == ["done", "done"]
    assert item_statuses(await send_items(customer, job, [command_item("confirm", version=1)])) == ["version_conflict"]
    assert code_of(await technician("POST", f"/v1/jobs/{job}/commands", b"[]"))[1] == "invalid"
