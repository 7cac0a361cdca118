"""The JavaScript client in a real browser, with a real server, over a network that fails."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import orjson

from engine.identity import tokens
from engine.types import DEFAULT_ZONE, Principal
from engine.workers import scheduler
from server.serve import RunningServer
from tests.server.web.conftest import OPEN_CLIENT_SCRIPT, logged_seqs, open_client, token
from tests.server.web.network_proxy import NetworkProxy
from tests.support import people
from tests.support.browser import Page

SHORT_DELAYS = "window.jitter = Math.random; Math.random = () => 0.02;"
"""A script that shortens each retry delay to 2 % of its ceiling, so that the tests do not wait."""


async def delivered_seqs(page: Page) -> list[int]:
    """Return the seqs of the logged events that the app received, in order of receipt."""
    return list(await page.run("return events.filter((e) => e.seq !== undefined).map((e) => e.seq)"))


async def wait_until_caught_up(page: Page, server: RunningServer, who: Principal) -> None:
    """Wait until the app has received the newest event for ``who``. Assert that the app received each logged event
    after its first snapshot once and in order.
    """
    last = (await logged_seqs(server, who))[-1]
    await page.wait_for(f"events.some((e) => e.seq === {last})")
    begun = await page.run("return syncs[0].at.main.seq")
    seqs = await delivered_seqs(page)
    assert seqs == [seq for seq in await logged_seqs(server, who) if begun < seq <= seqs[-1]]


async def create_people(server: RunningServer) -> tuple[Principal, Principal, Any]:
    """Create a customer, an online technician and a service."""
    service = await people.service(server.engine)
    customer = await people.customer(server.engine)
    technician = await people.technician(server.engine, f"tech{uuid.uuid4().hex[:8]}", service)
    await tokens.principal_of(server.engine, token(server, customer))
    return customer, technician, service


async def token_in_redis(server: RunningServer, who: Principal) -> str:
    """Return a token of a principal whose account is in Redis only."""
    from tests.support.socket_client import token as make_token

    return await make_token(server.engine, who)


async def test_invalid_credentials_are_not_retried(page: Page, server: RunningServer, network: NetworkProxy) -> None:
    """After the close code 4501 the client is offline with this code, and each request is refused with `ended`."""
    await open_client(page, network, "no token of ours")
    await page.run('window.pingOutcome = callout.request("ping").catch((error) => error.code)')
    await page.wait_for('callout.status === "offline"')
    assert await page.run("return statuses.at(-1).code") == 4501
    assert await page.run("return pingOutcome") == "ended"
    assert await page.run('return callout.request("ping").catch((error) => error.code)') == "ended"


async def test_a_refusal_rejects_with_its_code(page: Page, server: RunningServer, network: NetworkProxy) -> None:
    """A refusal rejects the promise with the server's code, over the socket and over HTTP."""
    customer, _, _ = await create_people(server)
    await open_client(page, network, token(server, customer))
    await page.wait_for('callout.status === "connected"')
    job = "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g"
    assert await page.run(f'return callout.request("claim", {{ job: "{job}" }}).catch((e) => e.code)') in (
        "forbidden",
        "not_found",
    )
    assert await page.run(f'return callout.http("GET", "/v1/jobs/{job}").catch((e) => e.code)') == "not_found"


async def test_the_first_connection_begins_with_a_snapshot(
    page: Page, server: RunningServer, network: NetworkProxy
) -> None:
    """At the first connection the app receives the snapshot of /v1/sync, and the events continue from its cursor."""
    customer, _, service = await create_people(server)
    before = await people.job(server.engine, customer, service)
    await open_client(page, network, token(server, customer))
    await page.wait_for("syncs.length")
    sync = await page.run("return syncs[0]")
    assert sync["zones"] == ["main"]
    assert str(people.id_of(before)) in orjson.dumps(sync["snapshot"]).decode()
    assert await page.run("return [callout.status, callout.transport]") == ["connected", "socket"]
    await people.job(server.engine, customer, service)
    await wait_until_caught_up(page, server, customer)


async def test_a_cut_loses_and_repeats_no_event(page: Page, server: RunningServer, network: NetworkProxy) -> None:
    """After each of three cuts the client reconnects and delivers every event once and in order, without a second
    snapshot.
    """
    customer, _, service = await create_people(server)
    await open_client(page, network, token(server, customer))
    await page.run(SHORT_DELAYS)
    await page.wait_for("syncs.length")
    await people.job(server.engine, customer, service)
    await wait_until_caught_up(page, server, customer)
    for _ in range(3):
        network.cut()
        await page.wait_for('callout.status === "reconnecting"')
        for _ in range(5):
            await people.job(server.engine, customer, service)
        await page.wait_for('callout.status === "connected"')
        await people.job(server.engine, customer, service)
        await wait_until_caught_up(page, server, customer)
    assert await page.run("return syncs.length") == 1
    assert await page.run("return statuses.map((s) => s.status)") == [
        "reconnecting",
        "connected",
        *["reconnecting", "connected"] * 3,
    ]


async def test_a_cut_during_events_loses_none(page: Page, server: RunningServer, network: NetworkProxy) -> None:
    """If the connection is cut while events arrive, the app still receives each logged event once and in order."""
    customer, _, service = await create_people(server)
    await open_client(page, network, token(server, customer))
    await page.run(SHORT_DELAYS)
    await page.wait_for("syncs.length")

    async def book() -> None:
        for _ in range(12):
            await people.job(server.engine, customer, service)

    for _ in range(4):
        booking = asyncio.create_task(book())
        await page.wait_for('callout.status === "connected"')
        seen = await page.run("return statuses.length")  # the state may last less than the time between two looks
        network.cut()
        await page.wait_for(f'statuses.slice({seen}).some((each) => each.status === "reconnecting")')
        await booking
    await wait_until_caught_up(page, server, customer)
    assert await page.run("return syncs.length") == 1


async def test_a_lost_reply_is_retried_with_the_same_key(
    page: Page, server: RunningServer, network: NetworkProxy
) -> None:
    """If the reply to a claim is lost, the client sends the same request again and receives the first outcome with
    `repeated`.
    """
    customer, technician, service = await create_people(server)
    job = people.id_of(await people.job(server.engine, customer, service))
    await scheduler.open_wave(server.engine, DEFAULT_ZONE, job, 1)
    await open_client(page, network, await token_in_redis(server, technician))
    await page.run(SHORT_DELAYS)
    await page.wait_for("syncs.length")
    network.drop_next = b"Job accepted"
    reply = await page.run(f'return callout.request("claim", {{ job: "{job}" }})')
    assert network.dropped == 1
    assert reply["repeated"] is True
    assert reply["job"]["technician"]["id"] == technician.id
    claims = await page.run('return frames.filter((f) => f.out && f.frame.op === "claim").map((f) => f.frame)')
    assert len(claims) == 2 and claims[0] == claims[1]


async def test_an_expired_token_is_replaced(page: Page, server: RunningServer, network: NetworkProxy) -> None:
    """If the server refuses an expired token, the client calls `token` with `fresh` and connects on the same socket."""
    customer, _, _ = await create_people(server)
    await open_client(page, network, token(server, customer, expires_s=-10), token(server, customer))
    await page.wait_for("syncs.length")
    assert await page.run("return callout.status") == "connected"
    assert await page.run("return asked.slice(0, 2)") == [False, True]
    assert await page.run("return statuses.map((s) => s.status)") == ["reconnecting", "connected"]


async def test_an_expiring_token_is_replaced_on_the_open_socket(
    page: Page, server: RunningServer, network: NetworkProxy
) -> None:
    """After `token.expiring` the client sends a fresh token with `refresh`, and the connection remains open."""
    customer, _, _ = await create_people(server)
    await open_client(page, network, token(server, customer, expires_s=5), token(server, customer))
    replied = 'frames.some((f) => f.frame.id === frames.find((r) => r.frame.op === "refresh")?.frame.id && f.frame.ok)'
    await page.wait_for(replied)
    assert await page.run("return asked.at(-1)") is True
    assert await page.run("return statuses.map((s) => s.status)") == ["reconnecting", "connected"]


async def test_a_blocked_socket_is_replaced_by_polling(
    page: Page, server: RunningServer, network: NetworkProxy
) -> None:
    """After two failed sockets the client polls: events and claims work over HTTP. Once a socket opens, the client uses
    the socket again, and no event is lost or repeated.
    """
    customer, technician, service = await create_people(server)
    bearer = await token_in_redis(server, technician)
    await open_client(page, network, bearer)
    await page.run(SHORT_DELAYS)
    await page.wait_for("syncs.length")
    network.blocked = True
    network.cut()
    await page.wait_for('callout.transport === "polling"')
    assert await page.run("return callout.status") == "connected"
    job = people.id_of(await people.job(server.engine, customer, service))
    await scheduler.open_wave(server.engine, DEFAULT_ZONE, job, 1)
    await wait_until_caught_up(page, server, technician)
    reply = await page.run(f'return callout.request("claim", {{ job: "{job}" }})')
    assert reply["job"]["status"] == "accepted"
    await wait_until_caught_up(page, server, technician)
    network.blocked = False
    await page.wait_for('callout.transport === "socket"')
    step = await page.run(f'return callout.request("command", {{ job: "{job}", command: "depart" }})')
    assert step["job"]["status"] == "on_the_way"
    await wait_until_caught_up(page, server, technician)
    assert await page.run("return syncs.length") == 1


async def test_a_client_without_any_socket_starts_with_polling(
    page: Page, server: RunningServer, network: NetworkProxy
) -> None:
    """Without any socket the app receives its snapshot and events by polling. An op that needs a socket waits until one
    opens.
    """
    customer, _, service = await create_people(server)
    network.blocked = True
    await open_client(page, network, token(server, customer))
    await page.run(SHORT_DELAYS + 'window.pong = null; callout.request("ping").then((ok) => (window.pong = ok));')
    await page.wait_for("syncs.length")
    await page.wait_for('callout.transport === "polling"')
    await people.job(server.engine, customer, service)
    await wait_until_caught_up(page, server, customer)
    assert await page.run("return pong") is None
    network.blocked = False
    assert (await page.wait_for("pong"))["n"] >= 0
    await people.job(server.engine, customer, service)
    await wait_until_caught_up(page, server, customer)


async def test_an_unknown_epoch_leads_to_a_new_snapshot(
    page: Page, server: RunningServer, network: NetworkProxy
) -> None:
    """If the client connects with a cursor of an unknown epoch, the app receives a new snapshot with the reason
    `epoch`, and the events continue from its cursor.
    """
    customer, _, service = await create_people(server)
    await open_client(page, network, token(server, customer))
    await page.run(SHORT_DELAYS)
    await page.wait_for("syncs.length")
    await page.run('callout.cursors.byZone.set("main", { epoch: "gone", seq: 5 }); callout.cut()')
    await page.wait_for("syncs.length === 2", within_s=15)
    sync = await page.run("return [syncs[1].reasons, Boolean(syncs[1].snapshot)]")
    assert sync == [{"main": "epoch"}, True]
    await people.job(server.engine, customer, service)
    await wait_until_caught_up(page, server, customer)


async def open_client_after(page: Page, network: NetworkProxy, script: str, bearer: str) -> None:
    """Run ``script`` in the page, and then open the client as ``open_client`` does."""
    await page.goto(f"{network.origin}/web/try.html")
    await page.run(script)
    await page.run(OPEN_CLIENT_SCRIPT % orjson.dumps([bearer]).decode())


DELAY_SNAPSHOT = """
    const answer = fetch;
    const heldResponse = (signal) => new Promise((free, lost) => {
      window.free = free;
      signal.addEventListener("abort", () => lost(signal.reason));
    });
    window.fetch = async (url, options) => {
      if (!url.endsWith("/v1/sync") || window.free) return answer(url, options);
      const replacement = await heldResponse(options.signal);
      return replacement ?? answer(url, options);
    };
"""
"""A script that holds the first request of a snapshot until the test calls ``free``. Its argument replaces the server's
response; without an argument the request is sent.
"""


async def test_a_snapshot_lost_by_a_cut_is_requested_again(
    page: Page, server: RunningServer, network: NetworkProxy
) -> None:
    """If the connection is cut before the snapshot arrives, the client has no cursor, and the next connection requests
    a snapshot again.
    """
    customer, _, service = await create_people(server)
    await open_client_after(page, network, DELAY_SNAPSHOT + SHORT_DELAYS, token(server, customer))
    await page.wait_for("Boolean(window.free)")
    await page.run("callout.cut()")
    await page.wait_for("syncs.length")
    connects = await page.run('return frames.filter((f) => f.out && f.frame.op === "connect").map((f) => f.frame)')
    assert [connect["cursors"] for connect in connects] == [{}, {}]
    await people.job(server.engine, customer, service)
    await wait_until_caught_up(page, server, customer)


async def test_a_snapshot_without_a_reply_is_requested_again(
    page: Page, server: RunningServer, network: NetworkProxy
) -> None:
    """If the request of a snapshot gets no reply in time, the client sends it again on the same connection."""
    customer, _, service = await create_people(server)
    short_timeout = "let asked = 0; const real = AbortSignal.timeout.bind(AbortSignal);"
    short_timeout += "AbortSignal.timeout = (ms) => real(asked++ ? ms : 50);"
    await open_client_after(page, network, DELAY_SNAPSHOT + SHORT_DELAYS + short_timeout, token(server, customer))
    await page.wait_for("syncs.length")
    await people.job(server.engine, customer, service)
    await wait_until_caught_up(page, server, customer)
    assert await page.run("return statuses.map((s) => s.status)") == ["reconnecting", "connected"]


async def test_an_old_snapshot_loses_no_event(page: Page, server: RunningServer, network: NetworkProxy) -> None:
    """If the snapshot is older than the connection's head, the client reconnects from the snapshot's cursor, and no
    event is lost.
    """
    customer, _, service = await create_people(server)
    await people.job(server.engine, customer, service)
    await open_client_after(page, network, DELAY_SNAPSHOT + SHORT_DELAYS, token(server, customer))
    await page.wait_for("Boolean(window.free)")
    await people.job(server.engine, customer, service)
    await page.wait_for("frames.some((f) => f.frame.seq && f.frame.type)")
    epoch = server.engine.store.zones[DEFAULT_ZONE].epoch
    await page.run(f'free(new Response(\'{{"cursor":{{"main":{{"epoch":"{epoch}","seq":0}}}}}}\'))')
    await wait_until_caught_up(page, server, customer)


async def test_after_4010_the_client_waits_longer(page: Page, server: RunningServer, network: NetworkProxy) -> None:
    """After the close code 4010 the client reconnects after the longer delay, 10 to 20 s."""
    customer, _, _ = await create_people(server)
    await open_client(page, network, token(server, customer))
    await page.wait_for("syncs.length")
    record_waits = "const real = setTimeout; window.setTimeout = (work, ms) => (waits.push(ms), real(work, ms));"
    await page.run("window.waits = []; Math.random = () => 0.5;" + record_waits)
    assert server.gateway is not None
    for session in list(server.gateway.sessions):
        session.close(4010, "too many requests")
    await page.wait_for("waits.includes(15000)")
    assert await page.run("return statuses.at(-1).code") == 4010


async def test_a_closed_client_stays_offline_until_opened(
    page: Page, server: RunningServer, network: NetworkProxy
) -> None:
    """After `close()` the client is offline. After `open()` it continues from its cursor without a new snapshot."""
    customer, _, service = await create_people(server)
    await open_client(page, network, token(server, customer))
    await page.wait_for("syncs.length")
    await page.run("callout.close()")
    assert await page.run("return callout.status") == "offline"
    await people.job(server.engine, customer, service)
    await page.run("callout.open()")
    await wait_until_caught_up(page, server, customer)
    assert await page.run("return syncs.length") == 1
