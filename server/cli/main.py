"""``callout``: the command line. Each command has its own file; this file registers them and prints errors.

An error is printed on stderr as one line that begins with ``callout:``. The exit code is 2 for a wrong or impossible
request, and 1 for a failure while running. A traceback is printed only for a bug.
"""

from __future__ import annotations

import errno
import gc
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from engine.errors import CalloutError
from engine.process.datadir import CannotStart
from engine.process.settings import SettingsError
from server import logs
from server.cli.command_failed import CommandFailed

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Error numbers of the operating system for: nothing can be written any more."""
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
GC_THRESHOLDS = (10_000, 10, 10)
"""The garbage collector's thresholds: the new objects before a collection of the youngest generation, and the
collections of a generation before a collection of the next older one. Reference counting frees nearly all objects. With
the default threshold of 700, collections took a quarter of the CPU time of a start, and 18 % of the relay's.
"""


def main() -> None:
    """Run the ``callout`` script and exit the process."""
    gc.set_threshold(*GC_THRESHOLDS)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Errors are already printed on stderr."""
    logs.configure("warning")
    try:
        code = typer.main.get_command(app())(
            args=list(arguments) or ["--help"], prog_name="callout", standalone_mode=False
        )
    except (KeyboardInterrupt, Abort):
        return EXIT_INTERRUPTED
    except TyperException as error:
        return _print_error(error.format_message(), error.exit_code)
    except (CannotStart, SettingsError, CalloutError) as error:
        return _print_error(str(error), EXIT_USAGE)
    except CommandFailed as error:
        return _print_error(str(error), EXIT_FAILED)
    except OSError as error:
        if error.errno not in DISK_FULL_ERRNOS:
            raise
        return _print_error(f"{error.filename or 'the data directory'}: {error.strerror}: free some space", EXIT_USAGE)
    return code if isinstance(code, int) else 0


def _print_version(is_requested: bool) -> None:
    if is_requested:
        print(f"callout {version('callout')}")
        raise typer.Exit


def app() -> typer.Typer:
    """Return the application with all commands. Each command imports what it needs only when the command runs."""
    from server.cli import demo, replay
    from server.cli.blueprint import blueprint
    from server.cli.doctor import doctor
    from server.cli.serve import serve
    from server.cli.token import token

    callout = typer.Typer(
        help="Callout sends jobs to the people who can do them, in real time.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    callout.callback()(_root_command)
    for verb in (serve, demo.demo, replay.replay, token, doctor):
        callout.command()(verb)
    callout.add_typer(blueprint, name="blueprint")
    return callout


def _root_command(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Callout sends jobs to the people who can do them, in real time."""


def _print_error(text: str, code: int) -> int:
    logs.write_line(f"callout: {' '.join(text.split())}")
    return code
