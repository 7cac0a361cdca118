"""Run ``callout`` as a child process that ends when its parent ends.

The standard input is a pipe that the parent holds open and never writes to. When the parent ends, for whatever
reason, the pipe ends too, and this process sends itself SIGTERM, which stops the server in order. A signal handler in
the parent could not do that after a SIGKILL, and a parent-death signal exists only on Linux.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def _watch() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run ``callout`` with the given arguments until it ends or its standard input ends."""
    from server.cli.main import main as callout

    threading.Thread(target=_watch, daemon=True, name="exit with parent").start()
    sys.argv[0] = "callout"
    callout()


if __name__ == "__main__":
    main()
