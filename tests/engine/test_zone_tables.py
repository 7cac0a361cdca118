"""The tables ``[zones.<name>]`` of the settings file: wrong ones are refused together, each by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.process.settings import Settings, SettingsError, read_settings

BOX = {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]}


def read(folder: Path, toml: str, env: dict[str, str] | None = None, **flags: Any) -> Settings:
    """Return the settings of a file in ``folder``, beside which is the area ``box.geojson``."""
    (folder / "box.geojson").write_text(json.dumps(BOX))
    (folder / "callout.toml").write_text(toml)
    return read_settings(flags, env=env or {}, file=folder / "callout.toml")


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[zones.North]\npolygon = 'box.geojson'", "zones.North: a zone's name has 1 to 32 lower-case letters"),
        ("[zones.'a b']", "zones.a b: a zone's name"),
        (f"[zones.{'a' * 33}]", "a zone's name"),
        ("[zones]\nnorth = 'box.geojson'", "zones.north: not a table"),
        ("[zones.north]", "zones.north: polygon: missing"),
        ("[zones.north]\npolygon = 3", "zones.north: polygon: not the path"),
        ("[zones.north]\npolygon = 'none.geojson'", "zones.north: polygon: none.geojson: No such file"),
        ('[zones.north]\npolygon = "a\\u0000b"', "zones.north: polygon: a\0b: embedded null byte"),
        ("[zones.north]\npolygon = '.'", "zones.north: polygon: .: no regular file"),
        ("[zones.north]\npolygon = '/dev/zero'", "zones.north: polygon: /dev/zero: no regular file"),
        ("[zones.north]\npolygon = 'callout.toml'", "zones.north: polygon: callout.toml: not JSON"),
        ("[zones.north]\npolygon = 'point.geojson'", "zones.north: polygon: point.geojson: it is Point"),
        ("[zones.main]\ncolour = 'red'", "zones.main: unknown key 'colour'"),
        ("[zones.main]\ntimezone = 'Mars/Olympus'", "zones.main: timezone: 'Mars/Olympus' is no time zone"),
        ("[zones.main]\ntimezone = '../main'", "zones.main: timezone: "),
        ("[zones.main]\ntimezone = 'Europe'", "zones.main: timezone: "),
        ("[zones.main]\ntimezone = 'localtime'", "zones.main: timezone: 'localtime' is no time zone"),
        ("[zones.main]\ntimezone = ''", "zones.main: timezone: "),
        ("[zones.main]\ntimezone = 1", "zones.main: timezone: 1"),
        ("zones = ['north']", "zones: 'north': there are main"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, toml: str, problem: str) -> None:
    """A wrong name, file, geometry or time zone is refused with the name of its zone and the reason."""
    (tmp_path / "point.geojson").write_text(json.dumps({"type": "Point", "coordinates": [1, 2]}))
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, toml)
    assert problem in str(refused.value)


def test_all_wrong_tables_are_in_one_message(tmp_path: Path) -> None:
    """The problems of all tables are in one message, beside those of other settings. A zone with a wrong table is still
    known by its name."""
    with pytest.raises(SettingsError) as refused:
        read(tmp_path, "[zones.a]\n[zones.b]\npolygon = 'x'\ntimezone = 'y'", {"CALLOUT_PORT": "x"}, zones="a,c")
    error = str(refused.value)
    assert all(part in error for part in ("zones.a: polygon", "zones.b: polygon", "zones.b: timezone", "port: "))
    assert "zones: 'c': there are a, b, main" in error


def test_the_declared_zones(tmp_path: Path) -> None:
    """The zones have the order of the file, and a path is relative to the folder of the file. Without `zones` a process
    serves all; it always serves `main`.
    """
    toml = "[zones.7-north]\npolygon = 'box.geojson'\ntimezone = 'Europe/Rome'\n[zones.a]\npolygon = 'box.geojson'"
    settings = read(tmp_path, toml)
    assert settings.zones == settings.all_zones == ("7-north", "a", "main")
    north = settings.zone_areas[0]
    assert (north.name, north.timezone) == ("7-north", "Europe/Rome")
    assert north.polygons is not None and north.polygons.geometry == BOX
    assert settings.zone_areas[1].timezone == "UTC"
    one = read(tmp_path, toml, zones="a")
    assert (one.zones, one.all_zones) == (("a", "main"), ("7-north", "a", "main"))
    assert read(tmp_path, toml, {"CALLOUT_ZONES": "main"}).zones == ("main",)


def test_main_may_have_an_area_of_its_own(tmp_path: Path) -> None:
    """`main` needs no polygon, and may have one."""
    settings = read(tmp_path, "[zones.main]\ntimezone = 'Asia/Tokyo'")
    assert (settings.all_zones, settings.zone_areas[0].polygons) == (("main",), None)
    assert read(tmp_path, "[zones.main]\npolygon = 'box.geojson'").zone_areas[0].polygons is not None
