"""No blueprint lets money move without the signature that it declares, whatever else it says: live jobs may have one of
an earlier release, which the linter would refuse today.
"""

from __future__ import annotations

import msgspec
import orjson
import pytest

from engine.blueprint.linter import check_blueprint
from engine.blueprint.schema import Blueprint
from engine.domain import payments, signing
from engine.domain.payments import Payment
from engine.errors import Unsigned
from engine.runtime import Engine
from engine.types import ServiceId
from tests.races.test_signature_races import PAYMENT_SERVICE, finish_job, signature
from tests.support import event_log, people

CAPTURED = Payment(reference="pi_1", status="captured", amount=5_000, currency="USD")


def use_blueprint(engine: Engine, blueprint: Blueprint) -> None:
    """Let new jobs of `managed` have this blueprint."""
    engine.blueprints.by_name["managed"] = engine.blueprints.by_key[blueprint.key] = blueprint


async def test_a_request_is_unsigned_without_a_capture_command(engine: Engine) -> None:
    """Whether or not a capture moves the job, a service's request for money is refused until the customer has
    signed.
    """
    managed = engine.blueprints.by_name["managed"]
    commands = {name: each for name, each in managed.commands.items() if each.effect != "capture"}
    ended = {**commands, "close": msgspec.structs.replace(managed.commands["capture"], effect="move", by=("ops",))}
    use_blueprint(engine, msgspec.structs.replace(managed, version=900, commands=ended))
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", ServiceId(service))
    job = await finish_job(engine, carla, tom, service)
    request = msgspec.structs.replace(CAPTURED, status="requested")
    with pytest.raises(Unsigned):
        await payments.put_payment(engine, PAYMENT_SERVICE, job, request)
    record = await signing.read_record(engine, carla, job)
    await signing.sign_job(engine, carla, job, signature(record.sha256))
    await payments.put_payment(engine, PAYMENT_SERVICE, job, request)


async def test_a_capture_pays_no_unsigned_job(engine: Engine) -> None:
    """The linter refuses a capture in a state before the signature. The script enforces it too: the money is noted, and
    pays for the job in the step that signs.
    """
    managed = engine.blueprints.by_name["managed"]
    early = msgspec.structs.replace(managed.commands["capture"], from_=("work_done", "signed"))
    wrong = msgspec.structs.replace(managed, version=901, commands={**managed.commands, "capture": early})
    assert any("which is reached unsigned" in problem for problem in check_blueprint(wrong))
    use_blueprint(engine, wrong)
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", ServiceId(service))
    job = await finish_job(engine, carla, tom, service)
    noted = orjson.loads(bytes((await payments.put_payment(engine, PAYMENT_SERVICE, job, CAPTURED)).job))
    assert (noted["status"], noted["paid_amount"]) == ("work_done", 5_000)
    assert await event_log.events(engine, "session.ledger", job) == []
    record = await signing.read_record(engine, carla, job)
    signed = await signing.sign_job(engine, carla, job, signature(record.sha256))
    assert signed.job is not None and orjson.loads(bytes(signed.job))["status"] == "paid"
