"""A running server reloads the blueprints: for new jobs, and only if all files are valid."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.blueprint import catalogue, registry
from engine.blueprint.catalogue import BlueprintError
from engine.domain import jobs
from engine.domain.jobs import Step
from engine.errors import NotFound
from engine.process.settings import Settings
from engine.runtime import Engine, open_engine
from tests.support import people

TEXT = (catalogue.shipped_folder() / "home_service.toml").read_text()
NEWER = TEXT.replace("version = 2", "version = 3").replace("[commands.depart]", "[commands.leave]")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the user's own blueprints, empty at first."""
    made = tmp_path / "blueprints"
    made.mkdir()
    return made


@pytest.fixture
def settings(settings: Settings, folder: Path) -> Settings:
    """Settings with that folder."""
    return msgspec.structs.replace(settings, blueprints=str(folder))


async def test_a_broken_file_changes_nothing_and_is_told(engine: Engine, folder: Path) -> None:
    """All problems are returned, and the valid file beside the broken one is not loaded either."""
    (folder / "home_service.toml").write_text(NEWER)
    (folder / "bad.toml").write_text('name = "bad"\n')
    problems = await registry.reload_files(engine.settings, engine.archive, engine.blueprints)
    assert problems and all(problem.startswith("bad.toml: ") for problem in problems)
    assert engine.blueprints.default.version == 2 and "home_service@3" not in engine.blueprints.by_key


async def test_another_content_of_the_same_version_is_refused(engine: Engine, folder: Path) -> None:
    """Jobs may use the stored content of that version."""
    (folder / "home_service.toml").write_text(TEXT.replace("offer_s = 60", "offer_s = 5"))
    [problem] = await registry.reload_files(engine.settings, engine.archive, engine.blueprints)
    assert problem.startswith("home_service@2: another content is kept")
    assert engine.blueprints.default.dispatch.offer_s == 60


async def test_a_start_with_another_content_of_the_same_version_is_refused(settings: Settings, folder: Path) -> None:
    """A restart refuses it as a reload does."""
    Path(settings.data).mkdir(exist_ok=True)
    async with open_engine(settings):
        pass
    (folder / "home_service.toml").write_text(TEXT.replace("offer_s = 60", "offer_s = 5"))
    with pytest.raises(BlueprintError, match="home_service@2: another content"):
        async with open_engine(settings):
            pass


async def test_running_jobs_keep_theirs_and_new_ones_get_the_new(
    engine: Engine, settings: Settings, folder: Path
) -> None:
    """A job keeps the version it started with, after a reload and after a restart; the next job uses the newer one."""
    serves, carla = await people.service(engine), await people.customer(engine)
    tara = await people.technician(engine, "t1", serves)
    old = await people.offered(engine, carla, serves)
    await jobs.claim(engine, tara, old)
    (folder / "home_service.toml").write_text(NEWER)
    assert await registry.reload_files(engine.settings, engine.archive, engine.blueprints) == []
    assert engine.blueprints.default.version == 3
    with pytest.raises(NotFound, match="No such command"):
        await jobs.run_command(engine, tara, old, Step(command="leave"))
    done = await jobs.run_command(engine, tara, old, Step(command="depart"))
    assert done.message == "On the way"
    async with open_engine(settings) as again:
        assert (await jobs.run_command(again, tara, old, Step(command="arrive"))).message == "Arrived"
        ted = await people.technician(again, "t2", serves)
        new = await people.offered(again, carla, serves)
        await jobs.claim(again, ted, new)
        with pytest.raises(NotFound, match="No such command"):
            await jobs.run_command(again, ted, new, Step(command="depart"))
        assert (await jobs.run_command(again, ted, new, Step(command="leave"))).message == "On the way"


async def test_a_node_learns_what_another_has_begun_to_work_by(
    engine: Engine, settings: Settings, folder: Path
) -> None:
    """Without its own reload a node loads the version by its key; its own new jobs use the version that it has."""
    (folder / "home_service.toml").write_text(NEWER)
    async with open_engine(settings):
        await registry.sync_with_sql(engine.archive, engine.blueprints)
    assert engine.blueprints.of("home_service@3").version == 3
    assert engine.blueprints.default.version == 2
