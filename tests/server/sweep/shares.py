"""A link for the sweep: only the customer of its job and ops may see and end it; whoever has it may follow the job."""

from __future__ import annotations

from tests.server.sweep.world import World


async def create_share(world: World) -> None:
    """Let the customer of the job `held` open a link to it. Its token is shown to nobody else but ops."""
    reply = await world.request("customer", "POST", f"/v1/jobs/{world.jobs['held']}/shares", {})
    world.ids["share"] = reply["share"]["id"]
    world.ids["share_token"] = reply["share"]["url"].rpartition("/")[2]
    world.add_secret("token of the link", world.ids["share_token"], "customer", "ops_manager", "admin")
