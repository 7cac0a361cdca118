"""The numbers that scripts are sent: whole milliseconds, in the order that Lua reads them."""

from __future__ import annotations

from engine.blueprint import catalogue, wave_plan
from engine.blueprint.schema import Dispatch, HeadStart, Wave, Weights

RING = Wave(size=1, radius_m=3000, interval_s=1)


def test_no_blueprint_names_a_radius() -> None:
    """Where nobody declares a wave, or only waves over the whole zone, nothing is within reach."""
    assert wave_plan.max_radius_m([]) == 0
    shipped = catalogue.load_blueprints("home_service", catalogue.shipped_folder()).by_name
    assert wave_plan.max_radius_m([shipped["managed"]]) == 0
    assert wave_plan.max_radius_m(shipped.values()) == 30_000


def test_limits_and_weights_are_one_text_each() -> None:
    """Seconds become ms, what is not set is 0, and large numbers are written out."""
    assert wave_plan.limits_text(Dispatch()) == "0 0 0 0 0 5 0"
    head = HeadStart(first=3, s=1.5)
    full = Dispatch(head_start=head, preferred_s=86_400, open_offers=4, newcomers=0.25, newcomer_jobs=7, grace_s=2)
    assert wave_plan.limits_text(full) == "3 1500 86400000 4 0.25 7 2000"
    assert wave_plan.weights_text(Dispatch(weights=Weights(distance=1, rating=2.5, workload=5))) == "1 2.5 0 0 5"


def test_when_the_declared_waves_are_over() -> None:
    """The first look after them, and no other; without any, the second look at everybody."""
    assert [wave_plan.is_first_after_declared(Dispatch(waves=(RING, RING)), n) for n in range(1, 5)] == [
        False,
        False,
        True,
        False,
    ]
    assert [wave_plan.is_first_after_declared(Dispatch(), n) for n in range(1, 4)] == [False, True, False]
