"""Private fields of a job reach only the users who may read them. A job of each shipped blueprint is booked with
private fields and runs until its end. After each step the test searches everything that each user can read of the job
(events, the job, lists, history, offers, a snapshot) for fields that the user must not read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.story.conftest import Person, Scenario
from tests.support import private_fields
from tests.support.photos import add_photos
from tests.support.signatures import signature_of
from tests.support.wait import wait_until

PEOPLE = ("carla", "otto", "tom", "tara", "gus", "ops", "money", "mia")
LIST_PATHS = ("/v1/jobs", "/v1/sync", "/v1/offers", "/v1/disputes", "/v1/notifications")


class JobScenario:
    """A job and all users who may be related to it. ``relation`` is each user's relation to the job now."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.people: dict[str, Person] = {}
        self.relation = dict.fromkeys(PEOPLE, "never_offered")
        self.cursors: dict[str, str] = {}
        self.received: set[tuple[str, str]] = set()
        """Pairs of a user's name and the type of an event about the job that the user received."""
        self.job = ""

    async def create_people(self) -> None:
        """Create two technicians with the service, one without it, two customers, and the staff. Customers and
        technicians have phone numbers.
        """
        self.create_service = await self.scenario.create_service()
        for index, name in enumerate(("carla", "otto")):
            self.people[name] = await self.scenario.create_person("customer", name, phone=f"+1 777 010{index}")
        for index, name in enumerate(("tom", "tara")):
            self.people[name] = await self.scenario.create_technician(
                name, self.create_service, lat=52.52 + index / 100, lon=13.4, phone=f"+1 888 010{index}"
            )
        self.people["gus"] = await self.scenario.create_person("technician", "gus", phone="+1 888 0109")
        for name, role in (("ops", "ops_manager"), ("money", "service"), ("mia", "mediator")):
            self.people[name] = await self.scenario.create_person(role, name)
        zone, epoch, _ = (await self.people["carla"].get("/v1/events?wait=0"))["cursor"].split(":")
        self.cursors = dict.fromkeys(PEOPLE, f"{zone}:{epoch}:0")
        self.relation |= {"carla": "customer", "otto": "other_customer", "ops": "ops", "money": "service"}

    async def book_job(self, blueprint: str, **fields: Any) -> None:
        """Book the job with its private fields."""
        body = {**private_fields.BOOKING, "service": self.create_service, "blueprint": blueprint, **fields}
        created = await self.people["carla"].post("/v1/jobs", body)
        assert created.status_code == 201, created.text
        self.job = created.json()["job"]["id"]

    async def send_command(self, user: str, command: str, new_relation: str = "", **fields: Any) -> httpx.Response:
        """Send a command that must succeed, and check its reply. The sender then has the relation ``new_relation`` (""
        = unchanged).
        """
        answer = await self.people[user].post(f"/v1/jobs/{self.job}/{command}", fields)
        assert answer.is_success, (command, answer.text)
        self.relation[user] = new_relation or self.relation[user]
        self.check_fields(user, f"reply to {command}", answer.text, private_fields.REPLY_FIELDS[self.relation[user]])
        return answer

    async def wait_for_status(self, wanted: str, holder: str = "") -> None:
        """Wait until the job has this status, and this holder ("" = any)."""

        async def is_reached() -> bool:
            job = (await self.scenario.admin.get(f"/v1/jobs/{self.job}"))["job"]
            holder_id = (job["technician"] or {}).get("id")
            return job["status"] == wanted and (not holder or holder_id == self.people[holder].id)

        await wait_until(is_reached, what=f"{wanted} {holder}")

    async def wait_for_offer(self, user: str) -> None:
        """Wait until a technician has an offer of the job."""

        async def is_reached() -> bool:
            items = (await self.people[user].get("/v1/offers"))["items"]
            return any(offer["job"]["id"] == self.job for offer in items)

        await wait_until(is_reached, what=f"an offer to {user}")

    async def check_all_readers(self, **relation: str) -> None:
        """Change the relations in ``relation``, and then check everything that each user can read."""
        before, self.relation = self.relation, {**self.relation, **relation}
        for name, person in self.people.items():
            allowed = private_fields.EVENT_FIELDS[before[name]] | private_fields.EVENT_FIELDS[self.relation[name]]
            page = await person.get(f"/v1/events?after={self.cursors[name]}&wait=0")
            self.cursors[name] = page["cursor"]
            for event in page["events"]:
                self.check_fields(name, event["type"], event, allowed - {"their_phone"})
                if self.job in str(event):
                    self.received.add((name, event["type"]))
            for path in (
                *LIST_PATHS,
                f"/v1/jobs/{self.job}",
                f"/v1/jobs/{self.job}/history",
                f"/v1/jobs/{self.job}/bids",
            ):
                answer = await person.request("GET", path)
                self.check_fields(name, path, answer.text, private_fields.REPLY_FIELDS[self.relation[name]])

    async def dispute(self) -> None:
        """Open a dispute and let a mediator resolve it."""
        reply = (await self.people["carla"].post(f"/v1/jobs/{self.job}/disputes", {"reason": "it leaks"})).json()
        await self.check_all_readers(mia="mediator")
        path = f"/v1/disputes/{reply['dispute']['id']}/resolve"
        await self.people["mia"].post(path, {"outcome": "resume", "note": "agreed"})
        await self.check_all_readers(mia="never_offered")
        assert {("mia", "job.disputed"), ("mia", "job.resolved")} <= self.received

    def check_fields(self, user: str, where: str, sent: Any, allowed: frozenset[str]) -> None:
        """Assert that ``sent`` contains no private field except those in ``allowed``."""
        phones = tuple(
            p.user["phone"] for p in self.people.values() if p.user.get("phone") and p is not self.people[user]
        )
        wrong = private_fields.fields_in(sent, phones) - allowed
        assert not wrong, f"{user}, {self.relation[user]} of the job, reads {wrong} in {where}: {sent}"


async def run_home_service(job_scenario: JobScenario) -> None:
    """Run a `home_service` job: claimed, unassigned, claimed by another technician, cancelled."""
    await job_scenario.book_job("home_service")
    for name in ("tom", "tara"):
        await job_scenario.wait_for_offer(name)
    await job_scenario.check_all_readers(tom="loser", tara="loser")
    await job_scenario.send_command("tara", "claim", new_relation="holder")
    await job_scenario.check_all_readers(tara="holder")
    await job_scenario.scenario.admin.request("GET", "/v1/jobs")
    await job_scenario.people["carla"].request(
        "PATCH", f"/v1/jobs/{job_scenario.job}", {"notes": "gate 4711, key under the mat"}
    )
    await job_scenario.check_all_readers()
    await job_scenario.send_command("tara", "unassign", new_relation="former", reason="flat tyre")
    await job_scenario.wait_for_offer("tom")
    await job_scenario.check_all_readers()
    await job_scenario.send_command("tom", "claim", new_relation="holder")
    await job_scenario.check_all_readers(tom="holder")
    await job_scenario.send_command("tom", "depart")
    await job_scenario.send_command("carla", "cancel", reason="moved away")
    await job_scenario.check_all_readers()


async def run_managed(job_scenario: JobScenario) -> None:
    """Run a `managed` job: assigned, declined, assigned to another technician, finished, disputed, signed."""
    await job_scenario.book_job("managed")
    await job_scenario.wait_for_status("assigned", "tom")
    await job_scenario.check_all_readers(tom="asked")
    await job_scenario.send_command("tom", "decline", new_relation="former")
    await job_scenario.wait_for_status("assigned", "tara")
    await job_scenario.check_all_readers(tara="asked")
    await job_scenario.people["carla"].request(
        "PATCH", f"/v1/jobs/{job_scenario.job}", {"notes": "gate 4711, key under the mat"}
    )
    await job_scenario.check_all_readers()
    await job_scenario.send_command("tara", "accept", new_relation="holder")
    await job_scenario.check_all_readers(tara="holder")
    for command in ("depart", "start"):
        await job_scenario.send_command("tara", command)
    await add_photos(job_scenario.scenario.http, job_scenario.people["tara"].bearer, job_scenario.job)
    await job_scenario.send_command("tara", "finish")
    await job_scenario.dispute()
    shown = await job_scenario.people["carla"].get(f"/v1/jobs/{job_scenario.job}/record")
    await job_scenario.send_command("carla", "sign", **signature_of(shown))
    await job_scenario.check_all_readers()


async def run_cancelled_before_acceptance(job_scenario: JobScenario) -> None:
    """Run a `managed` job that is cancelled before the assigned technician accepts: the technician never reads more
    than the public part.
    """
    await job_scenario.book_job("managed")
    await job_scenario.wait_for_status("assigned", "tom")
    await job_scenario.check_all_readers(tom="asked")
    await job_scenario.send_command("carla", "cancel", reason="gate 4711 is shut")
    await job_scenario.check_all_readers()
    assert ("tom", "job.cancelled") in job_scenario.received


async def run_direct_booking(job_scenario: JobScenario) -> None:
    """Run a `direct_booking` job: requested, accepted, disputed, completed."""
    await job_scenario.book_job("direct_booking", technician=job_scenario.people["tom"].id)
    await job_scenario.wait_for_offer("tom")
    await job_scenario.check_all_readers(tom="asked")
    await job_scenario.send_command("tom", "accept", new_relation="holder")
    await job_scenario.check_all_readers(tom="holder")
    await job_scenario.send_command("tom", "start")
    await job_scenario.dispute()
    await job_scenario.send_command("tom", "complete")
    await job_scenario.check_all_readers()


async def run_marketplace(job_scenario: JobScenario) -> None:
    """Run a `marketplace` job: two bids, one accepted, then unassigned by the customer."""
    await job_scenario.book_job("marketplace")
    for name in ("tom", "tara"):
        await job_scenario.wait_for_offer(name)
        await job_scenario.people[name].post(f"/v1/jobs/{job_scenario.job}/bids", {"amount": 4000})
    await job_scenario.check_all_readers(tom="loser", tara="loser")
    bids = (await job_scenario.people["carla"].get(f"/v1/jobs/{job_scenario.job}/bids"))["items"]
    toms = next(bid["id"] for bid in bids if bid["technician"]["id"] == job_scenario.people["tom"].id)
    await job_scenario.people["carla"].post(f"/v1/jobs/{job_scenario.job}/bids/{toms}/accept")
    await job_scenario.check_all_readers(tom="holder")
    job_scenario.relation["tom"] = "former"
    await job_scenario.send_command("carla", "unassign", reason="changed my mind")
    await job_scenario.check_all_readers()


async def run_delivery(job_scenario: JobScenario) -> None:
    """Run a `delivery` job: confirmed, prepared, claimed, cancelled by ops."""
    await job_scenario.book_job("delivery", amount=900)
    await job_scenario.check_all_readers()
    assert {("tom", "job.created"), ("tara", "job.created")} <= job_scenario.received and (
        "gus",
        "job.created",
    ) not in job_scenario.received
    for command in ("confirm", "prepare", "ready"):
        await job_scenario.send_command("ops", command)
    await job_scenario.wait_for_offer("tom")
    await job_scenario.check_all_readers(tom="loser", tara="loser")
    await job_scenario.send_command("tom", "claim", new_relation="holder")
    await job_scenario.check_all_readers(tom="holder")
    await job_scenario.send_command("ops", "cancel")
    await job_scenario.check_all_readers()
    assert {("tom", "job.cancelled"), ("carla", "job.cancelled")} <= job_scenario.received
    assert ("tara", "job.cancelled") not in job_scenario.received, "somebody held it"


STORIES: list[Callable[[JobScenario], Awaitable[None]]] = [
    run_home_service,
    run_managed,
    run_cancelled_before_acceptance,
    run_direct_booking,
    run_marketplace,
    run_delivery,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_nobody_reads_a_private_field_of_others(
    scenario: Scenario, story: Callable[[JobScenario], Awaitable[None]]
) -> None:
    """During a whole job of each blueprint, no event, reply or list contains a private field that its reader must not
    read, and the customer reads all fields.
    """
    job_scenario = JobScenario(scenario)
    await job_scenario.create_people()
    await story(job_scenario)
    text = (await job_scenario.people["carla"].request("GET", f"/v1/jobs/{job_scenario.job}")).text
    assert private_fields.fields_in(text) >= private_fields.PRIVATE_FIELDS - {"notes"} and "gate 4711" in text
