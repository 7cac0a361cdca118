"""The build hook: build the pages of ``web/``, and compile the server's one C module.

The C module is compiled if a C compiler and the headers of Python are there. Without them the build succeeds too, and
Callout does the same in Python (server/gateway/broadcast_send.py). A wheel with the module is for one version of Python
and one platform. A wheel without the module is for all versions and platforms; ``CC=false`` builds this wheel.

The pages are in every wheel and source distribution: without them the build fails. An editable install succeeds even if
the npm registry cannot be reached, and says so. Its server then asks for ``make web``.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "server/gateway/_send_frame.c"
MODULE = f"server/gateway/_send_frame{sysconfig.get_config_var('EXT_SUFFIX')}"
FLAGS = ["-O2", "-Wall", "-Wextra", "-fPIC"]
FLAGS += ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]


def compile_module(root: Path, target: Path) -> str | None:
    """Compile the C file of the checkout ``root`` into ``target``, by the program ``CC`` if that is set. Return None or
    the reason why it was not compiled.
    """
    # A running server may use the file, so it is not overwritten; and an old module must not stay.
    target.unlink(missing_ok=True)
    compiler = shlex.split(os.environ.get("CC") or "cc")
    headers = f"-I{sysconfig.get_path('include')}"
    try:
        subprocess.run(
            [*compiler, *FLAGS, headers, "-o", str(target), str(root / SOURCE)],
            check=True,
            capture_output=True,
            text=True,
        )
    except OSError as error:
        return str(error)
    except subprocess.CalledProcessError as error:
        return str(error.stderr).strip() or str(error)
    return None


def load_web_build(root: Path) -> ModuleType:
    """Return the module ``web/build.py`` of the checkout ``root``, which is no package."""
    spec = importlib.util.spec_from_file_location("callout_web_build", root / "web" / "build.py")
    if spec is None or spec.loader is None:
        raise ImportError("web/build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BuildHook(BuildHookInterface[Any]):
    """Adds the module to the wheel. In an editable install it lies beside its source, where git ignores it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the pages and compile the module before the wheel is packed."""
        self._build_pages(is_required=version != "editable")
        if self.target_name != "wheel":
            return
        self._folder = TemporaryDirectory()
        is_editable = version == "editable"
        target = Path(self.root, MODULE) if is_editable else Path(self._folder.name, Path(MODULE).name)
        problem = compile_module(Path(self.root), target)
        if problem:
            self.app.display_warning(f"{SOURCE} is not compiled, broadcasts are sent by Python: {problem}")
        elif not is_editable:
            build_data["force_include"][str(target)] = MODULE
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def _build_pages(self, *, is_required: bool) -> None:
        """Build the pages into ``server/web/built``, which every distribution contains. Raises BuildError if they are
        required and cannot be built.
        """
        web = load_web_build(Path(self.root))
        try:
            web.build(Path(self.root))
        except web.BuildError as error:
            if is_required:
                raise
            self.app.display_warning(f"The pages of web/ are not built, the server runs without them: {error}")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the compiled module after the wheel is packed."""
        if self.target_name == "wheel":
            self._folder.cleanup()
