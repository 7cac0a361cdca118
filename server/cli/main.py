"""``callout``: the command line. Each command has its own file; this file registers them and prints errors.

An error is printed on stderr as one line that begins with ``callout:``. The exit code is 2 for a wrong or impossible
request, and 1 for a failure while running. A traceback is printed only for a bug.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

import click

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
    _open_closed_streams()
    sys.exit(run(sys.argv[1:]))


def _open_closed_streams() -> None:
    """Open the null device in place of a closed stdin, stdout or stderr (``>&-``). Otherwise a socket would get its
    number, and libuv aborts the process when it closes such a socket.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - it stays open until the process ends


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Errors are already printed on stderr."""
    logs.configure("warning")
    try:
        code = app().main(args=list(arguments) or ["--help"], prog_name="callout", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        return _print_error(error.format_message(), error.exit_code)
    except (CannotStart, SettingsError, CalloutError) as error:
        return _print_error(str(error), EXIT_USAGE)
    except CommandFailed as error:
        return _print_error(str(error), EXIT_FAILED)
    except OSError as error:
        if error.errno not in DISK_FULL_ERRNOS:
            raise
        return _print_error(
            f"{error.filename or 'the data directory or stdout'}: {error.strerror}: free some space", EXIT_USAGE
        )
    return code if isinstance(code, int) else 0


class CommandsInOrder(click.Group):
    """A group whose help lists the commands in the order of importance, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order in which they were added."""
        return list(self.commands)


def app() -> click.Group:
    """Return the command group with all commands. Each command imports what it needs only when the command runs."""
    from server.cli.blueprint import blueprint
    from server.cli.demo import demo
    from server.cli.doctor import doctor
    from server.cli.replay import replay
    from server.cli.serve import serve
    from server.cli.token import token

    return CommandsInOrder(
        commands=[serve, demo, replay, token, doctor, blueprint],
        help="Callout sends jobs to the people who can do them, in real time.",
        params=[_version_option()],
        context_settings={"show_default": True},
    )


def _version_option() -> click.Option:
    def print_version(context: click.Context, _: click.Parameter, is_requested: bool) -> None:
        if is_requested:
            click.echo(f"callout {version('callout')}")
            context.exit()

    text = "Print the version and exit."
    return click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=print_version, help=text
    )


def _print_error(text: str, code: int) -> int:
    logs.write_line(f"callout: {' '.join(text.split())}")
    return code
