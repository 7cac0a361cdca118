"""``callout serve``: run the server until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Annotated, Any

import typer

from engine.process.datadir import CannotStart
from server.cli.command_failed import CommandFailed
from server.cli.options import Blueprints, Data, Database, KeyFile, Redis, load_settings


def serve(  # noqa: PLR0913 - one parameter for each flag
    *,
    data: Data = None,
    redis: Redis = None,
    database: Database = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (default 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (default 8700; 0: any free port).")] = None,
    zones: Annotated[str | None, typer.Option(metavar="A,B", help="Zones to serve (default main).")] = None,
    role: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Some of gateway,scheduler,archiver,push (default: all)."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Gateway processes; only 1 in this version.")] = 1,
    blueprints: Blueprints = None,
    key_file: KeyFile = None,
    limits: Annotated[str | None, typer.Option(metavar="on|off", help="Rate limits; off for load tests.")] = None,
    log_level: Annotated[str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")] = None,
) -> None:
    """Run the server. It prints one line of JSON when it is ready, and writes logs to stderr."""
    if workers != 1:
        raise CannotStart(
            f"--workers {workers}: only 1 in this version; for more, run `callout serve --role gateway"
            " --redis URL --database URL` several times, each with its own --data and all with the same --key-file"
        )
    settings = load_settings(
        data=data, redis=redis, database=database, host=host, port=port, zones=zones, roles=role,
        blueprints=blueprints, key_file=key_file, limits=limits, log_level=log_level,
    )  # fmt: skip
    import server.serve
    from engine.blueprint.catalogue import BlueprintError
    from engine.store.connection import UnsuitableServer
    from server import logs
    from server.serve import PartEnded

    logs.configure(settings.log_level)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(server.serve.serve(settings, on_ready=_print_ready_line))
    except UnsuitableServer as error:
        raise CannotStart(f"this Redis cannot be used: {error}") from error
    except BlueprintError as error:
        raise CannotStart(f"blueprints: {error}") from error
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


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
