"""Forecasters besides the default one: another package registers one, and the backtest and the chore of demand use
it.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from engine.archive import demand_models
from engine.domain import demand as demand_views
from engine.domain import demand_pulse
from engine.rules import forecasters
from engine.rules.demand_backtest import HourCounts
from engine.rules.demand_forecast import DemandForecast
from engine.rules.hour_slots import WEEK_HOURS, HourSlots, hour_of
from engine.rules.pulse import cell_at
from engine.runtime import Engine
from engine.sql.demand_tables import demand_hours
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal, UserId
from engine.workers import demand
from server.cli.commands import run
from tests.support.clock import advance
from tests.support.installed_package import install_package

CELL = cell_at(52.52, 13.40)
PACKAGE = """
class Fives:
    def __init__(self, slots):
        self.hour, self.areas = -1, set()

    def close(self, hour, counts, total):
        self.hour = hour
        self.areas |= counts.keys()

    def ahead(self, hours):
        return {area: 4.0 * ((self.hour + hours) % 5) for area in self.areas} | {"nowhere": float("nan")}
"""
ENTRY_POINTS = "[callout.forecasters]\nfives = callout_fives:Fives\nprofile = callout_fives:Fives\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a package with a forecaster that is exact for a city whose requests rise and fall every five hours."""
    install_package(tmp_path, monkeypatch, "callout_fives", PACKAGE, ENTRY_POINTS)
    forecasters.installed_factories.cache_clear()
    yield
    forecasters.installed_factories.cache_clear()


def requests_of(hour: int) -> int:
    """Return the requests of an hour of that city."""
    return 4 * (hour % 5)


async def write_city(engine: Engine) -> int:
    """Write the requests of the last three weeks to SQL. Return the running hour."""
    now = hour_of(int(await engine.store.command("HGET", keys.zone_meta(DEFAULT_ZONE), "now")))
    same = {"zone": DEFAULT_ZONE, "kind": "cell", "area": CELL, "quoted": 0, "filled": 0, "expired": 0}
    rows = [{**same, "hour": hour, "booked": requests_of(hour)} for hour in range(now - 3 * WEEK_HOURS, now + 2)]
    async with engine.archive.begin_write() as conn:
        await conn.execute(demand_hours.insert(), rows)
    return now


def test_nothing_is_installed_besides_by_default() -> None:
    """Without such a package the default and the baselines are the only candidates."""
    assert forecasters.create_forecasters(HourSlots("UTC")) == {}


@pytest.mark.usefixtures("package")
def test_the_name_of_the_default_is_taken() -> None:
    """An entry point with the name of the default forecaster or of a baseline does not replace it."""
    assert [*forecasters.create_forecasters(HourSlots("UTC"))] == ["fives"]


@pytest.mark.usefixtures("package")
def test_what_is_no_count_is_left_out() -> None:
    """An area for which a forecaster returns NaN is left out of the forecast and of the scores."""
    slots = HourSlots("UTC")
    forecast = DemandForecast(slots, others=forecasters.create_forecasters(slots))
    for hour in range(2 * WEEK_HOURS):
        forecast.close(hour, {"a": requests_of(hour)}, requests_of(hour))
    assert [*forecast.expected(1, "fives")] == ["a"]
    assert forecast.scores["fives", 1].error == 0.0


@pytest.mark.usefixtures("package")
def test_the_backtest_takes_a_registered_forecaster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The registered forecaster is a candidate under the name of its entry point, and the backtest prints its
    errors.
    """
    city = [HourCounts(hour, {"a": requests_of(hour)}) for hour in range(24 * 22)]
    rows = [f"1970-01-{hour // 24 + 1:02}T{hour % 24:02}:00,{counts['a']}" for hour, counts in city]
    (tmp_path / "city.csv").write_text("\n".join(["hour,a", *rows]))
    assert run(["demand", "backtest", str(tmp_path / "city.csv"), "--model", "fives", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["model"] == "fives" and result["summary"]["24"]["mae"] == 0.0
    assert "fives" in result["served"]["1"]


def test_lightgbm_is_refused_where_it_is_not_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the extra that installs it."""
    if find_spec("lightgbm"):
        pytest.skip("LightGBM is installed here")
    (tmp_path / "city.csv").write_text("hour,a\n1970-01-01T00:00,1\n")
    assert run(["demand", "backtest", str(tmp_path / "city.csv"), "--model", "lightgbm"]) == 2
    assert "--model lightgbm: LightGBM is not installed; install callout[forecast]" in capsys.readouterr().err


def test_lightgbm_does_not_look_ahead() -> None:
    """A forecast does not change with later counts: two forecasters that have learnt the same counts return the same
    forecast.
    """
    pytest.importorskip("lightgbm", reason="the extra forecast is not installed")
    from server.cli.forecast_lightgbm import LightGBMForecaster

    one, other = (LightGBMForecaster(HourSlots("UTC")) for _ in range(2))
    said: list[list[dict[str, float]]] = [[], []]
    for hour in range(3 * WEEK_HOURS):
        for forecaster, answers in zip((one, other), said, strict=True):
            is_changed = forecaster is other and hour >= 450
            forecaster.close(hour, {"a": 99 if is_changed else requests_of(hour), "b": 1}, 0)
            if hour >= 440:
                answers.append(forecaster.ahead(3))
    assert said[0][:10] == said[1][:10] and said[0][10:] != said[1][10:]


@pytest.mark.usefixtures("package")
async def test_the_chore_serves_a_registered_forecaster_that_is_better(engine: Engine) -> None:
    """The pulse contains the forecast of the registered forecaster, its errors are listed, and after a restart it has
    learnt the same again.
    """
    now = await write_city(engine)
    chore = demand.ZoneChore(engine, DEFAULT_ZONE)
    await chore.look()
    pulses, _ = await demand_pulse.read_pulses(engine, DEFAULT_ZONE, "cell")
    assert [each.mean for each in pulses[CELL].ahead[:4]] == [requests_of(now + ahead) for ahead in range(4)]
    ops = Principal(UserId("cli_ops_manager"), "ops_manager")
    listed = await demand_views.list_scores(engine, ops, DEFAULT_ZONE)
    assert {each["candidate"] for each in listed if each["served"]} == {"fives"}
    await advance(engine, 3600)
    await chore.look()
    assert await demand_models.load(engine.archive, DEFAULT_ZONE, "cell", "UTC") is not None
    restarted = demand.ZoneChore(engine, DEFAULT_ZONE)
    await restarted.look()
    before, after = (each.demands["cell"].forecast for each in (chore, restarted))
    assert after.pending == {key: value for key, value in before.pending.items() if key in after.pending}
    assert after.pending.keys() == before.pending.keys() and after.ahead() == before.ahead()


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("method", "broken"),
    [
        ("__init__", "def broken(self, slots):\n    raise KeyError('slots')"),
        ("close", "def broken(self, *hour):\n    1 / 0"),
        ("ahead", "def broken(self, hours):\n    1 / 0"),
        ("ahead", "def broken(self, hours):\n    return {'a': 'many'}"),
    ],
)
async def test_a_forecaster_that_raises_stops_no_pulse(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    method: str,
    broken: str,
) -> None:
    """A registered forecaster served the zone until it raised an error. The same look writes a pulse without it, and
    later looks do not call it. The failure is counted once, and the backtest names the forecaster.
    """
    names: dict[str, Any] = {}
    exec(broken, names)
    await write_city(engine)
    chore = demand.ZoneChore(engine, DEFAULT_ZONE)
    if method != "__init__":
        await chore.look()
        assert "fives" in chore.demands["cell"].forecast.forecasters
        await advance(engine, 3600)
    module = importlib.import_module("callout_fives")
    monkeypatch.setattr(module.Fives, method, names["broken"])
    for _ in range(2):
        await chore.look()
    assert [*chore.demands["cell"].forecast.forecasters] == ["profile"]
    assert (await demand_pulse.read_pulses(engine, DEFAULT_ZONE, "cell"))[0][CELL].arrivals > 0
    assert 'forecasters_failed_total{forecaster="fives"} 1.0' in engine.metrics.render().decode()
    rows = "".join(f"1970-01-{day:02}T{hour:02}:00,1\n" for day in range(1, 23) for hour in range(24))
    (tmp_path / "city.csv").write_text("hour,a\n" + rows)
    assert run(["demand", "backtest", str(tmp_path / "city.csv")]) == 1
    assert "the forecaster fives failed" in capsys.readouterr().err
