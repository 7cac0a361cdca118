"""Build the pages of ``web/`` into ``server/web/built/``: ``make web``, and the build hook (hatch_build.py).

The program ``deno``, which a wheel of PyPI carries, installs the npm packages of ``deno.lock`` and bundles the pages
(``bundle.ts``). So a checkout needs no Node. Nothing is done if the result was made from the present inputs.
Rejected: to commit the result; packages of PyPI that contain JavaScript libraries, because one person maintains each
and they are old; the wheel of Node, which is five times as large. Use Node's wheel where deno has no wheel.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILT = "server/web/built"
STAMP, MANIFEST = "stamp", "manifest.json"
SUFFIXES = {".ts", ".tsx", ".css", ".json", ".lock", ".py", ".js", ".svg", ".png", ".webmanifest"}
"""Files with these suffixes are inputs of the build. ``README.md`` has another suffix and is no input."""
GENERATED = "schema.ts"
"""The file with the types of the HTTP interface. ``make web`` writes it. A bundle has no types, so it is no input."""
COMPRESSED = {".js", ".css", ".svg", ".json", ".txt", ".webmanifest"}
MAX_FIRST_LOAD = {"console": 700_000, "start": 400_000, "book": 400_000, "tech": 400_000, "track": 400_000}
"""The most bytes (gz) that a page may load before it shows something. ``tests/web/test_build.py`` compares them."""

WITH_MAP = {"console"}


class BuildError(Exception):
    """Raised if the pages cannot be built. The text is one line that says why."""


def input_files(root: Path) -> Iterator[Path]:
    """Yield the files of the checkout ``root`` from which the pages are built."""
    for folder in (root / "web", root / "clients" / "javascript"):
        for path in sorted(folder.rglob("*")):
            known = path.suffix in SUFFIXES and path.name != GENERATED and "node_modules" not in path.parts
            if known and path.is_file():
                yield path


def stamp_of(root: Path) -> str:
    """Return a hash over the names and contents of all inputs."""
    whole = sha256()
    for path in input_files(root):
        whole.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return whole.hexdigest()


def is_built(root: Path) -> bool:
    """Return whether the pages are built from the present inputs."""
    stamp = root / BUILT / STAMP
    return stamp.is_file() and stamp.read_text() == stamp_of(root)


def build(root: Path = ROOT) -> bool:
    """Build the pages, unless they are built already. Return whether anything was done. Raises BuildError."""
    if is_built(root):
        return False
    stamp = stamp_of(root)
    deno, folder, target = find_deno(), root / "web", root / BUILT
    fresh = target.with_name("built.new")
    shutil.rmtree(fresh, ignore_errors=True)
    run_deno(deno, folder, "install", "--quiet")
    run_deno(deno, folder, "run", "--quiet", "--allow-all", "bundle.ts", str(fresh))
    compress(fresh)
    (fresh / STAMP).write_text(stamp)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return True


def find_deno() -> str:
    """Return the path of the program ``deno``: of this Python environment, of the environment in which a wheel is
    built, or of the machine. Raises BuildError.
    """
    places = [str(Path(sys.executable).parent), sysconfig.get_path("scripts"), os.environ.get("PATH", "")]
    found = shutil.which("deno", path=os.pathsep.join(places))
    if found is None:
        raise BuildError("the program deno is missing (pip install deno)")
    return found


def deno_environment() -> dict[str, str]:
    """Return the environment of deno. It trusts the certificate authorities of this machine, as pip does, because a
    mirror of npm inside a company may have a certificate of the company.
    """
    trust = {"DENO_TLS_CA_STORE": os.environ.get("DENO_TLS_CA_STORE", "mozilla,system")}
    return os.environ | trust | {"DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"}


def run_deno(deno: str, folder: Path, *arguments: str) -> None:
    """Run deno in ``folder``. Raises BuildError with the last line of its output."""
    done = subprocess.run(
        [deno, *arguments], cwd=folder, env=deno_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        shown = next((line for line in lines if "rror" in line), lines[-1])
        raise BuildError(f"deno {arguments[0]}: {shown.strip()}")


def compress(folder: Path) -> None:
    """Write a compressed copy of each file whose format can be compressed, and write its size into the manifest."""
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    for path in sorted(folder.iterdir()):
        if path.name == MANIFEST or path.suffix not in {*COMPRESSED, ".woff2", ".png"}:
            continue
        size = path.stat().st_size
        if path.suffix in COMPRESSED:
            packed = gzip.compress(path.read_bytes(), 9, mtime=0)
            if len(packed) < size:
                path.with_name(f"{path.name}.gz").write_bytes(packed)
                size = len(packed)
        manifest["bytes"][path.name] = size
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))


def first_load(manifest: dict[str, Any], entry: str) -> int:
    """Return the bytes, compressed, that the page of ``entry`` loads before it shows something. The console shows a map
    at once, so the files that it loads later, such as the map's code, count too.
    """
    parts = manifest["entries"][entry]
    kinds = ("scripts", "styles", "preloads", "fonts", *(["later"] if entry in WITH_MAP else []))
    names = [name for kind in kinds for name in parts[kind]]
    if entry in WITH_MAP:
        names.append(manifest["named"]["map-worker"])
    return sum(manifest["bytes"][name] for name in names)


def main() -> None:
    """Build the pages, and print their sizes."""
    try:
        done = build()
    except BuildError as error:
        sys.exit(f"The pages of web/ are not built: {error}")
    manifest = json.loads((ROOT / BUILT / MANIFEST).read_text())
    print("The pages are built." if done else "The pages are up to date.", "First load, gz:")
    for entry in manifest["entries"]:
        most = MAX_FIRST_LOAD.get(entry)
        print(f"  {entry:8} {first_load(manifest, entry) / 1000:6.0f} kB{f' of {most // 1000}' if most else ''}")


if __name__ == "__main__":
    main()
