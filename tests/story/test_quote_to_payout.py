"""The blueprint `managed` from the quote to the payout, with each refusal on the way: photos prove the work, the
customer's signature releases the payment, and what the technician earned is paid out once.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import func, select

from engine.audit import heads
from engine.audit.server_keys import HeadKey
from engine.blueprint import catalogue
from engine.process.settings import Settings
from engine.sql.ledger_tables import ledger_lines
from engine.types import DEFAULT_ZONE
from server.simulation.pictures import draw_picture
from tests.story.conftest import Person, Scenario
from tests.story.test_managed import PLACE, send_command, wait_for_assignment
from tests.support.signatures import signature_of
from tests.support.wait import wait_until

GIF, SVG = b"GIF89a" + bytes(40), b"<svg xmlns='http://www.w3.org/2000/svg'/>"


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with a `managed` whose earnings are available immediately."""
    text = (catalogue.shipped_folder() / "managed.toml").read_text()
    assert "needs_files = { photo = 2 }" in text and "hold_s = 86400" in text
    folder = tmp_path / "blueprints"
    folder.mkdir()
    (folder / "managed.toml").write_text(text.replace("hold_s = 86400", "hold_s = 0"))
    return msgspec.structs.replace(settings, blueprint="managed", blueprints=str(folder))


async def upload(who: Person, job: str, content: bytes, media: str = "image/png") -> httpx.Response:
    """Upload a photo of a job."""
    headers = {"Authorization": f"Bearer {who.bearer}", "Content-Type": media}
    return await who.http.post(f"/v1/jobs/{job}/photos", content=content, headers=headers)


def code_of(reply: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of a refusal."""
    return reply.status_code, str(reply.json().get("code"))


async def take_photos(tom: Person, tina: Person, other: Person, carla: Person, job: str, draw: random.Random) -> None:
    """Let the technician take the photos that the step to finish the work needs."""
    photos = [draw_picture(draw) for _ in range(2)]
    for who in (tina, other):
        assert code_of(await upload(who, job, photos[0])) == (404, "not_found")
    for content, media in ((GIF, "image/png"), (SVG, "image/png"), (photos[0][:-9], "image/png"), (b"", "image/png")):
        assert code_of(await upload(tom, job, content, media)) == (422, "invalid"), content[:8]
    assert code_of(await upload(tom, job, b"{}", "application/json")) == (422, "invalid")
    assert (await upload(tom, job, bytes(8 * 1024 * 1024 + 1))).status_code == 413
    first = await upload(tom, job, photos[0])
    assert first.status_code == 201, first.text
    again = await upload(tom, job, photos[0])
    assert (again.status_code, again.json()["file"]["id"]) == (200, first.json()["file"]["id"])
    refused = await tom.post(f"/v1/jobs/{job}/finish")
    assert code_of(refused) == (409, "files_missing") and refused.json()["missing"] == {"photo": 1}
    assert (await upload(tom, job, photos[1])).status_code == 201
    seen = f"/v1/files/{first.json()['file']['id']}"
    assert (await carla.request("GET", seen)).content.startswith(b"\x89PNG")
    for who in (tina, other):
        assert (await who.request("GET", seen)).status_code == 404


async def sign(scenario: Scenario, carla: Person, other: Person, tom: Person, job: str, draw: random.Random) -> None:
    """Let the customer sign the record that they were shown last. Everybody who has the digest can verify the
    receipt.
    """
    path = f"/v1/jobs/{job}/sign"
    shown = await carla.get(f"/v1/jobs/{job}/record")
    assert code_of(await carla.post(path)) == (409, "unsigned")
    by_socket = await carla.socket.request("command", job=job, command="sign")
    assert by_socket["error"]["code"] == "unsigned", by_socket
    assert code_of(await other.post(path, signature_of(shown))) == (404, "not_found")
    assert code_of(await tom.post(path, signature_of(shown))) == (403, "forbidden")
    assert (await upload(tom, job, draw_picture(draw))).status_code == 201
    changed = await carla.post(path, signature_of(shown))
    assert code_of(changed) == (412, "version_conflict")
    new = changed.json()
    assert new["sha256"] != shown["sha256"] and len(new["record"]["photos"]) == 3
    signed = await carla.post(path, signature_of(new))
    assert signed.status_code == 200, signed.text
    assert code_of(await upload(tom, job, draw_picture(draw))) == (409, "illegal_transition")
    for who in (carla, tom):
        event = await wait_until(lambda who=who: find_push(who, "job.signed"), what="the event")
        assert event["data"]["receipt"] == signed.json()["receipt"], "no name, salt or record"
        assert event["data"]["job"]["signed"]["sha256"] == new["sha256"]
    after = f"main:{scenario.server.engine.store.zones[DEFAULT_ZONE].epoch}:0"
    polled = await carla.get(f"/v1/events?wait=0&after={after}")
    found = [each["data"]["receipt"] for each in polled["events"] if each["type"] == "job.signed"]
    assert found == [signed.json()["receipt"]], "nor in what is replayed"
    check = f"/v1/vault/{signed.json()['receipt']['id']}/verify?sha256="

    async def is_archived() -> bool:
        return (await scenario.http.get(check + new["sha256"])).status_code == 200

    await wait_until(is_archived, within_s=20.0, what="the receipt")
    engine = scenario.server.engine
    await heads.sign_newest(engine.archive, DEFAULT_ZONE, HeadKey(engine.signer))
    assert (await scenario.http.get(check + new["sha256"])).json()["verified"]
    assert code_of(await scenario.http.get(check + shown["sha256"])) == (404, "not_found")


def find_push(who: Person, event_type: str) -> Any:
    """Return the first push of a type, or None."""
    return next((push for push in who.socket.pushes if push.get("type") == event_type), None)


async def pay_out(scenario: Scenario, tom: Person, payer: Person, earned: int) -> None:
    """Pay out the technician's available amount: a larger payout and a second one are refused."""
    path = f"/v1/technicians/{tom.id}/earnings"

    async def balance() -> tuple[int, int]:
        (found,) = (await tom.get(path))["balance"] or [{"available": 0, "paid_out": 0}]
        return found["available"], found["paid_out"]

    await wait_until(lambda: is_equal(balance, (earned, 0)), within_s=20.0, what="the earnings")
    wanted = {"technician": tom.id, "amount": earned, "currency": "USD", "reference": "tr_1"}
    assert code_of(await tom.post("/v1/payouts", wanted)) == (403, "forbidden")
    above = await payer.post("/v1/payouts", {**wanted, "amount": earned + 1, "reference": "tr_0"})
    assert code_of(above) == (409, "insufficient_balance")
    both = await asyncio.gather(*(payer.post("/v1/payouts", wanted) for _ in range(2)))
    assert {reply.status_code for reply in both} == {201}, [reply.text for reply in both]
    (payout,) = {reply.json()["payout"]["id"] for reply in both}
    other = await payer.post("/v1/payouts", {**wanted, "reference": "tr_2"})
    assert code_of(other) == (409, "insufficient_balance")
    assert code_of(await payer.post("/v1/payouts", {**wanted, "amount": 1})) == (409, "duplicate")
    for _ in range(2):
        settled = await payer.post(f"/v1/payouts/{payout}", {"status": "paid"})
        assert settled.json()["payout"]["status"] == "paid", settled.text
    assert code_of(await payer.post(f"/v1/payouts/{payout}", {"status": "failed"})) == (409, "illegal_transition")
    await wait_until(lambda: is_equal(balance, (0, earned)), within_s=20.0, what="the payout in the balance")
    assert {f["type"] for f in tom.socket.pushes if f["type"].startswith("payout.")} >= {"payout.paid"}
    await wait_until(lambda: has_entry(scenario, payer), within_s=20.0, what="the payout in the audit")


async def is_equal(read: Any, expected: Any) -> bool:
    """Return whether ``read`` returns ``expected``."""
    return bool(await read() == expected)


async def has_entry(scenario: Scenario, payer: Person) -> bool:
    """Return whether the audit trail says who requested the payout."""
    items = (await scenario.admin.get(f"/v1/audit?actor=service:{payer.id}&action=payout.*"))["items"]
    return {"payout.requested", "payout.paid"} <= {item["action"] for item in items}


async def test_from_the_quote_to_the_payout(scenario: Scenario) -> None:
    """A capture before the signature is recorded, and the job is not paid. The signature then makes the job paid
    without a further report. The technician earns the price less the commission, once. All lines of the ledger sum to
    0.
    """
    fixing, draw = await scenario.create_service("Fixing"), random.Random(15)
    carla, other = await scenario.create_person("customer", "Carla"), await scenario.create_person("customer", "Other")
    payer = await scenario.create_person("service", "Payments")
    for person in (carla, payer):
        await person.socket.open()
    wanted = {"blueprint": "managed", "service": fixing, "lat": PLACE["lat"], "lon": PLACE["lon"]}
    quote = (await carla.post("/v1/quotes", wanted)).json()["quote"]
    booked = await carla.post("/v1/jobs", {**PLACE, "service": fixing, "quote": quote["id"]})
    job, price = str(booked.json()["job"]["id"]), int(quote["amount"])
    tom = await scenario.create_technician("Tom", fixing)
    assert await wait_for_assignment(scenario, job) == tom.id
    tina = await scenario.create_technician("Tina", fixing, lat=40.76)
    assert code_of(await upload(tom, job, draw_picture(draw))) == (409, "illegal_transition"), "not accepted yet"
    for command in ("accept", "depart", "start"):
        await send_command(tom, job, command)
    await take_photos(tom, tina, other, carla, job, draw)
    await send_command(tom, job, "finish")

    capture = {"reference": "pi_1", "status": "captured", "amount": price, "currency": "USD"}
    assert (await payer.post(f"/v1/jobs/{job}/payments", capture)).status_code == 201
    early = (await carla.get(f"/v1/jobs/{job}"))["job"]
    assert (early["status"], early["paid_amount"]) == ("work_done", price)
    assert not [f for f in payer.socket.pushes if f["type"] == "payment.requested"]
    assert (await tom.get(f"/v1/technicians/{tom.id}/earnings"))["items"] == []
    await sign(scenario, carla, other, tom, job, draw)
    final = (await carla.get(f"/v1/jobs/{job}"))["job"]
    assert (final["status"], final["phase"], final["amount"]) == ("paid", "done", price)
    await pay_out(scenario, tom, payer, price - (price * 150 + 499) // 1000)
    async with scenario.server.engine.archive.begin_read() as conn:
        sums = await conn.execute(select(func.sum(ledger_lines.c.amount)).group_by(ledger_lines.c.currency))
        assert [int(total) for (total,) in sums] == [0]
