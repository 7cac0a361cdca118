"""The record of a job, its signature by the customer, and the receipt in the vault: routes, refusals, and the check
that finds a changed bit.
"""

from __future__ import annotations

import base64
import json
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from engine.audit import heads
from engine.audit.server_keys import HeadKey
from engine.rules.canonical import canonical_json, digest_of
from engine.sql.schema import events
from engine.sql.vault_tables import receipts
from engine.types import DEFAULT_ZONE, Role
from server.cli import commands
from server.serve import RunningServer
from tests.server.http import market, people
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Join
from tests.server.http.hostile_packages import check_hostile_files, check_stripped_files
from tests.support import event_log
from tests.support.photos import add_photos
from tests.support.signatures import chunk, make_png, signature_of
from tests.support.wait import wait_until


@pytest.fixture
async def worker(join: Join, admin: Client) -> Client:
    """Return a technician who is the only one to provide the service `worker.service`."""
    worker = await join("technician")
    worker.service = await people.make_service(admin)  # type: ignore[attr-defined]
    await people.approve(worker, admin, worker.service)  # type: ignore[attr-defined]
    await people.go_online(worker)
    return worker


async def finish_job(customer: Client, worker: Client) -> str:
    """Book a managed job, let the technician do the work, and return its id. The job waits for the signature."""
    body = {"service": worker.service, **HERE, "address": "Torstraße 1", "blueprint": "managed"}  # type: ignore[attr-defined]
    job = str((await customer("POST", "/v1/jobs", body)).json()["job"]["id"])

    async def is_assigned() -> bool:
        return (await market.read_job(customer, job))["status"] == "assigned"

    await wait_until(is_assigned, what="the engine's choice")
    for step in ("accept", "depart", "start"):
        await market.run_command(worker, job, step)
    await add_photos(worker.http, worker.token, job)
    await market.run_command(worker, job, "finish")
    return job


async def wait_for_receipt(
    site: RunningServer, customer: Client, receipt: str, *, covered: bool = True
) -> dict[str, Any]:
    """Wait until a receipt is archived and return it. With ``covered``, also wait until a signed head covers it."""
    found: dict[str, Any] = {}

    async def is_there() -> bool:
        answer = await customer("GET", f"/v1/vault/{receipt}")
        found.update(answer.json().get("receipt", {}))
        return answer.status_code == 200

    await wait_until(is_there, what="the receipt")
    if covered:
        engine = site.engine
        await heads.sign_newest(engine.archive, DEFAULT_ZONE, HeadKey(engine.signer))
        found.update((await customer("GET", f"/v1/vault/{receipt}")).json()["receipt"])
    return found


async def sign(customer: Client, job: str, body: dict[str, Any], key: str | None = None) -> Any:
    """Send a signature and return the response."""
    return await customer("POST", f"/v1/jobs/{job}/sign", body, Idempotency_Key=key or str(uuid.uuid4()))


async def test_only_the_customer_signs_what_they_were_shown(
    site: RunningServer,
    customer: Client,
    worker: Client,
    join: Join,
    admin: Client,
    nobody: Client,
    staff: dict[Role, Client],
) -> None:
    """Every refusal before a signature, then the signature, its repeats, and its effects: no other route takes the
    step, a changed record is a version conflict with the new record, and price proposals and edits are refused
    afterwards.
    """
    job = await finish_job(customer, worker)
    path = f"/v1/jobs/{job}/record"
    shown = (await worker("GET", path)).json()
    assert shown == (await customer("GET", path)).json() == (await admin("GET", path)).json()
    assert digest_of(canonical_json(shown["record"])) == shown["sha256"]
    assert shown["record"]["place"] == {
        "lat_e7": 525200000,
        "lon_e7": 134050000,
        "address": "Torstraße 1",
        "postal_code": None,
    }
    assert (shown["record"]["customer"], shown["record"]["technician"]) == (customer.user, worker.user)
    assert list(shown["record"]["times"]["at"])[-1] == "work_done"
    stranger = await join("customer")
    assert code_of(await nobody("GET", path)) == (401, "unauthenticated")
    assert code_of(await stranger("GET", path)) == (404, "not_found")
    good = signature_of(shown)
    assert code_of(await sign(stranger, job, good)) == (404, "not_found")
    assert code_of(await sign(worker, job, good)) == (403, "forbidden")
    assert code_of(await sign(customer, job, {})) == (409, "unsigned")
    report = {"reference": "pi_1", "status": "requested", "amount": 9000, "currency": "EUR"}
    assert code_of(await staff["service"]("POST", f"/v1/jobs/{job}/payments", report)) == (409, "unsigned")
    listed = (await customer("POST", f"/v1/jobs/{job}/commands", {"items": [{"command": "sign"}]})).json()["items"]
    assert listed[0]["error"]["code"] == "unsigned"
    assert "sign" in (await market.read_job(customer, job))["actions"]
    png = make_png()
    for change, pointer in (
        ({"sha256": None}, "/sha256"),
        ({"sha256": shown["sha256"].upper()}, "/sha256"),
        ({"name": None}, "/name"),
        ({"name": "\u200b"}, "/name"),
        ({"image": None}, "/image"),
        ({"strokes": [[[1, 2]]]}, "/image"),
        ({"image": "no base64"}, "/image"),
        ({"image": base64.b64encode(png[:-5]).decode()}, "/image"),
        ({"image": base64.b64encode(b"\xff\xd8\xff" + png).decode()}, "/image"),
        ({"image": base64.b64encode(make_png(5000, 1)).decode()}, "/image"),
        ({"image": base64.b64encode(png.replace(b"IDAT", b"IDAQ")).decode()}, "/image"),
        ({"image": None, "strokes": [[[1, 2]], []]}, "/strokes/1"),
        ({"image": None, "strokes": [[[1.5, 2]]]}, "/strokes/0/0/0"),
        ({"image": None, "strokes": [[[1, 2]] * 2000] * 3}, "/strokes"),
    ):
        body = {name: value for name, value in {**good, **change}.items() if value is not None}
        assert pointer in pointers(await sign(customer, job, body)), change
    changed = await sign(customer, job, {**good, "sha256": "0" * 64})
    assert code_of(changed) == (412, "version_conflict")
    assert changed.json()["record"] == shown["record"] and changed.json()["sha256"] == shown["sha256"]

    key = str(uuid.uuid4())
    tagged = {
        **good,
        "image": "data:image/png;base64," + base64.b64encode(make_png(extra=chunk(b"tEXt", b"GPS"))).decode(),
    }
    done = await sign(customer, job, tagged, key)
    assert done.status_code == 200, done.text
    receipt = done.json()["receipt"]["id"]
    signed = done.json()["job"]["signed"]
    assert (signed["receipt"], signed["sha256"], done.json()["job"]["status"]) == (receipt, shown["sha256"], "signed")
    again = await sign(customer, job, tagged, key)
    assert again.json() == done.json() and again.headers["idempotency-replayed"] == "true"
    assert code_of(await sign(customer, job, {**good, "name": "Other"}, key)) == (422, "reused_key")
    assert (await sign(customer, job, good)).json()["receipt"]["id"] == receipt  # a repeat of their latest step
    for other in ({"image": base64.b64encode(make_png(shade=1)).decode()}, {"name": "Other"}):
        assert code_of(await sign(customer, job, {**good, **other})) == (409, "illegal_transition")
    assert (await customer("GET", path)).json() == shown
    assert code_of(await customer("PATCH", f"/v1/jobs/{job}", {"notes": "x"})) == (409, "not_editable")
    assert code_of(await admin("PATCH", f"/v1/jobs/{job}", {"amount": 1})) == (409, "price_locked")
    requested = [
        e.type for e in await event_log.events(site.engine, job=job) if e.type in ("job.signed", "payment.requested")
    ]
    assert requested == ["job.signed", "payment.requested"]
    assert (await staff["service"]("POST", f"/v1/jobs/{job}/payments", report)).status_code == 201

    whole = await wait_for_receipt(site, customer, receipt)
    assert b"GPS" not in base64.b64decode(whole["image"]["data"])
    assert (whole["record"], whole["name"], whole["pending"]) == (shown["record"], "Carla Customer", False)
    for caller, code in ((nobody, 401), (stranger, 404), (await join("technician"), 404), (worker, 200), (admin, 200)):
        assert (await caller("GET", f"/v1/vault/{receipt}")).status_code == code
    assert code_of(await nobody("GET", f"/v1/vault/{receipt}/verify?sha256={'0' * 64}")) == (404, "not_found")
    assert pointers(await nobody("GET", f"/v1/vault/{receipt}/verify")) == {"/sha256"}
    keys = (await nobody("GET", "/v1/vault/keys")).json()["items"]
    assert {each["use"] for each in keys} == {"audit", "receipt"}


CHECKS = ["record", "photos", "image", "name", "server_signature", "event", "inclusion", "head"]


async def test_each_changed_bit_is_named(
    site: RunningServer,
    customer: Client,
    worker: Client,
    nobody: Client,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A receipt verifies, both by the server and from its file without a server. Both report one changed bit in the
    record, the image, the name, the server's signature or the event by the same check.
    """
    engine = site.engine
    job = await finish_job(customer, worker)
    shown = (await customer("GET", f"/v1/jobs/{job}/record")).json()
    receipt = (await sign(customer, job, signature_of(shown, strokes=True))).json()["receipt"]["id"]
    whole = await wait_for_receipt(site, customer, receipt)
    path = f"/v1/vault/{receipt}/verify?sha256={shown['sha256']}"

    async def verified() -> tuple[bool, list[str]]:
        answer = (await nobody("GET", path)).json()
        return answer["verified"], [c["name"] for c in answer["checks"] if c["result"] != "ok"]

    async def verified_offline() -> tuple[int, list[str]]:
        answer = await customer("GET", f"/v1/vault/{receipt}?format=zip")
        file = tmp_path / "receipt.zip"
        file.write_bytes(answer.content)
        code = commands.run(["vault", "verify", str(file), "--json"])
        found = json.loads(capsys.readouterr().out)
        assert [c["name"] for c in found["checks"]] == CHECKS
        return code, [c["name"] for c in found["checks"] if c["result"] != "ok"]

    assert (await nobody("GET", path)).json()["checks"] == [{"name": name, "result": "ok"} for name in CHECKS]
    assert await verified_offline() == (0, [])
    async with engine.archive.begin_read() as conn:
        row: Any = (await conn.execute(select(receipts).where(receipts.c.id == receipt))).one()
        data = (await conn.execute(select(events.c.data).where(events.c.seq == row.seq))).scalar_one()
    event_row = (events.c.zone == DEFAULT_ZONE) & (events.c.seq == row.seq)

    async def change(table: Any, where: Any, **values: Any) -> None:
        async with engine.archive.begin_write() as conn:
            await conn.execute(update(table).where(where).values(**values))

    here = receipts.c.id == receipt
    other_sign = bytes([row.signature[0] ^ 1]) + row.signature[1:]
    for columns, name in (
        ({"record": row.record.replace("Torstraße 1", "Torstraße 0")}, "record"),
        ({"record": None}, "record"),
        ({"name": row.name.replace("C", "B", 1)}, "name"),
        ({"salt": row.salt[:-1] + ("0" if row.salt[-1] != "0" else "1")}, "name"),
        ({"signature": other_sign}, "server_signature"),
        ({"document": row.document.replace('"seq":', '"seq":1')}, "server_signature"),
    ):
        await change(receipts, here, **columns)
        good, wrong = await verified()
        assert not good and name in wrong, (columns, wrong)
        code, offline = await verified_offline()
        assert (code, offline) == (1, wrong), columns
        await change(receipts, here, **{column: getattr(row, column) for column in columns})
    await change(events, event_row, data=data.replace("Torstra", "Torstrb"))
    assert await verified() == (False, ["event"])
    assert await verified_offline() == (1, ["event"])
    await change(events, event_row, data=data)

    image = await engine.blobs.read(row.image)
    engine.blobs.path_of(row.image).write_bytes(bytes([image[0] ^ 1]) + image[1:])  # type: ignore[attr-defined]
    assert await verified() == (False, ["image"])
    assert await verified_offline() == (1, ["image"])
    engine.blobs.path_of(row.image).write_bytes(image)  # type: ignore[attr-defined]
    photo = shown["record"]["photos"][1]["sha256"]
    pixels = await engine.blobs.read(photo)
    engine.blobs.path_of(photo).write_bytes(pixels[:-1] + bytes([pixels[-1] ^ 1]))  # type: ignore[attr-defined]
    assert await verified() == (False, ["photos"])
    assert await verified_offline() == (1, ["photos"])
    engine.blobs.path_of(photo).write_bytes(pixels)  # type: ignore[attr-defined]
    await engine.blobs.delete(row.image)
    assert await verified() == (False, ["image"])
    await engine.blobs.put(row.image, image)
    assert await verified() == (True, [])
    assert await verified_offline() == (0, [])
    assert whole["event"]["data"] == data
    check_files_that_are_none(tmp_path, capsys)
    check_hostile_files(tmp_path, capsys)
    check_stripped_files(tmp_path, capsys)


def check_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check the messages of the command for a missing file, for a file that is not a receipt, and for other public
    keys.
    """
    good = tmp_path / "receipt.zip"
    (tmp_path / "none.zip").write_bytes(b"PK nothing")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("receipt.json", "{}")
    for name in ("missing.zip", "none.zip", "other.zip"):
        assert commands.run(["vault", "verify", str(tmp_path / name)]) == 2
        assert capsys.readouterr().err.startswith("callout: ")
    assert commands.run(["vault", "verify", str(good), "--public-key", base64.b64encode(bytes(32)).decode()]) == 1
    out = capsys.readouterr().out
    assert "WRONG: server_signature, head" in out
