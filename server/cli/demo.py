"""``callout demo``: run a server with simulated users, for people who want to try Callout."""

from __future__ import annotations

import click

from server.cli import options


@click.command
@click.option("--for", "for_", metavar="TIME", help="Stop after this time: 20s, 5m, 1h.")
@options.as_json
@click.option("--port", type=click.IntRange(0, 65535), help="Default 8700; 0: any free port.")
@options.data
@click.option("--technicians", type=click.IntRange(1, 500), default=24, help="Number of technicians.")
def demo(*, for_: str | None, as_json: bool, port: int | None, data: str | None, technicians: int) -> None:
    """Start a server with simulated customers and technicians, who use real HTTP and WebSockets.

    It prints the URL, logins and a live summary until Ctrl-C, or until the time of --for is over.
    """
    from server.cli.run_simulation import run_command
    from server.cli.token import duration
    from server.simulation.demo_run import DemoOptions, run_demo

    settings = options.load_settings(data=data, port=port)
    duration_s = duration(for_, "--for").total_seconds() if for_ else None
    run_command(run_demo(DemoOptions(settings, technicians, duration_s, as_json)))
