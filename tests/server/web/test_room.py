"""Chat rooms, presence and positions in the JavaScript client, in a real browser, over a network that fails."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.rules.fixes import Fix
from engine.technicians import live
from server.serve import RunningServer
from tests.server.web.conftest import open_client
from tests.support import chat, people, socket_client
from tests.support.browser import Page
from tests.support.room_scene import RoomScene, open_scene, run_shared_server

CLIENTS_PAGE = Path(__file__).resolve().parents[3] / "docs" / "clients.md"

OPEN_ROOM_SCRIPT = """
    Math.random = () => 0.02;
    const { Room } = await import("/web/room.js");
    window.room = new Room(callout, "%s");
    window.texts = () => room.messages.map(({ text, state }) => (state ? `${text} (${state})` : text));
    await room.open();
"""

WATCH_SCRIPT = """
    Math.random = () => 0.02;
    const { Positions, Presence } = await import("/web/live.js");
    Object.assign(window, { presence: new Presence(callout), positions: new Positions(callout) });
    return (await presence.watch(%s)).map(({ user }) => user);
"""


@pytest.fixture(scope="module")
async def shared_server(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """Run one server for the tests of this module."""
    async with run_shared_server(redis_url, tmp_path_factory.mktemp("rooms") / "data") as serving:
        yield serving


@pytest.fixture
async def scene(shared_server: RunningServer, page: Page) -> AsyncIterator[RoomScene]:
    """Book a job with a room, start the proxy, and connect the customer's client in the page."""
    async with open_scene(shared_server) as opened:
        await open_client(page, opened.network, await socket_client.token(opened.engine, opened.chat.customer))
        await page.wait_for("syncs.length")
        yield opened


async def shown_texts(page: Page) -> Any:
    """Return the texts of the messages that the room shows. A message that the server has not numbered yet ends with
    its state."""
    return await page.run("return texts()")


async def test_a_stranger_cannot_open_a_room(page: Page, scene: RoomScene) -> None:
    """Opening a room of others rejects with `not_member`."""
    other = await chat.book_with_room(scene.engine, "other")
    script = OPEN_ROOM_SCRIPT.replace(
        "await room.open()", "return room.open().catch((error) => [error.code, room.state])"
    )
    assert await page.run(script % other.room) == ["not_member", "left"]


async def test_members_talk(page: Page, scene: RoomScene) -> None:
    """A user's own message is shown at once, and replaced by the server's reply; a refused message is marked with the
    code of the refusal. Read marks only move forward, and a notice of typing ends by itself.
    """
    await page.run("const later = setTimeout; window.setTimeout = (work, ms) => later(work, ms === 6000 ? 300 : ms)")
    await page.run(OPEN_ROOM_SCRIPT % scene.chat.room)
    said = await page.run('room.say("one"); room.say("x".repeat(4001)); room.say("two"); return texts()')
    assert [text[-9:] for text in said] == ["(sending)"] * 3
    await page.wait_for('room.messages.at(-1).state === "failed"')
    assert await page.run("return room.messages.map(({ n, code }) => n ?? code)") == [1, 2, "invalid"]
    await page.run("room.discard(room.messages.at(-1).client_id)")
    await scene.say("three", "four")
    await page.wait_for("room.messages.length === 4")
    assert await shown_texts(page) == ["one", "two", "three", "four"]
    assert await page.run("await room.read(3); await room.read(1); return room.unread") == 1
    assert (await chat.read_room(scene.engine, scene.chat.customer, scene.chat.room))["unread"] == 1
    bearer = await socket_client.token(scene.engine, scene.chat.technician)
    tom = await socket_client.SocketClient(scene.server.ws_url, bearer).open()
    await tom.request("join", room=scene.chat.room)
    await tom.request("typing", room=scene.chat.room, on=True)
    assert await page.wait_for("room.typingUsers[0]") == scene.chat.technician.id
    await page.wait_for("room.typingUsers.length === 0")
    await page.run("for (let i = 0; i < 20; i++) room.typing()")
    await page.wait_for("frames.some(({ out, frame }) => out && frame.op === 'typing')")
    assert await page.run("return frames.filter(({ out, frame }) => out && frame.op === 'typing').length") == 1
    await tom.close()
    await chat.send_command(scene.engine, scene.chat.customer, scene.chat.job, "cancel")
    await page.wait_for('room.state === "closed"')


async def test_a_message_is_said_once_over_a_network_that_fails(page: Page, scene: RoomScene) -> None:
    """After lost replies and cuts each message is stored once, in order. A message with the `client_id` of an earlier
    page counts as the same message.
    """
    await page.run(OPEN_ROOM_SCRIPT % scene.chat.room)
    expected = [f"message {n}" for n in range(4)]
    for n, text in enumerate(expected):
        if n % 2:
            scene.network.drop_next = f'"c{n}"'.encode()
        await page.run(f'room.say("{text}", {{ client_id: "c{n}" }})' + ("; callout.cut()" if n == 2 else ""))
        await page.wait_for(f'texts().at(-1) === "{text}"')
    assert scene.network.dropped == 2
    await page.run('room.say("message 0", { client_id: "c0" })')
    await page.wait_for("room.messages.length === 4")
    assert await shown_texts(page) == expected
    assert await chat.texts(scene.engine, scene.chat.customer, scene.chat.room, after=0) == expected


@pytest.mark.parametrize("is_recovered", [True, False])
async def test_a_room_resumes_by_number(page: Page, scene: RoomScene, is_recovered: bool) -> None:
    """After a cut the room continues after its highest message number, whether or not the events were recovered. Then
    older messages are read backwards to the first one.
    """
    await scene.say(*(f"old {n}" for n in range(60)))
    await page.run(OPEN_ROOM_SCRIPT % scene.chat.room)
    assert await page.run("return [room.messages.length, room.hasOlder]") == [50, True]
    scene.lose_network()
    await page.wait_for('callout.status === "reconnecting"')
    await scene.say(*(f"new {n}" for n in range(70)))
    if not is_recovered:
        await page.run('callout.cursors.byZone.get("main").epoch = "e0-00000000"')
    scene.restore_network()
    await page.wait_for("room.messages.length === 120", within_s=20)
    await scene.say("last")
    await page.wait_for('texts().at(-1) === "last"')
    assert await page.run("return [await room.loadOlder(), room.hasOlder, syncs.length]") == [
        *(False, False),
        1 if is_recovered else 2,
    ]
    assert await page.run("return room.messages.map(({ n }) => n)") == list(range(1, 132))


async def test_a_message_that_a_snapshot_is_newer_than_is_shown(page: Page, scene: RoomScene) -> None:
    """A message that is said after the room was read, and before a snapshot, is shown: the snapshot has no messages,
    and the client dispatches no events that are older than it.
    """
    await scene.say("first")
    await page.run(OPEN_ROOM_SCRIPT % scene.chat.room)
    await page.run("""
        const request = fetch;
        window.fetch = async (url, options) => {
          if (String(url).includes("/v1/sync")) await new Promise((done) => (window.release = done));
          return request(url, options);
        };
        callout.cursors.byZone.get("main").epoch = "e0-00000000";
        callout.cut();
    """)
    await page.wait_for("frames.filter(({ out, frame }) => out && frame.op === 'join').length === 2")
    await page.wait_for("!!window.release")
    await scene.say("second")
    await page.wait_for("frames.some(({ out, frame }) => !out && frame.data?.message?.text === 'second')")
    assert await shown_texts(page) == ["first"]
    await page.run("release()")
    await page.wait_for('texts().at(-1) === "second"')
    assert await page.run("return syncs.length") == 2


async def test_presence_and_positions(page: Page, scene: RoomScene) -> None:
    """After `watch`, and after each new connection, the client knows who is online; strangers are left out. For each
    job it has the last position, with an age that grows.
    """
    stranger, technician = await people.customer(scene.engine, "Sam Stranger"), scene.chat.technician
    watched = await page.run(WATCH_SCRIPT % orjson.dumps([technician.id, stranger.id]).decode())
    assert watched == [technician.id]
    await page.run("callout.cut()")
    await page.wait_for('statuses.filter(({ status }) => status === "connected").length === 2')
    bearer = await socket_client.token(scene.engine, technician)
    tom = await socket_client.SocketClient(scene.server.ws_url, bearer).open()
    await page.wait_for(f'presence.byUser.get("{technician.id}").online')
    await tom.close()
    latest = f'positions.latest("{scene.chat.job}")'
    assert await page.run(f"return {latest}") is None
    await chat.send_command(scene.engine, technician, scene.chat.job, "accept")
    fix = Fix(lat=people.HERE.lat + 0.01, lon=people.HERE.lon, accuracy=10)
    await live.store_fixes(scene.engine, technician, technician.id, [fix])
    first = await page.wait_for(latest)
    assert (first["lat"], first["stale"]) == (fix.lat, False)
    assert await page.run(f"return {latest}.age_s") > first["age_s"]
    assert (await page.run(f'return positions.load("{scene.chat.job}")'))["job"] == scene.chat.job


async def test_the_example_of_the_page_runs(page: Page, scene: RoomScene) -> None:
    """The example of docs/clients.md shows the messages, who is online and where the technician is."""
    _, example = re.findall(r"```js\n(.*?)```", CLIENTS_PAGE.read_text(), flags=re.S)
    script = re.sub(r"^import (.*) from (.*);$", r"const \1 = await import(\2);", example, flags=re.M)
    names = {"roomId": scene.chat.room, "job": scene.chat.job}
    await page.run("".join(f"window.{name} = {orjson.dumps(value).decode()};" for name, value in names.items()))
    await page.run(
        "window.shown = {}; for (const f of ['show', 'badge', 'move']) window[f] = (...given) => (shown[f] = given)"
    )
    await page.run(script)
    await page.wait_for('shown.show?.[0][0]?.n === 1 && shown.show[0][0].text === "Where are you?"')
    assert await page.run("return shown.badge[0]") == scene.chat.technician.id
    await chat.send_command(scene.engine, scene.chat.technician, scene.chat.job, "accept")
    fix = Fix(lat=people.HERE.lat + 0.01, lon=people.HERE.lon, accuracy=10)
    await live.store_fixes(scene.engine, scene.chat.technician, scene.chat.technician.id, [fix])
    assert await page.wait_for("shown.move?.[0].lat") == fix.lat
