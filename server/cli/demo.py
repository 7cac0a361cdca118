"""``callout demo``: run a server with a simulated city around it, for people who want to try Callout."""

from __future__ import annotations

from typing import Any

import click

from server.cli import options

MAX_LATITUDE = 75.0
"""Farther north a degree of longitude is so short that the streets of the town would be distorted."""
MAX_LONGITUDE = 179.9


class _Place(click.ParamType[tuple[float, float]]):
    """A latitude and a longitude in degrees, as `52.52,13.405`."""

    name = "place"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Return the position; a wrong one is refused with exit code 2."""
        try:
            lat, lon = (float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value}: give a latitude and a longitude, as 52.52,13.405", param, ctx)
        if not (abs(lat) <= MAX_LATITUDE and abs(lon) <= MAX_LONGITUDE):
            self.fail(
                f"{value}: at most {MAX_LATITUDE:g} degrees north or south, {MAX_LONGITUDE:g} east or west", param
            )
        return lat, lon


@click.command
@click.option("--for", "for_", metavar="TIME", help="Stop after this time: 20s, 5m, 1h.")
@options.as_json
@click.option("--port", type=click.IntRange(0, 65535), help="Default 8700; 0: any free port.")
@options.data
@click.option("--people", type=click.IntRange(5, 1000), default=100, help="Simulated people; a quarter are customers.")
@click.option("--at", "centre", type=_Place(), metavar="LAT,LON", help="The middle of the town (default Berlin).")
@click.option("--speed", type=click.FloatRange(0.2, 20), default=1.0, help="How many times faster people act.")
@click.option("--workers", type=click.IntRange(1, 16), default=2, help="Gateway processes (default 2).")
@click.option("--lan", is_flag=True, help="Listen for the devices of the local network too.")
@click.option("--tls", is_flag=True, help="With --lan: with TLS, which a phone needs for its GPS.")
@click.option("--lan-open", is_flag=True, help="With --lan: one-click logins and faults for everybody there.")
def demo(*, for_: str | None, as_json: bool, port: int | None, data: str | None, **choices: Any) -> None:
    """Start a server with simulated customers and technicians, who use real HTTP and WebSockets.

    It prints the addresses, logins and a live summary until Ctrl-C, or until the time of --for is over.
    """
    from server.cli.run_simulation import run_command
    from server.cli.token import duration
    from server.demo.addresses import Reach
    from server.demo.run import CENTRE, DemoOptions, run_demo

    reach = Reach(choices["lan"], choices["tls"], choices["lan_open"])
    if (reach.has_tls or reach.is_open) and not reach.is_lan:
        raise click.UsageError("--tls and --lan-open need --lan")
    options_of_demo = DemoOptions(
        options.load_settings(data=data, port=port),
        people=choices["people"],
        centre=choices["centre"] or CENTRE,
        speed=choices["speed"],
        workers=choices["workers"],
        reach=reach,
        duration_s=duration(for_, "--for").total_seconds() if for_ else None,
        as_json=as_json,
    )
    run_command(run_demo(options_of_demo))
