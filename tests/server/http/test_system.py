"""The routes for those who operate the server: figures, processes, zones, settings, and the search of the staff."""

from __future__ import annotations

from typing import Any

import pytest

from engine.domain.stats import STEP_S
from engine.types import Role
from server.process.sampler import Sampler
from server.serve import RunningServer
from tests.server.http import people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book
from tests.support.wait import wait_until

OPS_ROLES = ("ops_manager", "admin")
READERS: dict[str, tuple[str, ...]] = {
    "/v1/stats": OPS_ROLES,
    "/v1/system": OPS_ROLES,
    "/v1/settings": ("admin",),
    "/v1/search?q=ada": (*OPS_ROLES, "onboarding_manager"),
}


@pytest.mark.parametrize("path", READERS)
async def test_only_staff_read_them(path: str, staff: dict[Role, Client], nobody: Client) -> None:
    """Ops may read figures and the system, admins the settings. Ops and onboarding managers may search."""
    assert code_of(await nobody("GET", path)) == (401, "unauthenticated")
    found = {role: (await client("GET", path)).status_code for role, client in staff.items()}
    assert found == {role: 200 if role in READERS[path] else 403 for role in staff}


@pytest.mark.parametrize(
    ("path", "at"),
    [
        ("/v1/stats?since=yesterday", "/since"),
        ("/v1/stats?until=2026-01-31T12:00:00Z", "/until"),
        ("/v1/search", "/q"),
        ("/v1/search?q=a", "/q"),
        ("/v1/search?q=%20%20%20", "/q"),
        ("/v1/search?q=%20a%20", "/q"),
        (f"/v1/search?q={'a' * 101}", "/q"),
    ],
)
async def test_a_wrong_query_is_refused(path: str, at: str, admin: Client) -> None:
    """A wrong or unknown parameter is `invalid` with its pointer."""
    assert pointers(await admin("GET", path)) == {at}


async def test_the_figures_show_a_claim(admin: Client, technician: Client, customer: Client, book: Book) -> None:
    """A claim is counted in the step in which it happened, with the time that it took; a repeat under the same key is
    no second claim. `since` leaves out the steps before.
    """
    job, key = await book(customer), "52ec0fdb-f05b-4171-ae5f-d5c4d21e13e5"
    await people.wait_for_offer(technician, job["id"])
    items: list[dict[str, Any]] = (await admin("GET", "/v1/stats")).json()["items"]
    newest = items[-1:]

    async def is_sampled() -> bool:
        items[:] = (await admin("GET", "/v1/stats")).json()["items"]
        return items[-1:] != newest

    await wait_until(is_sampled, within_s=15, what="a sample with the claims of earlier tests")
    since = items[-1]["at"]
    for _ in range(2):
        answer = await technician("POST", f"/v1/jobs/{job['id']}/claim", {}, Idempotency_Key=key)
        assert answer.status_code == 200, answer.text

    async def is_counted() -> bool:
        items[:] = (await admin("GET", f"/v1/stats?since={since}")).json()["items"]
        return any(point["claims_per_s"] for point in items)

    await wait_until(is_counted, within_s=15, what="a claim in the figures")
    assert sum(point["claims_per_s"] for point in items) * STEP_S == 1
    point = next(point for point in items if point["claims_per_s"])
    assert 0 < point["p50_s"] <= point["p99_s"] and point["open_jobs"] >= 1
    assert all(point["at"] > since for point in items)


async def test_a_count_that_did_not_arrive_is_in_the_next_sample(site: RunningServer, admin: Client) -> None:
    """The counts of a sample that Redis did not accept are in the next sample, and in no later one."""
    sampler = Sampler(site.engine, None, site.http_metrics, "other")
    store, run = type(site.engine.store), type(site.engine.store).run_for_user
    site.engine.metrics.commands.claims += 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "run_for_user", fail)
        with pytest.raises(ConnectionError):
            await sampler.add_sample()
        samples: list[Any] = []

        async def note(self: Any, script: str, **names: Any) -> Any:
            samples.append(names["args"]["sample"])
            return await run(self, script, **names)

        patch.setattr(store, "run_for_user", note)
        await sampler.add_sample()
        await sampler.add_sample()
    assert [b'"claims":3' in sample for sample in samples[:2]] == [True, False]
    site.engine.metrics.commands.claims -= 3


async def fail(*_: Any, **__: Any) -> None:
    """Fail as a lost connection does."""
    raise ConnectionError


async def test_the_system_shows_processes_zones_and_redis(admin: Client, site: RunningServer) -> None:
    """The server shows its process, its zone with the archive behind the log, and the Redis that it uses."""
    found: dict[str, Any] = {}

    async def has_process() -> bool:
        found.update((await admin("GET", "/v1/system")).json()["system"])
        return any(each["name"] == "server" for each in found["processes"])

    await wait_until(has_process, within_s=15, what="the sample of this process")
    process = next(each for each in found["processes"] if each["name"] == "server")
    assert process["roles"] == list(site.engine.settings.roles) and process["seen_at"] >= process["started_at"]
    [zone] = found["zones"]
    assert (zone["zone"], zone["open"], zone["why"]) == ("main", True, "") and 0 <= zone["archived"] <= zone["seq"]
    assert found["database"] == "postgresql" and found["problems"] == []
    assert found["redis"][0]["memory_bytes"] > 0


async def test_settings_hide_what_is_secret(admin: Client) -> None:
    """An admin reads the settings without the parameters of the database's address. Settings with default values are
    not shown as set.
    """
    items = {each["name"]: each for each in (await admin("GET", "/v1/settings")).json()["items"]}
    assert items["database"]["value"].startswith("postgresql://") and items["database"]["value"].endswith("?•••")
    assert items["limits"] == {"name": "limits", "value": "off", "is_default": False}
    assert items["push_secret"] == {"name": "push_secret", "value": "", "is_default": True}


async def test_each_role_finds_what_it_may_see(
    staff: dict[Role, Client], technician: Client, customer: Client, book: Book
) -> None:
    """Ops find people and jobs, onboarding managers only technicians, and only admins search e-mail addresses."""
    job = await book(customer, address="17 Quellengasse")

    async def find(role: Role, text: str) -> set[tuple[str, str]]:
        items = (await staff[role]("GET", f"/v1/search?q={text}")).json()["items"]
        return {(each["kind"], each["id"]) for each in items}

    async def is_archived() -> bool:
        return ("job", job["id"]) in await find("ops_manager", "QUELLENGASSE")

    await wait_until(is_archived, what="the job in SQL")
    assert ("job", job["id"]) in await find("admin", job["id"])
    assert await find("onboarding_manager", job["id"]) == set()
    for role, finds in (("admin", True), ("ops_manager", True), ("onboarding_manager", False)):
        assert (("user", customer.user) in await find(role, customer.user)) == finds, role  # type: ignore[arg-type]
        assert ("technician", technician.user) in await find(role, technician.user)  # type: ignore[arg-type]
    email = (await customer("GET", "/v1/me")).json()["user"]["email"]
    assert await find("admin", email) == {("user", customer.user)}
    assert await find("ops_manager", email) == set()
    assert await find("admin", "%25%25") == set() == await find("admin", "__")
