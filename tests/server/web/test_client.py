"""The browser's client in a browser, against a whole server, through a network that fails."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import orjson

from engine.identity import tokens
from engine.types import DEFAULT_ZONE, Principal
from engine.workers import scheduler
from server.serve import Running
from tests.server.web.chromium import Page
from tests.server.web.conftest import OPEN, connected, logged, token
from tests.server.web.street import Street
from tests.support import people

FAST = "window.jitter = Math.random; Math.random = () => 0.02;"
"""Short waits between attempts: two tenths of a ceiling are waited for in a test for nothing."""


async def seen(page: Page) -> list[int]:
    """The seqs of the logged events that the app was given, in the order in which it was."""
    return list(await page.run("return events.filter((e) => e.seq !== undefined).map((e) => e.seq)"))


async def caught_up(page: Page, server: Running, who: Principal) -> None:
    """Wait until the app was given the newest of the events for ``who``; up to there, since the snapshot, it must have
    been given just what the log has.
    """
    last = (await logged(server, who))[-1]
    await page.until(f"events.some((e) => e.seq === {last})")
    begun = await page.run("return syncs[0].at.main.seq")
    given = await seen(page)
    assert given == [seq for seq in await logged(server, who) if begun < seq <= given[-1]]


async def at_work(server: Running) -> tuple[Principal, Principal, Any]:
    """A customer, a technician online, and a service."""
    service = await people.service(server.engine)
    customer = await people.customer(server.engine)
    technician = await people.technician(server.engine, f"tech{uuid.uuid4().hex[:8]}", service)
    await tokens.principal_of(server.engine, token(server, customer))
    return customer, technician, service


async def account_of(server: Running, who: Principal) -> str:
    """A token of one whose account is in Redis alone."""
    from tests.support.socket_client import token as made

    return await made(server.engine, who)


async def test_credentials_that_will_never_work_are_not_tried_again(
    page: Page, server: Running, street: Street
) -> None:
    """4501 is the end: offline, with the code, and what waited for an answer is told so."""
    await connected(page, street, "no token of ours")
    await page.run('window.told = callout.request("ping").catch((error) => error.code)')
    await page.until('callout.status === "offline"')
    assert await page.run("return statuses.at(-1).code") == 4501
    assert await page.run("return told") == "ended"
    assert await page.run('return callout.request("ping").catch((error) => error.code)') == "ended"


async def test_a_refusal_rejects_with_its_code(page: Page, server: Running, street: Street) -> None:
    """Over the socket and over HTTP alike."""
    customer, _, _ = await at_work(server)
    await connected(page, street, token(server, customer))
    await page.until('callout.status === "connected"')
    job = "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g"
    assert await page.run(f'return callout.request("claim", {{ job: "{job}" }}).catch((e) => e.code)') in (
        "forbidden",
        "not_found",
    )
    assert await page.run(f'return callout.http("GET", "/v1/jobs/{job}").catch((e) => e.code)') == "not_found"


async def test_the_first_connection_begins_with_a_snapshot(page: Page, server: Running, street: Street) -> None:
    """Nothing is known yet, so the app is given /v1/sync, and its cursor is where the events go on."""
    customer, _, service = await at_work(server)
    before = await people.job(server.engine, customer, service)
    await connected(page, street, token(server, customer))
    await page.until("syncs.length")
    told = await page.run("return syncs[0]")
    assert told["zones"] == ["main"]
    assert str(people.id_of(before)) in orjson.dumps(told["snapshot"]).decode()
    assert await page.run("return [callout.status, callout.transport]") == ["connected", "socket"]
    await people.job(server.engine, customer, service)
    await caught_up(page, server, customer)


async def test_a_cut_is_survived_without_loss_or_repeat(page: Page, server: Running, street: Street) -> None:
    """Connect, an event, cut, reconnect, catch up: every event once, in order, and no second snapshot."""
    customer, _, service = await at_work(server)
    await connected(page, street, token(server, customer))
    await page.run(FAST)
    await page.until("syncs.length")
    await people.job(server.engine, customer, service)
    await caught_up(page, server, customer)
    for _ in range(3):
        street.cut()
        await page.until('callout.status === "reconnecting"')
        for _ in range(5):
            await people.job(server.engine, customer, service)
        await page.until('callout.status === "connected"')
        await people.job(server.engine, customer, service)
        await caught_up(page, server, customer)
    assert await page.run("return syncs.length") == 1
    assert await page.run("return statuses.map((s) => s.status)") == [
        "reconnecting",
        "connected",
        *["reconnecting", "connected"] * 3,
    ]


async def test_a_cut_in_the_middle_of_events_loses_none(page: Page, server: Running, street: Street) -> None:
    """Cut again and again while events come: what the log has, the app was given, once and in order."""
    customer, _, service = await at_work(server)
    await connected(page, street, token(server, customer))
    await page.run(FAST)
    await page.until("syncs.length")

    async def book() -> None:
        for _ in range(12):
            await people.job(server.engine, customer, service)

    for _ in range(4):
        booking = asyncio.create_task(book())
        await page.until('callout.status === "connected"')
        street.cut()
        await page.until('callout.status === "reconnecting"')
        await booking
    await caught_up(page, server, customer)
    assert await page.run("return syncs.length") == 1


async def test_a_request_whose_reply_was_lost_goes_out_again_with_its_key(
    page: Page, server: Running, street: Street
) -> None:
    """The claim was done, its reply was not heard: the repeat has the same key and hears the first verdict."""
    customer, technician, service = await at_work(server)
    job = people.id_of(await people.job(server.engine, customer, service))
    await scheduler.open_wave(server.engine, DEFAULT_ZONE, job, 1)
    await connected(page, street, await account_of(server, technician))
    await page.run(FAST)
    await page.until("syncs.length")
    street.drop_next = b"Job accepted"
    told = await page.run(f'return callout.request("claim", {{ job: "{job}" }})')
    assert street.dropped == 1
    assert told["repeated"] is True
    assert told["job"]["technician"]["id"] == technician.id
    claims = await page.run('return frames.filter((f) => f.out && f.frame.op === "claim").map((f) => f.frame)')
    assert len(claims) == 2 and claims[0] == claims[1]


async def test_an_expired_token_is_asked_for_afresh(page: Page, server: Running, street: Street) -> None:
    """The hook is told that the last one is no good, and the connection stays up."""
    customer, _, _ = await at_work(server)
    await connected(page, street, token(server, customer, expires_s=-10), token(server, customer))
    await page.until("syncs.length")
    assert await page.run("return callout.status") == "connected"
    assert await page.run("return asked.slice(0, 2)") == [False, True]
    assert await page.run("return statuses.map((s) => s.status)") == ["reconnecting", "connected"]


async def test_a_token_that_runs_out_is_replaced_in_band(page: Page, server: Running, street: Street) -> None:
    """Warned by the server, the client asks the app for a fresh one and shows it: the connection never ends."""
    customer, _, _ = await at_work(server)
    await connected(page, street, token(server, customer, expires_s=5), token(server, customer))
    replied = 'frames.some((f) => f.frame.id === frames.find((r) => r.frame.op === "refresh")?.frame.id && f.frame.ok)'
    await page.until(replied)
    assert await page.run("return asked.at(-1)") is True
    assert await page.run("return statuses.map((s) => s.status)") == ["reconnecting", "connected"]


async def test_where_sockets_are_blocked_it_polls_and_comes_back(page: Page, server: Running, street: Street) -> None:
    """Two failures, then polling: events and claims as before; when sockets are let through, a socket again, and
    nothing was lost or given twice.
    """
    customer, technician, service = await at_work(server)
    bearer = await account_of(server, technician)
    await connected(page, street, bearer)
    await page.run(FAST)
    await page.until("syncs.length")
    street.blocked = True
    street.cut()
    await page.until('callout.transport === "polling"')
    assert await page.run("return callout.status") == "connected"
    job = people.id_of(await people.job(server.engine, customer, service))
    await scheduler.open_wave(server.engine, DEFAULT_ZONE, job, 1)
    await caught_up(page, server, technician)
    told = await page.run(f'return callout.request("claim", {{ job: "{job}" }})')
    assert told["job"]["status"] == "accepted"
    await caught_up(page, server, technician)
    street.blocked = False
    await page.until('callout.transport === "socket"')
    step = await page.run(f'return callout.request("command", {{ job: "{job}", command: "depart" }})')
    assert step["job"]["status"] == "on_the_way"
    await caught_up(page, server, technician)
    assert await page.run("return syncs.length") == 1


async def test_blocked_from_the_start_it_begins_by_polling(page: Page, server: Running, street: Street) -> None:
    """Without a socket ever, the app has its snapshot and its events; what only a socket can do waits for one."""
    customer, _, service = await at_work(server)
    street.blocked = True
    await connected(page, street, token(server, customer))
    await page.run(FAST + 'window.pong = null; callout.request("ping").then((ok) => (window.pong = ok));')
    await page.until("syncs.length")
    await page.until('callout.transport === "polling"')
    await people.job(server.engine, customer, service)
    await caught_up(page, server, customer)
    assert await page.run("return pong") is None
    street.blocked = False
    assert (await page.until("pong"))["n"] >= 0
    await people.job(server.engine, customer, service)
    await caught_up(page, server, customer)


async def test_an_epoch_that_broke_is_told_to_the_app(page: Page, server: Running, street: Street) -> None:
    """A cursor that is of no known life of the log: not recovered, a new snapshot, and on from there."""
    customer, _, service = await at_work(server)
    await connected(page, street, token(server, customer))
    await page.run(FAST)
    await page.until("syncs.length")
    await page.run('callout.cursors.places.set("main", { epoch: "gone", seq: 5 }); callout.cut()')
    await page.until("syncs.length === 2", within_s=15)
    told = await page.run("return [syncs[1].reasons, Boolean(syncs[1].snapshot)]")
    assert told == [{"main": "epoch"}, True]
    await people.job(server.engine, customer, service)
    await caught_up(page, server, customer)


async def opened(page: Page, street: Street, script: str, bearer: str) -> None:
    """The same as ``connected``, after a script that changes what the page finds."""
    await page.goto(f"{street.origin}/web/try.html")
    await page.run(script)
    await page.run(OPEN % orjson.dumps([bearer]).decode())


HELD = """
    const answer = fetch;
    const held = (signal) => new Promise((free, lost) => {
      window.free = free;
      signal.addEventListener("abort", () => lost(signal.reason));
    });
    window.fetch = async (url, options) => {
      if (!url.endsWith("/v1/sync") || window.free) return answer(url, options);
      const told = await held(options.signal);
      return told ?? answer(url, options);
    };
"""
"""The first snapshot does not come until ``free`` is called, with what is to come in its place."""


async def test_cut_while_the_snapshot_is_fetched_it_is_fetched_again(
    page: Page, server: Running, street: Street
) -> None:
    """A zone whose snapshot never came has no cursor: the next connection begins with one."""
    customer, _, service = await at_work(server)
    await opened(page, street, HELD + FAST, token(server, customer))
    await page.until("Boolean(window.free)")
    await page.run("callout.cut()")
    await page.until("syncs.length")
    connects = await page.run('return frames.filter((f) => f.out && f.frame.op === "connect").map((f) => f.frame)')
    assert [connect["cursors"] for connect in connects] == [{}, {}]
    await people.job(server.engine, customer, service)
    await caught_up(page, server, customer)


async def test_a_snapshot_that_hangs_is_asked_for_again(page: Page, server: Running, street: Street) -> None:
    """An answer that never comes is lost after a while: the events do not wait for it for ever."""
    customer, _, service = await at_work(server)
    soon = "let asked = 0; const real = AbortSignal.timeout.bind(AbortSignal);"
    soon += "AbortSignal.timeout = (ms) => real(asked++ ? ms : 50);"
    await opened(page, street, HELD + FAST + soon, token(server, customer))
    await page.until("syncs.length")
    await people.job(server.engine, customer, service)
    await caught_up(page, server, customer)
    assert await page.run("return statuses.map((s) => s.status)") == ["reconnecting", "connected"]


async def test_behind_a_snapshot_older_than_the_connection_nothing_is_lost(
    page: Page, server: Running, street: Street
) -> None:
    """What came meanwhile would leave a gap: all of it comes on the next connection, from the snapshot's cursor."""
    customer, _, service = await at_work(server)
    await people.job(server.engine, customer, service)
    await opened(page, street, HELD + FAST, token(server, customer))
    await page.until("Boolean(window.free)")
    await people.job(server.engine, customer, service)
    await page.until("frames.some((f) => f.frame.seq && f.frame.type)")
    epoch = server.engine.store.zones[DEFAULT_ZONE].epoch
    await page.run(f'free(new Response(\'{{"cursor":{{"main":{{"epoch":"{epoch}","seq":0}}}}}}\'))')
    await caught_up(page, server, customer)


async def test_after_too_many_requests_it_comes_back_later(page: Page, server: Running, street: Street) -> None:
    """4010 is answered by the long wait."""
    customer, _, _ = await at_work(server)
    await connected(page, street, token(server, customer))
    await page.until("syncs.length")
    noted = "const real = setTimeout; window.setTimeout = (work, ms) => (waits.push(ms), real(work, ms));"
    await page.run("window.waits = []; Math.random = () => 0.5;" + noted)
    assert server.gateway is not None
    for session in list(server.gateway.sessions):
        session.close(4010, "too many requests")
    await page.until("waits.includes(15000)")
    assert await page.run("return statuses.at(-1).code") == 4010


async def test_closed_by_the_app_it_stays_closed(page: Page, server: Running, street: Street) -> None:
    """Offline until it is opened again, and then it goes on from its cursor."""
    customer, _, service = await at_work(server)
    await connected(page, street, token(server, customer))
    await page.until("syncs.length")
    await page.run("callout.close()")
    assert await page.run("return callout.status") == "offline"
    await people.job(server.engine, customer, service)
    await page.run("callout.open()")
    await caught_up(page, server, customer)
    assert await page.run("return syncs.length") == 1
