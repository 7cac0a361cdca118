"""Tests of the script ``callout`` itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

INTERRUPT_AT_IMPORT = """
import os, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in the background of a shell ignores it

class InterruptingFinder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, InterruptingFinder())
sys.argv = ["callout", "serve"]
from server.cli.main import main
main()
"""


@pytest.mark.parametrize("module", ["click", "engine.errors", "server.cli.serve", "server.serve"])
def test_ctrl_c_during_the_imports_prints_no_traceback(module: str) -> None:
    """A SIGINT while the commands are imported ends the process with the exit code 130 and without a traceback."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT_AT_IMPORT.format(module=module)], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, b"", b"")
