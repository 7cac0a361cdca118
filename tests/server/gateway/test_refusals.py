"""What the gateway refuses: upgrades, first messages, and frames that are not valid requests."""

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
from tests.server.gateway.conftest import Node, running_node
from tests.support import live_accounts

# The handshake


async def refused_handshake(node: Node, **options: Any) -> InvalidStatus:
    """Open a socket, assert that the upgrade is refused, and return the error with the response."""
    with pytest.raises(InvalidStatus) as refusal:
        async with node.open_socket(**options):
            pass
    return refusal.value


async def test_a_wrong_origin_is_refused(node: Node) -> None:
    """An upgrade from an origin that is not on the list gets 403."""
    refusal = await refused_handshake(node, origin="https://evil.example")
    assert refusal.response.status_code == 403
    assert node.gateway.counters.refused_handshakes["origin"] == 1


async def test_origin_is_compared_exactly(settings: Settings) -> None:
    """An origin on the list is accepted. An origin that only begins with it is refused."""
    own_settings = msgspec.structs.replace(settings, origins=("https://app.example",))
    async with running_node(own_settings) as node:
        assert (await refused_handshake(node, origin="https://app.example.evil")).response.status_code == 403
        async with node.open_socket(origin="https://app.example") as client:
            assert client.socket.subprotocol == "callout.v1.json"


async def test_no_subprotocol(node: Node) -> None:
    """An upgrade without a supported subprotocol gets 422, with a problem object that names the supported one."""
    for offered in (None, ["chat"]):
        refusal = await refused_handshake(node, subprotocols=offered)
        assert refusal.response.status_code == 422
        problem = json.loads(refusal.response.body or b"")
        assert problem["request_id"] == refusal.response.headers["x-request-id"] != ""
        assert problem["code"] == "invalid"
        assert "callout.v1.json" in problem["detail"]


async def test_a_full_gateway_refuses_sockets(settings: Settings) -> None:
    """Over the limit of sockets an upgrade gets 503. After one socket is closed, another is accepted."""
    async with running_node(msgspec.structs.replace(settings, max_sockets=1)) as node:
        async with node.open_socket():
            assert (await refused_handshake(node)).response.status_code == 503
        async with node.open_socket() as client:
            assert client.socket.subprotocol


async def test_draining(node: Node) -> None:
    """A gateway that stops closes its sockets with 4000, and refuses upgrades with 503."""
    async with node.connect("ann") as client:
        await node.gateway.stop()
        assert await client.wait_for_close() == 4000
    assert (await refused_handshake(node)).response.status_code == 503


# The first message


async def test_no_connect_in_time(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not send `connect` within ``CONNECT_TIMEOUT_S`` is closed with 4504."""
    monkeypatch.setattr(heartbeat, "CONNECT_TIMEOUT_S", 0.2)
    async with node.open_socket() as client:
        assert await client.wait_for_close() == 4504


async def test_another_op_before_connect_is_refused(node: Node) -> None:
    """An op before `connect` is refused with `unauthenticated`, and `connect` is still accepted afterwards."""
    async with node.open_socket() as client:
        assert (await client.request(op="ping"))["error"]["code"] == "unauthenticated"
        assert "ok" in await client.request(op="connect", token=await node.token("ann"))


async def test_no_credentials(node: Node) -> None:
    """A `connect` without credentials is refused with `unauthenticated`, and the socket is closed with 4501."""
    async with node.open_socket() as client:
        assert (await client.request(op="connect"))["error"]["code"] == "unauthenticated"
        assert await client.wait_for_close() == 4501


async def test_forged_token(node: Node) -> None:
    """A forged token is refused with `unauthenticated`, and the socket is closed with 4501."""
    async with node.open_socket() as client:
        assert (await client.request(op="connect", token="e30.e30.e30"))["error"]["code"] == "unauthenticated"
        assert await client.wait_for_close() == 4501


async def test_expired_token_leaves_one_more_try(node: Node) -> None:
    """An expired token is refused with `token_expired`, and one more `connect` is accepted. A second expired token
    closes the socket with 4003.
    """
    expired, good = await node.token("ann", expires_s=-1), await node.token("ann")
    async with node.open_socket() as client:
        assert (await client.request(op="connect", token=expired))["error"]["code"] == "token_expired"
        assert "ok" in await client.request(op="connect", token=good)
    async with node.open_socket() as client:
        await client.request(op="connect", token=expired)
        assert (await client.request(op="connect", token=expired))["error"]["code"] == "token_expired"
        assert await client.wait_for_close() == 4003


async def test_used_ticket_leaves_one_more_try(node: Node) -> None:
    """A ticket opens one socket. A used ticket is refused with `token_expired`, and a `connect` with a token is still
    accepted.
    """
    token = await node.token("ann")
    ticket = await tokens.issue_ticket(node.engine, await tokens.principal_of(node.engine, token), "socket")
    url = f"{node.url}?ticket={ticket.ticket}"
    async with node.open_socket(url=url) as first, node.open_socket(url=url) as second:
        assert (await first.request(op="connect"))["ok"]["user"]["id"] == "ann"
        assert (await second.request(op="connect"))["error"]["code"] == "token_expired"
        assert "ok" in await second.request(op="connect", token=token)


async def test_suspended(node: Node) -> None:
    """A `connect` of a suspended user is refused with `forbidden`, and the socket is closed with 4502."""
    token = await node.token("ann")
    await live_accounts.suspend(node.engine, "ann")
    async with node.open_socket() as client:
        assert (await client.request(op="connect", token=token))["error"]["code"] == "forbidden"
        assert await client.wait_for_close() == 4502


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
    """An invalid cursor is refused with a pointer to its zone and field. A `connect` without it is still accepted."""
    token = await node.token("ann")
    async with node.open_socket() as client:
        error = (await client.request(op="connect", token=token, cursors={"main": place}))["error"]
        assert (error["code"], [wrong["pointer"] for wrong in error["errors"]]) == ("invalid", [pointer])
        assert "ok" in await client.request(op="connect", token=token)


async def test_connect_twice(node: Node) -> None:
    """A second `connect` is refused with `invalid`, and the session remains open."""
    async with node.connect("ann") as client:
        assert (await client.request(op="connect", token="x"))["error"]["code"] == "invalid"
        assert "ok" in await client.request(op="ping")


# Frames that are not valid requests


@pytest.mark.parametrize("text", ['[{"op":"ping"}]', '"ping"', "3", "null", "true", "nonsense", ""])
async def test_not_an_object(node: Node, text: str) -> None:
    """A message that is not a JSON object is refused with `invalid`, and the socket is closed with 4500."""
    async with node.connect("ann") as client:
        await client.send(text)
        assert (await client.receive())["error"]["code"] == "invalid"
        assert await client.wait_for_close() == 4500


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
    """A message with wrong fields is refused under its id with a pointer to each of them, and the session
    remains open.
    """
    async with node.connect("ann", "technician") as client:
        error = (await client.request(**message))["error"]
        assert error["code"] == "invalid"
        assert [item["pointer"] for item in error["errors"]] == pointers
        assert error["request_id"]
        assert "ok" in await client.request(op="ping")


async def test_broken_json(node: Node) -> None:
    """Broken JSON is refused with `invalid` (400) and without an id, and the session remains open."""
    async with node.connect("ann") as client:
        for text in ('{"id":1,"op":', '{"op":"ping"}}', "{'op':'ping'}"):
            await client.send(text)
            error = (await client.receive())["error"]
            assert (error["code"], error["status"]) == ("invalid", 400)
        assert "ok" in await client.request(op="ping")


async def test_ten_errors(node: Node) -> None:
    """Nine wrong frames are refused. The tenth within ten seconds closes the socket with 4500."""
    async with node.connect("ann") as client:
        for _ in range(9):
            await client.request(op="nope")
        assert "ok" in await client.request(op="ping")
        await client.send({"id": 99, "op": "nope"})
        assert await client.wait_for_close() == 4500
    assert node.gateway.counters.invalid_frames == 10


async def test_a_wrong_value_does_not_count_as_a_wrong_frame(node: Node) -> None:
    """A message with a wrong value is refused each time, but does not count towards the ten wrong frames that close a
    socket.
    """
    async with node.connect("ann", "technician") as client:
        for _ in range(12):
            assert (await client.request(op="location", lat=91, lon=0))["error"]["code"] == "invalid"
        assert "ok" in await client.request(op="ping")


async def test_a_binary_frame_is_closed_with_1003(node: Node) -> None:
    """A binary frame closes a socket of the JSON subprotocol with 1003 (unsupported data)."""
    async with node.connect("ann") as client:
        await client.send(b'{"op":"ping"}')
        assert await client.wait_for_close() == 1003


@pytest.mark.parametrize("size", [65_537, 1024 * 1024])
async def test_a_frame_that_is_too_big_is_closed(node: Node, size: int) -> None:
    """A frame over 64 KiB closes the socket with 1009. The client can read the close frame even while it is still
    sending.
    """
    async with node.connect("ann") as client:
        with contextlib.suppress(ConnectionClosed):
            await client.send("x" * size)
        assert await client.wait_for_close() == 1009


async def test_the_largest_allowed_frame_is_read(node: Node) -> None:
    """A message of exactly 64 KiB is read, in one frame or in fragments."""
    async with node.connect("ann") as client:
        text = '{"id":5,"op":"ping"}'.ljust(65_536)
        await client.send(text)
        assert (await client.receive())["id"] == 5
        await client.socket.send([text[:30_000], text[30_000:]])
        assert (await client.receive())["id"] == 5


# Channels and commands that are not allowed


async def test_channels_of_others_are_refused(node: Node) -> None:
    """A customer may not subscribe to a zone (`forbidden`) or to another customer's job (`not_found`). The `connect`
    reply lists the refused channels.
    """
    stranger = "job_main_" + "0" * 26
    async with node.connect("ann", subs=["zone:main", f"job:{stranger}", "role:admin"]) as client:
        refused = {item["channel"]: item["code"] for item in client.hello["refused"]}  # type: ignore[attr-defined]
        assert refused == {"zone:main": "forbidden", f"job:{stranger}": "not_found", "role:admin": "invalid"}
        assert (await client.request(op="subscribe", channel="zone:main"))["error"]["code"] == "forbidden"
        assert (await client.request(op="subscribe", channel=f"job:{stranger}"))["error"]["code"] == "not_found"
        await node.append("user:bob role:technician")
        last = await node.append("user:ann")
        assert (await client.next_push())["seq"] == last


async def test_refusals_of_the_engine(node: Node) -> None:
    """A refusal of the engine is sent as the problem object of PROTOCOL §1, under the id of the request."""
    async with node.connect("ann") as client:
        error = (await client.request(op="claim", job="job_main_" + "0" * 26))["error"]
        assert (error["code"], error["status"]) == ("forbidden", 403)
        error = (await client.request(op="command", job="nonsense", command="cancel"))["error"]
        assert (error["code"], error["status"], error["temporary"]) == ("not_found", 404, False)
