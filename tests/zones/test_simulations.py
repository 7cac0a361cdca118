"""``callout demo`` and ``callout replay`` where zones are declared."""

from __future__ import annotations

from pathlib import Path

from engine.process.signer import sign_token
from engine.types import UserId
from tests.story.conftest import Scenario
from tests.support.process import run_callout

PICKUPS = "Date/Time,Lat,Lon\n3/2/2026 18:00:15,40.75,-74.01\n"


async def test_places_in_another_zone_than_main_are_refused(border: Scenario, tmp_path: Path) -> None:
    """The technicians of simulations work in `main`. If the places are in another zone or in none, a demo and a replay
    on a running server say so in one line, with exit code 2, before they create anything.
    """
    demo = await run_callout("demo", "--data", str(tmp_path / "demo"), "--port", "0", "--for", "1s", cwd=tmp_path)
    assert (demo.code, demo.out) == (2, "") and "outside all zones" in demo.err, demo.err
    assert len(demo.err.splitlines()) == 1 and not (tmp_path / "demo").exists()
    (tmp_path / "trace.csv").write_text(PICKUPS)
    token = sign_token(border.server.engine.signer, UserId("cli_admin"), "admin", expires_s=600)
    flags = ("--url", border.server.url, "--token", token, "--technicians", "1")
    replay = await run_callout("replay", str(tmp_path / "trace.csv"), *flags)
    assert (replay.code, replay.out) == (2, "") and "in zone west" in replay.err, replay.err
    assert (await border.admin.get("/v1/technicians"))["items"] == []
