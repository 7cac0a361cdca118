"""Tests of loading blueprints: all problems are reported at once, and clients see the declared names and fields of
events.
"""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from engine.blueprint import catalogue
from engine.blueprint.catalogue import BlueprintError, Blueprints
from engine.blueprint.schema import UNLIMITED_WAVE_SIZE

HOME_SERVICE_PATH = catalogue.shipped_folder() / "home_service.toml"


def load_shipped() -> Blueprints:
    """Return the shipped blueprints."""
    return catalogue.load_blueprints("home_service", catalogue.shipped_folder())


def test_all_problems_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    """One report names an unknown state, a command from a terminal state, an unreachable state, an event without a
    rule, and two files that cannot be read.
    """
    text = HOME_SERVICE_PATH.read_text().replace('from = ["on_the_way"]', 'from = ["flying", "completed"]')
    text = text.replace(
        "[states]\n", '[states]\nidle = { phase = "open", says = "x" }\nlost = { phase = "open", says = "x" }\n'
    )
    text = text.replace('[events."job.cancelled"]', '[events."job.nothing"]')
    (tmp_path / "a.toml").write_text(text)
    (tmp_path / "b.toml").write_text("name = 1")
    (tmp_path / "c.toml").write_text("= [")
    with pytest.raises(BlueprintError) as caught:
        catalogue.load_blueprints("home_service", tmp_path)
    report = "\n".join(caught.value.problems)
    for part in (
        "'flying'",
        "terminal state 'completed'",
        "'lost' cannot be reached",
        "'job.cancelled' has no audience",
        "b.toml",
        "c.toml",
    ):
        assert part in report


def test_a_missing_default_blueprint_is_refused(tmp_path: Path) -> None:
    """A default blueprint that is in no folder is refused by its name."""
    with pytest.raises(BlueprintError, match="none"):
        catalogue.load_blueprints("home_service", tmp_path)


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    """A misspelt field is refused by its name instead of being ignored."""
    (tmp_path / "a.toml").write_text(HOME_SERVICE_PATH.read_text().replace("offer_s", "ofer_s"))
    with pytest.raises(BlueprintError, match="ofer_s"):
        catalogue.load_blueprints("home_service", tmp_path)


def test_a_users_blueprint_replaces_the_shipped_one(tmp_path: Path) -> None:
    """A blueprint in the user's folder replaces the shipped one of the same name."""
    (tmp_path / "home_service.toml").write_text(HOME_SERVICE_PATH.read_text().replace("offer_s = 60", "offer_s = 5"))
    blueprints = catalogue.load_blueprints("home_service", catalogue.shipped_folder(), tmp_path)
    assert blueprints.default.dispatch.offer_s == 5


def test_home_service_has_the_commands_and_waves_of_its_scenario() -> None:
    """The commands and waves of `home_service` are those of the scenario; after its three waves the whole zone is
    searched each 60 s.
    """
    table = {n: (c.by, c.from_, c.to, c.event) for n, c in load_shipped().default.commands.items()}
    assert table["claim"] == (("offered",), ("broadcasted",), "accepted", "job.accepted")
    assert table["complete"] == (("holder",), ("in_progress",), "completed", "job.status")
    cancel = ("broadcasted", "accepted", "on_the_way", "reached")
    assert table["cancel"] == (("customer", "ops"), cancel, "cancelled", "job.cancelled")
    sizes = [(w.size, w.radius_m, w.interval_s) for w in load_shipped().default.dispatch.waves]
    assert sizes == [(10, 3000, 10), (20, 7000, 10), (40, 15000, 10)]
    wave, walks = load_shipped().default.wave(4)
    assert walks and wave.size == UNLIMITED_WAVE_SIZE and wave.interval_s == 60


def test_names_depend_on_the_reason_and_fields_are_added() -> None:
    """Clients see `offer.closed` with the reason `taken` as `job_taken` with the added field `bookingId`; with another
    reason the name stays.
    """
    closed_offer = b'{"job":{"id":"j1"},"reason":"taken","message":"m"}'
    name, data = load_shipped().client_event("home_service@1", "offer.closed", closed_offer)
    assert name == "job_taken"
    assert orjson.loads(data) == {"job": {"id": "j1"}, "reason": "taken", "message": "m", "bookingId": "j1"}
    name, _ = load_shipped().client_event("home_service@1", "offer.closed", closed_offer.replace(b"taken", b"expired"))
    assert name == "offer.closed"


def test_data_without_added_fields_is_forwarded_unread() -> None:
    """The data of an event without added fields is forwarded unread, even if it is no JSON. An event without a
    blueprint has the engine's name.
    """
    assert load_shipped().client_event("home_service@1", "job.accepted", b"raw") == ("job_accepted", b"raw")
    assert load_shipped().client_event("", "technician.status", b"raw") == ("technician.status", b"raw")


def test_notifications_go_to_the_declared_users() -> None:
    """In `home_service` the customer is notified of the acceptance with the technician's name, the holder of the
    cancellation, and nobody of the creation.
    """
    data = orjson.dumps(
        {
            "job": {"id": "j1", "status": "accepted", "customer": {"id": "c1"}, "technician": {"id": "t1"}},
            "technician": {"name": "Tara"},
        }
    )
    [notice] = load_shipped().notices_of_event("home_service@1", "job.accepted", data)
    assert (notice.user, notice.body, notice.job) == ("c1", "Tara has accepted your booking.", "j1")
    [notice] = load_shipped().notices_of_event("home_service@1", "job.cancelled", data)
    assert notice.user == "t1"
    assert load_shipped().notices_of_event("home_service@1", "job.created", data) == []
