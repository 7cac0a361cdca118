"""The price of an edited job. If the job's price was quoted, another service, place or time needs a new quote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.blueprint.edit_table import DenialReason
from engine.blueprint.schema import Blueprint
from engine.domain import quote_use
from engine.errors import FieldError, Invalid
from engine.types import UserId

if TYPE_CHECKING:
    from engine.runtime import Engine

PRICED_MEMBERS = frozenset({"service", "lat", "lon", "postal_code", "scheduled_for"})
"""The members that a quoted price is for."""
NO_CHANGE_TEXT = "Only a change of service, place or time takes a quote"


class EditPrice(NamedTuple):
    """The effect of an edit on a quoted price. ``members`` are the members of the job that change, ``quote`` is the
    quote that the edit uses up ("": none). If ``denied``, the edit is refused because of the fields ``refused``.
    """

    members: Mapping[str, Any] = {}
    quote: str = ""
    denied: DenialReason = ""
    refused: Sequence[str] = ()


async def price_edit(
    engine: Engine,
    blueprint: Blueprint,
    after: Mapping[str, Any],
    change: Mapping[str, Any],
    changed: Sequence[str],
    *,
    locked: bool,
    paid: bool,
) -> EditPrice:
    """Return the price of the job ``after`` the ``change``, in which the fields ``changed`` get another value.

    Raises Invalid for a quote of other work, or if the edit needs no quote; NotFound for another customer's quote.
    """
    quote_id, is_quoted = change.get("quote"), after.get("quote") is not None
    repriced = [name for name in changed if name in PRICED_MEMBERS]
    if quote_id is None:
        return EditPrice(denied="price", refused=repriced) if is_quoted and repriced else EditPrice()
    if not is_quoted:
        raise Invalid(errors=[FieldError("/quote", quote_use.NOT_QUOTED_TEXT)])
    if locked:
        return EditPrice(denied="price", refused=["quote"])
    quote = await quote_use.find_quote_of(engine, UserId(after["customer"]["id"]), quote_id)
    errors = [FieldError("/amount", "The price is quoted")] if "amount" in change else []
    if not repriced:
        errors.append(FieldError("/quote", NO_CHANGE_TEXT))
    terms = {**after, "blueprint": blueprint.name, "currency": change.get("currency")}
    errors += quote_use.differences(quote, terms)
    if errors:
        raise Invalid(errors=errors)
    if paid and quote.currency != after["currency"]:
        return EditPrice(denied="price", refused=["currency"])
    members = {"amount": quote.amount, "currency": quote.currency, "quote": quote.job_member}
    return EditPrice(members, quote.id)
