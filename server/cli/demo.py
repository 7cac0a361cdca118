"""``callout demo``: a server with a small city that lives on it, to look at and to try things on."""

from __future__ import annotations

from typing import Annotated

import typer

from server.cli.options import Data, Json


def demo(
    *,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="End by itself after 20s, 5m or 1h.")
    ] = None,
    as_json: Json = False,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="8700 unless said; 0: a free one.")] = None,
    data: Data = None,
    technicians: Annotated[int, typer.Option(min=1, max=500, help="How many of them.")] = 24,
) -> None:
    """Start a server and a small simulated city on it, whose people use real HTTP and WebSockets.

    Prints the URL, logins and a live summary until Ctrl-C, or until --for is over.
    """
    from server.cli.options import settings_of
    from server.cli.run_simulation import run_command
    from server.cli.token import duration
    from server.simulation.demo_run import Stay, live_town

    settings = settings_of(data=data, port=port)
    lasts_s = duration(for_, "--for").total_seconds() if for_ else None
    run_command(live_town(Stay(settings, technicians, lasts_s, as_json)))
