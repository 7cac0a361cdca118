"""``callout snapshot``, ``restore`` and ``export``."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.faults.crowd import scenario_on
from tests.support.process import run_callout, run_server
from tests.support.wait import wait_until


async def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    """A directory that exists, a server that does not run, no snapshot, and a data directory with data are refused with
    one line and exit code 2."""
    data = str(tmp_path / "data")
    (tmp_path / "full").mkdir()
    for arguments, why in [
        (("snapshot", str(tmp_path / "full"), "--data", data), "exists already"),
        (("snapshot", str(tmp_path / "new"), "--data", data), "the embedded Valkey does not run"),
        (("restore", str(tmp_path / "full"), "--data", data), "is not a snapshot"),
    ]:
        done = await run_callout(*arguments)
        assert done.code == 2 and why in done.error_line
    (tmp_path / "full" / "snapshot.json").write_text("{}")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "callout.db").touch()
    done = await run_callout("restore", str(tmp_path / "full"), "--data", str(tmp_path / "used"))
    assert done.code == 2 and "has data already" in done.error_line


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ((), "give one of --job, --user and --from"),
        (("--job", "x", "--user", "y"), "give one of"),
        (("--job", "x"), "is not the id of a job"),
        (("--user", "a b"), "an id is"),
        (("--to", "4"), "give one of"),
        (("--from", "4", "--to", "3"), "not below it"),
        (("--from", "4", "--zone", "A B"), "is not the name of a zone"),
    ],
)
async def test_wrong_exports_are_refused(tmp_path: Path, flags: tuple[str, ...], why: str) -> None:
    """An export of nothing, of two things, or of an impossible one is refused."""
    done = await run_callout("export", *flags, "--data", str(tmp_path))
    assert done.code == 2 and why in done.error_line


async def _is_archived(data: Path) -> bool:
    done = await run_callout("zone", "status", "--json", "--data", str(data))
    return bool(json.loads(done.out)["main"]["lag"] == 0)


async def export(data: Path, *flags: str) -> list[Any]:
    """Return the lines of an export."""
    done = await run_callout("export", *flags, "--data", str(data))
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


async def test_a_snapshot_of_a_serving_server_is_restored(tmp_path: Path) -> None:
    """A snapshot is taken while jobs are claimed. A server that is restored from it has every claim that was
    acknowledged before, nothing of later, and goes on in a new epoch; its export is complete."""
    data, copy, again = tmp_path / "data", tmp_path / "copy", tmp_path / "again"
    async with run_server(data, limits="off") as server, scenario_on(server) as scenario:
        customer, technician = await scenario.create_person("customer"), await scenario.create_technician(capacity=9)
        claimed = [await scenario.book_job(customer) for _ in range(3)]
        await wait_until(lambda: technician.count_types()["offer.created"] == 3, what="the offers")
        for job in claimed:
            await technician.socket.request("claim", job=job)
        done = await run_callout("snapshot", str(copy), "--data", str(data))
        assert done.code == 0, done.err
        later = await scenario.book_job(customer)
    manifest = json.loads(done.out)
    assert manifest["redis_bytes"] > 1_000 and manifest["sql_bytes"] > 10_000
    assert {stat.S_IMODE(file.stat().st_mode) & 0o077 for file in copy.iterdir()} == {0}
    assert (await run_callout("restore", str(copy), "--data", str(again))).code == 0
    async with run_server(again, limits="off") as server, scenario_on(server) as scenario:
        for job in claimed:
            assert (await scenario.read_job(job))["technician"]["id"] == technician.id
        with pytest.raises(Exception, match="not_found"):
            await scenario.read_job(later)
        await scenario.create_technician()
        await wait_until(lambda: _is_archived(again), what="the archive")
    everything = await export(again, "--from", "1")
    assert [line["seq"] for line in everything] == list(range(1, len(everything) + 1))
    assert everything[4:6] == await export(again, "--from", "5", "--to", "6")
    of_job = await export(again, "--job", claimed[0])
    assert [line["kind"] for line in of_job[:2]] == ["job", "event"]
    assert {line["type"] for line in of_job[1:]} >= {"job.created", "offer.created", "job.accepted"}
    of_user = await export(again, "--user", technician.id)
    assert sum(line["kind"] == "job" for line in of_user) == 3
    assert all(f"user:{technician.id}" in line["to"] for line in of_user if line["kind"] == "event")
    missing = await run_callout("export", "--job", later, "--data", str(again))
    assert (missing.code, missing.error_line) == (1, f"the archive has no job {later}")
