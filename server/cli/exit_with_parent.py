"""Run ``callout`` as a child process that ends when its parent ends.

The standard input is a pipe that the parent process leaves open and never writes to. When the parent process ends, for
any reason, the pipe is closed. Then this process sends itself SIGTERM, which stops the server in order. (Rejected: a
signal handler in the parent, because it does not run after a SIGKILL; a parent-death signal, because only Linux has
it.)
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def _wait_for_parent() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run ``callout`` with the arguments of this process, until the command or its standard input ends."""
    import server.cli.main

    threading.Thread(target=_wait_for_parent, daemon=True, name="exit with parent").start()
    sys.argv[0] = "callout"
    server.cli.main.main()


if __name__ == "__main__":
    main()
