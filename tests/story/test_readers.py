"""Who reads what. A job of each shipped blueprint goes through its life with private fields in the booking. After each
step the test searches everything that anybody can read of it (events, the job, lists, history, offers, a snapshot) for
fields that are not for that reader."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.story.conftest import Person, Town
from tests.support import private_fields
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until

CAST = ("carla", "otto", "tom", "tara", "gus", "ops", "money", "mia")
LISTS = ("/v1/jobs", "/v1/sync", "/v1/offers", "/v1/disputes", "/v1/notifications")


class Scene:
    """A job and everybody who may be related to it. ``relation`` is each person's relation to the job now."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.cast: dict[str, Person] = {}
        self.relation = dict.fromkeys(CAST, "never_offered")
        self.cursors = dict.fromkeys(CAST, f"main:{epoch_name(1)}:0")
        self.seen: set[tuple[str, str]] = set()
        """What was read of the job's events, as who and type."""
        self.job = ""

    async def gather(self) -> None:
        """Create two technicians with the service, one without it, two customers, and the staff. Each has a phone."""
        self.service = await self.town.service()
        for n, name in enumerate(("carla", "otto")):
            self.cast[name] = await self.town.person("customer", name, phone=f"+1 777 010{n}")
        for n, name in enumerate(("tom", "tara")):
            self.cast[name] = await self.town.technician(
                name, self.service, lat=52.52 + n / 100, lon=13.4, phone=f"+1 888 010{n}"
            )
        self.cast["gus"] = await self.town.person("technician", "gus", phone="+1 888 0109")
        for name, role in (("ops", "ops_manager"), ("money", "service"), ("mia", "mediator")):
            self.cast[name] = await self.town.person(role, name)
        self.relation |= {"carla": "customer", "otto": "other_customer", "ops": "ops", "money": "service"}

    async def book(self, blueprint: str, **more: Any) -> None:
        """Book the job with its private fields."""
        asked = {**private_fields.BOOKING, "service": self.service, "blueprint": blueprint, **more}
        made = await self.cast["carla"].post("/v1/jobs", asked)
        assert made.status_code == 201, made.text
        self.job = made.json()["job"]["id"]

    async def give(self, name: str, command: str, becomes: str = "", **more: Any) -> httpx.Response:
        """Send a command that must succeed. Its sender gets the relation ``becomes``, and the reply is searched."""
        done = await self.cast[name].post(f"/v1/jobs/{self.job}/{command}", more)
        assert done.is_success, (command, done.text)
        self.relation[name] = becomes or self.relation[name]
        self.check(name, f"reply to {command}", done.text, private_fields.REPLY_FIELDS[self.relation[name]])
        return done

    async def wait_for_status(self, wanted: str, holder: str = "") -> None:
        """Wait until the job has this status, and this holder if one is given."""

        async def there() -> bool:
            job = (await self.town.admin.get(f"/v1/jobs/{self.job}"))["job"]
            held = (job["technician"] or {}).get("id")
            return job["status"] == wanted and (not holder or held == self.cast[holder].id)

        await wait_until(there, what=f"{wanted} {holder}")

    async def wait_for_offer(self, name: str) -> None:
        """Wait until a technician has an offer of the job."""

        async def there() -> bool:
            items = (await self.cast[name].get("/v1/offers"))["items"]
            return any(offer["job"]["id"] == self.job for offer in items)

        await wait_until(there, what=f"an offer to {name}")

    async def read_all(self, **relation: str) -> None:
        """Let everybody read all they can, after the relations in ``relation`` have changed."""
        before, self.relation = self.relation, {**self.relation, **relation}
        for name, person in self.cast.items():
            may = private_fields.EVENT_FIELDS[before[name]] | private_fields.EVENT_FIELDS[self.relation[name]]
            page = await person.get(f"/v1/events?after={self.cursors[name]}&wait=0")
            self.cursors[name] = page["cursor"]
            for event in page["events"]:
                self.check(name, event["type"], event, may - {"their_phone"})
                if self.job in str(event):
                    self.seen.add((name, event["type"]))
            for path in (*LISTS, f"/v1/jobs/{self.job}", f"/v1/jobs/{self.job}/history", f"/v1/jobs/{self.job}/bids"):
                answer = await person.call("GET", path)
                self.check(name, path, answer.text, private_fields.REPLY_FIELDS[self.relation[name]])

    async def dispute(self) -> None:
        """Open a dispute and let a mediator resolve it."""
        opened = (await self.cast["carla"].post(f"/v1/jobs/{self.job}/disputes", {"reason": "it leaks"})).json()
        await self.read_all(mia="mediator")
        path = f"/v1/disputes/{opened['dispute']['id']}/resolve"
        await self.cast["mia"].post(path, {"outcome": "resume", "note": "agreed"})
        await self.read_all(mia="never_offered")
        assert {("mia", "job.disputed"), ("mia", "job.resolved")} <= self.seen

    def check(self, name: str, where: str, sent: Any, may: frozenset[str]) -> None:
        """Assert that ``sent`` contains no private field but those in ``may``."""
        phones = tuple(p.user["phone"] for p in self.cast.values() if p.user.get("phone") and p is not self.cast[name])
        wrong = private_fields.fields_in(sent, phones) - may
        assert not wrong, f"{name}, {self.relation[name]} of the job, reads {wrong} in {where}: {sent}"


async def home_service(scene: Scene) -> None:
    await scene.book("home_service")
    for name in ("tom", "tara"):
        await scene.wait_for_offer(name)
    await scene.read_all(tom="loser", tara="loser")
    await scene.give("tara", "claim", becomes="holder")
    await scene.read_all(tara="holder")
    await scene.town.admin.call("GET", "/v1/jobs")
    await scene.cast["carla"].call("PATCH", f"/v1/jobs/{scene.job}", {"notes": "4711, key under the mat"})
    await scene.read_all()
    await scene.give("tara", "unassign", becomes="former", reason="flat tyre")
    await scene.wait_for_offer("tom")
    await scene.read_all()
    await scene.give("tom", "claim", becomes="holder")
    await scene.read_all(tom="holder")
    await scene.give("tom", "depart")
    await scene.give("carla", "cancel", reason="moved away")
    await scene.read_all()


async def managed(scene: Scene) -> None:
    await scene.book("managed")
    await scene.wait_for_status("assigned", "tom")
    await scene.read_all(tom="asked")
    await scene.give("tom", "decline", becomes="former")
    await scene.wait_for_status("assigned", "tara")
    await scene.read_all(tara="asked")
    await scene.cast["carla"].call("PATCH", f"/v1/jobs/{scene.job}", {"notes": "4711, key under the mat"})
    await scene.read_all()
    await scene.give("tara", "accept", becomes="holder")
    await scene.read_all(tara="holder")
    for command in ("depart", "start", "finish"):
        await scene.give("tara", command)
    await scene.dispute()
    await scene.give("carla", "sign")
    await scene.read_all()


async def cancelled_before_acceptance(scene: Scene) -> None:
    """`managed`, cancelled before anybody accepts: the assigned technician never sees more than the public part."""
    await scene.book("managed")
    await scene.wait_for_status("assigned", "tom")
    await scene.read_all(tom="asked")
    await scene.give("carla", "cancel", reason="4711 is shut")
    await scene.read_all()
    assert ("tom", "job.cancelled") in scene.seen


async def direct_booking(scene: Scene) -> None:
    await scene.book("direct_booking", technician=scene.cast["tom"].id)
    await scene.wait_for_offer("tom")
    await scene.read_all(tom="asked")
    await scene.give("tom", "accept", becomes="holder")
    await scene.read_all(tom="holder")
    await scene.give("tom", "start")
    await scene.dispute()
    await scene.give("tom", "complete")
    await scene.read_all()


async def marketplace(scene: Scene) -> None:
    await scene.book("marketplace")
    for name in ("tom", "tara"):
        await scene.wait_for_offer(name)
        await scene.cast[name].post(f"/v1/jobs/{scene.job}/bids", {"amount": 4000})
    await scene.read_all(tom="loser", tara="loser")
    bids = (await scene.cast["carla"].get(f"/v1/jobs/{scene.job}/bids"))["items"]
    toms = next(bid["id"] for bid in bids if bid["technician"]["id"] == scene.cast["tom"].id)
    await scene.cast["carla"].post(f"/v1/jobs/{scene.job}/bids/{toms}/accept")
    await scene.read_all(tom="holder")
    scene.relation["tom"] = "former"
    await scene.give("carla", "unassign", reason="changed my mind")
    await scene.read_all()


async def delivery(scene: Scene) -> None:
    await scene.book("delivery", amount=900)
    await scene.read_all()
    assert {("tom", "job.created"), ("tara", "job.created")} <= scene.seen and ("gus", "job.created") not in scene.seen
    for command in ("confirm", "prepare", "ready"):
        await scene.give("ops", command)
    await scene.wait_for_offer("tom")
    await scene.read_all(tom="loser", tara="loser")
    await scene.give("tom", "claim", becomes="holder")
    await scene.read_all(tom="holder")
    await scene.give("ops", "cancel")
    await scene.read_all()
    assert {("tom", "job.cancelled"), ("carla", "job.cancelled")} <= scene.seen
    assert ("tara", "job.cancelled") not in scene.seen, "somebody held it"


STORIES: list[Callable[[Scene], Awaitable[None]]] = [
    home_service,
    managed,
    cancelled_before_acceptance,
    direct_booking,
    marketplace,
    delivery,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_nobody_reads_what_is_not_theirs(town: Town, story: Callable[[Scene], Awaitable[None]]) -> None:
    """Over the whole life of a job of each blueprint, no event, reply or list shows a reader a field that is not for
    them, and the parties read all fields.
    """
    scene = Scene(town)
    await scene.gather()
    await story(scene)
    shown = (await scene.cast["carla"].call("GET", f"/v1/jobs/{scene.job}")).text
    assert private_fields.fields_in(shown) >= private_fields.PRIVATE_FIELDS - {"notes"} and "4711" in shown
