"""``callout travel``: measure travel times without a server. ``backtest`` measures the model on recorded journeys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from engine.process.datadir import CannotStart
from server.cli import options


@click.group
def travel() -> None:
    """Measure how accurate learnt travel times are."""


@travel.command
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--timezone", default="UTC", help="Time zone of times without an offset (IANA name).")
@click.option("--centres", metavar="FILE", type=click.Path(path_type=Path), help="Places of zones: zone, lat, lon.")
@options.as_json
def backtest(*, files: tuple[Path, ...], timezone: str, centres: Path | None, as_json: bool) -> None:
    """Learn travel times from the earlier journeys of CSV files, and measure the prediction of the later ones.

    A FILE is a table of rides (two times, and two places or a distance; zones if known), or of points on the way
    (ride, lat, lon, time; or lat, lon, occupied, time of one cab). The usual names of public trip records are known:
    see docs/travel.md. The last week is held out, or the last fifth of a short record. Public records are not shipped.
    """
    from zoneinfo import ZoneInfo

    from engine.rules.travel_backtest import NotEnough
    from engine.rules.travel_backtest import backtest as measure
    from server.cli.travel_centres import read_centres
    from server.cli.travel_files import TravelFileError, read_rides

    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError) as error:
        raise CannotStart(f"--timezone: {timezone} is no time zone of the IANA database") from error
    try:
        read = read_rides(files, timezone, read_centres(centres) if centres else None)
        found = measure(read.rides)
    except (TravelFileError, NotEnough) as error:
        raise CannotStart(str(error)) from error
    left_out = {"incomplete": read.incomplete, "implausible": read.implausible}
    found = {
        "rides": len(read.rides),
        "left_out": left_out,
        "distance": "road" if read.by_road else "straight",
        **found,
    }
    if as_json:
        print(json.dumps(found))
    else:
        _print_table(found)


def _print_table(found: dict[str, Any]) -> None:
    print(f"{found['rides']} rides, learned from {found['learned_from']}, predicted {found['predicted']}", end=" ")
    print(f"({found['held_out']}, mean {found['mean_s']:.0f} s), distance: {found['distance']}")
    print(f"left out: {found['left_out']['incomplete']} incomplete, {found['left_out']['implausible']} implausible")
    print(f"{'':32}{'MAE':>8}{'median':>8}{'bias':>8}{'2 min':>7}{'kept':>7}{'band':>7}{'sample':>8}")
    for model, errors in found["models"].items():
        _print_row(model, errors)
    for model, classes in found.get("on_the_way", {}).items():
        for left, errors in classes.items():
            _print_row(f"on the way, {left}: {model}", errors)


def _print_row(name: str, errors: dict[str, Any]) -> None:
    print(
        f"{name[:31]:32}{errors['mae_s']:6.0f} s{errors['median_error']:8.1%}{errors['bias_s']:+6.0f} s"
        f"{errors['within_2_min']:7.2f}{errors['kept']:7.2f}{errors['band']:7.2f}{errors['sample']:8}"
    )
