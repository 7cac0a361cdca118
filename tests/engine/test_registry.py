"""Tests of the reload of blueprints: a running server uses the new files for new jobs, and only if all the files are
valid.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.blueprint import catalogue, registry
from engine.blueprint.catalogue import BlueprintError
from engine.domain import jobs
from engine.domain.jobs import CommandInput
from engine.errors import NotFound
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from tests.support import people

HOME_SERVICE_TOML = (catalogue.shipped_folder() / "home_service.toml").read_text()
HOME_SERVICE_TOML_V4 = HOME_SERVICE_TOML.replace("version = 3", "version = 4").replace(
    "[commands.depart]", "[commands.leave]"
)


@pytest.fixture
def blueprint_folder(tmp_path: Path) -> Path:
    """Create the folder of the user's own blueprints, empty at first."""
    folder = tmp_path / "blueprints"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(settings: Settings, blueprint_folder: Path) -> Settings:
    """Return settings that name `blueprint_folder`."""
    return msgspec.structs.replace(settings, blueprints=str(blueprint_folder))


async def test_a_broken_file_is_reported_and_nothing_is_loaded(engine: Engine, blueprint_folder: Path) -> None:
    """A reload with one broken file returns the problems of that file and loads nothing, not even the valid file beside
    it.
    """
    (blueprint_folder / "home_service.toml").write_text(HOME_SERVICE_TOML_V4)
    (blueprint_folder / "bad.toml").write_text('name = "bad"\n')
    problems = await registry.reload_files(engine.settings, engine.archive, engine.blueprints)
    assert problems and all(problem.startswith("bad.toml: ") for problem in problems)
    assert engine.blueprints.default.version == 3 and "home_service@4" not in engine.blueprints.by_key


async def test_another_content_of_the_same_version_is_refused(engine: Engine, blueprint_folder: Path) -> None:
    """A reload refuses a changed blueprint whose version number is unchanged, because jobs may use the stored content
    of that version.
    """
    (blueprint_folder / "home_service.toml").write_text(HOME_SERVICE_TOML.replace("offer_s = 60", "offer_s = 5"))
    [problem] = await registry.reload_files(engine.settings, engine.archive, engine.blueprints)
    assert problem.startswith("home_service@3: another content is stored")
    assert engine.blueprints.default.dispatch.offer_s == 60


async def test_a_start_with_another_content_of_the_same_version_is_refused(
    settings: Settings, blueprint_folder: Path
) -> None:
    """A start refuses a changed blueprint whose version number is unchanged, as a reload does."""
    Path(settings.data).mkdir(exist_ok=True)
    async with open_engine(settings):
        pass
    (blueprint_folder / "home_service.toml").write_text(HOME_SERVICE_TOML.replace("offer_s = 60", "offer_s = 5"))
    with pytest.raises(BlueprintError, match="home_service@3: another content"):
        async with open_engine(settings):
            pass


async def test_running_jobs_keep_their_version_and_new_jobs_use_the_newer_one(
    engine: Engine, settings: Settings, blueprint_folder: Path
) -> None:
    """A job uses the version that it started with, after a reload and after a restart; the next job uses the newer
    version.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tara = await people.technician(engine, "t1", service)
    old = await people.offered_job(engine, carla, service)
    await jobs.claim(engine, tara, old)
    (blueprint_folder / "home_service.toml").write_text(HOME_SERVICE_TOML_V4)
    assert await registry.reload_files(engine.settings, engine.archive, engine.blueprints) == []
    assert engine.blueprints.default.version == 4
    with pytest.raises(NotFound, match="No such command"):
        await jobs.run_command(engine, tara, old, CommandInput(command="leave"))
    outcome = await jobs.run_command(engine, tara, old, CommandInput(command="depart"))
    assert outcome.message == "On the way"
    async with open_engine(settings) as again:
        assert (await jobs.run_command(again, tara, old, CommandInput(command="arrive"))).message == "Arrived"
        ted = await people.technician(again, "t2", service)
        new = await people.offered_job(again, carla, service)
        await jobs.claim(again, ted, new)
        with pytest.raises(NotFound, match="No such command"):
            await jobs.run_command(again, ted, new, CommandInput(command="depart"))
        assert (await jobs.run_command(again, ted, new, CommandInput(command="leave"))).message == "On the way"


async def test_a_server_loads_a_version_that_another_server_stored(
    engine: Engine, settings: Settings, blueprint_folder: Path
) -> None:
    """A server that has not reloaded reads a version that another server stored from SQL; its own new jobs use the
    version that it already has.
    """
    (blueprint_folder / "home_service.toml").write_text(HOME_SERVICE_TOML_V4)
    async with open_engine(settings):
        await registry.sync_with_sql(engine.archive, engine.blueprints)
    assert engine.blueprints.find_or_default("home_service@4").version == 4
    assert engine.blueprints.default.version == 3
