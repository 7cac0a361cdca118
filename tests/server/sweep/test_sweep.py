"""Every user sends a request to every route and every socket op, about every object. Each request is allowed or refused
as the policy beside the route or op declares, and no reply, list, event or push shows a user what they may not see.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from engine.process.settings import Settings
from engine.types import OPS as OPS_ROLES
from server.api.route import Route
from server.api.routes import ROUTES
from server.gateway.ops import OPS
from server.http.policy import Policy
from server.schemas import ops
from server.schemas.towns import TOWN_FILE
from server.serve import run_server
from tests.server.sweep import requests
from tests.server.sweep.chat import create_messages
from tests.server.sweep.files import create_photo
from tests.server.sweep.leaver import create_leaver
from tests.server.sweep.plans import create_plan
from tests.server.sweep.shares import create_share
from tests.server.sweep.vault import create_receipt
from tests.server.sweep.world import POSITION, World
from tests.support.booked_money import create_payout
from tests.support.http import open_http
from tests.support.wait import wait_until

POSITION_RECIPIENTS = {"customer", "mediator", "service", "ops_manager", "admin", "holder"}
"""The users who may receive the holder's position: the customer and the holder without a subscription, the others after
they subscribe to a job of the holder.
"""
OPS_WITH_EFFECT = (ops.Unsubscribe, ops.Decline)
"""Ops that change the world for the tests that run after them."""


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Yield a world with all its users and jobs."""
    data = tmp_path_factory.mktemp("sweep")
    (data / TOWN_FILE).write_bytes(b'{"type":"FeatureCollection","centre":[0,0],"features":[]}')
    async with (
        run_server(Settings(data=str(data), port=0, limits="off", demo=str(data / "logins.json"))) as server,
        open_http(server.url, timeout_s=10) as http,
    ):
        new_world = World(server, http)
        await new_world.create_users()
        await new_world.run_story()
        await create_messages(new_world)
        await create_photo(new_world)
        await create_share(new_world)
        await create_leaver(new_world)
        await create_plan(new_world)
        await create_receipt(new_world)
        new_world.ids["payout"] = await create_payout(server.engine, new_world.people["holder"].user)
        yield new_world
        for socket in new_world.sockets.values():
            await socket.close()


async def op_violations(world: World, op_type: type[ops.Op]) -> list[str]:
    """Send an op as every user, and return each difference from its policy as a text. A second call returns the stored
    result.
    """
    name = f"op {requests.op_name(op_type)}"
    if name not in world.violations:
        world.violations[name] = await _send_op(world, op_type)
    return world.violations[name]


async def _send_op(world: World, op_type: type[ops.Op]) -> list[str]:
    wrong = []
    for message in requests.op_messages(world, op_type):
        reply = await world.sockets[message.caller].request(message.op, **message.arguments)
        code, what = reply.get("error", {}).get("code", ""), f"{message.caller}: {message.op} {message.arguments}"
        if message.allowed is not None and message.means_allowed(code) != message.allowed:
            wrong.append(f"{what} may{'' if message.allowed else ' not'}, and was answered {code or 'well'}")
        wrong += [f"{what} shows {name}" for name in world.leaked_secrets(message.caller, json.dumps(reply))]
    return wrong


async def route_violations(world: World, route: Route) -> list[str]:
    """Send requests to a route as every user and without a token, and return each difference from its policy as a text.
    A second call returns the stored result.
    """
    if route.name not in world.violations:
        world.violations[route.name] = await _call_route(world, route)
    return world.violations[route.name]


async def _call_route(world: World, route: Route) -> list[str]:
    wrong = []
    for request in requests.route_requests(world, route):
        code, text = await requests.send_request(world, request)
        if request.allowed is not None and request.means_allowed(code) != request.allowed:
            wrong.append(f"{request} may{'' if request.allowed else ' not'}, and was answered {code or 'well'}")
        wrong += [
            f"{request} shows {name}" for name in world.leaked_secrets(request.caller, text, is_event=route.may_stream)
        ]
    return wrong


async def push_violations(world: World) -> list[str]:
    """Send the holder's position, wait until all who may receive it have it, and return each push that showed a user a
    secret that they may not see.
    """
    path = f"/v1/technicians/{world.people['holder'].user}/location"
    await op_violations(world, ops.Subscribe)  # all who may subscribe to the holder's jobs do so
    await world.request("holder", "PUT", path, POSITION)
    await wait_until(
        lambda: all(world.sockets[caller].received("position") for caller in POSITION_RECIPIENTS), what="a position"
    )
    return [
        f"{caller} received {frame['type']} with {name}"
        for caller, socket in world.sockets.items()
        for frame in socket.pushes
        for name in world.leaked_secrets(caller, json.dumps(frame), is_event="seq" in frame)
    ]


@pytest.mark.parametrize("kind", [kind for kind in OPS if kind not in OPS_WITH_EFFECT], ids=requests.op_name)
async def test_an_op_allows_those_whom_its_policy_names(kind: type[ops.Op], world: World) -> None:
    """On a socket each user is allowed or refused as the op's policy declares, and no reply shows a user a secret that
    they may not see.
    """
    wrong = await op_violations(world, kind)
    assert not wrong, "\n".join(wrong)


async def test_no_push_shows_a_secret_to_others(world: World) -> None:
    """No push on an open socket shows a user a secret that they may not see, and no event contains a code, a phone
    number, a position or an e-mail address. Exactly the `POSITION_RECIPIENTS` receive the position.
    """
    wrong = await push_violations(world)
    assert not wrong, "\n".join(wrong)
    assert {caller for caller, socket in world.sockets.items() if socket.received("position")} == POSITION_RECIPIENTS


async def test_only_ops_and_services_may_name_channels(world: World) -> None:
    """Only ops and services may name a job's channel in a poll of `/v1/events`, and only ops the zone's channel, there
    and in `subscribe`. All others are refused.
    """
    job = f"job:{world.jobs['held']}"
    for caller, client in world.people.items():
        if caller.startswith("spare"):
            continue
        for channel, may in ((job, world.roles[caller] in (*OPS_ROLES, "service")), ("zone:main", caller in OPS_ROLES)):
            answer = await client("GET", f"/v1/events?after={world.start}&wait=0&channels={channel}")
            assert answer.is_success == may, (caller, channel, answer.text)
        reply = await world.sockets[caller].request("subscribe", channel="zone:main")
        assert ("ok" in reply) == (caller in OPS_ROLES), caller


async def test_a_session_refuses_another_users_token(world: World) -> None:
    """A `refresh` with the token of another user is refused with `forbidden`."""
    reply = await world.sockets["loser"].request("refresh", token=world.people["admin"].token)
    assert reply["error"]["code"] == "forbidden"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_a_route_allows_those_whom_its_policy_names(route: Route, world: World) -> None:
    """Over HTTP each user, and a caller without a token, is allowed or refused as the route's policy declares, and no
    reply shows them a secret that they may not see.
    """
    wrong = await route_violations(world, route)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", OPS_WITH_EFFECT, ids=requests.op_name)
async def test_an_op_with_effect_allows_those_whom_its_policy_names(kind: type[ops.Op], world: World) -> None:
    """The ops that always change the world are sent after all other requests. Each user is allowed or refused as the
    op's policy declares.
    """
    wrong = await op_violations(world, kind)
    assert not wrong, "\n".join(wrong)


async def test_every_secret_was_shown_to_somebody(world: World) -> None:
    """Each secret that any user may see was shown to one of them, which proves that the sweep can find secrets."""
    for kind in (kind for kind in OPS if kind not in OPS_WITH_EFFECT):
        await op_violations(world, kind)
    await push_violations(world)
    for route in ROUTES:
        await route_violations(world, route)
    for kind in OPS_WITH_EFFECT:
        await op_violations(world, kind)
    assert set(world.secrets) - world.seen_secrets == {
        name for name, secret in world.secrets.items() if not secret.readers
    }


def test_every_route_and_op_has_a_policy() -> None:
    """A route cannot be created without a policy. Every op has a policy, except `connect` and `ping`, which the gateway
    handles itself.
    """
    with pytest.raises(TypeError, match="policy"):
        Route("GET", "/v1/new", ROUTES[0].handler, None)  # type: ignore[call-arg]
    assert set(ops.OP_STRUCTS.values()) - set(OPS) == {ops.Connect, ops.Ping}
    assert all(isinstance(spec.policy, Policy) for spec in OPS.values())
