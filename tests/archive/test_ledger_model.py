"""The ledger against a small model, on both databases: captures, partial payments, refunds, disputes, payouts and
repeats in any order, an archiver that dies in a transaction or after it, and jobs that Redis has deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import msgspec
import orjson
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from sqlalchemy import func, select

from engine.archive import apply, ledger_checker, ledger_reader, ledger_rows
from engine.domain import codes, disputes, earnings, jobs, payouts
from engine.domain.jobs import CommandInput
from engine.domain.payments import Payment, PaymentOutcome, put_payment
from engine.domain.payouts import NewPayout
from engine.errors import InsufficientBalance, Refused
from engine.process.settings import Settings
from engine.sql.ledger_tables import ledger_lines
from engine.startup import open_engine
from engine.types import JobId, Principal, ServiceId, UserId
from engine.workers import archiver
from tests.archive.ledger_copy import read_ledger, write_anew
from tests.archive.test_refunds import ADMIN_CALLER, PAYMENT_SERVICE, archive_and_forget
from tests.support import people
from tests.support.booked_money import create_account, fee_of
from tests.support.clock import advance
from tests.support.state_machine import EngineMachine, run_examples, run_until_seen

MEDIATOR = Principal(UserId("cli_mediator"), "mediator")
PER_MILLE = {"marketplace": 100, "direct_booking": 0}
MAX_JOBS = 3
HAPPENINGS = {
    *("part", "repeat", "forgotten job", "failed refund", "failed refund of a forgotten job", "resolve with a dispute"),
    *("archiver killed: transaction", "archiver killed: after", "refund after a payout"),
    *("payout: paid", "payout: failed", "payout: refused"),
}
"""What each run must have seen, unless its seed is another one."""


class Charge(msgspec.Struct):
    """The amount that a charge captured, and the part of it that was refunded."""

    amount: int
    currency: str
    back: int = 0


class Work(msgspec.Struct):
    """A job of the model: its charges, its refunds by reference, and those that have failed; whether it is done, and
    the open dispute about it.
    """

    name: JobId
    blueprint: str
    charges: dict[str, Charge] = {}
    refunds: dict[str, Payment] = {}
    failed: set[str] = set()
    is_done: bool = False
    dispute: str = ""
    is_forgotten: bool = False

    def net(self, currency: str = "USD") -> int:
        """Return the amount that was paid and not refunded."""
        return sum(each.amount - each.back for each in self.charges.values() if each.currency == currency)


class LedgerModel(EngineMachine):
    """The state machine. Each example has a technician of its own; the ledger contains all examples."""

    service: ServiceId
    customer: Principal
    seen: ClassVar[Counter[str]] = Counter()
    """How often each kind of event of a ledger's life happened, over all examples."""

    @initialize()
    def begin(self) -> None:
        """Create the technician of this example."""
        self.technician = f"t_{uuid.uuid4().hex}"
        self.works: list[Work] = []
        self.words: list[tuple[JobId, Payment]] = []
        self.payouts: dict[str, tuple[int, str]] = {}
        self._references = 0
        self.wait(create_account(self.engine, self.technician))
        self.who = self.wait(people.technician(self.engine, self.technician, self.service, capacity=10))
        for blueprint in sorted(PER_MILLE):
            self.book(blueprint)

    def _new_reference(self) -> str:
        """Return a reference that is new, and that sorts in the same way each time hypothesis repeats the example."""
        self._references += 1
        return f"{self.technician}_{self._references:04d}"

    @precondition(lambda self: len(self.works) < MAX_JOBS)
    @rule(blueprint=st.sampled_from(sorted(PER_MILLE)))
    def book(self, blueprint: str) -> None:
        """Book a job that the technician accepts. A job of the marketplace is also done and confirmed."""
        self.works.append(Work(self.wait(self._book(blueprint)), blueprint))

    async def _book(self, blueprint: str) -> JobId:
        more: Any = {"blueprint": blueprint, "technician": self.technician}
        job = people.id_of(await people.job(self.engine, self.customer, self.service, **more))
        await self._step(job, "accept")
        if blueprint == "marketplace":
            for name, purpose in (("start", "start"), ("complete", "completion")):
                await self._step(job, name, code=codes.derive_code(self.engine, job, purpose, "1"))
            await jobs.run_command(self.engine, self.customer, job, CommandInput(command="confirm"))
        return job

    async def _step(self, job: JobId, command: str, **more: Any) -> None:
        await jobs.run_command(self.engine, self.who, job, CommandInput(command=command, **more))

    @precondition(lambda self: self.works)
    @rule(data=st.data(), amount=st.integers(1, 7000), currency=st.sampled_from(("USD", "USD", "USD", "JPY")))
    def capture(self, data: st.DataObject, amount: int, currency: str) -> None:
        """Report a captured payment, in any state of the job."""
        work = data.draw(st.sampled_from(self.works))
        reference = self._new_reference()
        self._report(work, Payment(reference=reference, status="captured", amount=amount, currency=currency))

    @rule(data=st.data(), amount=st.integers(4000, 6000))
    def pay_about_the_price(self, data: st.DataObject, amount: int) -> None:
        """Report a capture near the price, which is 5000."""
        self.capture(data, amount, "USD")

    @precondition(lambda self: any(work.charges for work in self.works))
    @rule(data=st.data(), share=st.integers(1, 1000), own=st.booleans())
    def refund(self, data: st.DataObject, share: int, own: bool) -> None:
        """Refund a part of the rest of a charge, or all of it; a larger refund is refused."""
        work = data.draw(st.sampled_from([work for work in self.works if work.charges]))
        reference, charge = data.draw(st.sampled_from(sorted(work.charges.items())))
        left = charge.amount - charge.back
        too_much = Payment(
            reference=self._new_reference(), of=reference, status="refunded", amount=left + 1, currency=charge.currency
        )
        with pytest.raises(Refused):
            self.wait(self._put(work.name, too_much))
        if left:
            part = msgspec.structs.replace(too_much, amount=max(1, left * share // 1000))
            is_first = not own and charge.back == 0 and reference not in work.refunds
            self._report(work, msgspec.structs.replace(part, reference=reference, of=None) if is_first else part)

    @precondition(lambda self: any(work.refunds.keys() - work.failed for work in self.works))
    @rule(data=st.data())
    def fail_refund(self, data: st.DataObject) -> None:
        """A refund that was made fails at the bank; then it cannot be made again under its reference."""
        work = data.draw(st.sampled_from([work for work in self.works if work.refunds.keys() - work.failed]))
        reference = data.draw(st.sampled_from(sorted(work.refunds.keys() - work.failed)))
        self.seen["failed refund" + " of a forgotten job" * work.is_forgotten] += 1
        refund = work.refunds[reference]
        of = refund.of or reference
        for wrong in ({"amount": refund.amount + 1}, {"currency": "EUR"}):
            failed = msgspec.structs.replace(refund, status="failed", of=of, **wrong)
            with pytest.raises(Refused):
                self.wait(self._put(work.name, failed))
        self._report(work, msgspec.structs.replace(refund, status="failed", of=of))

    @precondition(lambda self: self.words)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """Report a payment again: nothing changes."""
        self.seen["repeat"] += 1
        job, word = data.draw(st.sampled_from(self.words))
        assert self.wait(self._put(job, word)).repeated

    async def _put(self, job: JobId, word: Payment) -> PaymentOutcome:
        """Report a payment. A job that Redis has deleted is restored, for which the archive must have reached the
        head.
        """
        if any(work.is_forgotten for work in self.works):
            await archiver.run_once(self.engine)
        return await put_payment(self.engine, PAYMENT_SERVICE, job, word)

    def _report(self, work: Work, word: Payment) -> None:
        done = self.wait(self._put(work.name, word))
        if word.status == "captured":
            self.seen["part" if work.charges else "capture"] += 1
            work.charges[word.reference] = Charge(word.amount, word.currency)
        elif word.status == "refunded":
            self.seen["refund after a payout"] += "paid" in dict(self.payouts.values()).values()
            work.refunds[word.reference] = word
            work.charges[word.of or word.reference].back += word.amount
        else:
            work.failed.add(word.reference)
            work.charges[word.of or word.reference].back -= word.amount
        job = orjson.loads(bytes(done.job))
        assert job["paid_amount"] - job["refunded_amount"] == work.net()
        work.is_done, work.is_forgotten = job["phase"] == "done", False
        self.words.append((work.name, word))

    @precondition(lambda self: any(self._is_open(work) for work in self.works))
    @rule(data=st.data(), how=st.sampled_from(("complete", "dispute", "resume", "resolve")))
    def go_on(self, data: st.DataObject, how: str) -> None:
        """Complete a direct booking, or open or resolve a dispute about it."""
        work = data.draw(st.sampled_from([work for work in self.works if self._is_open(work)]))
        self.seen[f"{how} with a dispute" if work.dispute else how] += 1
        if work.dispute and how in ("resume", "resolve"):
            outcome: Any = "resume" if how == "resume" else "complete"
            self.wait(disputes.take_dispute(self.engine, MEDIATOR, work.dispute))
            self.wait(disputes.resolve_dispute(self.engine, MEDIATOR, work.dispute, outcome, note="So be it"))
            work.dispute, work.is_done = "", how == "resolve"
        elif not work.dispute and how == "dispute":
            opened = self.wait(disputes.open_dispute(self.engine, self.customer, work.name, "It drips"))
            work.dispute = orjson.loads(bytes(opened.dispute))["id"]
        elif not work.dispute and how == "complete":
            self.wait(self._complete(work.name))
            work.is_done = True

    async def _complete(self, job: JobId) -> None:
        for command in ("start", "complete"):
            await self._step(job, command)

    @staticmethod
    def _is_open(work: Work) -> bool:
        return work.blueprint == "direct_booking" and not work.is_done

    @precondition(lambda self: any(self._can_be_forgotten(work) for work in self.works))
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """Delete a done job and its log from Redis."""
        work = data.draw(st.sampled_from([work for work in self.works if self._can_be_forgotten(work)]))
        self.seen["forgotten job"] += 1
        self.wait(archive_and_forget(self.engine, work.name))
        work.is_forgotten = True

    @staticmethod
    def _can_be_forgotten(work: Work) -> bool:
        return work.is_done and not work.is_forgotten

    @rule()
    def let_time_pass(self) -> None:
        """Let the hold of the earnings end."""
        self.wait(advance(self.engine, 49 * 3600))

    @rule(where=st.sampled_from(("transaction", "after")))
    def kill_the_archiver(self, where: str) -> None:
        """Let the archiver die in its transaction, or after it; the next one continues."""
        self.seen[f"archiver killed: {where}"] += 1
        target: Any = (ledger_rows, "apply_rows") if where == "transaction" else (apply, "apply_batch")
        original = getattr(*target)

        async def die(*args: Any, **more: Any) -> None:
            await original(*args, **more)
            raise RuntimeError("killed")

        with mock.patch.object(*target, die), contextlib.suppress(RuntimeError):
            self.wait(archiver.run_once(self.engine))
        self.check_books()

    @rule(data=st.data(), amount=st.integers(1, 6000))
    def pay_out(self, data: st.DataObject, amount: int) -> None:
        """Request a payout: it succeeds exactly if the amount is available. Settle some payouts, and repeat each
        request.
        """
        _, available, _ = self.check_books()
        new = NewPayout(technician=self.technician, amount=amount, currency="USD", reference=self._new_reference())
        request = payouts.request_payout
        if amount > available:
            self.seen["payout: refused"] += 1
            with pytest.raises(InsufficientBalance):
                self.wait(request(self.engine, ADMIN_CALLER, new))
            return
        payout = self.wait(request(self.engine, ADMIN_CALLER, new)).value
        outcome: Any = data.draw(st.sampled_from(("requested", "paid", "failed")))
        for _ in range(2):
            assert self.wait(request(self.engine, PAYMENT_SERVICE, new)).value.id == payout.id
            if outcome != "requested":
                self.wait(payouts.settle_payout(self.engine, PAYMENT_SERVICE, payout.id, outcome))
        self.payouts[payout.id] = amount, outcome
        self.seen[f"payout: {outcome}"] += 1

    def check_books(self) -> tuple[int, int, int]:
        """Archive everything and compare the ledger with the model. Return the pending, available and paid-out
        amounts.
        """
        sums, found = self.wait(self._read_books())
        for work in self.works:
            kept = 0 if work.is_done else work.net()
            assert sums.get((f"job:{work.name}", "USD"), 0) == kept
            assert sums.get((f"job:{work.name}", "JPY"), 0) == work.net("JPY")
        nets = [(work.net(), PER_MILLE[work.blueprint]) for work in self.works if work.is_done]
        earned = sum(net - fee_of(net, per_mille) for net, per_mille in nets)
        out = sum(amount for amount, outcome in self.payouts.values() if outcome != "failed")
        (balance,) = [each for each in found if each.currency == "USD"] or [None]
        shown = (balance.pending, balance.available, balance.paid_out) if balance else (0, 0, 0)
        assert (sum(shown), shown[2]) == (earned, out)
        return shown

    async def _read_books(self) -> tuple[dict[tuple[str, str], int], list[Any]]:
        await archiver.run_once(self.engine)
        lines = ledger_lines.c
        async with self.engine.archive.begin_read() as conn:
            assert await ledger_reader.find_unbalanced(conn) == []
            query = select(lines.account, lines.currency, func.sum(lines.amount)).group_by(
                lines.account, lines.currency
            )
            sums = {(row[0], row[1]): int(row[2]) for row in await conn.execute(query)}
        return sums, (await earnings.read_earnings(self.engine, ADMIN_CALLER, self.technician)).balance

    def teardown(self) -> None:
        """Compare the ledger with the model at the end of each example."""
        if hasattr(self, "technician"):
            self.check_books()


@contextmanager
def opened_model(settings: Settings) -> Iterator[asyncio.AbstractEventLoop]:
    """Open the engine of the model, and yield its event loop."""
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()
    try:
        LedgerModel.loop = loop
        engine = LedgerModel.engine = loop.run_until_complete(stack.enter_async_context(open_engine(settings)))
        LedgerModel.service = loop.run_until_complete(people.service(engine))
        LedgerModel.customer = loop.run_until_complete(people.customer(engine))
        yield loop
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()


def run_model(*, few: int = 8, many: int = 300) -> None:
    """Run examples of about thirty steps."""
    run_examples(LedgerModel, few=few, many=many, steps=30)


def test_the_ledger_keeps_to_its_model(settings: Settings, tmp_path: Path) -> None:
    """In examples of about thirty steps all accounts sum to 0, each job's account agrees with its payments and refunds,
    and no payout exceeds the available amount. A ledger that is written again from the events has the same entries and
    lines.
    """
    with opened_model(settings) as loop:
        archive = LedgerModel.engine.archive
        run_until_seen(LedgerModel, LedgerModel.seen, HAPPENINGS, few=8, many=300, steps=30)
        kept = loop.run_until_complete(read_ledger(archive))
        assert len(kept[0]) > 30
        compared, problems = loop.run_until_complete(ledger_checker.find_problems(archive))
        assert (compared > 30, problems) == (True, [])
        assert loop.run_until_complete(write_anew(archive, tmp_path / "copy")) == kept
