"""What is installed is what was written: as a wheel, and as an editable checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOOK = """
import asyncio, json, sys, tempfile
from pathlib import Path
import engine, server
from alembic.script import ScriptDirectory
from engine.archive import migrate
from engine.archive.database import open_archive
from engine.rules import blueprint
from engine.settings import Settings
from engine.store import scripts

async def migrated(folder):
    archive = await open_archive(Settings(data=folder))
    problems = await archive.check()
    await archive.close()
    return problems

with tempfile.TemporaryDirectory() as folder:
    problems = asyncio.run(migrated(folder))
print(json.dumps({
    "engine": str(Path(engine.__file__).parent),
    "server": str(Path(server.__file__).parent),
    "scripts": {name: script.function for name, script in scripts.load().items()},
    "blueprints": sorted(blueprint.load("home_service", blueprint.shipped()).by_name),
    "migrations": sorted(path.name for path in (migrate.SCRIPTS / "versions").glob("*.py")),
    "problems": problems,
}))
"""


def look(*path: Path, cwd: Path) -> dict[str, Any]:
    """What a program finds that has ``path`` before all else."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("CALLOUT_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=cwd,
        env=env | {"PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    out = tmp_path_factory.mktemp("wheel")
    alone = ["--no-isolation"] if find_spec("hatchling") else []
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", *alone, "--outdir", str(out), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("callout-*.whl"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files where an installer would put them."""
    target = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_the_wheel_has_nothing_but_the_program(wheel: Path) -> None:
    """No tests, no benchmarks, no data directory of somebody's."""
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"engine", "server"}


def test_every_file_is_in_the_wheel(wheel: Path) -> None:
    """Modules, scripts, blueprints, migrations and web files: none was forgotten."""
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    written = {
        str(path.relative_to(ROOT))
        for room in ("engine", "server")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    scripts = {f"engine/{path.relative_to(ROOT)}" for path in (ROOT / "lua").rglob("*.lua")}
    assert (written | scripts) - shipped == set()
    assert {"engine/blueprints/home_service.toml", "engine/lua/job_claim.lua"} <= shipped


def test_the_metadata_names_licence_and_command(wheel: Path) -> None:
    """Apache-2.0 with its text, and ``callout`` as the command."""
    with zipfile.ZipFile(wheel) as archive:
        info = next(name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name)
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        commands = archive.read(f"{info}/entry_points.txt").decode()
        licence = archive.read(f"{info}/licenses/LICENSE").decode()
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Apache License" in licence
    assert "callout = server.cli:main" in commands


def test_the_loaders_find_everything_in_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    """Scripts, blueprints and migrations come from the wheel's own folders, and the database is brought up."""
    found = look(unpacked, cwd=tmp_path)
    assert (found["engine"], found["server"]) == (str(unpacked / "engine"), str(unpacked / "server"))
    assert found["problems"] == []
    assert "job_claim" in found["scripts"]
    assert "home_service" in found["blueprints"]
    assert found["migrations"] != []


def test_wheel_and_checkout_find_the_same(unpacked: Path, tmp_path: Path) -> None:
    """An editable install runs the very scripts that are shipped."""
    wheel, checkout = look(unpacked, cwd=tmp_path), look(cwd=tmp_path)
    assert checkout["engine"] == str(ROOT / "engine")
    for what in ("scripts", "blueprints", "migrations", "problems"):
        assert checkout[what] == wheel[what]
