"""`callout travel backtest`: the formats of public records, and what is refused."""

from __future__ import annotations

import json
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server.cli.commands import run

START = datetime(2026, 3, 2, tzinfo=UTC)


def backtest(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    """Run the command with --json and return its object."""
    assert run(["travel", "backtest", *map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def rides(count: int = 400) -> list[tuple[datetime, datetime, float, float]]:
    """Return artificial rides of three weeks: begin, end, and the distance to the north and to the east in degrees."""
    draw, found = random.Random(8), []
    for at in range(count):
        north, east = draw.uniform(-0.05, 0.05), draw.uniform(-0.05, 0.05)
        km = 111 * math.hypot(north, east) + 1
        began = START + timedelta(minutes=at * 75)
        found.append((began, began + timedelta(seconds=250 * km**0.6 * math.exp(draw.gauss(0, 0.3))), north, east))
    return found


@pytest.mark.parametrize(
    "header",
    [
        "tpep_pickup_datetime,tpep_dropoff_datetime,pickup_longitude,pickup_latitude,"
        "dropoff_longitude,dropoff_latitude,passenger_count",
        "started_at,ended_at,start_lng,start_lat,end_lng,end_lat,member_casual",
    ],
)
def test_rides_with_places_are_learnt(header: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of rides with the columns of taxi or bicycle records is read. The learnt times are better than one speed,
    and four of five rides keep the promise.
    """
    rows = [
        f"{began:%Y-%m-%d %H:%M:%S},{ended:%Y-%m-%d %H:%M:%S},13.4,52.5,{13.4 + 1.64 * east},{52.5 + north},1"
        for began, ended, north, east in rides()
    ]
    (tmp_path / "rides.csv").write_text("\n".join([header, *rows, ",,13.4,52.5,13.5,52.6,1"]) + "\n")
    found = backtest(capsys, tmp_path / "rides.csv")
    assert found["distance"] == "straight" and found["held_out"] == "the last week"
    assert found["left_out"]["incomplete"] == 1 and found["rides"] + found["left_out"]["implausible"] == 400
    models = found["models"]
    assert models["learned"]["mae_s"] < models["one_speed"]["mae_s"]
    assert 0.7 <= models["learned"]["kept"] <= 0.9
    assert {"mae_s", "median_error", "bias_s", "kept", "within_2_min"} <= models["learned"].keys()


def test_rides_between_zones_have_the_length_of_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the file has zones without their places, it must have the distance by road, and the output says that this
    distance is used. With the places of the zones the straight distance is used, and the errors by road distance are
    printed too.
    """
    rows = ["pickup,dropoff,PULocationID,DOLocationID,trip_distance"]
    rows += [
        f"{began.isoformat()},{ended.isoformat()},a,{'b' if north > 0 else 'c'},{3 + 50 * abs(north):.2f}"
        for began, ended, north, _ in rides()
    ]
    (tmp_path / "zones.csv").write_text("\n".join(rows))
    assert backtest(capsys, tmp_path / "zones.csv")["distance"] == "road"
    (tmp_path / "centres.csv").write_text("zone,lat,lon\na,52.5,13.4\nb,52.53,13.4\nc,52.46,13.41\n")
    found = backtest(capsys, tmp_path / "zones.csv", "--centres", tmp_path / "centres.csv")
    assert found["distance"] == "straight" and found["models"].keys() >= {"learned", "learned_driven"}


def test_points_of_a_cab_show_the_errors_on_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The positions of a cab with its occupation, and a table of points with the name of each ride, are read as rides.
    The errors are printed for each range of the time that was left. A ride with a gap of more than five minutes is left
    out.
    """
    named, cab = ["ride,lat,lon,time"], []
    for at, (began, ended, north, east) in enumerate(rides()):
        for part in range(6):
            when = began + (ended - began) * part / 5 + timedelta(minutes=6 * (at == 0 and part == 4))
            place = f"{52.5 + north * part / 5:.5f},{13.4 + 1.64 * east * part / 5:.5f}"
            named.append(f"r{at},{place},{when.isoformat()}")
            cab.append(f"{place.replace(',', ' ')} {int(part < 5)} {when.timestamp():.0f}")
    (tmp_path / "points.csv").write_text("\n".join(named))
    (tmp_path / "cab.txt").write_text("\n".join(reversed(cab)))
    for name in ("points.csv", "cab.txt"):
        found = backtest(capsys, tmp_path / name)
        left = found["on_the_way"]["learned"]
        assert found["left_out"]["incomplete"] >= 1, "the ride with a gap"
        assert left["under_5_min"]["within_2_min"] > 0.8 and left["all"]["sample"] > 50
    assert run(["travel", "backtest", str(tmp_path / "cab.txt")]) == 0
    assert "under_5_min" in capsys.readouterr().out


def test_ways_as_lists_of_places_and_rounded_times_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A record of routes in the format of Porto has points every 15 s. Times that are rounded to a quarter of an hour,
    as in Chicago's record, are ignored if the duration is given.
    """
    ways, rounded = (
        ['"TRIP_ID","TIMESTAMP","POLYLINE"'],
        ["Trip Start Timestamp,Trip End Timestamp,Trip Seconds,Trip Miles"],
    )
    for at, (began, ended, north, east) in enumerate(rides()):
        parts = max(2, round((ended - began).total_seconds() / 15))
        places = [[13.4 + 1.64 * east * part / parts, 52.5 + north * part / parts] for part in range(parts + 1)]
        ways.append(f'"{at}","{began.timestamp():.0f}","{json.dumps(places)}"')
        quarter = f"{began:%m/%d/%Y} {began.hour % 12 or 12:02}:{began.minute // 15 * 15:02}:00 {began:%p}"
        rounded.append(f"{quarter},{quarter},{(ended - began).total_seconds():.0f},{100 * math.hypot(north, east):.2f}")
    (tmp_path / "ways.csv").write_text("\n".join(ways))
    (tmp_path / "rounded.csv").write_text("\n".join(rounded))
    assert backtest(capsys, tmp_path / "ways.csv")["on_the_way"]["learned"]["under_5_min"]["sample"] > 50
    found = backtest(capsys, tmp_path / "rounded.csv")
    assert found["models"]["learned"]["mae_s"] < found["models"]["one_speed"]["mae_s"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,b\n1,2\n", "line 1: neither rides nor points"),
        ("pickup,dropoff,distance\nyesterday,today,3\n", "line 2: 'yesterday' is no time"),
        ("pickup,dropoff,distance\n0001-01-01T00:00+09:00,2026-01-02,3\n", "line 2: '0001-01-01T00:00+09:00' is"),
        ("pickup,dropoff,distance\n9999-12-31T23:00-09:00,2026-01-02,3\n", "line 2: '9999-12-31T23:00-09:00' is"),
        ("pickup,dropoff,distance\n2026-01-01,2026-01-02,far\n", "line 2: 'far' is not a number"),
        ("ride,lat,lon,time\nr,95,13,1767225600\n", "line 2: 95, 13 is no place"),
        ("pickup,dropoff,distance\n2026-01-01,2026-01-02,3\n", "too few"),
        ("timestamp,polyline\n5,here\n", "line 2: no list of places"),
        ("", "line 1: neither rides nor points"),
    ],
)
def test_a_file_that_is_no_record_is_refused(
    text: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be read is refused with exit code 2 and one line: the file, the line and the reason."""
    (tmp_path / "wrong.csv").write_text(text)
    assert run(["travel", "backtest", str(tmp_path / "wrong.csv")]) == 2
    error = capsys.readouterr().err
    assert problem in error and error.count("\n") == 1


def test_a_missing_file_and_an_unknown_time_zone_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not there, and a time zone that does not exist, exit with code 2 and a reason."""
    assert run(["travel", "backtest", str(tmp_path / "none.csv")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert run(["travel", "backtest", str(tmp_path / "none.csv"), "--timezone", "Mars/Base"]) == 2
    assert "Mars/Base" in capsys.readouterr().err
