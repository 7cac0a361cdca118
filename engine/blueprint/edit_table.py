"""The edit table of a blueprint: which members of a job may be changed in which state."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from engine.blueprint.schema import Blueprint
from engine.rules.job_document import EDITABLE_MEMBERS

PRICE_FIELDS = frozenset({"amount", "currency"})

DenialReason = Literal["", "field", "price"]


def denial_reason(
    blueprint: Blueprint,
    status: str,
    fields: Collection[str],
    *,
    locked: bool,
    paid: bool = False,
    signed: bool = False,
) -> DenialReason:
    """Return why these fields may not be changed, or "" if they may.

    ``price`` means that only price fields are refused, because the price is locked, can change only by a proposal, or
    money was ``paid`` in its currency. ``field`` stands for every other refusal. A ``signed`` job cannot be edited.
    """
    not_allowed = refused_fields(blueprint, status, fields, locked=locked, paid=paid, signed=signed)
    if not not_allowed:
        return ""
    price_bound = locked or paid or status in blueprint.price.propose
    return "price" if price_bound and PRICE_FIELDS.issuperset(not_allowed) else "field"


def refused_fields(
    blueprint: Blueprint,
    status: str,
    fields: Collection[str],
    *,
    locked: bool,
    paid: bool = False,
    signed: bool = False,
) -> list[str]:
    """Return the fields that may not be changed now, in the order of ``fields``."""
    table = () if signed else blueprint.edit.get(status, ())
    allowed = EDITABLE_MEMBERS if "*" in table else frozenset(table)
    fixed = PRICE_FIELDS if locked else {"currency"} if paid else frozenset[str]()
    return [field for field in fields if field not in allowed or field in fixed]
