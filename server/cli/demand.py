"""``callout demand``: measure the forecast on the recorded requests of a city, and find the city's centres of
demand.
"""

from __future__ import annotations

import json
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.process.settings import SettingsError
from server.cli import options
from server.cli.command_failed import CommandFailed

if TYPE_CHECKING:
    from engine.rules.demand_backtest import Backtest
    from engine.rules.forecast import Forecaster
    from engine.rules.hour_slots import HourSlots
    from server.cli.count_files import CountFile

MIN_REQUESTS_PER_HOUR = (0.0, 1.0, 3.0)
"""The backtest has a table for all areas (0), and one for the areas with at least this many requests an hour."""
LIGHTGBM = "lightgbm"

_timezone = click.option(
    "--timezone", default="UTC", help="IANA time zone of the hours of the week, and of times without offset."
)
_resolution = click.option(
    "--resolution", default=8, type=click.IntRange(5, 10), help="Resolution of H3 cells, for pickups."
)


@click.group
def demand() -> None:
    """Measure forecasts on recorded requests."""


def _read_file(file: Path, **given: Any) -> CountFile:
    """Return the counts of a file. Raises SettingsError."""
    from server.cli.count_files import CountColumns, read_counts

    columns = CountColumns(given.get("time_column"), given.get("area_column"), given.get("count_column"))
    try:
        return read_counts(file, columns, timezone=given["timezone"], resolution=given["resolution"])
    except ValueError as error:
        raise SettingsError(str(error)) from None


@demand.command
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--model", metavar="NAME", help="The candidate in the summary: served, profile, last_week, lightgbm, ...")
@click.option("--time-column", metavar="NAME", help="The column of times, if it has an unusual name.")
@click.option("--area-column", metavar="NAME", help="The column of areas, if it has an unusual name.")
@click.option("--count-column", metavar="NAME", help="The column of counts, if it has an unusual name.")
@_timezone
@_resolution
@click.option("--test-days", type=click.IntRange(1), help="How many of the last days are scored (default: 84 or less).")
@options.as_json
def backtest(file: Path, *, model: str | None, as_json: bool, test_days: int | None, **given: Any) -> None:
    """Forecast each hour of a file's last weeks from the hours before it, and print the errors of the forecasts.

    FILE is a CSV file with a column of counts for each area; or with columns of times, areas and counts; or with one
    row for each request and its lat and lon. No forecast uses later requests.
    """
    from engine.rules.forecast import ForecasterFailed

    try:
        result = _backtest(file, model, test_days, given)
    except ForecasterFailed as failure:
        raise CommandFailed(str(failure)) from failure
    if as_json:
        print(json.dumps(result))
    else:
        _print_result(result)


def _backtest(file: Path, model: str | None, test_days: int | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a backtest. Raises SettingsError, and ForecasterFailed."""
    from engine.rules.demand_backtest import SERVED, Backtest
    from engine.rules.forecasters import create_forecasters
    from engine.rules.hour_slots import HourSlots

    found = _read_file(file, **given)
    test_hours = test_days * 24 if test_days else None
    slots = HourSlots(given["timezone"])
    others = create_forecasters(slots)
    if model == LIGHTGBM and model not in others:
        others[model] = _create_lightgbm(slots)
    test = Backtest(found.hours, slots, test_hours=test_hours, others=others)
    if test.learnt_hours < 14 * 24 or test.test_hours < 24:
        raise SettingsError(f"{file}: {len(found.hours)} hours: at least 15 days are needed, 14 of them to learn from")
    model = model or SERVED
    if model not in test.candidates:
        raise SettingsError(f"--model {model}: there are {', '.join(test.candidates)}")
    test.run()
    return {
        "file": str(file),
        "form": found.form,
        "timezone": given["timezone"],
        "model": model,
        **_summary(test, model),
    }


def _create_lightgbm(slots: HourSlots) -> Forecaster:
    """Return the forecaster with LightGBM, which the extra ``forecast`` installs. Raises SettingsError."""
    if find_spec("lightgbm") is None:
        raise SettingsError(f"--model {LIGHTGBM}: LightGBM is not installed; install callout[forecast]")
    from server.cli.forecast_lightgbm import LightGBMForecaster

    return LightGBMForecaster(slots)


@demand.command
@click.argument("file", type=click.Path(path_type=Path))
@_timezone
@_resolution
@click.option("--least", default=30, type=click.IntRange(1), help="Leave out clusters with fewer requests.")
@options.as_json
def clusters(file: Path, *, least: int, as_json: bool, **given: Any) -> None:
    """Find the centres of demand in a file of requests, and how stable they are.

    FILE is a CSV file with one row for each request and its lat and lon, or with H3 cells as areas. A watershed joins
    neighbouring cells to clusters. The clusters of the even hours are compared with those of the odd hours by the
    adjusted Rand index over all requests: 1 means the same clusters, 0 means agreement by chance only.
    """
    from engine.rules.pulse import cell_ring
    from engine.rules.watershed import adjusted_rand, find_clusters

    found = _read_file(file, **given)
    total: Counter[str] = Counter()
    halves: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for hour, counts in found.hours:
        total.update(counts)
        halves[hour % 2].update(counts)
    try:
        peaks = find_clusters(total, cell_ring)
        even, odd = (find_clusters(half, cell_ring) for half in halves)
    except ValueError:
        raise SettingsError(f"{file}: its areas are not H3 cells; give a file with lat and lon") from None
    both = even.keys() & odd.keys()
    rand = adjusted_rand((even[cell], odd[cell], total[cell]) for cell in both)
    members: dict[str, list[str]] = {}
    for cell, peak in peaks.items():
        members.setdefault(peak, []).append(cell)
    sizes = {peak: sum(total[cell] for cell in cells) for peak, cells in members.items()}
    items = [
        (peak, sizes[peak], sorted(members[peak]))
        for peak in sorted(sizes, key=lambda peak: (-sizes[peak], peak))
        if sizes[peak] >= least
    ]
    result = {"file": str(file), "requests": total.total(), "areas": len(total), "rand_of_halves": round(rand, 4)}
    if as_json:
        named = [dict(zip(("area", "requests", "areas"), item, strict=True)) for item in items]
        print(json.dumps({**result, "clusters": named}))
        return
    print(f"{file}: {total.total()} requests in {len(total)} cells; adjusted Rand index of two halves {rand:.3f}")
    for peak, requests, areas in items:
        print(f"{peak}  {requests:>7} requests in {len(areas)} cells")


def _summary(test: Backtest, model: str) -> dict[str, Any]:
    from engine.rules.demand_backtest import BACKTEST_HORIZONS
    from engine.rules.demand_forecast import LAST_WEEK

    means, scales = test.means(), test.naive_errors()
    groups: dict[str, Any] = {}
    for level in MIN_REQUESTS_PER_HOUR:
        areas = [area for area, mean in means.items() if mean >= level and scales[area] > 0]
        if areas:
            name = f"at_least_{level:g}_an_hour" if level else "all"
            by_horizon = {
                str(h): {each: _rounded(test.accuracy(each, h, areas)._asdict()) for each in test.candidates}
                for h in BACKTEST_HORIZONS
            }
            groups[name] = {"areas": len(areas), "horizons": by_horizon}
    if not groups:
        raise SettingsError("no area changes from week to week before the test: nothing can be scored")
    every = groups["all"]["horizons"]
    summary = {h: every[h][model] for h in every}
    for h, values in summary.items():
        values["below_last_week"] = round(1 - values["mae"] / every[h][LAST_WEEK]["mae"], 4)
    return {
        "areas": groups["all"]["areas"],
        "hours": test.learnt_hours + test.test_hours,
        "test_hours": test.test_hours,
        "summary": summary,
        "served": {str(h): hours for h, hours in test.served_hours.items()},
        "groups": groups,
    }


def _rounded(values: dict[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 4) for name, value in values.items()}


def _print_result(result: dict[str, Any]) -> None:
    print(f"{result['file']}: {result['form']}, {result['areas']} areas, {result['hours']} hours,"
          f" the last {result['test_hours']} scored; hours of the week of {result['timezone']}")  # fmt: skip
    for group, found in result["groups"].items():
        print(f"\n{group.replace('_', ' ')}: {found['areas']} areas")
        print(f"{'h':>3} {'candidate':<16} {'MAE':>9} {'MASE':>7} {'median':>7} {'pinball':>9} {'in band':>8}")
        for horizon, candidates in found["horizons"].items():
            for name, each in candidates.items():
                band = "" if each["in_band"] is None else f"{each['in_band']:.3f}"
                print(f"{horizon:>3} {name:<16} {each['mae']:>9.3f} {each['mase']:>7.3f}"
                      f" {each['mase_of_median']:>7.3f} {each['pinball']:>9.3f} {band:>8}")  # fmt: skip
    for horizon, hours in result["served"].items():
        print(f"served {horizon} h ahead: " + ", ".join(f"{name} in {n} hours" for name, n in hours.items()))
