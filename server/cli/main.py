"""``callout``: the command line. One file for each verb; here they are mounted, and failures told.

Whatever goes wrong is one line on stderr that begins with ``callout:``, and an exit code: 2 for what the
caller asked wrongly or cannot have, 1 for what broke while running. A traceback is shown for a bug alone.
"""

from __future__ import annotations

import errno
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
from server.cli.command_failed import Failed

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What the system says where nothing more can be written."""
EXIT_BROKEN, EXIT_WRONG, EXIT_INTERRUPTED = 1, 2, 130


def main() -> None:
    """Entry point of the ``callout`` script. Exits the process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit code; failures have been told on stderr."""
    logs.configure("warning")
    try:
        code = typer.main.get_command(app())(
            args=list(arguments) or ["--help"], prog_name="callout", standalone_mode=False
        )
    except (KeyboardInterrupt, Abort):
        return EXIT_INTERRUPTED
    except TyperException as error:
        return _tell(error.format_message(), error.exit_code)
    except (CannotStart, SettingsError, CalloutError) as error:
        return _tell(str(error), EXIT_WRONG)
    except Failed as error:
        return _tell(str(error), EXIT_BROKEN)
    except OSError as error:
        if error.errno not in FULL:
            raise
        return _tell(f"{error.filename or 'the data directory'}: {error.strerror}: make room", EXIT_WRONG)
    return code if isinstance(code, int) else 0


def _print_version(asked: bool) -> None:
    if asked:
        print(f"callout {version('callout')}")
        raise typer.Exit


def app() -> typer.Typer:
    """The commands. Built when asked for: each verb imports what it runs only once it is run."""
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
    callout.callback()(_whole)
    for verb in (serve, demo.demo, replay.replay, token, doctor):
        callout.command()(verb)
    callout.add_typer(blueprint, name="blueprint")
    return callout


def _whole(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Callout sends jobs to the people who can do them, in real time."""


def _tell(text: str, code: int) -> int:
    logs.say(f"callout: {' '.join(text.split())}")
    return code
