"""Links for the sweep: the customer of a job and ops alone see and end its links; whoever has one follows the job."""

from __future__ import annotations

from tests.server.sweep.world import Relations, World


async def create_share(world: World) -> None:
    """Let customers open a link to the job `held`, and one that everybody follows: to the job `offering`, because that
    of a job on the way shows the technician's position, as it must.
    """
    reply = await world.request("customer", "POST", f"/v1/jobs/{world.jobs['held']}/shares", {})
    world.ids["share"] = reply["share"]["id"]
    token = reply["share"]["url"].rpartition("/")[2]
    world.add_secret("token of the link", token, "customer", "ops_manager", "admin")
    reply = await world.request("other_customer", "POST", f"/v1/jobs/{world.jobs['offering']}/shares", {})
    world.ids["share_token"] = reply["share"]["url"].rpartition("/")[2]


def share_targets(world: World) -> dict[str, tuple[list[dict[str, str]], Relations]]:
    """Return what the routes of links name: a link of a job, and the token of another one."""
    link = {"id": world.jobs["held"], "share": world.ids["share"]}
    return {"share": ([link], world.relations["held"]), "share_token": ([{"token": world.ids["share_token"]}], {})}
