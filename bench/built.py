"""Programs of other projects that peers need: npm packages and Go programs, downloaded once into ``bench/.build``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from bench.rig import BENCH, BUILD, Missing

PEERS = BENCH / "peers"


def npm(peer: str) -> Path:
    """``server.js`` of ``bench/peers/<peer>`` where its packages are installed, as its lock has them.

    Raises Missing when they cannot be.
    """
    for tool in ("node", "npm"):
        _need(tool)
    source, target = PEERS / peer, BUILD / peer
    lock = (source / "package-lock.json").read_bytes()
    stamp = target / "installed.json"
    target.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "server.js"):
        shutil.copy(source / name, target / name)
    if not stamp.exists() or stamp.read_bytes() != lock:
        _run(["npm", "ci", "--no-audit", "--no-fund"], folder=target)
        stamp.write_bytes(lock)
    return target / "server.js"


def npm_version(peer: str, package: str) -> str:
    """The version of ``package`` that the peer's lock names."""
    packages = json.loads((PEERS / peer / "package-lock.json").read_text())["packages"]
    return str(packages[f"node_modules/{package}"]["version"])


def go(program: str, module: str) -> Path:
    """The program that ``go install`` makes of ``module``, as it was the first time. Raises Missing when it cannot."""
    made = BUILD / program
    if not made.exists():
        _need("go")
        BUILD.mkdir(exist_ok=True)
        _run(["go", "install", module], env={"GOBIN": str(BUILD)})
    return made


def _need(tool: str) -> None:
    if shutil.which(tool) is None:
        raise Missing(f"no {tool} on this machine")


def _run(command: list[str], *, folder: Path | None = None, env: dict[str, str] | None = None) -> None:
    made = subprocess.run(
        command, cwd=folder, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise Missing(f"{' '.join(command[:2])} failed: {' '.join(made.stderr.split())[-300:]}")
