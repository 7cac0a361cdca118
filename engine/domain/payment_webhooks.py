"""Receive the webhooks of the payment provider that the settings choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.clock import now_ms
from engine.domain import payment_reports
from engine.errors import NotFound, Unauthenticated
from engine.payments.adapter import WrongSignature
from engine.payments.choice import open_adapter

if TYPE_CHECKING:
    from engine.runtime import Engine


async def receive(engine: Engine, adapter_name: str, headers: Mapping[bytes, bytes], body: bytes) -> None:
    """Record the reports of a webhook. A new adapter is created for each webhook, which opens no connection. The time
    of the signature is compared with this host's clock, because no clock of a zone is related to the provider's.

    Raises NotFound if the settings choose another adapter, and Unauthenticated for a wrong or old signature. Raises
    Unavailable or Indeterminate if a store does not answer: then the provider sends the webhook again.
    """
    adapter = open_adapter(engine.settings) if adapter_name == engine.settings.payments else None
    if adapter is None:
        raise NotFound("No such payment adapter")
    try:
        reports = adapter.parse(headers, body, now_ms() / 1000)
    except WrongSignature as error:
        raise Unauthenticated("The signature is wrong or too old") from error
    for report in reports:
        await payment_reports.record(engine, report)
