"""A server that behaves as Stripe documents, with its failures: PaymentIntents, Refunds, idempotency keys, and webhook
events, which the test delivers.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

from engine.payments import stripe_signature

KEY, WEBHOOK_SECRET = "sk_test_1", "whsec_1"

Reply = tuple[int, dict[str, Any]]


def error(status: int, kind: str, code: str, **more: Any) -> Reply:
    """Return an error in Stripe's form."""
    return status, {"error": {"type": kind, "code": code, "message": "…", **more}}


class StripeServer:
    """A simulated Stripe in this process. ``faults`` are the faults of the next requests, in order: `500` (before the
    request is executed), `409` (another request with the key still runs), `429`, `garbage`, `slow`, `lost` (executed,
    but the connection is closed without a reply) and `hang` (executed, and never answered).
    """

    def __init__(self) -> None:
        self.intents: dict[str, dict[str, Any]] = {}
        self.refunds: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.requests: list[tuple[str, str]] = []
        """Path and idempotency key of each request that was received."""
        self.url = ""
        self._numbers = itertools.count(1)
        self._replies: dict[str, tuple[Any, Reply | None]] = {}

    def confirm(self, intent_id: str, *, fails: bool = False) -> None:
        """Confirm a PaymentIntent as the customer does. It is then authorized or captured, or the card is declined
        (``fails``).
        """
        intent = self.intents[intent_id]
        assert intent["status"] == "requires_payment_method"
        if fails:
            intent["last_payment_error"] = {"code": "card_declined"}
            return self._emit("payment_intent.payment_failed", intent)
        if intent["capture_method"] == "manual":
            intent.update(status="requires_capture", amount_capturable=intent["amount"])
            return self._emit("payment_intent.amount_capturable_updated", intent)
        intent.update(status="succeeded", amount_received=intent["amount"])
        return self._emit("payment_intent.succeeded", intent)

    def signed(self, event: dict[str, Any], *, at_s: float | None = None) -> tuple[bytes, dict[str, str]]:
        """Return the body and the headers of a webhook, signed at ``at_s`` (Unix seconds; now if None)."""
        body = json.dumps(event).encode()
        at = round(time.time() if at_s is None else at_s)
        return body, {"Stripe-Signature": stripe_signature.sign(WEBHOOK_SECRET, body, at)}

    def _emit(self, kind: str, subject: dict[str, Any]) -> None:
        copy = json.loads(json.dumps(subject))
        self.events.append(
            {"id": f"evt_{next(self._numbers)}", "object": "event", "type": kind, "data": {"object": copy}}
        )

    def handle(self, path: str, fields: dict[str, str]) -> Reply:
        """Execute one request."""
        if path == "/v1/payment_intents":
            return 200, self._create_intent(fields)
        if path == "/v1/refunds":
            return self._create_refund(fields)
        _, _, _, intent_id, verb = path.split("/")
        intent = self.intents.get(intent_id)
        if intent is None:
            return error(404, "invalid_request_error", "resource_missing")
        if verb == "capture":
            return self._capture(intent, int(fields["amount_to_capture"]))
        if intent["status"] in ("succeeded", "canceled"):
            return error(400, "invalid_request_error", "payment_intent_unexpected_state", payment_intent=intent)
        intent.update(status="canceled", amount_capturable=0)
        self._emit("payment_intent.canceled", intent)
        return 200, intent

    def _create_intent(self, fields: dict[str, str]) -> dict[str, Any]:
        name = f"pi_{next(self._numbers)}"
        self.intents[name] = {
            "id": name,
            "object": "payment_intent",
            "amount": int(fields["amount"]),
            "amount_capturable": 0,
            "amount_received": 0,
            "currency": fields["currency"],
            "capture_method": fields["capture_method"],
            "status": "requires_payment_method",
            "last_payment_error": None,
            "metadata": _metadata(fields),
        }
        self._emit("payment_intent.created", self.intents[name])
        return self.intents[name]

    def _capture(self, intent: dict[str, Any], amount: int) -> Reply:
        if intent["status"] != "requires_capture":
            return error(400, "invalid_request_error", "payment_intent_unexpected_state", payment_intent=intent)
        if amount > intent["amount_capturable"]:
            return error(400, "invalid_request_error", "amount_too_large")
        intent.update(status="succeeded", amount_received=amount, amount_capturable=0)
        self._emit("payment_intent.succeeded", intent)
        return 200, intent

    def _create_refund(self, fields: dict[str, str]) -> Reply:
        intent, amount = self.intents[fields["payment_intent"]], int(fields["amount"])
        if amount > intent["amount_received"] - self.refunded(intent["id"]):
            return error(400, "invalid_request_error", "charge_already_refunded")
        name = f"re_{next(self._numbers)}"
        self.refunds[name] = {
            "id": name,
            "object": "refund",
            "amount": amount,
            "currency": intent["currency"],
            "payment_intent": intent["id"],
            "status": "succeeded",
            "metadata": _metadata(fields),
        }
        self._emit("refund.created", self.refunds[name])
        return 200, self.refunds[name]

    def refunded(self, intent_id: str) -> int:
        """Return the refunded amount of a PaymentIntent, in minor units."""
        return sum(each["amount"] for each in self.refunds.values() if each["payment_intent"] == intent_id)

    async def answer(self, path: str, headers: dict[str, str], body: bytes) -> Reply | None:
        """Return the reply to one request; None to close the connection without one."""
        key, fields = headers.get("idempotency-key", ""), dict(parse_qsl(body.decode()))
        self.requests.append((path, key))
        if headers.get("authorization") != f"Bearer {KEY}":
            return error(401, "invalid_request_error", "invalid_api_key")
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "500":
            return error(500, "api_error", "")
        if fault == "409":
            return error(409, "idempotency_error", "idempotency_key_in_use")
        if fault == "429":
            return error(429, "rate_limit_error", "rate_limit")
        if fault == "garbage":
            return 200, {"nothing": "that a client knows"}
        if fault == "slow":
            await asyncio.sleep(0.05)
        reply = self._once(key, path, fields)
        if fault == "hang":
            await asyncio.sleep(60)
        return None if fault == "lost" else reply

    def _once(self, key: str, path: str, fields: dict[str, str]) -> Reply:
        """Execute a request, or repeat the reply to the first one with its idempotency key."""
        known, reply = self._replies.get(key, (None, None))
        if reply is not None:
            return reply if known == (path, fields) else error(400, "idempotency_error", "")
        assert key, "a request without an idempotency key"
        reply = json.loads(json.dumps(self.handle(path, fields)))
        self._replies[key] = ((path, fields), (reply[0], reply[1]))
        return reply[0], reply[1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while line := await reader.readline():
                headers = {}
                while (header := (await reader.readline()).decode().strip()) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                reply = await self.answer(line.decode().split()[1], headers, body)
                if reply is None:
                    break
                text = json.dumps(reply[1]).encode()
                head = f"HTTP/1.1 {reply[0]} X\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
                writer.write(head.encode() + text)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def _metadata(fields: dict[str, str]) -> dict[str, str]:
    return {name[9:-1]: value for name, value in fields.items() if name.startswith("metadata[")}


@asynccontextmanager
async def run_stripe() -> AsyncIterator[StripeServer]:
    """Run the server on a free port of 127.0.0.1."""
    stripe = StripeServer()
    server = await asyncio.start_server(stripe.serve, "127.0.0.1", 0)
    stripe.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield stripe
    finally:
        server.close()
