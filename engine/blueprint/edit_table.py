"""What of a job may be changed in which state, by its blueprint's edit table."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from engine.blueprint.schema import Blueprint
from engine.blueprint.vocabulary import EDITABLE

PRICE = frozenset({"amount", "currency"})

Denied = Literal["", "field", "price"]


def denied(blueprint: Blueprint, status: str, fields: Collection[str], *, locked: bool, paid: bool = False) -> Denied:
    """Why these fields may not be changed: ``price`` where it is the price alone, which is locked, of which only a
    proposal may make another, or whose currency money has been ``paid`` in.
    """
    wrong = refused(blueprint, status, fields, locked=locked, paid=paid)
    if not wrong:
        return ""
    bound = locked or paid or status in blueprint.price.propose
    return "price" if bound and PRICE.issuperset(wrong) else "field"


def refused(
    blueprint: Blueprint, status: str, fields: Collection[str], *, locked: bool, paid: bool = False
) -> list[str]:
    """Those of the fields that may not be changed now."""
    table = blueprint.edit.get(status, ())
    allowed = EDITABLE if "*" in table else frozenset(table)
    fixed = PRICE if locked else {"currency"} if paid else frozenset[str]()
    return [field for field in fields if field not in allowed or field in fixed]
