"""Payments of a job, which the payment service reports."""

from __future__ import annotations

from engine.domain import payments
from engine.domain.payments import Payment
from engine.rules import sort_keys
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoQuery
from server.schemas.lists import ListQuery
from server.schemas.payments import NewPayment


async def find(call: RequestContext[Body, ListQuery]) -> Response:
    """Return the payments of a job, the oldest first."""
    found = await payments.find_payments(call.engine, call.caller, call.id)
    return responses.list_response(call.next_link, call.query, found, sort_keys.creation_key)


async def create(call: RequestContext[NewPayment, NoQuery]) -> Response:
    """Report the status of a payment: requested, authorized (held), failed, captured, released or, in parts, refunded.

    Idempotent by `reference` and `status`: a repeated report gets the same answer; with another amount it is refused as
    `duplicate`. A captured amount is recorded in every state of the job. The job is paid, in the same step, when the
    sum of captured amounts in its currency covers the requested amount. The first refund may use the `reference` of its
    charge; further refunds have their own references, and `of` is the reference of the charge. Refunds above the
    captured amount of the charge are refused as `invalid`.
    """
    body = call.body
    word = Payment(reference=body.reference, status=body.status, amount=body.amount, currency=body.currency, of=body.of)
    done = await payments.put_payment(call.engine, call.caller, call.id, word, key=call.key, trace=call.trace)
    where = (b"location", f"/v1/jobs/{call.id}/payments".encode())
    return responses.json_response({"payment": done.payment, "job": done.job}, *responses.replay_headers(done), where)
