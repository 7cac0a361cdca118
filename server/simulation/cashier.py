"""The end of a simulation: receipts are verified, technicians are paid out, and the ledger is checked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from uuid import uuid4

from callout_client import Refusal
from callout_client.listeners import Frame
from server.simulation.person import Person, job_in_event
from server.simulation.technician import Technician

SETTLE_TIMEOUT_S, POLL_S = 5.0, 0.2


class Cashier(Person):
    """A simulated program with the role `service`. It counts payments, pays technicians out, and verifies receipts,
    which everybody with the digest can do.
    """

    def handle(self, event: Frame) -> None:
        """Count the payment of a job."""
        if event["type"] == "payment.received" and job_in_event(event):
            self.simulation.proofs.paid[job_in_event(event)["id"]] += event["data"]["payment"]["amount"]

    async def verify_receipts(self) -> None:
        """Count the receipts that verify. A `pending` receipt, which no signed head covers yet, counts too if nothing
        else is wrong. Raises Refusal or Unreachable.
        """
        verified = 0
        for receipt in self.simulation.proofs.receipts:
            checked = await self.account.request("GET", f"/v1/vault/{receipt.id}/verify?sha256={receipt.digest}")
            verified += checked["verified"] or checked["pending"]
        self.simulation.proofs.verified = verified

    async def read_books(self, technicians: Iterable[Technician]) -> None:
        """Compare the sum that was paid for jobs of this run with the earnings of their technicians plus the fees.
        Raises Refusal or Unreachable.
        """
        proofs, gross = self.simulation.proofs, 0
        proofs.earned = proofs.fees = 0
        for technician in technicians:
            path: str | None = f"/v1/technicians/{technician.id}/earnings?limit=200"
            while path:
                page = await technician.account.request("GET", path)
                for item in page["items"]:
                    if item["kind"] == "earned" and item["job"] in proofs.paid:
                        proofs.earned += item["amount"]
                        proofs.fees += item["fee"]
                        gross += item["gross"]
                path = f"{path.partition('&')[0]}&cursor={page['next']}" if page["next"] else None
        proofs.unearned = proofs.paid.total() - gross

    async def pay_out(self, technicians: Iterable[Technician]) -> None:
        """Pay out the available money of each technician. Raises Refusal or Unreachable."""
        proofs, requested = self.simulation.proofs, []
        for technician in technicians:
            earnings = await technician.account.request("GET", f"/v1/technicians/{technician.id}/earnings")
            for balance in earnings["balance"]:
                if balance["available"] > 0:
                    payout = {"technician": technician.id, "amount": balance["available"]}
                    payout |= {"currency": balance["currency"], "reference": f"demo_{uuid4().hex}"}
                    requested.append((await self.account.request("POST", "/v1/payouts", payout))["payout"])
        for payout in requested:
            await self._settle(payout["id"])
            proofs.paid_out += 1
            proofs.paid_out_amount += payout["amount"]

    async def _settle(self, payout: str) -> None:
        """Report that a payout was paid, unless the server's payment adapter has done so."""
        async with asyncio.timeout(SETTLE_TIMEOUT_S):
            while True:
                try:
                    await self.account.request("POST", f"/v1/payouts/{payout}", {"status": "paid"})
                except Refusal as refusal:
                    if not refusal.temporary:
                        raise
                    await asyncio.sleep(POLL_S)
                else:
                    return
