"""Install a package with entry points in the same way as pip: a module and the metadata of a distribution on
``sys.path``.
"""

from __future__ import annotations

from pathlib import Path

import pytest


def install_package(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, code: str, entry_points: str) -> None:
    """Write the module and its metadata into ``folder``, and put this first on ``sys.path`` until the test ends. The
    caller must clear the caches of functions that look up entry points.
    """
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    monkeypatch.syspath_prepend(folder)
