"""A customer whose erasure is requested: the sweep sends its requests about accounts for this account."""

from __future__ import annotations

import uuid

from tests.server.sweep.world import World


async def create_leaver(world: World) -> None:
    """Create the account, and let an admin have it erased. The account's token is refused from then on."""
    email = f"{uuid.uuid4().hex}@example.org"
    new = {"email": email, "password": "correct horse", "name": "Leaver", "role": "customer"}
    created = await world.request("admin", "POST", "/v1/users", new)
    world.ids["leaver"] = created["user"]["id"]
    await world.request("admin", "POST", f"/v1/users/{world.ids['leaver']}/erasure", {"reason": "asked by letter"})
