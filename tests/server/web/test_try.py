"""The page `/web/try.html`, used by its forms and buttons as a developer would."""

from __future__ import annotations

import uuid

import orjson

from engine.process.signer import sign_token
from engine.types import UserId
from server.serve import RunningServer
from tests.support.browser import Browser, Page

IS_CONNECTED = 'document.querySelector("#status").textContent === "connected by socket"'


async def submit_form(page: Page, form: str, **fields: str) -> None:
    """Fill in a form and press its first button."""
    await page.run(
        f"const form = document.querySelector({form!r}), fields = {orjson.dumps(fields).decode()};"
        "for (const [name, value] of Object.entries(fields)) form.elements[name].value = value;"
        'form.querySelector("button").click();'
    )


async def click(page: Page, selector: str) -> None:
    """Press a button once it exists and is enabled."""
    await page.wait_for(f"document.querySelector({selector!r}) && !document.querySelector({selector!r}).disabled")
    await page.run(f"document.querySelector({selector!r}).click()")


async def register(page: Page, site: RunningServer, role: str, name: str) -> None:
    """Open the page and register an account."""
    await page.goto(f"{site.url}/web/")
    email = f"{uuid.uuid4().hex}@example.org"
    await submit_form(page, "#register", role=role, name=name, email=email, password="correct horse")
    await page.wait_for(IS_CONNECTED)


async def wait_for_frame(page: Page, frame_type: str) -> None:
    """Wait until the log on the page has a line with this name."""
    await page.wait_for(f'[...document.querySelectorAll(".frame b")].some((b) => b.textContent === {frame_type!r})')


async def test_a_wrong_password_is_shown_under_the_form(page: Page, site: RunningServer) -> None:
    """After a login with a wrong password the form shows the error, and nobody is signed in."""
    await page.goto(f"{site.url}/web/")
    await click(page, "[data-tab=login]")
    await submit_form(page, "#login", email="nobody@example.org", password="wrong wrong")
    error_text = await page.wait_for('document.querySelector("#login .fault").textContent')
    assert error_text
    assert await page.run('return document.querySelector("#who").hidden') is True


async def test_a_name_with_markup_is_shown_as_text(page: Page, site: RunningServer) -> None:
    """A name that contains HTML is shown as text everywhere on the page."""
    name = "<img src=x onerror=alert(1)>"
    await register(page, site, "customer", name)
    assert await page.run('return document.querySelector("[data-name]").textContent') == name
    await page.run('for (const line of document.querySelectorAll(".frame")) line.open = true')
    assert await page.run('return document.querySelectorAll("main img").length') == 0


async def test_tokens_are_not_shown(page: Page, site: RunningServer) -> None:
    """The page shows no access token, so that a screenshot of it reveals none."""
    await register(page, site, "customer", "Carla")
    await page.run('for (const line of document.querySelectorAll(".frame")) line.open = true')
    text = await page.run("return document.body.innerText")
    assert "eyJ" not in text and '"access_token": "…"' in text


async def test_a_job_from_booking_to_work(browser: Browser, site: RunningServer) -> None:
    """On the page an admin creates a service and approves a technician, a customer books, and the technician claims and
    departs.
    """
    async with browser.new_page() as office, browser.new_page() as carla, browser.new_page() as tom:
        await office.goto(f"{site.url}/web/")
        await click(office, "[data-tab=token]")
        bearer = sign_token(site.engine.signer, UserId("cli_admin"), "admin")
        await submit_form(office, "#token", token=bearer)
        await office.wait_for(IS_CONNECTED)
        await submit_form(office, "#service", name="Plumbing")
        await wait_for_frame(office, "POST /v1/services")
        await register(tom, site, "technician", "Tom")
        await click(tom, "[name=services]")
        await click(tom, "#profile button")
        await wait_for_frame(
            tom, await tom.run('return `PATCH /v1/technicians/${document.querySelector("[data-id]").textContent}`')
        )
        await click(office, "#look")
        await click(office, "#technicians button")
        await wait_for_frame(tom, "technician.reviewed")
        await submit_form(tom, "#availability")
        await tom.wait_for('document.querySelector("[data-notice]").textContent.startsWith("Online")')
        await register(carla, site, "customer", "Carla")
        await carla.wait_for('document.querySelector("#book select").value')
        await submit_form(carla, "#book form", address="2 Side St")
        await click(tom, "#offers button")
        await wait_for_frame(carla, "job.accepted")
        await click(tom, "#jobs button")
        await carla.wait_for('document.querySelector("#jobs .chip").textContent === "on_the_way"')
        await click(carla, "#cut")
        await wait_for_frame(carla, "reconnecting")
        await carla.wait_for(IS_CONNECTED)
        assert [*office.faults, *carla.faults, *tom.faults] == []


async def test_the_log_can_be_filtered(page: Page, site: RunningServer) -> None:
    """Only the lines that contain the search text are shown, and the page says how many of all lines these are."""
    await register(page, site, "customer", "Carla")
    await wait_for_frame(page, "sync")
    await page.run(
        'const search = document.querySelector("#frames [type=search]"); search.value = "SYNC";'
        'search.dispatchEvent(new Event("input"))'
    )
    visible_frames = "[...document.querySelectorAll('.frame')].filter((line) => !line.hidden)"
    assert await page.run(f"return {visible_frames}.every((line) => line.dataset.text.includes('sync'))")
    assert " of " in await page.run('return document.querySelector("[data-count]").textContent')


async def test_the_page_fits_the_window(page: Page, site: RunningServer) -> None:
    """The page does not scroll sideways at any width, and its background follows the colour scheme."""
    await page.resize(360, 800)
    await register(page, site, "technician", "Tom with a name that is quite long for a telephone")
    for width in (360, 768, 1280):
        for dark in (False, True):
            await page.resize(width, 800, dark=dark)
            assert await page.run("return [innerWidth, document.documentElement.scrollWidth <= innerWidth]") == [
                width,
                True,
            ]
            ground = await page.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
            assert (max(ground) < 64) is dark, width
