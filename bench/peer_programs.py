"""Install programs of other projects that Callout is compared with: npm packages and Go programs, downloaded once into
``bench/.build``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from bench.rig import BENCH_DIR, BUILD_DIR, PeerUnavailable

PEERS = BENCH_DIR / "peers"


def install_npm_server(peer: str) -> Path:
    """Install the npm packages of ``bench/peers/<peer>`` in the versions of its lock file, and return the path of
    ``server.js``.

    Raise PeerUnavailable when npm or Node is missing or the installation fails.
    """
    for tool in ("node", "npm"):
        _require_tool(tool)
    source, target = PEERS / peer, BUILD_DIR / peer
    lock = (source / "package-lock.json").read_bytes()
    stamp = target / "installed.json"
    target.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "server.js"):
        shutil.copy(source / name, target / name)
    if not stamp.exists() or stamp.read_bytes() != lock:
        _run_command(["npm", "ci", "--no-audit", "--no-fund"], folder=target)
        stamp.write_bytes(lock)
    return target / "server.js"


def locked_npm_version(peer: str, package: str) -> str:
    """Return the version of ``package`` in the lock file of the peer."""
    packages = json.loads((PEERS / peer / "package-lock.json").read_text())["packages"]
    return str(packages[f"node_modules/{package}"]["version"])


class GoProgram(NamedTuple):
    """A program that ``go install`` builds: its name, its package, and the pinned version."""

    name: str
    package: str
    version: str

    def install(self) -> Path:
        """Return the path of the program. Each version has a folder of its own, so that another version is built when
        the pin changes. Raise PeerUnavailable when it cannot be built.
        """
        folder = BUILD_DIR / f"{self.name}@{self.version}"
        if not (folder / self.name).exists():
            _require_tool("go")
            _run_command(["go", "install", f"{self.package}@{self.version}"], env={"GOBIN": str(folder)})
        return folder / self.name

    def read_version(self) -> str:
        """Return the version of the module that the built program contains. The program itself cannot report it after
        ``go install``: Centrifugo reports v0.0.0. Raise PeerUnavailable when it cannot be read.
        """
        program = self.install()
        _require_tool("go")
        lines = _run_command(["go", "version", "-m", str(program)]).splitlines()
        module = next(words for words in map(str.split, lines) if words[0] == "mod")
        return module[2]


def _require_tool(tool: str) -> None:
    if shutil.which(tool) is None:
        raise PeerUnavailable(f"no {tool} on this machine")


def _run_command(command: list[str], *, folder: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command, and return its standard output. Raise PeerUnavailable when the command fails."""
    result = subprocess.run(
        command, cwd=folder, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise PeerUnavailable(f"{' '.join(command[:2])} failed: {' '.join(result.stderr.split())[-300:]}")
    return result.stdout
