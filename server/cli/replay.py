"""``callout replay``: a recorded day run through a server, with technicians who race for every job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server.cli.options import Json


def replay(  # noqa: PLR0913 - each is an option of the command line
    trace: Annotated[Path, typer.Argument(metavar="TRACE.csv", help="Recorded pickups: time, lat, lon.")],
    *,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the earliest so many.")] = None,
    technicians: Annotated[int, typer.Option(min=1, help="How many race for the jobs.")] = 100,
    speed: Annotated[float, typer.Option(min=0.001, help="How much faster arrivals come than recorded.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same people and places.")] = 1,
    url: Annotated[str | None, typer.Option(metavar="URL", help="A server that runs; else one is started.")] = None,
    token: Annotated[str | None, typer.Option(metavar="ADMIN", help="An admin's token, with --url.")] = None,
    redis: Annotated[
        str | None, typer.Option(metavar="URL", help="The server's Redis, with --url: to read its log.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Run recorded pickups as jobs, and hold what the simulated people received against the log.

    Without --url it starts a server of its own: temporary data, a free port, limits off, jobs live 60 s. It
    ends when each job was won or expired; the exit code is 1 if a job had two winners or an event was lost or
    doubled.
    """
    from engine.process.datadir import CannotStart
    from server.cli.run_simulation import run_command
    from server.simulation.pickups import TraceError, read_trace
    from server.simulation.replay_run import Plan, report, run_day

    if url and not token:
        raise CannotStart("--url needs --token, an administrator's (callout token --role admin)")
    if (token or redis) and not url:
        raise CannotStart("--token and --redis go with --url")
    try:
        pickups = read_trace(trace, limit)
    except TraceError as error:
        raise CannotStart(str(error)) from error
    plan = Plan(tuple(pickups), technicians, speed, seed, url, token or "", redis)
    result = run_command(run_day(plan))
    report(result, as_json=as_json)
    return int(bool(result["double_claims"] or result["lost_events"] or result["duplicate_events"]))
