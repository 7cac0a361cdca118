"""The photo in the sweep's world. Only the two sides of its job and ops may read it."""

from __future__ import annotations

from tests.server.sweep.world import World
from tests.support.photos import tiny_png


async def create_photo(world: World) -> None:
    """Let the holder of the job `held` upload a photo."""
    reply = await world.request("holder", "POST", f"/v1/jobs/{world.jobs['held']}/photos", tiny_png())
    world.ids["photo"] = reply["file"]["id"]
