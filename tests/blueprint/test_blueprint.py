"""Blueprints: every problem is found at once; the shipped ones hold; names and fields are as declared."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from engine.blueprint import catalogue
from engine.blueprint.catalogue import BlueprintError, Blueprints
from engine.blueprint.schema import UNLIMITED_WAVE_SIZE

GOOD = catalogue.shipped_folder() / "home_service.toml"


def loaded() -> Blueprints:
    """What ships."""
    return catalogue.load_blueprints("home_service", catalogue.shipped_folder())


def test_all_problems_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    """An unknown state, a way out of a terminal state, an unreachable one, an untold event, a broken file."""
    text = GOOD.read_text().replace('from = ["on_the_way"]', 'from = ["flying", "completed"]')
    text = text.replace(
        "[states]\n", '[states]\nidle = { phase = "open", says = "x" }\nlost = { phase = "open", says = "x" }\n'
    )
    text = text.replace('[events."job.cancelled"]', '[events."job.nothing"]')
    (tmp_path / "a.toml").write_text(text)
    (tmp_path / "b.toml").write_text("name = 1")
    (tmp_path / "c.toml").write_text("= [")
    with pytest.raises(BlueprintError) as caught:
        catalogue.load_blueprints("home_service", tmp_path)
    told = "\n".join(caught.value.problems)
    for part in (
        "'flying'",
        "terminal state 'completed'",
        "'lost' cannot be reached",
        "'job.cancelled' is told",
        "b.toml",
        "c.toml",
    ):
        assert part in told


def test_a_default_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The default blueprint must be among the loaded ones."""
    with pytest.raises(BlueprintError, match="none"):
        catalogue.load_blueprints("home_service", tmp_path)


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    """A misspelt field is no silent no-op."""
    (tmp_path / "a.toml").write_text(GOOD.read_text().replace("offer_s", "ofer_s"))
    with pytest.raises(BlueprintError, match="ofer_s"):
        catalogue.load_blueprints("home_service", tmp_path)


def test_a_users_file_wins_over_the_shipped_one(tmp_path: Path) -> None:
    """The same name in the user's folder replaces what ships."""
    (tmp_path / "home_service.toml").write_text(GOOD.read_text().replace("offer_s = 60", "offer_s = 5"))
    found = catalogue.load_blueprints("home_service", catalogue.shipped_folder(), tmp_path)
    assert found.default.dispatch.offer_s == 5


def test_home_service_is_scenario_a() -> None:
    """The table of commands is the one that the scenario gives."""
    table = {n: (c.by, c.from_, c.to, c.event) for n, c in loaded().default.commands.items()}
    assert table["claim"] == (("offered",), ("broadcasted",), "accepted", "job.accepted")
    assert table["complete"] == (("holder",), ("in_progress",), "completed", "job.status")
    cancel = ("broadcasted", "accepted", "on_the_way", "reached")
    assert table["cancel"] == (("customer", "ops"), cancel, "cancelled", "job.cancelled")
    sizes = [(w.size, w.radius_m, w.interval_s) for w in loaded().default.dispatch.waves]
    assert sizes == [(10, 3000, 10), (20, 7000, 10), (40, 15000, 10)]
    wave, walks = loaded().default.wave(4)
    assert walks and wave.size == UNLIMITED_WAVE_SIZE and wave.interval_s == 60


def test_names_depend_on_the_reason_and_fields_are_added_beside_the_engines() -> None:
    """`offer.closed` is `job_taken` with `bookingId` where it was taken, and keeps its name otherwise."""
    taken = b'{"job":{"id":"j1"},"reason":"taken","message":"m"}'
    name, data = loaded().view("home_service@1", "offer.closed", taken)
    assert name == "job_taken"
    assert orjson.loads(data) == {"job": {"id": "j1"}, "reason": "taken", "message": "m", "bookingId": "j1"}
    name, _ = loaded().view("home_service@1", "offer.closed", taken.replace(b"taken", b"expired"))
    assert name == "offer.closed"


def test_what_needs_no_field_passes_unread() -> None:
    """Data is forwarded as it stands, even where it is no JSON at all; events without a blueprint keep their name."""
    assert loaded().view("home_service@1", "job.accepted", b"raw") == ("job_accepted", b"raw")
    assert loaded().view("", "technician.status", b"raw") == ("technician.status", b"raw")


def test_notices_go_to_whom_the_blueprint_says() -> None:
    """The customer hears of the acceptance by the technician's name, the holder of the cancellation."""
    data = orjson.dumps(
        {
            "job": {"id": "j1", "status": "accepted", "customer": {"id": "c1"}, "technician": {"id": "t1"}},
            "technician": {"name": "Tara"},
        }
    )
    [told] = loaded().notices("home_service@1", "job.accepted", data)
    assert (told.user, told.body, told.job) == ("c1", "Tara has accepted your booking.", "j1")
    [told] = loaded().notices("home_service@1", "job.cancelled", data)
    assert told.user == "t1"
    assert loaded().notices("home_service@1", "job.created", data) == []
