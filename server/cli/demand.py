"""``callout demand``: measure the forecast on a recorded city."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.process.settings import SettingsError
from server.cli import options

if TYPE_CHECKING:
    from engine.rules.demand_backtest import Backtest

LEVELS = (0.0, 1.0, 3.0)
"""The backtest scores the areas with at least so many requests an hour, apart from all."""


@click.group
def demand() -> None:
    """Measure forecasts on recorded requests."""


@demand.command
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--model", metavar="NAME", help="The candidate in the summary: served, profile, last_week, ...")
@click.option("--time-column", metavar="NAME", help="The column of times, if it has an unusual name.")
@click.option("--area-column", metavar="NAME", help="The column of areas, if it has an unusual name.")
@click.option("--count-column", metavar="NAME", help="The column of counts, if it has an unusual name.")
@click.option("--timezone", default="UTC", help="IANA time zone of the hours of the week, and of times without offset.")
@click.option("--resolution", default=8, type=click.IntRange(5, 10), help="Resolution of H3 cells, for pickups.")
@click.option("--test-days", type=click.IntRange(1), help="How many of the last days are scored (default: 84 or less).")
@options.as_json
def backtest(file: Path, *, model: str | None, as_json: bool, test_days: int | None, **given: Any) -> None:
    """Forecast each hour of a file's last weeks from the hours before it, and print how far off the forecasts were.

    FILE is a CSV file with a column of counts for each area; or with columns of times, areas and counts; or with one
    row for each request and its lat and lon. No forecast uses anything that came later.
    """
    from engine.rules.demand_backtest import SERVED, Backtest
    from engine.rules.hour_slots import HourSlots
    from server.cli.count_files import CountColumns, read_counts

    columns = CountColumns(given["time_column"], given["area_column"], given["count_column"])
    try:
        found = read_counts(file, columns, timezone=given["timezone"], resolution=given["resolution"])
    except ValueError as error:
        raise SettingsError(str(error)) from None
    test_hours = test_days * 24 if test_days else None
    test = Backtest(found.hours, HourSlots(given["timezone"]), test_hours=test_hours)
    if test.learnt_hours < 14 * 24 or test.test_hours < 24:
        raise SettingsError(f"{file}: {len(found.hours)} hours: at least 15 days are needed, 14 of them to learn from")
    model = model or SERVED
    if model not in test.candidates:
        raise SettingsError(f"--model {model}: there are {', '.join(test.candidates)}")
    test.run()
    result = {
        "file": str(file),
        "form": found.form,
        "timezone": given["timezone"],
        "model": model,
        **_summary(test, model),
    }
    if as_json:
        print(json.dumps(result))
    else:
        _print_result(result)


def _summary(test: Backtest, model: str) -> dict[str, Any]:
    from engine.rules.demand_backtest import BACKTEST_HORIZONS
    from engine.rules.demand_forecast import LAST_WEEK

    means, scales = test.means(), test.naive_errors()
    groups: dict[str, Any] = {}
    for level in LEVELS:
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
