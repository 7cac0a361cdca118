"""What the payment service says of a job's payments."""

from __future__ import annotations

from engine.domain import payments
from engine.domain.payments import Payment
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoQuery
from server.schemas.lists import ListQuery
from server.schemas.payments import NewPayment


async def find(call: RequestContext[Body, ListQuery]) -> Response:
    """The payments of a job, the first one first."""
    return responses.listed(
        call.next_link, call.query, await payments.find(call.engine, call.caller, call.id), payments.sort_key
    )


async def create(call: RequestContext[NewPayment, NoQuery]) -> Response:
    """Say what became of a payment: requested, failed, captured; captured, then refunded, in parts too.

    Idempotent by `reference` and `status`: the same word again is answered as the first one was; for another amount it
    is `duplicate`. What was captured is noted whatever state the job is in; the job is paid, in the same step, when the
    sum in its currency covers what it asked. The first refund may use its charge's `reference`, further ones have their
    own and name the charge in `of`; beyond what that charge captured they are `invalid`.
    """
    body = call.body
    word = Payment(reference=body.reference, status=body.status, amount=body.amount, currency=body.currency, of=body.of)
    done = await payments.put(call.engine, call.caller, call.id, word, key=call.key, trace=call.trace)
    where = (b"location", f"/v1/jobs/{call.id}/payments".encode())
    return responses.plain({"payment": done.payment, "job": done.job}, *responses.replayed(done), where)
