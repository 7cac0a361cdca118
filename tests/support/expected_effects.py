"""Compute the expected effects of a command of a random blueprint on a job."""

from __future__ import annotations

import msgspec

from engine.blueprint.schema import HOLDER_EFFECTS, Blueprint, Command
from tests.support.booked_money import fee_of
from tests.support.random_blueprints import NEEDED_PHOTOS

PRICE = 5
PARTIAL_AMOUNT = 3
"""The amount that was captured before the command, if the price was captured only in part."""


class JobCase(msgspec.Struct, frozen=True):
    """The facts of a job before a command. ``state``: its state. ``marked``: its marks. ``early``: it is too early to
    begin the work. ``frozen``: a dispute freezes the job. ``paid``: the whole price was captured. ``photos``: the
    number of its photos. ``hold``: the state of its hold, "" if there is none, ``asked`` or ``authorized``.
    """

    state: str
    marked: frozenset[str]
    early: bool = False
    frozen: bool = False
    paid: bool = False
    photos: int = NEEDED_PHOTOS
    hold: str = ""


class Effects:
    """The effects of a step on a job in a case: its ``status``, the marks and states so far, whether the price is
    ``locked``, the ``kinds`` of requested payments, what is ``earned`` (amount and fee), and the state of the ``hold``.
    This is a second implementation of docs/money.md and docs/blueprints.md.
    """

    def __init__(self, blueprint: Blueprint, case: JobCase) -> None:
        self.blueprint, self.status, self.hold, self.locked = blueprint, case.state, case.hold, False
        self.paid = self.net = PRICE if case.paid else PARTIAL_AMOUNT
        """``paid`` is the amount that pays for the job; a requested refund reduces it. ``net`` is the captured amount.
        """
        self.has_holder = blueprint.phase(case.state) not in ("open", "closed")
        self.names = {*case.marked, case.state}
        self.kinds: list[str] = []
        self.earned: list[tuple[int, int]] = []

    def take(self, spec: Command) -> None:
        """Apply one command."""
        gives, had, was = spec.effect in HOLDER_EFFECTS, self.has_holder, self.status
        self.status, self.locked = spec.to or was, self.locked or spec.locks_price or spec.signs
        self.names |= {self.status, spec.marks} - {""}
        self.has_holder = gives or (had and spec.effect != "release")
        self.kinds += ["charge"] * (spec.charges and self.paid < PRICE)
        if was in spec.refunds and self.paid:
            self.kinds, self.paid = [*self.kinds, "refund"], 0
        phase = self.blueprint.phase(self.status)
        if phase == "done" and self.has_holder:
            commission = self.blueprint.price.commission
            self.earned.append((self.net, fee_of(self.net, commission.per_mille if commission else 0)))
        self._follow_hold(spec, leaves=had and (gives or not self.has_holder), over=phase in ("done", "closed"))

    def _follow_hold(self, spec: Command, *, leaves: bool, over: bool) -> None:
        ends = leaves or spec.holds or over or not self.has_holder or (spec.charges and self.hold == "asked")
        if self.blueprint.may_hold and ends:
            self.kinds += ["release"] * (self.hold == "authorized")
            self.hold = ""
        if spec.holds:
            self.kinds += ["hold"] * (self.paid < PRICE)
            self.hold = "asked"

    def allows(self, spec: Command) -> bool:
        """Return whether the captured money lets the job take ``spec``."""
        fits = self.names.issuperset(spec.needs) and self.names.isdisjoint(spec.unless)
        return fits and self.status in spec.from_ and self.paid >= PRICE


def expected_effects(blueprint: Blueprint, spec: Command, case: JobCase) -> Effects:
    """Return the effects of a step. A payment that was captured before pays the job in the same step."""
    effects = Effects(blueprint, case)
    if spec.effect == "capture":
        effects.paid, effects.net = effects.paid + PRICE, effects.net + PRICE
    effects.take(spec)
    later = blueprint.commands["capture"]
    if spec.effect not in ("capture", "freeze") and effects.allows(later):
        effects.take(later)
    return effects
