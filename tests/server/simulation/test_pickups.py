"""Tests of reading files of recorded pickups: refused files with the line and column of the error, and accepted
forms.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.simulation.pickups import Pickup, TraceError, parse_time, read_trace

VALID_ROW = "9/1/2014 0:01:00,40.75,-74.0\n"


def write_trace(folder: Path, content: str | bytes) -> Path:
    """Write a file of pickups and return its path."""
    path = folder / "trace.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("text", "line", "column", "what"),
    [
        ("", 1, None, "no pickups"),
        ("time,lat,lon\n", 1, None, "no pickups"),
        ("time,lat,price\n", 1, "lon", "no such column"),
        ("colour,price\nred,1\n", 1, "time", "no such column"),
        ("time,lat,lon\n" + VALID_ROW + "yesterday,40.75,-74.0\n", 3, "time", "not a time like"),
        ("time,lat,lon\n2/30/2014 0:01:00,40.75,-74.0\n", 2, "time", "not a time like"),
        ("time,lat,lon\n\n9/1/2014 0:01:00,north,-74.0\n", 3, "lat", "not a number"),
        ("time,lat,lon\n9/1/2014 0:01:00,nan,-74.0\n", 2, "lat", "not between"),
        ("time,lat,lon\n9/1/2014 0:01:00,90.1,-74.0\n", 2, "lat", "not between"),
        ("time,lat,lon\n9/1/2014 0:01:00,40.75,-180.5\n", 2, "lon", "not between"),
        ("time,lat,lon\n9/1/2014 0:01:00,40.75\n", 2, "lon", "missing"),
        ("time,lat,lon\n9/1/2014 0:01:00,,-74.0\n", 2, "lat", "missing"),
        (VALID_ROW + "9/1/2014 0:02:00,40.75,\n", 2, "lon", "missing"),
        (VALID_ROW.encode() + b"9/1/2014 0:02:00,\xff,1\n", 1, None, "not CSV in UTF-8"),
    ],
)
def test_a_bad_row_is_refused_with_its_line_and_column(
    tmp_path: Path, text: str | bytes, line: int, column: str | None, what: str
) -> None:
    """A file that cannot be parsed is refused with a ``TraceError``, which contains the line and, if known, the
    column.
    """
    with pytest.raises(TraceError, match=what) as refused:
        read_trace(write_trace(tmp_path, text))
    assert (refused.value.line, refused.value.column) == (line, column)
    assert str(refused.value).startswith(f"{tmp_path / 'trace.csv'}, line {line}")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A missing file is refused with a ``TraceError``, not with an ``OSError``."""
    with pytest.raises(TraceError, match="No such file"):
        read_trace(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "text",
    [
        VALID_ROW,
        "Date/Time,Lat,Lon,Base\n9/1/2014 0:01:00,40.75,-74.0,B02512\n",
        "vendor,tpep_pickup_datetime,pickup_longitude,pickup_latitude\n1,2014-09-01 00:01:00,-74.0,40.75\n",
        "LATITUDE,LNG,pickup_datetime\n40.75,-74.0,2014-09-01T04:01:00Z\n",
        '\ufefftimestamp,latitude,longitude\r\n"2014-09-01T06:01:00+02:00", 40.75, -74.0\r\n',
        "\n9/1/2014 0:01,40.75,-74.0\n",
    ],
)
def test_columns_are_found_by_their_usual_names(tmp_path: Path, text: str) -> None:
    """The columns are found by their usual names, in any order and case. A file without a header is read too."""
    assert read_trace(write_trace(tmp_path, text)) == [Pickup(datetime(2014, 9, 1, 4, 1, tzinfo=UTC), 40.75, -74.0)]


def test_pickups_are_sorted_by_time_and_the_earliest_are_taken(tmp_path: Path) -> None:
    """Pickups are sorted by time, and ``limit`` returns the earliest. Rows with the same time remain in their order."""
    text = "2014-09-02,1,1\n2014-09-01,2,2\n2014-09-03,3,3\n2014-09-01,4,4\n"
    assert [pickup.lat for pickup in read_trace(write_trace(tmp_path, text), limit=3)] == [2, 4, 1]


def test_american_times_are_those_of_new_york() -> None:
    """A time in the American form is local time of New York, with daylight saving time in summer."""
    assert parse_time("9/1/2014 0:01:00") == datetime(2014, 9, 1, 4, 1, tzinfo=UTC)
    assert parse_time("12/1/2014 0:01:00") == datetime(2014, 12, 1, 5, 1, tzinfo=UTC)
