"""Running a script on fakeredis, which knows no functions: by EVAL, with names as the store takes them."""

from __future__ import annotations

from typing import Any

import fakeredis

from engine.store import scripts
from engine.types import Zone
from engine.zone import opening
from engine.zone.records import ZoneRecord

Z = Zone("main")
EPOCH = "e1-r1"
ALL = scripts.load_installed_library()


def run(client: fakeredis.FakeRedis, script: str, places: scripts.Keys, args: scripts.Args, epoch: str = EPOCH) -> Any:
    """Evaluate one script."""
    given = (epoch,) if "epoch" in ALL[script].argv else ()
    _, _, number, *words = ALL[script].call(places, args, *given)
    return client.eval(ALL[script].source, number, *words)


def open_zone(client: fakeredis.FakeRedis) -> None:
    """Begin the first life of the zone."""
    run(client, "zone_open", opening.script_keys(Z), opening.script_arguments("r1", "1", ZoneRecord("d1", 0, {})))
