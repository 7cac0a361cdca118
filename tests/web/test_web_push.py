"""Web Push as a story: a technician turns it on, closes the page, and is notified of an offer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import CDPSession

from engine.identity import devices
from engine.process.settings import Settings
from server.serve import RunningServer, run_server
from tests.server.http import people
from tests.server.http.client import Client
from tests.support.browser import Browser
from tests.support.http import open_http
from tests.support.push_service import PushService, running_push_service
from tests.support.wait import wait_until
from tests.web.phones import Phone, employ, open_phone

SUBSCRIBE = """
const subscription = {{
  endpoint: {endpoint},
  get options() {{
    const key = localStorage.getItem("test.subscribed").replaceAll("-", "+").replaceAll("_", "/");
    return {{ applicationServerKey: Uint8Array.from(atob(key), (each) => each.charCodeAt(0)).buffer }};
  }},
  toJSON: () => ({token}),
  unsubscribe: async () => {{ localStorage.removeItem("test.subscribed"); return true; }},
}};
PushManager.prototype.getSubscription = async () => localStorage.getItem("test.subscribed") ? subscription : null;
PushManager.prototype.subscribe = async (options) => {{
  localStorage.setItem("test.subscribed", options.applicationServerKey);
  return subscription;
}};
"""
"""A browser on a machine without internet reaches no push service. So its subscription is one of the test's service."""

TAP = """async () => {
  const works = [];
  ExtendableEvent.prototype.waitUntil = (work) => works.push(work);
  const [notification] = await registration.getNotifications();
  dispatchEvent(new NotificationEvent("notificationclick", { notification }));
  await Promise.all(works);
}"""
"""Tap a notification: what the operating system does cannot be done from outside."""


@pytest.fixture
async def service() -> AsyncIterator[PushService]:
    async with running_push_service() as running:
        yield running


@pytest.fixture
async def push_site(service: PushService, tmp_path: Any) -> AsyncIterator[RunningServer]:
    """Start a server that sends Web Push, also to the test's push service."""
    settings = Settings(
        data=str(tmp_path),
        port=0,
        limits="off",
        web_push_contact="mailto:ops@example.org",
        web_push_origins=(service.origin,),
    )
    async with run_server(settings) as running:
        yield running


async def find_registration(cdp: CDPSession, scope: str) -> str:
    """Return the id of the registration of an app's service worker."""
    found: list[dict[str, Any]] = []
    cdp.on("ServiceWorker.workerRegistrationUpdated", lambda event: found.extend(event["registrations"]))
    await cdp.send("ServiceWorker.enable")

    async def find() -> str:
        return next((str(each["registrationId"]) for each in found if each["scopeURL"].endswith(scope)), "")

    return str(await wait_until(find, what="the service worker"))


async def notifications(phone: Phone) -> list[dict[str, Any]]:
    """Return the notifications that the service worker of /tech shows."""
    return list(
        await phone.page.run(
            "const found = await (await navigator.serviceWorker.getRegistration('/tech')).getNotifications();"
            "return found.map(({ title, body, data }) => ({ title, body, data }))"
        )
    )


async def find_tokens(site: RunningServer, phone: Phone) -> list[str]:
    """Return the push tokens of the devices of the phone's user."""
    user = phone.client.user
    return [each.token for each in (await devices.find_push_addresses(site.engine.archive, [user]))[user].devices]


async def test_a_technician_is_notified_while_the_page_is_closed(
    browser: Browser, push_site: RunningServer, service: PushService
) -> None:
    """A technician whose browser blocks notifications cannot turn them on. Another one can: while their page is visible
    nothing is shown; once it is closed, an offer is shown with the blueprint's text, and a tap opens the app. After
    they sign out, the server has no device.
    """
    site, tablet = push_site, service.subscribe("tom")
    options = {"permissions": ["geolocation"], "service_workers": "allow"}
    script = SUBSCRIBE.format(endpoint=json.dumps(tablet.endpoint), token=tablet.token)
    async with open_http(site.url) as http, open_phone(browser, site, http, "tech", "Tom", **options) as tom:
        admin = people.principal(site, http, "admin")
        await tom.raw.add_init_script(script)
        kind = await people.make_service(admin)
        await employ(tom, admin, kind)
        switch = tom.raw.get_by_role("switch")
        await tom.page.goto(f"{site.url}/tech/profile")
        await tom.see("Notifications are blocked")
        assert await switch.is_disabled()
        await tom.look("push-blocked")
        await tom.raw.context.grant_permissions(["geolocation", "notifications"])
        await tom.page.goto(f"{site.url}/tech")
        await switch.wait_for()
        await switch.tap()
        await tom.raw.locator("[role=switch][aria-checked=true]").wait_for()
        assert await find_tokens(site, tom) == [tablet.token]
        # The server has got another key since then: the page subscribes again.
        key = (await http.get("/v1/meta")).json()["web_push_key"]
        assert await tom.page.run("return localStorage.getItem('test.subscribed')") == key
        await tom.page.run("localStorage.setItem('test.subscribed', 'BAAA')")
        await tom.raw.reload()
        await tom.page.wait_for(f"localStorage.getItem('test.subscribed') === '{key}'")
        await tom.tap("Go online")
        await tom.see("Waiting for an offer")
        assert await switch.count() == 0  # the invitation is gone; the profile has the switch

        customer = await people.register(Client(http), "customer")
        job = (await people.book(customer, kind))["id"]
        await wait_until(lambda: service.arrived, what="the push")
        text = tablet.decrypt(service.arrived[0].body).decode()
        assert (json.loads(text)["kind"], json.loads(text)["job"]) == ("offer", job)
        assert service.arrived[0].claims(service.origin, key)["sub"] == "mailto:ops@example.org"

        cdp = await tom.raw.context.new_cdp_session(tom.raw)
        push = {"origin": site.url, "registrationId": await find_registration(cdp, "/tech"), "data": text}
        await cdp.send("ServiceWorker.deliverPushMessage", push)
        assert await notifications(tom) == []
        await tom.page.goto("about:blank")
        await cdp.send("ServiceWorker.deliverPushMessage", push)
        assert (await customer("POST", f"/v1/jobs/{job}/cancel", {"reason": "found a key"})).status_code == 200
        await tom.page.goto(f"{site.url}/tech/profile")
        await tom.raw.locator("[role=switch][aria-checked=true]").wait_for()
        await tom.look("push-on")
        (shown,) = await notifications(tom)
        assert shown["title"] == json.loads(text)["title"] and shown["data"] == {"path": "/tech"}
        worker = tom.raw.context.service_workers[0]
        await worker.evaluate(TAP)
        await tom.see("Waiting for an offer")
        assert await notifications(tom) == []
        # Somebody else turned it on and did not sign out: their subscription ends, and nothing is turned on for Tom.
        await tom.page.run("localStorage.setItem('callout.push.tech', 'usr_other')")
        await tom.raw.reload()
        await tom.page.wait_for("localStorage.getItem('test.subscribed') === null")
        await tom.raw.locator("[role=switch][aria-checked=false]").tap()
        await tom.page.wait_for(f"localStorage.getItem('callout.push.tech') === '{tom.client.user}'")
        await tom.tap("Sign out: Tom")
        await tom.raw.get_by_role("button", name="Sign in", exact=True).wait_for()
        assert await find_tokens(site, tom) == []
