"""``callout replay``: run recorded pickups through a server, with technicians who compete for every job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server.cli.options import Json


def replay(  # noqa: PLR0913 - each is an option of the command line
    trace: Annotated[Path, typer.Argument(metavar="TRACE.csv", help="Recorded pickups: time, lat, lon.")],
    *,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the earliest N pickups.")] = None,
    technicians: Annotated[int, typer.Option(min=1, help="Number of technicians who compete for the jobs.")] = 100,
    speed: Annotated[float, typer.Option(min=0.001, help="Factor by which jobs arrive faster than recorded.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same users and places.")] = 1,
    url: Annotated[str | None, typer.Option(metavar="URL", help="A running server. Default: start one.")] = None,
    token: Annotated[str | None, typer.Option(metavar="ADMIN", help="An admin's access token, with --url.")] = None,
    redis: Annotated[
        str | None, typer.Option(metavar="URL", help="The Redis of the server, with --url: to read its log.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Book recorded pickups as jobs, and compare what the simulated users received with the log.

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
    options = ReplayOptions(tuple(pickups), technicians, speed, seed, url, token or "", redis)
    result = run_command(run_replay(options))
    print_result(result, as_json=as_json)
    return int(bool(result["double_claims"] or result["lost_events"] or result["duplicate_events"]))
