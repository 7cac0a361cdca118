"""Run scripts on fakeredis. It has no functions, so scripts are sent with EVAL; keys and arguments are passed by name,
as in `Store.run`.
"""

from __future__ import annotations

from typing import Any

import fakeredis

from engine.store import scripts
from engine.types import Zone
from engine.zone import opening
from engine.zone.records import ZoneRecord

ZONE = Zone("main")
EPOCH = "e1-r1"
SCRIPTS = scripts.load_installed_library()
SCHEDULE_RULE = f"900000 1 1.0 1.5 {' '.join(['187.20'] * 24)}"
"""A rule of lua/lib/travel_rule.lua: 25 km/h on a way that is 1.3 times the straight distance, at every hour."""


def run_script(
    client: fakeredis.FakeRedis, script: str, script_keys: scripts.Keys, args: scripts.Args, epoch: str = EPOCH
) -> Any:
    """Run one script on fakeredis by EVAL and return its reply."""
    leading = (epoch,) if "epoch" in SCRIPTS[script].argv else ()
    _, _, number, *arguments = SCRIPTS[script].call(script_keys, args, *leading)
    return client.eval(SCRIPTS[script].source, number, *arguments)


def open_zone(client: fakeredis.FakeRedis) -> None:
    """Open the zone `ZONE` in its first epoch, `EPOCH`, so that scripts accept commands."""
    run_script(
        client, "zone_open", opening.script_keys(ZONE), opening.script_arguments("r1", "1", ZoneRecord("d1", 0, {}))
    )
