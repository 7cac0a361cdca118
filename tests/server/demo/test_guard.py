"""Tests of the guard of a demo: the callers who may not use the one-click logins and the faults."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from server.demo.control import DemoControl, DemoRoute, json_answer, open_control
from server.demo.guard import refusal_of
from server.web.demo_relay import LINK_FILE, Answer, DemoLink, Visit

VISIT = Visit(
    key="k",
    method="POST",
    path="login",
    query="",
    peer=("127.0.0.1", 50_000),
    hosts=["127.0.0.1:8700"],
    origin="http://127.0.0.1:8700",
    fetch_site="same-origin",
    content_type="application/json",
    pid=1,
)
LAN_HOST, LAN_ORIGIN = "192.168.1.7:8700", "http://192.168.1.7:8700"


@pytest.mark.parametrize(
    ("changes", "peer", "says"),
    [
        ({}, "192.168.1.9", "Only this machine"),
        ({}, "::ffff:192.168.1.9", "Only this machine"),
        ({}, "", "Only this machine"),
        ({"hosts": ["stranger.example:8700"], "origin": "http://stranger.example:8700"}, "127.0.0.1", "this Host"),
        ({"hosts": ["127.0.0.1.stranger.example"], "origin": None}, "127.0.0.1", "this Host"),
        ({"hosts": [LAN_HOST], "origin": LAN_ORIGIN}, "127.0.0.1", "this Host"),
        ({"hosts": []}, "127.0.0.1", "this Host"),
        ({"hosts": ["localhost", "localhost"]}, "127.0.0.1", "this Host"),
        ({"hosts": ["[127.0.0.1].stranger.example"], "origin": None}, "127.0.0.1", "this Host"),
        ({"hosts": ["127.0.0.1:8700@stranger.example"], "origin": None}, "127.0.0.1", "this Host"),
        ({"hosts": ["localhost:stranger.example"], "origin": None}, "127.0.0.1", "this Host"),
        ({"hosts": ["[::1"], "origin": None}, "127.0.0.1", "this Host"),
        ({"forwarded": "x-forwarded-for", "origin": None, "fetch_site": None}, "127.0.0.1", "A proxy sent this"),
        ({"origin": "http://stranger.example"}, "127.0.0.1", "another site"),
        ({"origin": "http://127.0.0.1:9999"}, "127.0.0.1", "another site"),
        ({"origin": "null"}, "127.0.0.1", "another site"),
        ({"fetch_site": "cross-site"}, "127.0.0.1", "another site"),
        ({"fetch_site": "same-site"}, "127.0.0.1", "another site"),
        ({"content_type": "text/plain"}, "127.0.0.1", "Send JSON"),
        ({"content_type": "application/x-www-form-urlencoded"}, "127.0.0.1", "Send JSON"),
        ({"content_type": ""}, "127.0.0.1", "Send JSON"),
    ],
)
def test_strangers_are_refused(changes: dict[str, object], peer: str, says: str) -> None:
    """Another machine, another name of this machine, a page of another site and a form are refused with a reason."""
    assert says in refusal_of(msgspec.structs.replace(VISIT, **changes), peer, is_open=False)


def test_a_person_at_this_machine_is_not_refused() -> None:
    """A page of this server on this machine is allowed with each name of the machine, and so is a program without a
    page.
    """
    for host in ("127.0.0.1:8700", "localhost:8700", "[::1]:8700", "LOCALHOST"):
        page = msgspec.structs.replace(VISIT, hosts=[host], origin=f"http://{host}")
        assert refusal_of(page, "127.0.0.1", is_open=False) == "" == refusal_of(page, "::1", is_open=False)
    program = msgspec.structs.replace(
        VISIT, origin=None, fetch_site=None, content_type="application/json; charset=utf-8"
    )
    assert refusal_of(program, "::ffff:127.0.0.1", is_open=False) == ""


def test_an_open_demo_answers_the_network_but_no_other_site() -> None:
    """With ``--lan-open`` other machines are allowed if they use an address. A name that others control is still
    refused.
    """
    page = msgspec.structs.replace(VISIT, hosts=[LAN_HOST], origin=LAN_ORIGIN)
    assert refusal_of(page, "192.168.1.9", is_open=True) == ""
    rebound = msgspec.structs.replace(VISIT, hosts=["stranger.example"], origin="http://stranger.example")
    assert "this Host" in refusal_of(rebound, "192.168.1.9", is_open=True)
    assert "another site" in refusal_of(msgspec.structs.replace(page, origin="http://a.example"), "::1", is_open=True)
    for far in ("93.184.215.14", "2606:2800:21f:cb07::1", "::ffff:93.184.215.14", ""):
        assert "Only the local network" in refusal_of(page, far, is_open=True)
    through = msgspec.structs.replace(page, forwarded="forwarded")
    assert "A proxy sent this" in refusal_of(through, "127.0.0.1", is_open=True)


async def ask(data: Path, **changes: object) -> Answer | None:
    """Send a visit to the control of a demo as a relay does. Return None if it does not answer."""
    link = msgspec.json.decode((data / LINK_FILE).read_bytes(), type=DemoLink)
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    writer.write(msgspec.json.encode(msgspec.structs.replace(VISIT, **({"key": link.key} | changes))) + b"\n")
    line = await reader.readline()
    writer.close()
    return msgspec.json.decode(line, type=Answer) if line else None


async def test_the_control_knows_its_server_and_the_real_peers(tmp_path: Path) -> None:
    """Only a relay with the key gets an answer. A connection that a forwarder opened has the address of its client."""

    async def answer(visit: Visit) -> Answer:
        return json_answer("done")

    async with open_control(tmp_path, is_open=False) as control:
        assert (tmp_path / LINK_FILE).stat().st_mode & 0o077 == 0
        control.routes["POST", "login"] = DemoRoute(answer)
        assert await ask(tmp_path, key="another") is None
        control.real_peers = {50_000: "192.168.1.9"}
        refused = await ask(tmp_path)
        assert refused is not None and refused.refused == "forbidden"
        control.real_peers = {50_001: "192.168.1.9"}
        assert await ask(tmp_path) == json_answer("done")
        unknown = await ask(tmp_path, path="nothing")
        assert unknown is not None and unknown.refused == "not_found"
    assert not (tmp_path / LINK_FILE).exists()
    assert isinstance(control, DemoControl)
