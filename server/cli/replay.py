"""``callout replay``: run recorded pickups through a server, with technicians who compete for every job."""

from __future__ import annotations

from pathlib import Path

import click

from server.cli import options


@click.command
@click.argument("trace", metavar="TRACE.csv", type=click.Path(path_type=Path))
@click.option("--limit", type=click.IntRange(min=1), help="Use only the earliest N pickups.")
@click.option(
    "--technicians", type=click.IntRange(min=1), default=100, help="Number of technicians who compete for the jobs."
)
@click.option(
    "--speed", type=click.FloatRange(min=0.001), default=1000, help="Factor by which jobs arrive faster than recorded."
)
@click.option("--seed", default=1, help="The same seed gives the same users and places.")
@click.option("--url", metavar="URL", help="A running server. Default: start one.")
@click.option("--token", metavar="ADMIN", help="An admin's access token, with --url.")
@click.option("--redis", metavar="URL", help="The Redis of the server, with --url: to read its log.")
@options.as_json
def replay(  # noqa: PLR0913 - one parameter for each flag
    *,
    trace: Path,
    limit: int | None,
    technicians: int,
    speed: float,
    seed: int,
    url: str | None,
    token: str | None,
    redis: str | None,
    as_json: bool,
) -> int:
    """Book recorded pickups as jobs, and compare what the simulated users received with the log.

    TRACE.csv has the recorded pickups: time, lat, lon.

    Without --url it starts its own server: temporary data, a free port, no rate limits, jobs expire after 60 s. It
    ends when each job was won or has expired. The exit code is 1 if a job had two winners, or if an event was lost or
    received twice.
    """
    from engine.process.datadir import CannotStart
    from server.cli.run_simulation import run_command
    from server.simulation.pickups import TraceError, read_trace
    from server.simulation.replay_run import ReplayOptions, print_result, run_replay

    if url and not token:
        raise CannotStart("--url needs --token: an admin's access token (callout token --role admin)")
    if (token or redis) and not url:
        raise CannotStart("--token and --redis need --url")
    try:
        pickups = read_trace(trace, limit)
    except TraceError as error:
        raise CannotStart(str(error)) from error
    chosen = ReplayOptions(tuple(pickups), technicians, speed, seed, url, token or "", redis)
    result = run_command(run_replay(chosen))
    print_result(result, as_json=as_json)
    return int(bool(result["double_claims"] or result["lost_events"] or result["duplicate_events"]))
