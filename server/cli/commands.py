"""The commands of ``callout``. Each command has its own file; this file registers them and prints errors.

An error is printed on stderr as one line that begins with ``callout:``. The exit code is 2 for a wrong or impossible
request, and 1 for a failure while running. A traceback is printed only for a bug.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from importlib.metadata import version

import click

from engine.errors import CalloutError
from engine.process.datadir import CannotStart
from engine.process.settings import SettingsError
from server import logs
from server.cli.command_failed import CommandFailed

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""The error numbers of the operating system that mean that nothing can be written any more."""
EXIT_FAILED, EXIT_USAGE = 1, 2


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Errors are already printed on stderr. Raises KeyboardInterrupt."""
    logs.configure("warning")
    try:
        code = app().main(args=list(arguments) or ["--help"], prog_name="callout", standalone_mode=False)
    except click.Abort:
        raise KeyboardInterrupt from None
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
    from server.cli.audit import audit
    from server.cli.backup import restore, snapshot
    from server.cli.blueprint import blueprint
    from server.cli.demand import demand
    from server.cli.demo import demo
    from server.cli.doctor import doctor
    from server.cli.export import export
    from server.cli.ledger import ledger
    from server.cli.replay import replay
    from server.cli.serve import serve
    from server.cli.token import token
    from server.cli.travel import travel
    from server.cli.upgrade import upgrade
    from server.cli.vault import vault
    from server.cli.zone import zone

    running, data = [serve, demo, replay, token, doctor], [zone, upgrade, snapshot, restore, export, audit, vault]
    return CommandsInOrder(
        commands=[*running, *data, ledger, blueprint, travel, demand],
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
