"""The page to try Callout on, used as a developer would: by its forms and buttons."""

from __future__ import annotations

import uuid

import orjson
import pytest

from engine.process.signer import sign_token
from engine.types import UserId
from server.serve import Running
from tests.server.web.chromium import Browser, Page

CONNECTED = 'document.querySelector("#status").textContent === "connected by socket"'


async def fill(page: Page, form: str, **fields: str) -> None:
    """Fill a form in and send it by its first button."""
    await page.run(
        f"const form = document.querySelector({form!r}), fields = {orjson.dumps(fields).decode()};"
        "for (const [name, value] of Object.entries(fields)) form.elements[name].value = value;"
        'form.querySelector("button").click();'
    )


async def click(page: Page, selector: str) -> None:
    """Press a button once it is there."""
    await page.until(f"document.querySelector({selector!r}) && !document.querySelector({selector!r}).disabled")
    await page.run(f"document.querySelector({selector!r}).click()")


async def register(page: Page, site: Running, role: str, name: str) -> None:
    """Open the page and join."""
    await page.goto(f"{site.url}/web/")
    email = f"{uuid.uuid4().hex}@example.org"
    await fill(page, "#register", role=role, name=name, email=email, password="correct horse")
    await page.until(CONNECTED)


async def framed(page: Page, name: str) -> None:
    """Wait for a line of the log."""
    await page.until(f'[...document.querySelectorAll(".frame b")].some((b) => b.textContent === {name!r})')


async def test_a_wrong_password_is_told_under_the_form(page: Page, site: Running) -> None:
    """The refusal stands where it was caused, and nobody is signed in."""
    await page.goto(f"{site.url}/web/")
    await click(page, "[data-tab=login]")
    await fill(page, "#login", email="nobody@example.org", password="wrong wrong")
    told = await page.until('document.querySelector("#login .fault").textContent')
    assert told
    assert await page.run('return document.querySelector("#who").hidden') is True


async def test_what_others_wrote_stays_text(page: Page, site: Running) -> None:
    """A name with markup in it is shown as it was written, everywhere on the page."""
    name = "<img src=x onerror=alert(1)>"
    await register(page, site, "customer", name)
    assert await page.run('return document.querySelector("[data-name]").textContent') == name
    await page.run('for (const line of document.querySelectorAll(".frame")) line.open = true')
    assert await page.run('return document.querySelectorAll("main img").length') == 0


async def test_tokens_are_not_shown(page: Page, site: Running) -> None:
    """A screenshot of the page gives nobody's access away."""
    await register(page, site, "customer", "Carla")
    await page.run('for (const line of document.querySelectorAll(".frame")) line.open = true')
    text = await page.run("return document.body.innerText")
    assert "eyJ" not in text and '"access_token": "…"' in text


async def test_a_job_from_its_booking_to_the_work(browser: Browser, site: Running) -> None:
    """An admin makes a service and approves; a customer books; a technician claims and goes: all on the page."""
    async with browser.page() as office, browser.page() as carla, browser.page() as tom:
        await office.goto(f"{site.url}/web/")
        await click(office, "[data-tab=token]")
        bearer = sign_token(site.engine.signer, UserId("cli_admin"), "admin")
        await fill(office, "#token", token=bearer)
        await office.until(CONNECTED)
        await fill(office, "#service", name="Plumbing")
        await framed(office, "POST /v1/services")
        await register(tom, site, "technician", "Tom")
        await click(tom, "[name=services]")
        await click(tom, "#profile button")
        await framed(
            tom, await tom.run('return `PATCH /v1/technicians/${document.querySelector("[data-id]").textContent}`')
        )
        await click(office, "#look")
        await click(office, "#technicians button")
        await framed(tom, "technician.reviewed")
        await fill(tom, "#availability")
        await tom.until('document.querySelector("[data-told]").textContent.startsWith("Online")')
        await register(carla, site, "customer", "Carla")
        await carla.until('document.querySelector("#book select").value')
        await fill(carla, "#book form", address="2 Side St")
        await click(tom, "#offers button")
        await framed(carla, "job.accepted")
        await click(tom, "#jobs button")
        await carla.until('document.querySelector("#jobs .chip").textContent === "on_the_way"')
        await click(carla, "#cut")
        await framed(carla, "reconnecting")
        await carla.until(CONNECTED)
        assert [*office.faults, *carla.faults, *tom.faults] == []


async def test_frames_can_be_filtered(page: Page, site: Running) -> None:
    """Only lines with the words are shown, and the count says of how many."""
    await register(page, site, "customer", "Carla")
    await framed(page, "sync")
    await page.run(
        'const search = document.querySelector("#frames [type=search]"); search.value = "SYNC";'
        'search.dispatchEvent(new Event("input"))'
    )
    shown = "[...document.querySelectorAll('.frame')].filter((line) => !line.hidden)"
    assert await page.run(f"return {shown}.every((line) => line.dataset.text.includes('sync'))")
    assert " of " in await page.run('return document.querySelector("[data-count]").textContent')


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
async def test_it_fits(width: int, dark: bool, page: Page, site: Running) -> None:
    """No width makes it scroll sideways, and the ground follows the scheme."""
    await page.resize(width, 800, dark=dark)
    await register(page, site, "technician", "Tom with a name that is quite long for a telephone")
    assert await page.run("return document.documentElement.scrollWidth <= innerWidth")
    ground = await page.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(ground) < 64) is dark
