"""Tests of ``callout demand``: the formats that it reads, its refusals, and its output."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from server.cli.commands import run
from tests.support.artificial_city import make_city

CITY = make_city(4, {"7": 5.0, "8": 1.0})


def write_file(path: Path, rows: list[list[Any]]) -> str:
    """Write a CSV file and return its name."""
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return str(path)


def time_text(hour: int, form: str = "%Y-%m-%dT%H:%M") -> str:
    """Return the time at which an hour begins, in UTC."""
    return datetime.fromtimestamp(hour * 3600, UTC).strftime(form)


def backtest(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return what the backtest of a file prints as JSON."""
    assert run(["demand", "backtest", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("rows", "options", "problem"),
    [
        ([], [], "the file is empty"),
        ([["hour", "7"]], [], "the file has no rows"),
        ([["when", "7"], ["2026-01-01T00:00", 1]], [], "no column of the time"),
        ([["hour", "7"], ["yesterday", 1]], [], "line 2, column hour: 'yesterday' is not a time"),
        ([["hour", "7"], ["2026-01-01T00:00", "many"]], [], "line 2, column 7: 'many' is not a count"),
        ([["hour", "7"], ["2026-01-01T00:00", -1]], [], "-1 is not a count"),
        ([["hour", "7"], ["2026-01-01T00:00", "nan"]], [], "nan is not a count"),
        ([["hour", "7"], ["2026-01-01T00:00", 1, 2]], [], "3 cells, where the header has 2"),
        ([["hour"], ["2026-01-01T00:00"]], [], "no counts"),
        ([["time", "lat", "lon"], ["2026-01-01T00:00", 91, 0]], [], "'91' is not between -90 and 90"),
        ([["hour", "7"], ["13/1/2026 0:00", 1], ["1/13/2026 0:00", 1]], [], "some dates have the day first"),
        ([["hour", "7"], ["0001-01-01", 1], ["2026-01-01", 1]], [], "span more than 30 years"),
        ([["hour", "7"], ["2026-01-01T00:00", 1]], [], "at least 15 days are needed"),
        ([["hour", "7"], ["2026-01-01T00:00", 1]], ["--area-column", "place"], "column place: no such column"),
        ([["hour", "7"], ["2026-01-01T00:00", 1]], ["--timezone", "Mars/Base"], "'Mars/Base' is not a time zone"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    rows: list[list[Any]], options: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the line and the column, and the exit code is 2."""
    assert run(["demand", "backtest", write_file(tmp_path / "city.csv", rows), *options]) == 2
    assert problem in capsys.readouterr().err


def test_a_file_that_is_missing_and_an_unknown_model_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both are errors of one line, which lists the possible models."""
    assert run(["demand", "backtest", str(tmp_path / "none.csv")]) == 2
    assert "No such file" in capsys.readouterr().err
    wide = write_file(tmp_path / "city.csv", [["hour", "7"], *([time_text(h), 1] for h, _ in CITY)])
    assert run(["demand", "backtest", wide, "--model", "guess"]) == 2
    assert "--model guess: there are served, profile, last_week" in capsys.readouterr().err


def test_all_forms_of_a_file_give_the_same_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wide file, a long one with the day first, and one with a row for each request give the same scores."""
    wide = [["hour", "7", "8"], *([time_text(h), c.get("7", 0), c.get("8", "")] for h, c in CITY)]
    by_area = [(h, area, n) for h, c in reversed(CITY) for area, n in c.items()]
    long = [["pickups_dt", "borough", "pickups"], *([time_text(h, "%d-%m-%Y %H:%M"), a, n] for h, a, n in by_area)]
    single = [["t", "place"], *([f"{time_text(h)}:59Z", a] for h, a, n in by_area for _ in range(n))]
    results = [
        backtest(capsys, write_file(tmp_path / "wide.csv", wide)),
        backtest(capsys, write_file(tmp_path / "long.csv", long)),
        backtest(capsys, write_file(tmp_path / "single.csv", single), "--time-column", "t", "--area-column", "place"),
    ]
    assert [result["form"] for result in results] == ["wide", "long", "long"]
    assert results[0]["summary"] == results[1]["summary"] == results[2]["summary"]
    assert results[0]["summary"]["1"]["below_last_week"] > 0


def test_pickups_are_counted_in_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Requests with a position are counted in H3 cells. The output names the candidate that was served at each
    horizon.
    """
    places = {"7": (52.5, 13.4), "8": (52.6, 13.5)}
    rows = [[time_text(h), *places[area]] for h, c in CITY for area, n in c.items() for _ in range(n)]
    file = write_file(tmp_path / "pickups.csv", [["Date/Time", "Lat", "Lon"], *rows])
    assert run(["demand", "backtest", file]) == 0
    text = capsys.readouterr().out
    assert "pickups, 2 areas, 672 hours, the last 168 scored" in text
    assert "served 24 h ahead:" in text


def hills_file(path: Path) -> str:
    """Write requests around two centres, far from each other, and return the name of the file."""
    chance, rows = random.Random(1), list[list[Any]]()
    for number in range(3_000):
        lat, lon = (52.5, 13.4) if number % 3 else (52.7, 13.4)
        rows.append([time_text(CITY[0].hour + number % 48), chance.gauss(lat, 0.012), chance.gauss(lon, 0.02)])
    return write_file(path, [["time", "lat", "lon"], *rows])


def test_clusters_are_the_centres_and_the_same_in_both_halves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requests around two centres give two clusters, the larger one first. Both halves of the file and two runs give
    the same clusters.
    """
    file, results = hills_file(tmp_path / "hills.csv"), []
    for _ in range(2):
        assert run(["demand", "clusters", file, "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0] == results[1]
    first, second = results[0]["clusters"][:2]
    assert first["requests"] + second["requests"] > 2_700 and first["requests"] > 1.7 * second["requests"]
    assert results[0]["rand_of_halves"] >= 0.8


def test_clusters_of_areas_that_are_no_cells_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Areas without a place on the map have no neighbours."""
    file = write_file(tmp_path / "city.csv", [["hour", "north"], [time_text(CITY[0].hour), 3]])
    assert run(["demand", "clusters", file]) == 2
    assert "its areas are not H3 cells" in capsys.readouterr().err
