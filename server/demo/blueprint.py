"""The blueprints of a demo: earnings are available immediately, so that a visitor sees a payout within minutes, and
waves begin small, so that they grow within the town.
"""

from __future__ import annotations

import os
import re
from itertools import count
from pathlib import Path

from engine.blueprint.catalogue import shipped_folder
from engine.process import datadir
from engine.process.settings import Settings
from server.simulation.child_server import ChildError

VERSION_OFFSET = 2_000
"""Added to the version, so that a key such as `managed@7` always names the same blueprint, even if a server that is not
a demo uses the data later."""


CHANGED = ("home_service", "managed", "marketplace", "delivery")
FIRST_WAVES_SHARE = 0.2
MAX_RADIUS_M = 1_200
"""The largest radius of a wave that is not the last: about the half of the town."""
WAVE_S = 8
"""The most seconds between two waves."""
_WAVE = re.compile(r"radius_m = (\d+), interval_s = (\d+)")


def demo_environment(settings: Settings, data: Path) -> dict[str, str]:
    """Write the demo's blueprint, and return the environment of its server. If the user has given blueprints, these are
    used instead.

    Raises CannotStart, or ChildError if nothing can be written to ``data``.
    """
    payments = {"CALLOUT_PAYMENTS": "test"} if settings.payments == "outside" else {}
    if settings.blueprints:
        return dict(os.environ) | payments
    folder = data / "demo-blueprints"
    if why := datadir.write_problem(datadir.create_directory(data)):
        raise ChildError(f"{why}: make room, or give another --data")
    folder.mkdir(exist_ok=True)
    for name in CHANGED:
        (folder / f"{name}.toml").write_text(demo_blueprint((shipped_folder() / f"{name}.toml").read_text()))
    return dict(os.environ) | payments | {"CALLOUT_BLUEPRINTS": str(folder)}


def demo_blueprint(shipped: str) -> str:
    """Return the text of the demo's blueprint, made from the shipped one."""
    changed = re.sub(r"(?m)^version = (\d+)$", lambda found: f"version = {int(found[1]) + VERSION_OFFSET}", shipped)
    changed = re.sub(r"hold_s = \d+", "hold_s = 0", changed)
    last = len(_WAVE.findall(changed)) - 1
    numbers = count()
    return _WAVE.sub(lambda found: _smaller_wave(found, is_last=next(numbers) == last), changed)


def _smaller_wave(found: re.Match[str], *, is_last: bool) -> str:
    """Return a wave for a town of 3 km. The last one of each blueprint still reaches all of it."""
    radius_m = int(found[1]) if is_last else min(round(int(found[1]) * FIRST_WAVES_SHARE), MAX_RADIUS_M)
    return f"radius_m = {radius_m}, interval_s = {min(int(found[2]), WAVE_S)}"
