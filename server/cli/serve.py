"""``callout serve``: run the server until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import click

from engine.process.datadir import CannotStart
from server.cli import options
from server.cli.command_failed import CommandFailed


@click.command
@options.data
@options.redis
@options.database
@click.option("--host", help="Address to listen on (default 127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (default 8700; 0: any free port).")
@click.option("--zones", metavar="A,B", help="Zones to serve besides main (default: all).")
@click.option("--role", "roles", metavar="A,B", help="Some of gateway,scheduler,archiver,push (default: all).")
@click.option("--workers", type=int, help="Gateway processes (default 1); beyond 1, the other roles run in one more.")
@options.blueprints
@options.key_file
@click.option("--limits", metavar="on|off", help="Rate limits; off for load tests.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
def serve(**flags: str | int | None) -> None:
    """Run the server. It prints one line of JSON when it is ready, and writes logs to stderr."""
    settings = options.load_settings(**flags)
    import server.serve
    from server import logs
    from server.process.event_loop import loop_factory
    from server.process.start_errors import START_ERRORS, start_error_text
    from server.serve import PartEnded

    logs.configure(settings.log_level)
    try:
        if settings.workers > 1:
            from server.supervisor.parent import supervise

            supervise(settings, on_ready=_print_ready_line)
        else:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(server.serve.serve(settings, on_ready=_print_ready_line))
    except START_ERRORS as error:
        raise CannotStart(start_error_text(error)) from error
    except PartEnded as error:
        raise CommandFailed(str(error)) from error


def _print_ready_line(ready_line: dict[str, Any]) -> None:
    # The parent process may close the pipe of stdout after this line, or redirect stdout to a full disk. Neither must
    # end the server or change its exit code.
    try:
        print(json.dumps(ready_line), flush=True)
    except OSError as error:
        from server import logs

        logs.write_line(f"callout: stdout cannot be written to: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
