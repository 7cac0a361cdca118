"""The simulated payment service: it captures the payment that the signature of a managed job requests."""

from __future__ import annotations

import asyncio

from callout_client.listeners import Frame
from server.simulation.person import Person, job_in_event

CAPTURE_S = 1.0


class Payer(Person):
    """A simulated program with the role `service`, which pays each job a second after its signature or confirmation."""

    def handle(self, event: Frame) -> None:
        """Pay the charge that a job requests. Nobody waits for the payment of a hold."""
        if event["type"] == "payment.requested" and event["data"]["payment"]["kind"] == "charge":
            self.start(self._pay(job_in_event(event)["id"], event["data"]["payment"]))

    async def _pay(self, job: str, payment: Frame) -> None:
        await asyncio.sleep(CAPTURE_S)
        body = {"reference": f"sim_{payment['id']}", "status": "captured"}
        body |= {"amount": payment["amount"], "currency": payment["currency"]}
        await self.account.request("POST", f"/v1/jobs/{job}/payments", body)
