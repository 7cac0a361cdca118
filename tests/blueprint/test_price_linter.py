"""Tests of the linter of quoted prices: each invalid declaration is reported."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest

from engine.blueprint.catalogue import load_blueprints, shipped_folder
from engine.blueprint.price import PeakWindow, Price
from engine.blueprint.price_linter import price_problems

MANAGED = load_blueprints("home_service", shipped_folder()).by_name["managed"]
GOOD: dict[str, Any] = {
    "source": "quote",
    "demand": {"table": [[1.0, 1000], [1.5, 1200], [2.5, 1600], [4.0, 2000]], "min": 1000, "max": 2000, "least": 8},
    "peak": [{"days": "mon-fri", "from": "17:00", "to": "20:00", "by": 1150}],
    "total": {"min": 900, "max": 2200},
    "round_to": 50,
    "quote_s": 600,
}
DEMAND = GOOD["demand"]


def problems_of(price: dict[str, Any], **blueprint: Any) -> list[str]:
    changed = msgspec.structs.replace(MANAGED, price=msgspec.convert(price, Price), **blueprint)
    return list(price_problems(changed))


def test_the_example_has_no_problem() -> None:
    """The table of the documentation is accepted, and so is a quote without factors."""
    assert problems_of(GOOD) == []
    assert problems_of({"source": "quote"}) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"source": "catalogue"}, "demand: changes no price; it needs source"),
        ({"quote_s": 0}, "quote_s must be from 1"),
        ({"quote_s": float("nan")}, "quote_s must be from 1"),
        ({"round_to": 0}, "round_to must be from 1"),
        ({"commission": {"per_mille": 1001}}, "commission: per_mille must be from 0 to 1000"),
        ({"commission": {"per_mille": -1}}, "commission: per_mille must be from 0 to 1000"),
        ({"commission": {"per_mille": 1, "hold_s": -1}}, "commission: hold_s must be from 0"),
        ({"commission": {"per_mille": 1, "hold_s": float("nan")}}, "commission: hold_s must be from 0"),
        ({"total": None}, "total is missing"),
        ({"total": {"min": 1100, "max": 2200}}, "total: min must be above 0"),
        ({"demand": {**DEMAND, "table": [[1.0, 1000]]}}, "demand: table needs two rows"),
        ({"demand": {**DEMAND, "table": [[1.0, 1000], [1.0, 1200]]}}, "demand: table: the pressures must rise"),
        ({"demand": {**DEMAND, "table": [[1.0, 1200], [2.0, 1100]]}}, "demand: table: a multiplier falls"),
        ({"demand": {**DEMAND, "max": 1500}}, "demand: table: the multiplier 1600 is outside"),
        ({"demand": {**DEMAND, "min": 1100}}, "demand: min must be above 0"),
        ({"demand": {**DEMAND, "least": -1}}, "demand: least must be"),
        ({"demand": {**DEMAND, "table": [[1.0, 1000], [2.0, 1050]]}}, "demand: table: it never differs by 100"),
        ({"total": {"min": 900, "max": 1600}}, "demand: table: the row of pressure 4 changes no price"),
        ({"peak": [{"days": "sun", "from": "17:00", "to": "20:00", "by": 1000}]}, "peak 1: by = 1000 changes no price"),
        ({"demand": None, "total": {"min": 1000, "max": 1000}}, "peak 1: by = 1150 changes no price within total"),
        ({"peak": [{"days": "sun", "from": "17:00", "to": "20:00", "by": 0}]}, "peak 1: by must be above 0"),
        ({"peak": [{"days": "sunday", "from": "17:00", "to": "20:00", "by": 1100}]}, "peak 1: 'sunday' are no days"),
        ({"peak": [{"days": "sun", "from": "25:00", "to": "20:00", "by": 1100}]}, "peak 1: '25:00' is no time"),
        (
            {"peak": [*GOOD["peak"], {"days": "fri", "from": "19:59", "to": "23:00", "by": 1200}]},
            "peak 2: overlaps with window 1",
        ),
    ],
)
def test_each_problem_is_named(change: dict[str, Any], problem: str) -> None:
    """Each problem is reported as one sentence that names its place."""
    found = problems_of({name: value for name, value in {**GOOD, **change}.items() if value is not None})
    assert any(text.startswith(problem) for text in found), found


def test_a_quoted_price_has_no_bids_and_no_edits_of_the_amount() -> None:
    """With a quoted price nobody bids, and the customer does not change the amount."""
    assert problems_of(GOOD, edit={"requested": ("*",)}) == [
        "source: edit: requested lets amount and currency change, but a quoted price changes by a proposal"
    ]
    bidding = msgspec.structs.replace(MANAGED.states["requested"], search_mode="bids")
    [problem] = problems_of(GOOD, states={**MANAGED.states, "requested": bidding})
    assert problem == "source: state 'requested' seeks \"bids\", and a quoted price has no bids"


@pytest.mark.parametrize(
    ("window", "moment", "is_in"),
    [
        (("mon-fri", "17:00", "20:00"), "2026-11-30T17:00", True),  # a Monday
        (("mon-fri", "17:00", "20:00"), "2026-11-30T20:00", False),
        (("mon-fri", "17:00", "20:00"), "2026-11-29T18:00", False),
        (("fri, sat", "22:00", "02:00"), "2026-11-29T01:59", True),  # the night of Saturday
        (("fri, sat", "22:00", "02:00"), "2026-11-30T01:00", False),
        (("sat-mon", "00:00", "24:00"), "2026-11-30T23:59", True),
        (("sat-mon", "00:00", "24:00"), "2026-12-01T00:00", False),
    ],
)
def test_a_window_contains_its_hours(window: tuple[str, str, str], moment: str, is_in: bool) -> None:
    """The days of a window are those of its beginning, and a window over midnight ends on the next day."""
    peak = PeakWindow(*window, by=1100)
    local = datetime.fromisoformat(moment)
    assert peak.contains(local) is is_in
    assert ((local.weekday() * 1440 + local.hour * 60 + local.minute) in set(peak.minutes())) is is_in
