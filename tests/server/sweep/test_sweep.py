"""Every route and every socket op, with everybody, about everything: allowed or refused as declared beside it, and no
reply, list, event or push shows anybody what is not theirs to see.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from engine.process.settings import Settings
from engine.types import OPS as OPS_ROLES
from server.api.route import Route
from server.api.routes import ROUTES
from server.gateway.ops import OPS
from server.http.policy import Policy
from server.schemas import ops
from server.serve import running
from tests.server.sweep import asking
from tests.server.sweep.world import POSITION, World
from tests.support.wait import wait_until

FOLLOWERS = {"customer", "mediator", "service", "ops_manager", "admin", "holder"}
"""Who may hear where the holder is: the customer and the holder unasked, the others by the holder's jobs."""
LASTING = (ops.Unsubscribe, ops.Decline)
"""Ops that change the world for the tests after them."""


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """The world after its story."""
    data = str(tmp_path_factory.mktemp("sweep"))
    async with (
        running(Settings(data=data, port=0, limits="off")) as server,
        httpx.AsyncClient(base_url=server.url, timeout=10, trust_env=False) as http,
    ):
        made = World(server, http)
        await made.settle()
        await made.live()
        yield made
        for socket in made.sockets.values():
            await socket.close()


async def said(world: World, kind: type[ops.Op]) -> list[str]:
    """What went otherwise than declared when everybody gave an op. A world is asked once."""
    name = f"op {asking.named(kind)}"
    if name not in world.wrong:
        world.wrong[name] = await _said(world, kind)
    return world.wrong[name]


async def _said(world: World, kind: type[ops.Op]) -> list[str]:
    wrong = []
    for one in asking.messages(world, kind):
        reply = await world.sockets[one.who].request(one.op, **one.arguments)
        code, what = reply.get("error", {}).get("code", ""), f"{one.who}: {one.op} {one.arguments}"
        if one.may is not None and one.passed(code) != one.may:
            wrong.append(f"{what} may{'' if one.may else ' not'}, and was answered {code or 'well'}")
        wrong += [f"{what} shows {name}" for name in world.shown(one.who, json.dumps(reply))]
    return wrong


async def requested(world: World, route: Route) -> list[str]:
    """The same of a route, which everybody and nobody asked."""
    if route.name not in world.wrong:
        world.wrong[route.name] = await _requested(world, route)
    return world.wrong[route.name]


async def _requested(world: World, route: Route) -> list[str]:
    wrong = []
    for asked in asking.requests(world, route):
        code, text = await asking.answer(world, asked)
        if asked.may is not None and asked.passed(code) != asked.may:
            wrong.append(f"{asked} may{'' if asked.may else ' not'}, and was answered {code or 'well'}")
        wrong += [f"{asked} shows {name}" for name in world.shown(asked.who, text, event=route.may_stream)]
    return wrong


async def heard(world: World) -> list[str]:
    """What was pushed to whom it is not for, with a position on its way to all who may follow the holder."""
    path = f"/v1/technicians/{world.people['holder'].user}/location"
    await said(world, ops.Subscribe)  # to the holder's jobs, by all who may
    await world.must("holder", "PUT", path, POSITION)
    await wait_until(lambda: all(world.sockets[who].received("position") for who in FOLLOWERS), what="a position")
    return [
        f"{who} heard {frame['type']} with {name}"
        for who, socket in world.sockets.items()
        for frame in socket.pushes
        for name in world.shown(who, json.dumps(frame), event="seq" in frame)
    ]


@pytest.mark.parametrize("kind", [kind for kind in OPS if kind not in LASTING], ids=asking.named)
async def test_an_op_lets_pass_whom_its_policy_names(kind: type[ops.Op], world: World) -> None:
    """On a socket each person is let pass or refused as declared, and is shown nothing that is not theirs."""
    wrong = await said(world, kind)
    assert not wrong, "\n".join(wrong)


async def test_nobody_hears_of_what_is_not_theirs(world: World) -> None:
    """Of all that came to the open sockets: no code, phone, position nor e-mail stands in an event, and each secret
    came to those alone who may see it.
    """
    wrong = await heard(world)
    assert not wrong, "\n".join(wrong)
    assert {who for who, socket in world.sockets.items() if socket.received("position")} == FOLLOWERS


async def test_only_ops_and_services_name_channels(world: World) -> None:
    """Whoever else names a channel, in the address or on the socket, is refused; a zone is for ops alone."""
    job = f"job:{world.jobs['held']}"
    for who, client in world.people.items():
        if who.startswith("spare"):
            continue
        for channel, may in ((job, world.roles[who] in (*OPS_ROLES, "service")), ("zone:main", who in OPS_ROLES)):
            answer = await client("GET", f"/v1/events?after={world.start}&wait=0&channels={channel}")
            assert answer.is_success == may, (who, channel, answer.text)
        reply = await world.sockets[who].request("subscribe", channel="zone:main")
        assert ("ok" in reply) == (who in OPS_ROLES), who


async def test_another_s_token_refreshes_nobody(world: World) -> None:
    """A session goes on under a token of its own user alone."""
    reply = await world.sockets["loser"].request("refresh", token=world.people["admin"].token)
    assert reply["error"]["code"] == "forbidden"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_a_route_lets_pass_whom_its_policy_names(route: Route, world: World) -> None:
    """The same over HTTP, by everybody and by nobody."""
    wrong = await requested(world, route)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", LASTING, ids=asking.named)
async def test_an_op_without_a_version_lets_pass_whom_its_policy_names(kind: type[ops.Op], world: World) -> None:
    """The same for those that cannot but be done, when all else is over."""
    wrong = await said(world, kind)
    assert not wrong, "\n".join(wrong)


async def test_every_secret_was_shown_to_somebody(world: World) -> None:
    """What the sweep looks for is there to be found: all but what nobody may ever see."""
    for kind in (kind for kind in OPS if kind not in LASTING):
        await said(world, kind)
    await heard(world)
    for route in ROUTES:
        await requested(world, route)
    for kind in LASTING:
        await said(world, kind)
    assert set(world.secrets) - world.met == {name for name, secret in world.secrets.items() if not secret.readers}


def test_nothing_is_without_a_policy() -> None:
    """A route cannot be made without one, and every op has one but the two that are the gateway's own."""
    with pytest.raises(TypeError, match="policy"):
        Route("GET", "/v1/new", ROUTES[0].handler, None)  # type: ignore[call-arg]
    assert set(ops.KINDS.values()) - set(OPS) == {ops.Connect, ops.Ping}
    assert all(isinstance(spec.policy, Policy) for spec in OPS.values())
