"""``callout demo``: run a server with simulated users, for people who want to try Callout."""

from __future__ import annotations

from typing import Annotated

import typer

from server.cli.options import Data, Json


def demo(
    *,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Stop after this time: 20s, 5m, 1h.")
    ] = None,
    as_json: Json = False,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Default 8700; 0: any free port.")] = None,
    data: Data = None,
    technicians: Annotated[int, typer.Option(min=1, max=500, help="Number of technicians.")] = 24,
) -> None:
    """Start a server with simulated customers and technicians, who use real HTTP and WebSockets.

    It prints the URL, logins and a live summary until Ctrl-C, or until the time of --for is over.
    """
    from server.cli.options import load_settings
    from server.cli.run_simulation import run_command
    from server.cli.token import duration
    from server.simulation.demo_run import DemoOptions, run_demo

    settings = load_settings(data=data, port=port)
    duration_s = duration(for_, "--for").total_seconds() if for_ else None
    run_command(run_demo(DemoOptions(settings, technicians, duration_s, as_json)))
