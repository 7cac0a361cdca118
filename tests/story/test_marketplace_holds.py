"""The blueprint `marketplace`: the hold of the agreed amount follows the technician and the price."""

from __future__ import annotations

from tests.story.conftest import Scenario
from tests.story.test_marketplace import (
    create_bid,
    create_scheduled_job,
    post_job,
    post_ok,
    report,
    requested_payments,
    settings,
    status_and_code,
)
from tests.support.wait import wait_until

__all__ = ["settings"]


async def test_a_job_is_open_again_when_its_technician_leaves(scenario: Scenario) -> None:
    """A scheduled job cannot be cancelled, but its technician can leave it. Then the hold is released, a refund of a
    captured payment is requested, and the former holder cannot bid again. With a new holder, the job has new codes and
    a new hold. An authorization that comes after the release is released immediately.
    """
    plumbing = await scenario.create_service()
    carla, pay = await scenario.create_person("customer", "Carla"), await scenario.create_person("service", "Payments")
    tom, tara = await scenario.create_technician("Tom", plumbing), await scenario.create_technician("Tara", plumbing)
    await carla.socket.open()
    await pay.socket.open()
    job = await create_scheduled_job(scenario, carla, tom, plumbing)
    assert status_and_code(await carla.post(f"/v1/jobs/{job}/cancel")) == (409, "illegal_transition")
    paid = {"reference": "pi_1", "status": "captured", "amount": 1200, "currency": "USD"}
    assert (await pay.post(f"/v1/jobs/{job}/payments", paid)).status_code == 201
    await post_ok(tom, f"/v1/jobs/{job}/unassign", reason="ill")
    for person in (carla, tom):
        step = (await person.socket.wait_for("job.unassigned", job))["data"]
        assert (step["from"], step["to"], step["reason"]) == ("scheduled", "open", "ill")
    assert (await tom.socket.wait_for("bid.closed", job))["data"]["reason"] == "unassigned"
    first, refund = await requested_payments(pay, job, 2)
    assert (refund["kind"], refund["amount"], refund["currency"]) == ("refund", 1200, "USD")
    assert (await report(pay, job, "pi_late", "authorized", first["amount"])).status_code == 201
    late = (await requested_payments(pay, job, 3))[2]
    assert (late["kind"], late["of"], late["amount"]) == ("release", "pi_late", first["amount"])
    assert (await report(pay, job, "pi_late", "released", first["amount"])).status_code == 201
    assert (await carla.socket.wait_for("payment.released", job))["data"]["payment"]["reference"] == "pi_late"
    assert status_and_code(await tom.post(f"/v1/jobs/{job}/bids")) == (409, "not_offered")
    assert "codes" not in (await carla.get(f"/v1/jobs/{job}"))["job"]
    await post_ok(carla, f"/v1/jobs/{job}/bids/{await create_bid(tara, job)}/accept")
    assert (await tara.socket.wait_for("JOB_ASSIGNED", job))["data"]["technicianId"] == tara.id
    assert set((await carla.get(f"/v1/jobs/{job}"))["job"]["codes"]) == {"start", "completion"}
    again = (await requested_payments(pay, job, 4))[3]
    assert (again["kind"], again["amount"]) == ("hold", first["amount"]) and again["id"] != first["id"]
    assert (await report(pay, job, "pi_2", "authorized", again["amount"])).status_code == 201
    await post_ok(tara, f"/v1/jobs/{job}/unassign")
    assert [(p["kind"], p.get("of")) for p in (await requested_payments(pay, job, 5))[4:]] == [("release", "pi_2")]


async def test_the_state_of_a_job_decides_which_fields_can_be_edited(scenario: Scenario) -> None:
    """An open job can be edited; on a scheduled job the price can change only with the other party's consent; a started
    job cannot be edited.
    """
    plumbing = await scenario.create_service()
    carla, tom = await scenario.create_person("customer", "Carla"), await scenario.create_technician("Tom", plumbing)
    pay = await scenario.create_person("service", "Payments")
    await carla.socket.open()
    await pay.socket.open()
    job = await post_job(carla, plumbing)
    assert (await carla.request("PATCH", f"/v1/jobs/{job}", {"amount": 5200})).json()["job"]["amount"] == 5200
    await post_ok(carla, f"/v1/jobs/{job}/bids/{await create_bid(tom, job)}/accept")
    assert (await carla.request("PATCH", f"/v1/jobs/{job}", {"notes": "Ring twice"})).status_code == 200
    assert status_and_code(await carla.request("PATCH", f"/v1/jobs/{job}", {"amount": 1}))[0] == 409
    assert [p["amount"] for p in await requested_payments(pay, job, 1)] == [5200]
    await report(pay, job, "pi_1", "authorized", 5200)
    same = (await post_ok(tom, f"/v1/jobs/{job}/price-proposals", amount=5200))["proposal"]["id"]
    await post_ok(carla, f"/v1/jobs/{job}/price-proposals/{same}/accept")
    assert (await tom.socket.wait_for("PRICE_CHANGED", job))["data"]["paymentIntentUpdated"] is False
    proposal = (await post_ok(tom, f"/v1/jobs/{job}/price-proposals", amount=7000, reason="two sinks"))["proposal"][
        "id"
    ]
    await wait_until(lambda: len(carla.socket.received("price.proposed", job)) == 2)
    assert carla.socket.received("price.proposed", job)[1]["data"]["proposal"]["amount"] == 7000
    await post_ok(carla, f"/v1/jobs/{job}/price-proposals/{proposal}/accept")
    for person in (carla, tom):
        await wait_until(lambda person=person: len(person.socket.received("PRICE_CHANGED", job)) == 2)  # type: ignore[misc]
        changed = person.socket.received("PRICE_CHANGED", job)[1]["data"]
        assert (changed["jobId"], changed["newAmount"], changed["paymentIntentUpdated"]) == (job, 7000, True)
    asked = [(p["kind"], p["amount"], p.get("of")) for p in (await requested_payments(pay, job, 3))[1:]]
    assert asked == [("release", 5200, "pi_1"), ("hold", 7000, None)]
    start = (await carla.get(f"/v1/jobs/{job}"))["job"]["codes"]["start"]
    await post_ok(tom, f"/v1/jobs/{job}/start", code=start)
    assert status_and_code(await tom.post(f"/v1/jobs/{job}/price-proposals", {"amount": 1})) == (409, "price_locked")
    for change in ({"notes": "x"}, {"amount": 1}):
        assert (await carla.request("PATCH", f"/v1/jobs/{job}", change)).status_code == 409

    # Work in progress cannot be cancelled. Completed work can be cancelled only by ops, and both parties are informed.
    for who in (carla, scenario.admin):
        assert status_and_code(await who.post(f"/v1/jobs/{job}/cancel")) == (409, "illegal_transition")
    await post_ok(
        tom, f"/v1/jobs/{job}/complete", code=(await carla.get(f"/v1/jobs/{job}"))["job"]["codes"]["completion"]
    )
    await post_ok(scenario.admin, f"/v1/jobs/{job}/cancel", reason="never done")
    for person in (carla, tom):
        cancelled = (await person.socket.wait_for("JOB_CANCELLED", job))["data"]
        assert (cancelled["jobId"], cancelled["status"]) == (job, "CANCELLED")
