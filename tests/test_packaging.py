"""The installed packages are complete: the server's wheel and an editable install are equal, and the clients can be
installed without the server.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from hatch_build import MODULE as COMPILED_MODULE
from server.web.static import CLIENT_FILES

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = ROOT / "clients"
BUILT = "server/web/built"
NO_NPM = {"NPM_CONFIG_REGISTRY": "http://127.0.0.1:9/", "DENO_DIR": "/dev/null/none"}
"""The environment of a build that reaches no npm registry and has no packages stored."""
CLIENT_IMPORTS = {"anyio", "certifi", "h11", "httpcore", "httpx", "idna", "msgspec", "typing_extensions", "websockets"}
"""The import names of the direct and indirect dependencies of callout-client."""

INSPECT_PROGRAM = """
import asyncio, json, sys, tempfile
from pathlib import Path
import callout_client, engine, server
from engine.sql import migrate
from engine.sql.database import open_archive
from engine.blueprint import catalogue
from engine.process.settings import Settings
from engine.store import scripts
from hatch_build import MODULE as COMPILED_MODULE
from server.gateway.broadcast_send import load_send
from server.web.static import client_paths

async def migrated_database(folder):
    archive = await open_archive(Settings(data=folder))
    problems = await archive.check()
    await archive.close()
    return problems

with tempfile.TemporaryDirectory() as folder:
    problems = asyncio.run(migrated_database(folder))
print(json.dumps({
    "engine": str(Path(engine.__file__).parent),
    "server": str(Path(server.__file__).parent),
    "callout_client": str(Path(callout_client.__file__).parent),
    "browser_client": [path.read_text() for path in client_paths()],
    "scripts": {name: script.function for name, script in scripts.load_installed_library().items()},
    "blueprints": sorted(catalogue.load_blueprints("home_service", catalogue.shipped_folder()).by_name),
    "migrations": sorted(path.name for path in (migrate.MIGRATIONS_FOLDER / "versions").glob("*.py")),
    "problems": problems,
    "broadcasts": load_send().__name__,
}))
"""


def inspect_installation(*path: Path, cwd: Path) -> dict[str, Any]:
    """Run ``INSPECT_PROGRAM`` with ``path`` first in its module search path, and return the scripts, blueprints and
    other files that it finds.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith(("CALLOUT_", "PYTHON"))}
    process = subprocess.run(
        [sys.executable, "-c", INSPECT_PROGRAM],
        cwd=cwd,
        env=env | {"PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    found: dict[str, Any] = json.loads(process.stdout)
    return found


def build_wheel(project: Path, out: Path, **env: str) -> Path:
    """Build the wheel of a project from this checkout, and return its path."""
    alone = ["--no-isolation"] if find_spec("hatchling") else []
    process = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", *alone, "--outdir", str(out), str(project)],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of the server."""
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def client_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of the Python client."""
    return build_wheel(CLIENTS / "python", tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def unpacked_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the server's wheel into a directory, as an installer does, and return the directory."""
    target = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


@pytest.fixture(scope="module")
def installation(unpacked_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what ``INSPECT_PROGRAM`` finds in the unpacked wheel."""
    return inspect_installation(unpacked_wheel, cwd=tmp_path_factory.mktemp("installation"))


def test_the_wheel_has_nothing_but_the_program(wheel: Path) -> None:
    """The wheel contains only the packages `engine`, `server` and `callout_client`: no tests and no benchmarks."""
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"engine", "server", "callout_client"}


def test_without_a_compiler_the_wheel_is_for_every_platform(tmp_path: Path) -> None:
    """If the C module cannot be compiled, the build succeeds. The wheel has no compiled file and fits everywhere."""
    wheel = build_wheel(ROOT, tmp_path, CC="false")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert COMPILED_MODULE not in archive.namelist()


def test_with_a_compiler_the_wheel_has_the_compiled_module(wheel: Path, installation: dict[str, Any]) -> None:
    """With a C compiler the wheel has the compiled module, is for this Python and platform only, and the installed
    program loads the module.
    """
    if shutil.which(os.environ.get("CC", "cc")) is None:
        pytest.skip("no C compiler")
    assert not wheel.name.endswith("-any.whl")
    assert installation["broadcasts"] == "send_by_sockets"


def test_every_file_is_in_the_wheel(wheel: Path) -> None:
    """The wheel contains every module, script, blueprint, migration and web file of the checkout."""
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    written = {
        str(path.relative_to(top))
        for top, room in ((ROOT, "engine"), (ROOT, "server"), (CLIENTS / "python", "callout_client"))
        for path in (top / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so"
    }
    scripts = {f"engine/{path.relative_to(ROOT)}" for path in (ROOT / "lua").rglob("*.lua")}
    assert (written | scripts) - shipped == set()
    assert {"engine/blueprint/shipped/home_service.toml", "engine/lua/job_claim.lua"} <= shipped
    assert {f"server/web/{name}" for name in CLIENT_FILES} <= shipped


def test_every_page_is_in_the_wheel(wheel: Path) -> None:
    """The wheel contains the built pages with all files that they name, each compressed too, and the licences of the
    packages in them. It contains no sources of them.
    """
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if name.startswith(f"{BUILT}/")}
        manifest = json.loads(archive.read(f"{BUILT}/manifest.json"))
    assert {"start", "console", "book", "tech", "track", "apidocs", "guide"} == manifest["entries"].keys()
    assert {f"{BUILT}/{name}" for name in manifest["bytes"]} <= shipped
    assert {f"{BUILT}/{manifest['boot']}.gz", f"{BUILT}/LICENSES.txt"} <= shipped
    assert [name for name in shipped if name.endswith((".ts", ".tsx"))] == []


def test_a_source_distribution_builds_without_the_npm_registry(tmp_path: Path) -> None:
    """The source distribution contains the pages and what they are built from. A wheel of it needs neither deno nor the
    npm registry, and has the same pages.
    """
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (packed,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / packed.name.removesuffix(".tar.gz")
    assert (source / "web" / "deno.lock").is_file() and not (source / "web" / "node_modules").exists()
    wheel = build_wheel(source, tmp_path / "wheel", **NO_NPM)
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(f"{BUILT}/manifest.json") == (ROOT / BUILT / "manifest.json").read_bytes()


def test_a_wheel_without_pages_is_not_built(tmp_path: Path) -> None:
    """If the pages are not built and npm is out of reach, the build of a wheel fails and says why."""
    copy = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("node_modules", "built", "__pycache__", "*.so")
    for name in ("engine", "server", "clients", "lua", "docs", "web"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    with pytest.raises(AssertionError, match="deno install"):
        build_wheel(copy, tmp_path / "wheel", **NO_NPM)


def test_the_metadata_names_licence_and_command(wheel: Path) -> None:
    """The wheel names the licence Apache-2.0, contains its text, and installs the command ``callout``."""
    with zipfile.ZipFile(wheel) as archive:
        info = next(name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name)
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        commands = archive.read(f"{info}/entry_points.txt").decode()
        licence = archive.read(f"{info}/licenses/LICENSE").decode()
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Apache License" in licence
    assert "callout = server.cli.main:main" in commands


def test_the_loaders_find_everything_in_the_wheel(unpacked_wheel: Path, installation: dict[str, Any]) -> None:
    """The installed program loads scripts, blueprints and migrations from its own folders, and migrates a database."""
    for package in ("engine", "server", "callout_client"):
        assert installation[package] == str(unpacked_wheel / package)
    assert installation["problems"] == []
    assert "job_claim" in installation["scripts"]
    assert "home_service" in installation["blueprints"]
    assert installation["migrations"] != []


def test_wheel_and_checkout_find_the_same(installation: dict[str, Any], tmp_path: Path) -> None:
    """An editable install loads the same scripts, blueprints and migrations as the wheel."""
    checkout = inspect_installation(cwd=tmp_path)
    assert checkout["engine"] == str(ROOT / "engine")
    for what in ("scripts", "blueprints", "migrations", "problems", "browser_client"):
        assert checkout[what] == installation[what]


def test_the_python_client_is_installed_alone(client_wheel: Path, tmp_path: Path) -> None:
    """With only its dependencies installed, `callout_client` can be imported. It has type information, and imports
    nothing of the server.
    """
    installed = Path(sysconfig.get_path("purelib"))
    site = tmp_path / "site-packages"
    with zipfile.ZipFile(client_wheel) as archive:
        archive.extractall(site)
    for name in CLIENT_IMPORTS:
        (found,) = [path for path in (installed / name, installed / f"{name}.py") if path.exists()]
        (site / found.name).symlink_to(found)
    # -S: without site-packages, hence without the editable install of this checkout; -I: without cwd and PYTHONPATH.
    program = f"import sys; sys.path.append({str(site)!r}); import callout_client; print(*sys.modules)"
    python_run = subprocess.run(
        [sys.executable, "-ISc", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert python_run.returncode == 0, python_run.stderr
    tops = {name.partition(".")[0] for name in python_run.stdout.split()}
    assert {"callout_client", "httpx", "msgspec", "websockets"} <= tops
    assert tops & {"engine", "server", "uvicorn", "starlette", "sqlalchemy", "redis"} == set()
    assert (site / "callout_client" / "py.typed").is_file()


def test_the_python_client_declares_what_it_imports(client_wheel: Path) -> None:
    """The client's wheel declares exactly three dependencies, and contains the licence's text and `callout_client`."""
    with zipfile.ZipFile(client_wheel) as archive:
        names = archive.namelist()
        info = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        licence = archive.read(f"{info}/licenses/LICENSE").decode()
    assert sorted(metadata.get_all("Requires-Dist", [])) == ["httpx>=0.28", "msgspec>=0.20", "websockets>=16"]
    assert metadata["License-Expression"] == "Apache-2.0" and licence == (ROOT / "LICENSE").read_text()
    assert {name.partition("/")[0] for name in names} == {"callout_client", info}


def test_server_and_clients_have_the_same_version() -> None:
    """The server and both clients have the same version, and the server has all dependencies of the Python client: its
    wheel contains both clients.
    """
    server = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python = tomllib.loads((CLIENTS / "python" / "pyproject.toml").read_text())["project"]
    javascript = json.loads((CLIENTS / "javascript" / "package.json").read_text())
    assert server["version"] == python["version"] == javascript["version"]
    assert set(python["dependencies"]) <= set(server["dependencies"])


def test_the_javascript_client_has_no_dependencies() -> None:
    """The package `@callout/client` contains the modules that a server serves, of which none imports anything, and
    declares no dependencies.
    """
    package = json.loads((CLIENTS / "javascript" / "package.json").read_text())
    assert package["name"] == "@callout/client" and package["type"] == "module"
    assert {kind for kind in package if kind.lower().endswith("dependencies")} == set()
    assert sorted(package["exports"].values()) == [f"./{name}" for name in CLIENT_FILES]
    assert package["files"] == list(CLIENT_FILES)
    for name in CLIENT_FILES:
        text = (CLIENTS / "javascript" / name).read_text()
        assert not re.search(r"^(import|export .* from)\b", text, re.MULTILINE)
