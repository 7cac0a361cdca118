"""The console as stories: a gateway is killed under it, each role sees what it may, and the audit is checked in the
browser.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.serve import RunningServer
from tests.server.http import market, people
from tests.server.supervisor.processes import admin_token as token_of_process
from tests.server.supervisor.processes import child_pids
from tests.support.browser import DESK, PHONE, Browser, Page
from tests.support.photos import tiny_png
from tests.support.process import run_server
from tests.support.wait import wait_until
from tests.web.console import Town, admin_token, flaws_of, open_console, open_town, right_of
from tests.web.phones import make_service

JOBS_ON_MAP = """(() => {
    const map = document.querySelector('.map-canvas')?.map;
    return map?.getLayer('jobs') ? map.queryRenderedFeatures({layers: ['jobs']}).map((each) => each.properties.id) : [];
})()"""
NEEDS = re.compile("needs? you")
"""The name of the bell, with a count."""
OPS_PAGES = ("Live", "Jobs", "People", "Desk", "Demand", "Activity", "System")


@pytest.fixture
async def town(site: RunningServer) -> AsyncIterator[Town]:
    """Make a town on the shared server."""
    async with open_town(site.url, admin_token(site)) as made:
        yield made


async def rail_of(page: Page) -> list[str]:
    """Return the names of the pages in the rail."""
    return [text.split("\n")[-1] for text in await page.raw.locator(".rail a span:not(.badge)").all_inner_texts()]


async def open_page(page: Page, name: str) -> None:
    """Open a page by the rail, and wait for what it shows once it has its data."""
    await page.raw.locator(".rail a", has_text=name).click()
    await page.raw.locator("main .spinner").first.wait_for(state="detached")


async def test_each_role_sees_its_pages(browser: Browser, site: RunningServer, town: Town) -> None:
    """Mediators have the desk alone and onboarding managers the people. A page that is not theirs says so."""
    async with open_console(browser, site.url, town.admin, "mediator") as page:
        assert await rail_of(page) == ["Desk"]
        await page.goto(f"{site.url}/console/system")
        await page.raw.get_by_text("There is no such page").wait_for()
        assert page.find_flaws() == []
    async with open_console(browser, site.url, town.admin, "onboarding_manager") as page:
        assert await rail_of(page) == ["People"]
        assert await page.raw.get_by_role("tab", name="Users").count() == 0
        assert page.find_flaws() == []


async def test_a_refusal_is_shown_with_its_code_and_request(browser: Browser, site: RunningServer, town: Town) -> None:
    """A step that the server refuses is explained beside its button, with code and request id, and can be repeated; the
    page shows the job as it is now.
    """
    job = await town.book()
    await people.wait_for_offer(town.west, job)
    assert (await town.west("POST", f"/v1/jobs/{job}/decline", {"reason": "too far"})).status_code == 200
    assert (await town.east("POST", f"/v1/jobs/{job}/claim", {})).status_code == 200
    path = f"/v1/audit?entity=job&id={job}&action=offer.declined"

    async def is_archived() -> bool:
        return bool((await town.admin("GET", path)).json()["items"])

    await wait_until(is_archived, what="the refusal in the archive")
    async with open_console(browser, site.url, town.admin, "ops_manager") as page:
        page.expected_errors = ("409", "412")
        await page.goto(f"{site.url}/console/jobs/{job}")
        await page.raw.get_by_text("1 declined", exact=True).click()
        await page.raw.locator(".changes").get_by_text("Wim West").wait_for()
        assert await page.raw.locator("svg .declined").count() == 1
        await page.raw.get_by_role("button", name="Cancel", exact=True).click()
        sheet = page.raw.get_by_role("dialog")
        await sheet.get_by_label("Reason").fill("The customer called")
        assert (await town.customer("POST", f"/v1/jobs/{job}/cancel", {"reason": "mine"})).status_code == 200
        await sheet.get_by_role("button", name="Cancel", exact=True).click()
        alert = page.raw.get_by_role("alert")
        await alert.wait_for()
        text = await alert.inner_text()
        codes = ("cancelled", "version_conflict", "illegal_transition")
        assert "Request " in text and any(code in text for code in codes)
        assert await flaws_of(page, "console-refused") == []


async def test_an_onboarding_manager_decides_on_documents(browser: Browser, site: RunningServer, town: Town) -> None:
    """The manager sees who waits with their document, and approves them: then they may go online."""
    new = await people.register(town.nobody, "technician")
    await new("PATCH", f"/v1/technicians/{new.user}", {"name": "Nora New", "services": [town.service]})
    path = f"/v1/files?for=technician:{new.user}&kind=licence"
    assert (await new("POST", path, tiny_png(), Content_Type="image/png")).status_code == 201
    async with open_console(browser, site.url, town.admin, "onboarding_manager") as page:
        card = page.raw.locator(".card", has_text="Nora New")
        await card.locator("img").wait_for()
        assert await page.find_axe_violations() == []
        await page.save_screenshot("console-queue")
        await card.get_by_role("button", name="Approve").click()
        await card.wait_for(state="detached")
        assert page.find_flaws() == []
    await people.go_online(new)


async def test_a_mediator_takes_a_dispute_and_resolves_it(browser: Browser, site: RunningServer, town: Town) -> None:
    """A dispute that a customer opens appears on the mediator's desk without a reload. Its chat and its resolution are
    for whoever has taken it. When it is resolved the job goes on, and the desk is empty.
    """
    job = await town.book(blueprint="direct_booking", technician=town.east.user)
    await market.run_command(town.east, job, "accept")
    async with open_console(browser, site.url, town.admin, "mediator") as page:
        await page.raw.get_by_text("No open dispute").wait_for()
        opened = await town.customer("POST", f"/v1/jobs/{job}/disputes", {"reason": "It leaks"})
        assert opened.status_code == 201, opened.text
        await page.raw.locator(".list", has_text="It leaks").wait_for()
        await page.raw.get_by_text("Take the dispute to read and write").wait_for()
        assert await page.raw.get_by_role("button", name="Resolve").count() == 0
        await page.raw.get_by_role("button", name="Take", exact=True).click()
        await page.raw.get_by_label("Message").fill("What happened?")
        await page.raw.get_by_role("button", name="Send").click()
        await page.raw.locator(".messages", has_text="What happened?").wait_for()
        assert await page.find_axe_violations() == []
        await page.save_screenshot("console-dispute")
        await page.raw.get_by_label("Go on with the job").check()
        await page.raw.get_by_label("Note").fill("Comes back tomorrow")
        await page.raw.get_by_role("button", name="Resolve").click()
        await page.raw.get_by_text("No open dispute").wait_for()
        assert page.find_flaws() == []
    assert "frozen" not in (await town.admin("GET", f"/v1/jobs/{job}")).json()["job"]


async def test_the_audit_is_checked_in_the_browser(browser: Browser, site: RunningServer, town: Town) -> None:
    """One click checks the signature of the newest head, that the tree has only grown, and that the last events are in
    it. A tree that does not begin with the one that this browser saw before fails.
    """
    await town.book()

    async def has_head() -> bool:
        return (await town.nobody("GET", "/v1/audit/main/head")).status_code == 200

    await wait_until(has_head, within_s=90, what="a signed head")
    async with open_console(browser, site.url, town.admin, "ops_manager") as page:
        await open_page(page, "Activity")
        verify = page.raw.get_by_role("button", name="Verify")
        checks = page.raw.locator(".checks > li")
        await verify.click()
        await page.raw.get_by_text("events are in the tree").wait_for()
        assert [text.split("\n")[0] for text in await checks.all_inner_texts()] == ["OK", "First time", "OK"]
        seen = json.loads(await page.run("return localStorage.getItem('callout.audit.main')"))
        forged = {**seen, "size": max(1, seen["size"] - 1), "root": "5f" * 32}
        await page.run(f"localStorage.setItem('callout.audit.main', {json.dumps(json.dumps(forged))})")
        await verify.click()
        await page.raw.get_by_text("events were changed or removed").wait_for()
        await page.run(f"localStorage.setItem('callout.audit.main', {json.dumps(json.dumps(seen))})")
        await verify.click()
        await page.raw.get_by_text("that this browser saw before.").wait_for()
        assert page.find_flaws() == []


async def test_every_page_has_no_axe_violation(browser: Browser, site: RunningServer, town: Town) -> None:
    """No page and no tab of a job has an axe violation, on a desk in light and on a phone in the dark; none scrolls
    sideways on the phone. A long word in an address or the name of a service moves no button out of the page.
    """
    job = await town.book_and_claim(address="W" * 500)
    service = await make_service(town.admin, "W" * 200)
    wide = await town._replace(service=service).book(address="M" * 500, blueprint="delivery")
    async with open_console(browser, site.url, town.admin, "admin") as page:
        page.expected_errors = ("404",)  # a job without a track
        found: list[str] = []
        for size, dark in ((DESK, False), (PHONE, True)):
            await page.resize(*size, dark=dark)
            for name in OPS_PAGES:
                await open_page(page, name)
                found += await flaws_of(page, f"console-{name.lower()}-{size[0]}")
                if name == "Live" and size == DESK:
                    await page.raw.get_by_text("M" * 500).first.wait_for()
                    assert await right_of(page, "button", "Announce") <= DESK[0]
                    await page.goto(f"{site.url}/console/jobs/{wide}")
                    assert await right_of(page, "tab", "Events") <= DESK[0]
            for tab in ("waves", "chat", "files", "payments", "track", "events"):
                await page.goto(f"{site.url}/console/jobs/{job}?tab={tab}")
                await page.raw.locator(".tab-panel").wait_for()
                await page.raw.locator("main .spinner").first.wait_for(state="detached")
                found += await flaws_of(page, f"console-job-{tab}-{size[0]}")
            await page.goto(f"{site.url}/console/jobs?view=map")
            await page.wait_for(f"{JOBS_ON_MAP}.includes('{job}')", within_s=40)
            found += await flaws_of(page, f"console-jobs-map-{size[0]}")
            await page.goto(f"{site.url}/console/jobs?view=map&q={job}")
            await page.wait_for(f"{JOBS_ON_MAP}.join() === '{job}'", within_s=40)
            await page.raw.locator(".map-canvas").click()  # the only job is in the middle
            await page.raw.wait_for_url(f"**/console/jobs/{job}")
            await page.goto(f"{site.url}/console/people?tab=users")
            await page.raw.get_by_role("row").nth(1).wait_for()
            found += await flaws_of(page, f"console-users-{size[0]}")
            for sheet, opener in (("search", "Search"), ("needs", NEEDS)):
                await page.raw.locator(".bar").get_by_role("button", name=opener).click()
                await page.raw.get_by_role("dialog").wait_for()
                found += await flaws_of(page, f"console-{sheet}-{size[0]}")
                await page.raw.keyboard.press("Escape")
        assert found == []
        assert page.find_flaws() == []


async def test_the_keyboard_reaches_everything(browser: Browser, site: RunningServer, town: Town) -> None:
    """Ctrl K finds a job by its address, J and Enter open one in a list, Esc goes back, and ? shows the keys. While
    somebody types, letters are letters.
    """
    job = await town.book(address="17 Quellengasse")
    async with open_console(browser, site.url, town.admin, "ops_manager") as page:
        keyboard = page.raw.keyboard
        await keyboard.press("Control+k")
        await page.raw.get_by_role("combobox").fill("quellen")
        await page.raw.get_by_role("option", name="17 Quellengasse").wait_for()
        await keyboard.press("ArrowDown")
        await page.wait_for("document.querySelector('[aria-selected=true]')?.textContent.includes('Quellengasse')")
        await keyboard.press("Enter")
        await page.raw.wait_for_url(f"**/console/jobs/{job}")
        await page.raw.get_by_text("17 Quellengasse").first.wait_for()
        await page.goto(f"{site.url}/console/jobs?q=quellengasse")
        await page.raw.locator(".board li").wait_for()
        await page.raw.locator("main").focus()
        await keyboard.press("j")
        await page.raw.locator(".board li[data-present]").wait_for()
        await keyboard.press("Enter")
        await page.raw.wait_for_url(f"**/console/jobs/{job}**")
        await _announce(page, town)
        await keyboard.press("?")
        await page.raw.get_by_role("dialog", name="Keys").wait_for()
        await keyboard.press("Escape")
        await page.raw.get_by_role("dialog").wait_for(state="detached")
        assert page.find_flaws() == []


async def _announce(page: Page, town: Town) -> None:
    """From any page, the bell leads to the form for announcements. What is sent reaches the chosen roles alone."""
    callers = (town.customer, town.east)
    cursors = [(await caller("GET", "/v1/events?wait=0")).json()["cursor"] for caller in callers]
    await page.raw.locator(".bar").get_by_role("button", name=NEEDS).click()
    await page.raw.get_by_role("button", name="Announce").click()
    form = page.raw.get_by_role("dialog")
    await form.get_by_label("Text").fill("Closed on Monday")
    await form.get_by_label("Technician").uncheck()
    await form.get_by_role("button", name="Send").click()
    await page.raw.get_by_role("dialog").wait_for(state="detached")
    await page.raw.wait_for_url("**/console/live")
    polls = [
        (await caller("GET", f"/v1/events?after={cursor}&wait=0")).json()["events"]
        for caller, cursor in zip(callers, cursors, strict=True)
    ]
    found = [[(each["type"], each["data"]) for each in poll if each["type"].startswith("announce")] for poll in polls]
    assert found == [[("announcement.notice", {"text": "Closed on Monday"})], []]


async def test_a_console_outlives_its_gateway(browser: Browser, tmp_path: Path) -> None:
    """Both gateways of a server are killed, one after the other, under an open console. It says that it reconnects,
    shows what it knew, and is live again without a reload: a job that is booked after that appears.
    """
    async with run_server(tmp_path / "data", "--workers", "2") as server:
        token = await token_of_process(server)
        async with (
            open_town(server.url, token) as town,
            open_console(browser, server.url, town.admin, "ops_manager") as page,
        ):
            page.expected_errors = ("WebSocket", "ERR_", "503")
            await open_page(page, "Jobs")
            await page.run(
                """
                window.seen = [];
                new MutationObserver(() => seen.push(document.querySelector('.bar .connection').dataset.status))
                  .observe(document.querySelector('.bar .connection'), {attributes: true});
                """
            )
            for name in ("gateway 1", "gateway 2"):
                pids = child_pids(server)
                os.kill(pids[name], signal.SIGKILL)
                await wait_until(lambda old=pids[name], who=name: child_pids(server)[who] != old, within_s=30)
                await page.raw.locator(".bar .connection[data-status=connected]").wait_for(timeout=40_000)
            assert "reconnecting" in await page.run("return seen")
            job = await town.book(address="After the crash 1")
            await page.raw.locator(f".board li[data-id='{job}']").wait_for(timeout=40_000)
            assert page.faults == []
