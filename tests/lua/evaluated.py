"""Running a script on fakeredis, which knows no functions: by EVAL, with names as the store takes them."""

from __future__ import annotations

from typing import Any

import fakeredis

from engine.store import keys, scripts
from engine.types import Zone

Z = Zone("main")
ALL = scripts.load()


def run(client: fakeredis.FakeRedis, script: str, places: scripts.Keys, args: scripts.Args, epoch: str = "e1") -> Any:
    """Evaluate one script."""
    given = (epoch,) if "epoch" in ALL[script].argv else ()
    _, _, number, *words = ALL[script].call(places, args, *given)
    return client.eval(ALL[script].source, number, *words)


def open_zone(client: fakeredis.FakeRedis) -> None:
    """Begin the first life of the zone."""
    places = {"meta": keys.meta(Z), "epochs": keys.epochs(Z)}
    run(client, "zone_open", places, {"run_id": "r1", "compared": 1, "archived": 0, "known": ""})
