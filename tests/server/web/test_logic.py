"""The parts of the JavaScript client that need no server: delays, close codes, cursors, errors."""

from __future__ import annotations

from typing import Any

import pytest

from server.serve import RunningServer
from tests.support.browser import Page

IMPORT_CLIENT = 'const { Backoff, CalloutError, Cursors, mayReconnect } = await import("/web/callout.js");'


@pytest.fixture
async def client_page(page: Page, site: RunningServer) -> Page:
    """Open a page that can import the client."""
    await page.goto(f"{site.url}/web/try.html")
    return page


async def run_with_client(page: Page, script: str) -> Any:
    """Run a script that can use the client's exports, and return its value."""
    return await page.run(IMPORT_CLIENT + script)


async def test_delays_are_uniform_below_a_doubling_ceiling(client_page: Page) -> None:
    """Each delay is random between 0 and a ceiling that doubles from 0.5 s to 20 s and is 0.5 s again after a reset."""
    lowest, highest, ceilings, after = await run_with_client(
        client_page,
        """
        const least = [], most = [];
        const random = Math.random;
        const walk = () => { const b = new Backoff(); return Array.from({ length: 40 }, () => b.next()); };
        const many = Array.from({ length: 300 }, walk);
        for (let i = 0; i < 8; i++) {
          least.push(Math.min(...many.map((w) => w[i])));
          most.push(Math.max(...many.map((w) => w[i])));
        }
        Math.random = () => 1;
        const ceilings = walk();
        const b = new Backoff(); b.next(); b.next(); b.reset();
        const after = b.next();
        Math.random = random;
        return [least, most, ceilings, after];
        """,
    )
    wanted = [500, 1000, 2000, 4000, 8000, 16000, 20000, 20000]
    assert ceilings[:8] == wanted and set(ceilings[8:]) == {20000}
    assert after == 500
    for low, high, ceiling in zip(lowest, highest, wanted, strict=True):
        assert low < ceiling * 0.1
        assert ceiling * 0.9 < high <= ceiling


async def test_the_longer_delay_is_10_to_20_seconds(client_page: Page) -> None:
    """A client that connects too often waits a random time from 10 to 20 s."""
    waits = await run_with_client(client_page, "return Array.from({ length: 200 }, () => new Backoff().next(true))")
    assert 10_000 <= min(waits) < 12_000 and 18_000 < max(waits) <= 20_000


async def test_close_codes_decide_whether_to_reconnect(client_page: Page) -> None:
    """The client reconnects after the close codes for which PROTOCOL §4 permits it, and after no other."""
    temporary_codes = [1000, 1001, 1005, 1006, 1011, 1012, 1013, 4000, 4001, 4002, 4003, 4004, 4006, 4010, 4499]
    final_codes = [1002, 1003, 1007, 1009, 4500, 4501, 4502, 4504, 4505, 4506, 4999]
    assert await run_with_client(client_page, f"return {temporary_codes}.filter((code) => !mayReconnect(code))") == []
    assert await run_with_client(client_page, f"return {final_codes}.filter(mayReconnect)") == []


async def test_an_event_at_or_below_the_cursor_is_a_repeat(client_page: Page) -> None:
    """An event is new only if its seq is above the cursor of its own zone."""
    new = await run_with_client(
        client_page,
        """
        const c = new Cursors({ main: { epoch: "e1", seq: 10 } });
        const push = (zone, seq) => { const is = c.isNew({ zone, seq }); c.markHandled({ zone, seq }); return is; };
        return [push("main", 10), push("main", 11), push("main", 11), push("north", 3), push("main", 9), c.toJSON()];
        """,
    )
    assert new[:5] == [False, True, False, True, False]
    assert new[5]["main"] == {"epoch": "e1", "seq": 11}


async def test_the_head_is_reached_after_all_missed_events(client_page: Page) -> None:
    """The cursor reaches the head of the connect reply only after all missed events have arrived, so that a cut during
    a replay loses none.
    """
    steps = await run_with_client(
        client_page,
        """
        const c = new Cursors({ main: { epoch: "e1", seq: 10 } }), cursors = [];
        const lost = c.joinZones({ main: { epoch: "e1", seq: 20, recovered: true, missed: 2 } });
        cursors.push(c.toString());
        c.markHandled({ zone: "main", seq: 12 }); cursors.push(c.toString());
        c.markHandled({ zone: "main", seq: 15 }); cursors.push(c.toString());
        c.advance("main", "e1", 31); cursors.push(c.toString());
        return [lost, cursors];
        """,
    )
    assert steps == [[], ["main:e1:10", "main:e1:12", "main:e1:20", "main:e1:31"]]


async def test_a_resume_without_missed_events_moves_to_the_head(client_page: Page) -> None:
    """If no event was missed, the cursor becomes the head of the connect reply, also in another epoch."""
    at = await run_with_client(
        client_page,
        """
        const c = new Cursors({ main: { epoch: "e1", seq: 10 } });
        c.joinZones({ main: { epoch: "e2", seq: 20, recovered: true, missed: 0 } });
        return c.toString();
        """,
    )
    assert at == "main:e2:20"


async def test_a_zone_not_recovered_loses_its_cursor(client_page: Page) -> None:
    """`joinZones` returns the zones that were not recovered and deletes their cursors. Other zones are unchanged."""
    lost, cursors = await run_with_client(
        client_page,
        """
        const c = new Cursors({ main: { epoch: "e1", seq: 900 }, north: { epoch: "e1", seq: 7 } });
        const lost = c.joinZones({
          main: { epoch: "e2", seq: 20, recovered: false, reason: "epoch" },
          north: { epoch: "e1", seq: 9, recovered: true, missed: 1 },
        });
        return [lost, c.toJSON()];
        """,
    )
    assert lost == ["main"]
    assert cursors == {"north": {"epoch": "e1", "seq": 7}}


async def test_cursors_are_parsed_from_text_and_object(client_page: Page) -> None:
    """`Cursors.parse` accepts the text of a poll, the object of a snapshot, and nothing."""
    places = {"main": {"epoch": "e1", "seq": 131}, "north": {"epoch": "e2", "seq": 9}}
    assert await run_with_client(client_page, 'return Cursors.parse("main:e1:131,north:e2:9")') == places
    assert await run_with_client(client_page, 'return Cursors.parse({ main: { epoch: "e1", seq: 131 } })') == {
        "main": places["main"]
    }
    assert await run_with_client(client_page, 'return [Cursors.parse(""), Cursors.parse(undefined)]') == [{}, {}]


async def test_only_temporary_errors_may_be_retried(client_page: Page) -> None:
    """An error may be retried if the request was not applied, if its outcome is unknown, or if it came too early. Any
    other code is final.
    """
    again = ["unavailable", "indeterminate", "in_flight", "rate_limited", "paused", "unreachable"]
    codes = [*again, "taken", "invalid", "reused_key", "internal", "ended"]
    assert (
        await run_with_client(client_page, f"return {codes}.filter((code) => new CalloutError({{ code }}).retryable)")
        == again
    )
