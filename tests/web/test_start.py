"""The start page, and the apps to which it leads."""

from __future__ import annotations

import uuid
from http.cookies import SimpleCookie

from server.serve import RunningServer
from tests.support.browser import DESK, PHONE, TABLET, Browser, Page
from tests.support.http import open_http

PASSWORD = "a long pass phrase"
SIZES = {"desk": DESK, "tablet": TABLET, "phone": PHONE}


async def test_the_start_page_shows_who_one_can_be(browser: Browser, site: RunningServer) -> None:
    """The start page names the three apps and the interface, in both themes and three widths, without sideways
    scrolling, without an axe violation, without an error, and without a request to anywhere else.
    """
    async with browser.new_page() as page:
        await page.goto(site.url)
        await page.raw.get_by_role("heading", name="Who are you?").wait_for()
        for name in ("Console", "Customer", "Technician", "API", "Try it"):
            await page.raw.get_by_role("link", name=name).first.wait_for()
        for size, (width, height) in SIZES.items():
            for dark in (False, True):
                await page.resize(width, height, dark=dark)
                assert await page.run("return document.documentElement.scrollWidth <= innerWidth"), size
                ground = await page.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g)[0]")
                assert (int(ground) < 64) is dark
                assert await page.find_axe_violations() == []
                await page.save_screenshot(f"start-{size}-{'dark' if dark else 'light'}")
        assert page.find_flaws() == []


async def test_a_customer_registers_and_is_still_there_after_a_reload(phone: Page, site: RunningServer) -> None:
    """From the start page a stranger opens the customer's app and registers. No script can read the session. After a
    reload they are signed in; after the sign-out they are not, also after a reload. The session of somebody else that
    another server has planted in the cookie is not used.
    """
    await phone.goto(site.url)
    await phone.raw.get_by_role("link", name="Customer").tap()
    await phone.raw.get_by_label("E-mail").wait_for()
    assert await phone.find_axe_violations() == []
    await phone.raw.get_by_role("tab", name="I am new here").tap()
    await phone.raw.get_by_label("Your name").fill("Carla")
    await phone.raw.get_by_label("E-mail").fill(email := f"{uuid.uuid4().hex}@example.org")
    await phone.raw.get_by_label("Password").fill(PASSWORD)
    assert await phone.find_axe_violations() == []
    await phone.raw.get_by_role("button", name="Create an account").tap()
    await phone.raw.locator(".connection[data-status=connected]").wait_for()
    assert await phone.run("return document.cookie") == ""
    assert "eyJ" not in await phone.run("return JSON.stringify({ ...localStorage, ...sessionStorage })")
    await phone.raw.reload()
    await phone.raw.locator(".connection[data-status=connected]").wait_for()
    phone.expected_errors = ("404",)
    for path in ("jobs/%", "new/%ff", "nothing/at/all"):  # a page that is none, also with a wrong escape
        await phone.goto(f"{site.url}/book/{path}")
        await phone.raw.locator(".connection[data-status=connected]").wait_for()
    await phone.goto(f"{site.url}/book")
    await phone.raw.get_by_role("button", name="Sign out").tap()
    await phone.raw.get_by_label("E-mail").wait_for()
    await phone.raw.reload()
    await phone.raw.get_by_label("E-mail").wait_for()
    await phone.raw.get_by_label("E-mail").fill(email)
    await phone.raw.get_by_label("Password").fill(PASSWORD)
    await phone.raw.get_by_role("button", name="Sign in").tap()
    await phone.raw.locator(".connection[data-status=connected]").wait_for()
    await plant_session_of_somebody(phone, site)
    await phone.raw.reload()
    await phone.raw.get_by_label("E-mail").wait_for()


async def plant_session_of_somebody(page: Page, site: RunningServer) -> None:
    """Replace the session in the cookie of the customers' app by that of another customer."""
    body = {"email": f"{uuid.uuid4().hex}@example.org", "password": PASSWORD, "name": "Mallory", "role": "customer"}
    async with open_http(site.url) as http:
        answer = await http.post("/v1/auth/register", json={**body, "cookie": "book"}, headers={"Origin": site.url})
    token = SimpleCookie(answer.headers["set-cookie"])["callout_book"].value
    await page.raw.context.add_cookies(
        [{"name": "callout_book", "value": token, "domain": "127.0.0.1", "path": "/v1/auth", "httpOnly": True}]
    )


async def test_a_wrong_password_is_said_beside_the_form(page: Page, site: RunningServer) -> None:
    """A wrong password is answered beside the form, with its code, and nobody is signed in."""
    page.expected_errors = ("401",)
    await page.goto(f"{site.url}/tech")
    await page.raw.get_by_label("E-mail").fill("nobody@example.org")
    await page.raw.get_by_label("Password").fill("wrong wrong")
    await page.raw.get_by_role("button", name="Sign in").click()
    alert = page.raw.get_by_role("alert")
    await alert.wait_for()
    assert "unauthenticated" in await alert.inner_text()
    assert await page.find_axe_violations() == []
