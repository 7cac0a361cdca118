"""What the gateway turns away: at the handshake, at the first message, and for each frame that means nothing."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from engine.identity import tokens
from engine.process.settings import Settings
from server.gateway import heartbeat
from tests.server.gateway.conftest import Node, node_of
from tests.support import live_accounts

# The handshake


async def status_of(node: Node, **options: Any) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as refusal:
        async with node.raw(**options):
            pass
    return refusal.value


async def test_wrong_origin(node: Node) -> None:
    """A page of an origin that is not on the list gets 403 before the upgrade."""
    refusal = await status_of(node, origin="https://evil.example")
    assert refusal.response.status_code == 403
    assert node.gateway.counters.refused["origin"] == 1


async def test_origin_is_compared_exactly(settings: Settings) -> None:
    """An origin on the list may come; one that only looks alike may not."""
    listed = msgspec.structs.replace(settings, origins=("https://app.example",))
    async with node_of(listed) as node:
        assert (await status_of(node, origin="https://app.example.evil")).response.status_code == 403
        async with node.raw(origin="https://app.example") as client:
            assert client.socket.subprotocol == "callout.v1.json"


async def test_no_subprotocol(node: Node) -> None:
    """Who offers no subprotocol of ours is told which it must be, in a problem object."""
    for offered in (None, ["chat"]):
        refusal = await status_of(node, subprotocols=offered)
        assert refusal.response.status_code == 422
        problem = json.loads(refusal.response.body or b"")
        assert problem["request_id"] == refusal.response.headers["x-request-id"] != ""
        assert problem["code"] == "invalid"
        assert "callout.v1.json" in problem["detail"]


async def test_full(settings: Settings) -> None:
    """Over the node's limit the upgrade is refused with 503, and one that leaves makes room."""
    async with node_of(msgspec.structs.replace(settings, max_sockets=1)) as node:
        async with node.raw():
            assert (await status_of(node)).response.status_code == 503
        async with node.raw() as client:
            assert client.socket.subprotocol


async def test_draining(node: Node) -> None:
    """A gateway that stops takes nobody in and sends everybody away with 4000."""
    async with node.client("ann") as client:
        await node.gateway.stop()
        assert await client.closed() == 4000
    assert (await status_of(node)).response.status_code == 503


# The first message


async def test_no_connect_in_time(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not say connect within the deadline is closed with 4504."""
    monkeypatch.setattr(heartbeat, "CONNECT_S", 0.2)
    async with node.raw() as client:
        assert await client.closed() == 4504


async def test_anything_before_connect(node: Node) -> None:
    """Any other op before connect is answered as unauthenticated, and connect is still possible."""
    async with node.raw() as client:
        assert (await client.ask(op="ping"))["error"]["code"] == "unauthenticated"
        assert "ok" in await client.ask(op="connect", token=await node.token("ann"))


async def test_no_credentials(node: Node) -> None:
    """A connect without any credentials can never work: 4501."""
    async with node.raw() as client:
        assert (await client.ask(op="connect"))["error"]["code"] == "unauthenticated"
        assert await client.closed() == 4501


async def test_forged_token(node: Node) -> None:
    """A token that is not ours can never work: 4501."""
    async with node.raw() as client:
        assert (await client.ask(op="connect", token="e30.e30.e30"))["error"]["code"] == "unauthenticated"
        assert await client.closed() == 4501


async def test_expired_token_leaves_one_more_try(node: Node) -> None:
    """An expired token is answered as token_expired; the second try counts, a second expired one is the last."""
    expired, good = await node.token("ann", expires_s=-1), await node.token("ann")
    async with node.raw() as client:
        assert (await client.ask(op="connect", token=expired))["error"]["code"] == "token_expired"
        assert "ok" in await client.ask(op="connect", token=good)
    async with node.raw() as client:
        await client.ask(op="connect", token=expired)
        assert (await client.ask(op="connect", token=expired))["error"]["code"] == "token_expired"
        assert await client.closed() == 4003


async def test_used_ticket_leaves_one_more_try(node: Node) -> None:
    """A ticket opens one socket; used again it is token_expired, and a token in the message still works."""
    token = await node.token("ann")
    ticket = await tokens.issue_ticket(node.engine, await tokens.principal_of(node.engine, token), "socket")
    url = f"{node.url}?ticket={ticket.ticket}"
    async with node.raw(url=url) as first, node.raw(url=url) as second:
        assert (await first.ask(op="connect"))["ok"]["user"]["id"] == "ann"
        assert (await second.ask(op="connect"))["error"]["code"] == "token_expired"
        assert "ok" in await second.ask(op="connect", token=token)


async def test_suspended(node: Node) -> None:
    """A suspended account is refused with its own code and 4502."""
    token = await node.token("ann")
    await live_accounts.suspend(node.engine, "ann")
    async with node.raw() as client:
        assert (await client.ask(op="connect", token=token))["error"]["code"] == "forbidden"
        assert await client.closed() == 4502


@pytest.mark.parametrize(
    ("place", "pointer"),
    [
        ({"epoch": "e1", "seq": -1}, "/cursors/main/seq"),
        ({"epoch": "e1", "seq": 10**30}, "/cursors/main/seq"),
        ({"epoch": "e1", "seq": 1.5}, "/cursors/main/seq"),
        ({"seq": 1}, "/cursors/main/epoch"),
        ({"epoch": "e1", "seq": 1, "x": 1}, "/cursors/main/x"),
    ],
)
async def test_wrong_cursor(node: Node, place: dict[str, Any], pointer: str) -> None:
    """A cursor that none can be is named by zone and field, and a connect without it still works."""
    token = await node.token("ann")
    async with node.raw() as client:
        error = (await client.ask(op="connect", token=token, cursors={"main": place}))["error"]
        assert (error["code"], [wrong["pointer"] for wrong in error["errors"]]) == ("invalid", [pointer])
        assert "ok" in await client.ask(op="connect", token=token)


async def test_connect_twice(node: Node) -> None:
    """A second connect on a live session is a wrong frame, and the session goes on."""
    async with node.client("ann") as client:
        assert (await client.ask(op="connect", token="x"))["error"]["code"] == "invalid"
        assert "ok" in await client.ask(op="ping")


# Frames that mean nothing


@pytest.mark.parametrize("text", ['[{"op":"ping"}]', '"ping"', "3", "null", "true", "nonsense", ""])
async def test_not_an_object(node: Node, text: str) -> None:
    """What is no object is answered and closed with 4500: there is no talking to such a client."""
    async with node.client("ann") as client:
        await client.send(text)
        assert (await client.receive())["error"]["code"] == "invalid"
        assert await client.closed() == 4500


@pytest.mark.parametrize(
    ("message", "pointers"),
    [
        ({"op": "nope"}, ["/op"]),
        ({"op": 7}, ["/op"]),
        ({"ops": "ping"}, ["/op"]),
        ({"op": "ping", "x": 1, "y": 2}, ["/x", "/y"]),
        ({"op": "claim"}, ["/job"]),
        ({"op": "claim", "job": 5, "key": "no"}, ["/job", "/key"]),
        ({"op": "location", "lat": 91, "lon": 0}, ["/lat"]),
        ({"op": "location", "lat": 9}, ["/lon"]),
        ({"op": "refresh", "token": "a\0"}, ["/token"]),
        ({"op": "location"}, ["/lat", "/lon"]),
        ({"op": "availability", "online": "yes"}, ["/online"]),
        ({"op": "subscribe", "channel": "user:bob"}, ["/channel"]),
    ],
)
async def test_wrong_fields(node: Node, message: dict[str, Any], pointers: list[str]) -> None:
    """A wrong frame is answered with every wrong field by pointer, under its id, and not punished."""
    async with node.client("ann", "technician") as client:
        error = (await client.ask(**message))["error"]
        assert error["code"] == "invalid"
        assert [item["pointer"] for item in error["errors"]] == pointers
        assert error["request_id"]
        assert "ok" in await client.ask(op="ping")


async def test_broken_json(node: Node) -> None:
    """A broken object is answered as invalid (400) without an id, and not punished."""
    async with node.client("ann") as client:
        for text in ('{"id":1,"op":', '{"op":"ping"}}', "{'op':'ping'}"):
            await client.send(text)
            error = (await client.receive())["error"]
            assert (error["code"], error["status"]) == ("invalid", 400)
        assert "ok" in await client.ask(op="ping")


async def test_ten_errors(node: Node) -> None:
    """Nine wrong frames are borne; the tenth within ten seconds closes with 4500."""
    async with node.client("ann") as client:
        for _ in range(9):
            await client.ask(op="nope")
        assert "ok" in await client.ask(op="ping")
        await client.send({"id": 99, "op": "nope"})
        assert await client.closed() == 4500
    assert node.gateway.counters.errors == 10


async def test_a_wrong_value_is_no_wrong_frame(node: Node) -> None:
    """An app that sends what nobody can take is answered each time, and not sent away for good."""
    async with node.client("ann", "technician") as client:
        for _ in range(12):
            assert (await client.ask(op="location", lat=91, lon=0))["error"]["code"] == "invalid"
        assert "ok" in await client.ask(op="ping")


async def test_binary(node: Node) -> None:
    """A binary frame on the JSON subprotocol is unsupported data: 1003."""
    async with node.client("ann") as client:
        await client.send(b'{"op":"ping"}')
        assert await client.closed() == 1003


@pytest.mark.parametrize("size", [65_537, 1024 * 1024])
async def test_too_big(node: Node, size: int) -> None:
    """A frame over 64 KiB is 1009, and the client reads why, also while it is still sending."""
    async with node.client("ann") as client:
        with contextlib.suppress(ConnectionClosed):
            await client.send("x" * size)
        assert await client.closed() == 1009


async def test_as_big_as_may_be(node: Node) -> None:
    """A frame of exactly 64 KiB is read, whole or in fragments."""
    async with node.client("ann") as client:
        text = '{"id":5,"op":"ping"}'.ljust(65_536)
        await client.send(text)
        assert (await client.receive())["id"] == 5
        await client.socket.send([text[:30_000], text[30_000:]])
        assert (await client.receive())["id"] == 5


# What one may not hear or do


async def test_foreign_channels(node: Node) -> None:
    """A zone is for ops, somebody else's job is not there, and refused subs are listed at connect."""
    stranger = "job_main_" + "0" * 26
    async with node.client("ann", subs=["zone:main", f"job:{stranger}", "role:admin"]) as client:
        refused = {item["channel"]: item["code"] for item in client.hello["refused"]}  # type: ignore[attr-defined]
        assert refused == {"zone:main": "forbidden", f"job:{stranger}": "not_found", "role:admin": "invalid"}
        assert (await client.ask(op="subscribe", channel="zone:main"))["error"]["code"] == "forbidden"
        assert (await client.ask(op="subscribe", channel=f"job:{stranger}"))["error"]["code"] == "not_found"
        await node.append("user:bob role:technician")
        last = await node.append("user:ann")
        assert (await client.push())["seq"] == last


async def test_refusals_of_the_engine(node: Node) -> None:
    """What the engine refuses comes as the problem object of PROTOCOL §1, under the id of the request."""
    async with node.client("ann") as client:
        error = (await client.ask(op="claim", job="job_main_" + "0" * 26))["error"]
        assert (error["code"], error["status"]) == ("forbidden", 403)
        error = (await client.ask(op="command", job="nonsense", command="cancel"))["error"]
        assert (error["code"], error["status"], error["temporary"]) == ("not_found", 404, False)
