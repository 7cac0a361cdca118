"""Links for the sweep. Only the customer of a job and ops see and end its links; everybody who has a link can follow
the job.
"""

from __future__ import annotations

from tests.server.sweep.world import Relations, World


async def create_share(world: World) -> None:
    """Let customers create a link to the job `held`, and one to the job `offering`, which everybody follows. A link to
    a job whose technician is on the way would show their position to everybody, as such a link must.
    """
    reply = await world.request("customer", "POST", f"/v1/jobs/{world.jobs['held']}/shares", {})
    world.ids["share"] = reply["share"]["id"]
    token = reply["share"]["url"].rpartition("/")[2]
    world.add_secret("token of the link", token, "customer", "ops_manager", "admin")
    reply = await world.request("other_customer", "POST", f"/v1/jobs/{world.jobs['offering']}/shares", {})
    world.ids["share_token"] = reply["share"]["url"].rpartition("/")[2]


def share_targets(world: World) -> dict[str, tuple[list[dict[str, str]], Relations]]:
    """Return the targets of the routes of links: a link of a job, and the token of another link."""
    link = {"id": world.jobs["held"], "share": world.ids["share"]}
    return {"share": ([link], world.relations["held"]), "share_token": ([{"token": world.ids["share_token"]}], {})}
