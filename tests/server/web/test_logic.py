"""The parts of the browser's client that decide, without a server to talk to."""

from __future__ import annotations

from typing import Any

import pytest

from server.serve import Running
from tests.server.web.chromium import Page

IMPORT = 'const { Backoff, CalloutError, Cursors, comesBack } = await import("/web/callout.js");'


@pytest.fixture
async def module(page: Page, site: Running) -> Page:
    """A page that can import the client."""
    await page.goto(f"{site.url}/web/try.html")
    return page


async def run(page: Page, script: str) -> Any:
    """The value of a script that has the client's exports."""
    return await page.run(IMPORT + script)


async def test_the_waits_are_drawn_from_nought_to_a_doubling_ceiling(module: Page) -> None:
    """Full jitter: 0.5, 1, 2 … 20 s at most, spread over the whole of it, and from the start after a reset."""
    lowest, highest, ceilings, after = await run(
        module,
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


async def test_who_comes_too_often_waits_longer_than_anybody(module: Page) -> None:
    """From 10 to 20 s, spread."""
    waits = await run(module, "return Array.from({ length: 200 }, () => new Backoff().next(true))")
    assert 10_000 <= min(waits) < 12_000 and 18_000 < max(waits) <= 20_000


async def test_close_codes_say_whether_to_come_back(module: Page) -> None:
    """As PROTOCOL §4 lists them."""
    back = [1000, 1001, 1005, 1006, 1011, 1012, 1013, 4000, 4001, 4002, 4003, 4004, 4006, 4010, 4499]
    gone = [1002, 1003, 1007, 1009, 4500, 4501, 4502, 4504, 4505, 4506, 4999]
    assert await run(module, f"return {back}.filter((code) => !comesBack(code))") == []
    assert await run(module, f"return {gone}.filter(comesBack)") == []


async def test_a_repeat_is_known_by_its_seq(module: Page) -> None:
    """At or below the cursor nothing is new, in its own zone."""
    new = await run(
        module,
        """
        const c = new Cursors({ main: { epoch: "e1", seq: 10 } });
        const push = (zone, seq) => { const is = c.isNew({ zone, seq }); c.handled({ zone, seq }); return is; };
        return [push("main", 10), push("main", 11), push("main", 11), push("north", 3), push("main", 9), c.toJSON()];
        """,
    )
    assert new[:5] == [False, True, False, True, False]
    assert new[5]["main"] == {"epoch": "e1", "seq": 11}


async def test_the_head_at_joining_counts_once_what_was_missed_has_come(module: Page) -> None:
    """A cut in the middle of a replay goes on from the middle, not from the head."""
    steps = await run(
        module,
        """
        const c = new Cursors({ main: { epoch: "e1", seq: 10 } }), told = [];
        const lost = c.join({ main: { epoch: "e1", seq: 20, recovered: true, missed: 2 } });
        told.push(c.toString());
        c.handled({ zone: "main", seq: 12 }); told.push(c.toString());
        c.handled({ zone: "main", seq: 15 }); told.push(c.toString());
        c.reach("main", "e1", 31); told.push(c.toString());
        return [lost, told];
        """,
    )
    assert steps == [[], ["main:e1:10", "main:e1:12", "main:e1:20", "main:e1:31"]]


async def test_a_quiet_resume_moves_to_the_head(module: Page) -> None:
    """With nothing missed, the head at joining is the cursor, in whatever epoch that is."""
    at = await run(
        module,
        """
        const c = new Cursors({ main: { epoch: "e1", seq: 10 } });
        c.join({ main: { epoch: "e2", seq: 20, recovered: true, missed: 0 } });
        return c.toString();
        """,
    )
    assert at == "main:e2:20"


async def test_a_zone_not_recovered_begins_anew(module: Page) -> None:
    """It is named as lost and has no cursor until its snapshot is there; the others go on."""
    lost, cursors = await run(
        module,
        """
        const c = new Cursors({ main: { epoch: "e1", seq: 900 }, north: { epoch: "e1", seq: 7 } });
        const lost = c.join({
          main: { epoch: "e2", seq: 20, recovered: false, reason: "epoch" },
          north: { epoch: "e1", seq: 9, recovered: true, missed: 1 },
        });
        return [lost, c.toJSON()];
        """,
    )
    assert lost == ["main"]
    assert cursors == {"north": {"epoch": "e1", "seq": 7}}


async def test_cursors_are_read_in_both_spellings(module: Page) -> None:
    """As text, as an object, and as nothing."""
    places = {"main": {"epoch": "e1", "seq": 131}, "north": {"epoch": "e2", "seq": 9}}
    assert await run(module, 'return Cursors.parse("main:e1:131,north:e2:9")') == places
    assert await run(module, 'return Cursors.parse({ main: { epoch: "e1", seq: 131 } })') == {"main": places["main"]}
    assert await run(module, 'return [Cursors.parse(""), Cursors.parse(undefined)]') == [{}, {}]


async def test_what_may_be_asked_again_is_told_from_what_may_not(module: Page) -> None:
    """Not done, unknown, too soon: again, with the same key. Lost the race: never."""
    again = ["unavailable", "indeterminate", "in_flight", "rate_limited", "paused", "unreachable"]
    codes = [*again, "taken", "invalid", "reused_key", "internal", "ended"]
    assert await run(module, f"return {codes}.filter((code) => new CalloutError({{ code }}).again)") == again
