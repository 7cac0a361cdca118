"""``callout`` on a leash: the same command line, ended by the end of whoever started it.

Its standard input is a pipe that the parent holds and never writes to. When the parent is gone, however it
went, the pipe ends and the server gets the SIGTERM that would have stopped it in order. A signal handler in
the parent cannot do that for a SIGKILL, and a parent-death signal exists on Linux only.
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
    """Run ``callout`` with the arguments given, until it ends or standard input does."""
    from server.cli.main import main as callout

    threading.Thread(target=_watch, daemon=True, name="leash").start()
    sys.argv[0] = "callout"
    callout()


if __name__ == "__main__":
    main()
