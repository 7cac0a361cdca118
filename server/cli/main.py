"""``callout``: the script of the command line. It imports the commands only when it runs, so that a Ctrl-C during their
imports, which take most of a second, ends the process without a traceback.
"""

from __future__ import annotations

import gc
import os
import sys

EXIT_INTERRUPTED = 130
GC_THRESHOLDS = (10_000, 10, 10)
"""The garbage collector's thresholds: the new objects before a collection of the youngest generation, and the
collections of a generation before a collection of the next older one. Reference counting frees nearly all objects. With
the default threshold of 700, collections took a quarter of the CPU time of a start, and 18 % of the relay's.
"""


def main() -> None:
    """Run the ``callout`` script and exit the process."""
    gc.set_threshold(*GC_THRESHOLDS)
    _open_closed_streams()
    try:
        from server.cli.commands import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    sys.exit(code)


def _open_closed_streams() -> None:
    """Open the null device in place of a closed stdin, stdout or stderr (``>&-``). Otherwise a socket would get the
    number 0, 1 or 2, and libuv aborts the process when it closes a socket with this number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - it stays open until the process ends
