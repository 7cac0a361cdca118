"""A customer who has jobs, chats and ratings, and is then erased."""

from __future__ import annotations

from dataclasses import dataclass

from engine.domain import erasures, jobs, messages, profile, quotes, ratings
from engine.domain.booking import Booking
from engine.domain.commands import CommandInput
from engine.domain.messages import MessageDraft
from engine.domain.profile import ProfilePatch
from engine.identity import accounts
from engine.identity.accounts import NewAccount
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId, room_of
from engine.workers import archiver, eraser
from tests.engine import staff
from tests.support import people

NAME, PHONE, EMAIL, ADDRESS = "Zenobia Quillfeather", "+1 555 7310942", "zenobia.quill@example.org", "77 Larkspur Mews"
NOTES, TEXT, COMMENT = "the blue door with the brass owl", "please bring a ladder for the attic", "swept the hallway"
QUOTED_LAT = "40.7517391"
"""The latitude of a place of which the customer asks the price."""
TEXTS = (NAME, PHONE, EMAIL, ADDRESS, NOTES, TEXT, COMMENT, QUOTED_LAT)
OTHER_NAME = "Uuo"
"""The technician's name: short, and of letters that no random id has."""
PASSWORD = "correct horse"
STEPS = ("claim", "depart", "arrive", "start", "complete")


@dataclass
class Life:
    """A customer who is to be erased, and the technician who did their jobs."""

    engine: Engine
    customer: Principal
    technician: Principal
    service: ServiceId
    jobs: list[JobId]

    async def do_job(self, number: int) -> JobId:
        """Let the customer book a job and the technician do it, with a chat and ratings."""
        engine = self.engine
        job = await people.offered_job(
            engine,
            self.customer,
            self.service,
            address=ADDRESS,
            notes=NOTES,
            reference=f"{ADDRESS} {number}",
            metadata={"gate": NOTES},
        )
        for command in STEPS:
            await self.step(job, command)
            if command == "depart":
                await self.say(self.customer, job, f"{TEXT} {number}")
                await self.say(self.technician, job, f"Yes, {NAME}, {number} o'clock")
        await ratings.rate_job(engine, self.customer, job, 5, COMMENT)
        await ratings.rate_job(engine, self.technician, job, 4, "paid in time")
        self.jobs.append(job)
        return job

    async def ask_for_a_quote(self) -> None:
        """Let the customer request a quote without a booking."""
        place = {"lat": float(QUOTED_LAT), "lon": people.HERE.lon, "address": ""}
        asked = Booking(blueprint="managed", service=self.service, **place)  # type: ignore[arg-type]
        await quotes.create_quote(self.engine, self.customer, asked)

    async def step(self, job: JobId, command: str) -> None:
        """Let the technician take a step."""
        if command == "claim":
            await jobs.claim(self.engine, self.technician, job)
        else:
            await jobs.run_command(self.engine, self.technician, job, CommandInput(command=command))

    async def say(self, who: Principal, job: JobId, text: str) -> None:
        """Say a message in the room of the job."""
        await messages.say(self.engine, who, room_of(job), MessageDraft(text=text, client_id=f"c{len(text)}"))

    async def archive_all(self) -> None:
        """Archive the log, and trim what is archived when the window has passed."""
        await archiver.run_once(self.engine)
        meta = keys.zone_meta(DEFAULT_ZONE)
        await self.engine.store.command("HINCRBY", meta, "now", "10")
        seq = int(await self.engine.store.command("HGET", meta, "seq"))
        await archiver.trim_log(self.engine, DEFAULT_ZONE, seq)

    async def erase(self, who: Principal | None = None) -> erasures.Erasure:
        """Let an admin erase the customer, or ``who``, and do all that the process does."""
        user = (who or self.customer).id
        await erasures.request_erasure(self.engine, people.ADMIN, user, reason="asked by letter", password=None)
        await self.archive_all()
        assert await eraser.run_once(self.engine) == 1
        await archiver.run_once(self.engine)
        return await erasures.read_erasure(self.engine, people.ADMIN, user)


async def begin_life(engine: Engine, count: int) -> Life:
    """Create the two people, and let them do ``count`` jobs."""
    service = await people.service(engine)
    technician = await staff.create_eligible_technician(engine, service, capacity=5)
    await profile.patch_technician(engine, people.ADMIN, TechnicianId(technician.id), ProfilePatch(name=OTHER_NAME))
    new = NewAccount(email=EMAIL, password=PASSWORD, name=NAME, role="customer", phone=PHONE)
    account = (await accounts.register_user(engine, new)).value.user
    life = Life(engine, Principal(account.id, "customer", NAME), technician, service, [])
    await life.ask_for_a_quote()
    for number in range(count):
        await life.do_job(number)
    return life
