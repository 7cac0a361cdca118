"""A signature, photos, prices, edits and payments at the same moment: the signed record is the job's record, and only
the signature requests the payment, and it does so once.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import msgspec
import pytest

from engine.domain import edits, files, jobs, payments, prices, signing
from engine.domain.commands import CommandInput
from engine.domain.payments import Payment
from engine.domain.signing import Signature
from engine.errors import CalloutError, VersionConflict
from engine.files import row_bounds
from engine.rules.canonical import digest_of
from engine.runtime import Engine
from engine.types import JobId, Principal, ServiceId, UserId
from tests.support import event_log, people
from tests.support.photos import attach_photos
from tests.support.signatures import make_png
from tests.support.sizes import choose_size

ROUNDS = choose_size(60, 1_000)
PAYMENT_SERVICE = Principal(UserId("usr_pay"), "service", "Payments")
OPS = Principal(UserId("usr_ops"), "ops_manager", "Ops")
REFUSED = {
    *("version_conflict", "price_locked", "not_editable", "illegal_transition", "unsigned", "frozen", "duplicate"),
    "forbidden",
}


def allow_changes(engine: Engine) -> None:
    """Change the blueprint so that price proposals and edits of the address are allowed in all states. Then only the
    signature can prevent them.
    """
    managed = engine.blueprints.by_name["managed"]
    price = msgspec.structs.replace(managed.price, propose=("work_done", "signed"))
    edit = dict.fromkeys(("work_done", "signed"), ("address", "notes"))
    changed = msgspec.structs.replace(managed, price=price, edit=managed.edit | edit)
    engine.blueprints.by_name["managed"] = engine.blueprints.by_key[changed.key] = changed


async def attempt(command: Awaitable[Any]) -> CalloutError | None:
    """Run a command. Return its refusal; None if it succeeds. Only known refusals are allowed."""
    try:
        await command
    except CalloutError as error:
        assert error.code in REFUSED, error
        return error
    return None


async def finish_job(engine: Engine, carla: Principal, tom: Principal, service: ServiceId) -> JobId:
    """Return a job that waits for its signature."""
    job = people.id_of(await people.job(engine, carla, service, blueprint="managed"))
    assign = CommandInput(command="assign", technician=tom.id)
    await jobs.run_command(engine, OPS, job, assign)
    for command in ("accept", "depart", "start"):
        await jobs.run_command(engine, tom, job, CommandInput(command=command))
    await attach_photos(engine, tom, job)
    await jobs.run_command(engine, tom, job, CommandInput(command="finish"))
    return job


class Moment:
    """The moment after the record was compared with the signed digest and before the command runs. The signature's
    image is stored at this moment. This class delays the storing until another change of the job has been made.
    """

    def __init__(self, engine: Engine) -> None:
        self._put = engine.blobs.put
        self.compared, self.changed = asyncio.Event(), asyncio.Event()

    async def put(self, sha256: str, source: Any) -> None:
        """Store an image after the change."""
        if isinstance(source, bytes):  # the image of a signature; photos are streams
            self.compared.set()
            await self.changed.wait()
        await self._put(sha256, source)

    async def run(self, change: Awaitable[Any]) -> Any:
        """Make a change at this moment."""
        await self.compared.wait()
        try:
            return await change
        finally:
            self.changed.set()


async def parts_of(photo: bytes) -> AsyncIterator[bytes]:
    """Yield a photo in the same way as a request body."""
    yield photo


def signature(sha256: str, name: str = "Carla") -> Signature:
    """Return a signature of this digest."""
    return Signature(sha256, name, make_png(), "png")


async def judge_round(engine: Engine, job: JobId, carla: Principal, outcomes: dict[str, Any]) -> str:
    """Check the outcome of a round. Return `signed` or `changed`."""
    found = await event_log.events(engine, job=job)
    signed = [event for event in found if event.type == "job.signed"]
    requested = [event for event in found if event.type == "payment.requested"]
    results = [outcomes[name] for name in ("sign", "sign again")]
    record = await signing.read_record(engine, carla, job)
    if not signed:
        assert requested == []
        assert all(isinstance(each, VersionConflict) for each in results), results
        assert record.sha256 != outcomes["shown"]
        return "changed"
    data = event_log.payload(signed[0])
    receipt, after = data["receipt"], data["job"]
    assert len(signed) == 1 and None in results
    assert receipt["sha256"] == digest_of(receipt["record"].encode()) == outcomes["shown"] == record.sha256
    assert (after["signed"]["sha256"], after["signed"]["receipt"]) == (receipt["sha256"], receipt["id"])
    kept = msgspec.json.decode(receipt["record"])
    wholes = [job for event in found if "amount" in (job := event_log.payload(event).get("job") or {})]
    last = wholes[-1]
    assert kept["price"]["amount"] == after["amount"] == last["amount"]
    assert kept["place"]["address"] == after["address"] == last["address"]
    assert [photo["sha256"] for photo in kept["photos"]] == [photo["sha256"] for photo in last.get("photos") or []]
    paid = last["paid_amount"] >= last["amount"]
    asked = [event for event in requested if event.seq > signed[0].seq]
    assert len(requested) == len(asked) <= 1 and (asked or paid), (requested, last)
    return "signed"


async def test_what_is_signed_is_what_is_kept(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two devices sign while the price, the address and the photos change and a payment is reported. Either the record
    that was shown is signed and stays the job's record, or both devices get a version conflict with the present record.
    The payment is requested once, by the signature, unless it was paid before.
    """
    allow_changes(engine)
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=10_000)
    draw, ends, moment = random.Random(23), Counter[str](), Moment(engine)
    monkeypatch.setattr(engine.blobs, "put", moment.put)
    monkeypatch.setattr(row_bounds, "MAX_UNATTACHED", 10 * ROUNDS)  # no archiver runs, so each photo counts
    for number in range(ROUNDS):
        job = await finish_job(engine, carla, tom, service)
        offered = await prices.propose_price(engine, tom, job, 9_000 + number)
        proposal = msgspec.json.decode(offered.proposal)["id"]
        shown = (await signing.read_record(engine, carla, job)).sha256
        amount = draw.choice((1, 5_000))
        captured = Payment(reference=f"ref_{number}", status="captured", amount=amount, currency="USD")
        change = draw.choice(("price", "address", "captured", "photo"))
        if change == "price":
            changed = prices.answer_proposal(engine, carla, job, proposal, "accepted")
        elif change == "address":
            changed = edits.edit_job(engine, carla, job, {"address": f"{number} Other St"})
        elif change == "photo":
            changed = files.upload(engine, tom, f"job:{job}", None, parts_of(make_png(shade=number % 256)))
        else:
            changed = payments.put_payment(engine, PAYMENT_SERVICE, job, captured)
        moment.compared.clear()
        moment.changed.set()
        when = draw.choice(("at once", "between", "between", "late"))
        if when == "between":
            moment.changed.clear()
            changed = moment.run(changed)
        acts: dict[str, Awaitable[Any]] = {
            "sign": signing.sign_job(engine, carla, job, signature(shown)),
            "sign again": signing.sign_job(engine, carla, job, signature(shown, "Carla, on a tablet")),
            "unsigned": jobs.run_command(engine, carla, job, CommandInput(command="sign")),
        }
        acts |= {change: changed} if when != "late" else {}
        order = list(acts)
        draw.shuffle(order)
        done = dict(zip(order, await asyncio.gather(*(attempt(acts[name]) for name in order)), strict=True))
        if when == "late":
            done[change] = await attempt(changed)
        assert done["unsigned"] is not None
        end = await judge_round(engine, job, carla, {**done, "shown": shown})
        ends[f"{end} {change} {when}"] += 1
        if end == "changed":
            conflict = done["sign"]
            assert isinstance(conflict, VersionConflict)
            assert digest_of(bytes(conflict.extra["record"])) == conflict.extra["sha256"]
            again = (await signing.read_record(engine, carla, job)).sha256
            assert await attempt(signing.sign_job(engine, carla, job, signature(again))) is None
            outcomes = {"sign": None, "sign again": None, "shown": again}
            assert await judge_round(engine, job, carla, outcomes) == "signed"
        for late in (
            prices.propose_price(engine, tom, job, 1),
            edits.edit_job(engine, carla, job, {"address": "elsewhere"}),
            edits.edit_job(engine, carla, job, {"notes": "later"}),
            files.upload(engine, tom, f"job:{job}", None, parts_of(make_png(9, 9))),
        ):
            assert await attempt(late) is not None
        await event_log.clear(engine)
    print(dict(ends))
    changed_ends = {f"changed {what} between" for what in ("price", "address", "photo")}
    assert changed_ends | {"signed captured between", "signed price late"} <= set(ends)
