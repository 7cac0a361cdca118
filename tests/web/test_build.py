"""What `make web` builds: sizes, licences, a lock without addresses, and a build that is done once."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from hatch_build import load_web_build
from server.web.built import FOLDER, BuiltPages, Manifest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def web() -> ModuleType:
    """Return the module `web/build.py`."""
    return load_web_build(ROOT)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    """Return the manifest of the present build."""
    found = BuiltPages().manifest()
    if found is None:
        pytest.skip("the pages are not built: make web")
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy what the pages are built from."""
    for folder in ("web", "clients/javascript"):
        ignored = shutil.ignore_patterns("node_modules")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    return tmp_path


def test_without_deno_the_build_says_so(checkout: Path, web: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build without the program deno fails with one line that names it."""
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    with pytest.raises(web.BuildError, match="deno is missing"):
        web.build(checkout)


def test_a_failed_build_says_why_and_leaves_no_pages(
    checkout: Path, web: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build whose packages cannot be downloaded fails with one line, and leaves no incomplete pages."""
    script = checkout / "deno"
    script.write_text("#!/bin/sh\necho 'Download of preact' >&2\necho 'error: no route to the registry' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(web, "find_deno", lambda: str(script))
    with pytest.raises(web.BuildError, match=r"^deno install: error: no route to the registry$"):
        web.build(checkout)
    assert not (checkout / web.BUILT).exists()


def test_a_build_is_done_again_only_for_other_inputs(checkout: Path, web: ModuleType) -> None:
    """The pages are not built again from the same inputs. The file of the interface's types is no input; a page's
    source is.
    """
    built = checkout / web.BUILT
    built.mkdir(parents=True)
    assert not web.is_built(checkout)
    (built / web.STAMP).write_text(web.stamp_of(checkout))
    (checkout / "web" / "shared" / "schema.ts").write_text("export type Other = string;\n")
    (checkout / "web" / "node_modules").mkdir()
    (checkout / "web" / "node_modules" / "more.js").write_text("")
    assert web.is_built(checkout) and web.build(checkout) is False
    with (checkout / "web" / "start" / "page.tsx").open("a") as page:
        page.write("// changed\n")
    assert not web.is_built(checkout)


def test_the_lock_names_no_registry() -> None:
    """The lock of the npm packages holds versions and hashes, and no address."""
    lock = (ROOT / "web" / "deno.lock").read_text()
    assert "://" not in lock
    packages = json.loads(lock)["npm"]
    assert packages and all(package["integrity"].startswith("sha512-") for package in packages.values())


def test_pages_are_small(web: ModuleType, manifest: Manifest) -> None:
    """Each page loads, compressed, no more than its bound before it shows something."""
    sizes = {entry: web.first_load(msgspec.to_builtins(manifest), entry) for entry in web.MAX_FIRST_LOAD}
    assert {entry: size for entry, size in sizes.items() if size > web.MAX_FIRST_LOAD[entry]} == {}
    assert min(sizes.values()) > 10_000  # a size of 0 would mean that nothing is counted


def test_every_package_has_its_licence(manifest: Manifest) -> None:
    """The licences name every package that a page contains, with its text."""
    licences = (FOLDER / "LICENSES.txt").read_text()
    for package in ("preact", "@preact/signals", "maplibre-gl", "redoc", "@fontsource-variable/inter"):
        assert re.search(rf"^{re.escape(package)} \d+\.\d+\.\d+ \(.+\)$", licences, re.MULTILINE), package
    assert licences.count("Permission is hereby granted") > 5 and "LICENSES.txt" in manifest.bytes


def test_no_page_loads_a_file_from_elsewhere(manifest: Manifest) -> None:
    """No style of a page names an address of another server."""
    for name in manifest.bytes:
        if name.endswith(".css"):
            assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", (FOLDER / name).read_text()), name
