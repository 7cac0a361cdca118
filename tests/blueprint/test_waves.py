"""Tests of the numbers that scripts receive about waves: whole milliseconds, in the order in which Lua reads them."""

from __future__ import annotations

from engine.blueprint import catalogue, wave_plan
from engine.blueprint.schema import Dispatch, HeadStart, Wave, Weights

WAVE_3_KM = Wave(size=1, radius_m=3000, interval_s=1)


def test_max_radius_m_is_the_largest_declared_radius() -> None:
    """`max_radius_m` is 0 for blueprints without a wave, or with waves over the whole zone only; for the shipped ones
    it is 30,000, their largest radius.
    """
    assert wave_plan.max_radius_m([]) == 0
    shipped = catalogue.load_blueprints("home_service", catalogue.shipped_folder()).by_name
    assert wave_plan.max_radius_m([shipped["managed"]]) == 0
    assert wave_plan.max_radius_m(shipped.values()) == 30_000


def test_limits_and_weights_are_one_text_each() -> None:
    """Limits and weights are one text each: seconds become ms, an absent value is 0, and large numbers have no
    exponent.
    """
    assert wave_plan.limits_text(Dispatch()) == "0 0 0 0 0 5 0"
    head = HeadStart(first=3, delay_s=1.5)
    full = Dispatch(head_start=head, preferred_s=86_400, open_offers=4, newcomers=0.25, newcomer_jobs=7, grace_s=2)
    assert wave_plan.limits_text(full) == "3 1500 86400000 4 0.25 7 2000"
    assert wave_plan.weights_text(Dispatch(weights=Weights(distance=1, rating=2.5, workload=5))) == "1 2.5 0 0 5"


def test_the_first_undeclared_wave() -> None:
    """`is_first_after_declared` is true only for the first wave after the declared ones. Without declared waves it is
    true for the second wave.
    """
    assert [wave_plan.is_first_after_declared(Dispatch(waves=(WAVE_3_KM, WAVE_3_KM)), n) for n in range(1, 5)] == [
        False,
        False,
        True,
        False,
    ]
    assert [wave_plan.is_first_after_declared(Dispatch(), n) for n in range(1, 4)] == [False, True, False]
