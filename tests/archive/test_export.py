"""What `callout export` prints of a job and of a person, on both databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from engine.archive import export, person_export
from engine.archive.export import Line
from engine.runtime import Engine
from engine.types import JobId
from engine.workers import archiver
from tests.support import chat


async def decoded(lines: AsyncIterator[Line]) -> list[dict[str, Any]]:
    """Return the lines as they are printed."""
    return [msgspec.json.decode(msgspec.json.encode(line)) async for line in lines]


async def test_an_export_of_no_job_is_refused(engine: Engine) -> None:
    """A job that the archive does not have is a LookupError."""
    with pytest.raises(LookupError):
        await decoded(export.export_job(engine.archive, JobId("job_main_1")))


async def test_a_job_and_a_person_are_exported(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job has its events and messages. A person has in addition their rows, and no secret; the pages of one row each
    lose nothing.
    """
    for module in (export, person_export):
        monkeypatch.setattr(module, "PAGE_SIZE", 1)
    scene = await chat.book_with_room(engine)
    for text in ("Hello", "Where are you?"):
        await chat.say(engine, scene.customer, scene.room, text)
    await archiver.run_once(engine)
    of_job = await decoded(export.export_job(engine.archive, scene.job))
    kinds = Counter(line["kind"] for line in of_job)
    assert of_job[0]["job"]["id"] == scene.job and (kinds["job"], kinds["message"]) == (1, 2) and kinds["event"] > 1
    seqs = [line["seq"] for line in of_job if line["kind"] == "event"]
    assert seqs == sorted({*seqs})
    of_person = await decoded(person_export.export_person(engine.archive, scene.customer.id))
    said = [line["message"]["text"] for line in of_person if line["kind"] == "message"]
    assert said == ["Hello", "Where are you?"]
    tables = {line["table"] for line in of_person if line["kind"] == "row"}
    assert {"users", "rooms", "room_members"} <= tables and "password_hash" not in str(of_person)
    assert all(line["to"] == [f"user:{scene.customer.id}"] for line in of_person if line["kind"] == "event")
