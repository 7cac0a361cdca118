"""A day plan without any job: the sweep reads and applies it."""

from __future__ import annotations

from tests.server.sweep.world import World
from tests.support.wait import wait_until


async def create_plan(world: World) -> None:
    """Let an admin ask for the plan of a day on which nothing is booked, and wait until it is computed."""
    body = {"zone": "main", "date": "2099-01-31", "budget_s": 0.1}
    plan = (await world.request("admin", "POST", "/v1/plans", body))["plan"]["id"]

    async def is_ready() -> bool:
        return bool((await world.request("admin", "GET", f"/v1/plans/{plan}"))["plan"]["state"] == "ready")

    await wait_until(is_ready, what="a plan")
    world.ids["plan"] = plan
