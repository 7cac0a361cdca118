"""A person who is erased is in no table, key, file or log any more, and the audit tree still verifies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import LargeBinary, Text, select

from engine.audit import heads, signed_note
from engine.audit.head_key import HeadKey
from engine.audit.verifier import verify_zone
from engine.domain import erasures, jobs, messages, ratings
from engine.domain.commands import CommandInput
from engine.domain.messages import MessageDraft
from engine.identity import accounts
from engine.identity.accounts import NewAccount
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.sql.columns import metadata
from engine.sql.erasure_declarations import DECLARATIONS, REASONS
from engine.sql.room_tables import messages as message_rows
from engine.startup import open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, room_of
from engine.workers import archiver, eraser
from tests.engine import staff
from tests.support import people, valkey
from tests.support.traces import traces_in_files, traces_in_redis, traces_in_sql

JOBS = 50
NAME, PHONE, EMAIL, ADDRESS = "Zenobia Quillfeather", "+1 555 7310942", "zenobia.quill@example.org", "77 Larkspur Mews"
NOTES, TEXT, COMMENT = "the blue door with the brass owl", "please bring a ladder for the attic", "swept the hallway"
TEXTS = (NAME, PHONE, EMAIL, ADDRESS, NOTES, TEXT, COMMENT)
PASSWORD = "correct horse"
STEPS = ("claim", "depart", "arrive", "start", "complete")


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Start a Valkey whose append-only file a test searches. Yield its folder and its URL."""
    folder = tmp_path_factory.mktemp("own-valkey")
    with valkey.run_server(folder) as url:
        yield folder, url


@pytest.fixture
async def engine(settings: Settings, own_redis: tuple[Path, str]) -> AsyncIterator[Engine]:
    """Yield an engine on the Valkey of this module, with a window of the log that is over at once."""
    changed = msgspec.structs.replace(settings, redis=own_redis[1], log_window_s=0.001)
    async with open_engine(changed) as opened:
        await opened.store.command("FLUSHALL")
        await opened.store.reopen(DEFAULT_ZONE, stale=opened.store.zones[DEFAULT_ZONE].epoch)
        yield opened


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

    async def erase(self) -> erasures.Erasure:
        """Let an admin erase the customer, and do all that the process does."""
        await erasures.request_erasure(
            self.engine, people.ADMIN, self.customer.id, reason="asked by letter", password=None
        )
        await self.archive_all()
        assert await eraser.run_once(self.engine) == 1
        await archiver.run_once(self.engine)
        return await erasures.read_erasure(self.engine, people.ADMIN, self.customer.id)


async def begin_life(engine: Engine, count: int) -> Life:
    """Create the two people, and let them do ``count`` jobs."""
    service = await people.service(engine)
    technician = await staff.create_eligible_technician(engine, service, capacity=5)
    new = NewAccount(email=EMAIL, password=PASSWORD, name=NAME, role="customer", phone=PHONE)
    account = (await accounts.register_user(engine, new)).value.user
    life = Life(engine, Principal(account.id, "customer", NAME), technician, service, [])
    for number in range(count):
        await life.do_job(number)
    return life


def folders(engine: Engine, own_redis: tuple[Path, str]) -> list[Path]:
    """Return the folders in which the servers of a test store something."""
    return [Path(engine.settings.data), own_redis[0]]


async def test_an_erased_person_leaves_no_trace(engine: Engine, own_redis: tuple[Path, str], tmp_path: Path) -> None:
    """After 50 jobs with chats and ratings nothing of the person is in SQL, Redis or a file; the heads of before still
    prove the log, and what the technician wrote remains.
    """
    count = JOBS if engine.archive.is_sqlite else 3
    life = await begin_life(engine, count)
    await life.archive_all()
    note = await heads.sign_newest(engine.archive, DEFAULT_ZONE, HeadKey(engine.signer))
    assert note
    assert {text for text in TEXTS if any(text in each for each in await traces_in_sql(engine.archive, TEXTS))} == set(
        TEXTS
    )
    done = await life.erase()
    assert (done.state, done.blockers, done.zones) == ("done", [], [DEFAULT_ZONE])
    assert await traces_in_sql(engine.archive, TEXTS) == []
    assert await traces_in_redis(engine, TEXTS) == []
    if engine.archive.is_sqlite:
        assert [each for folder in folders(engine, own_redis) for each in traces_in_files(folder, TEXTS)] == []
    else:
        assert traces_in_files(own_redis[0], TEXTS) == []
    report = await verify_zone(engine.archive, DEFAULT_ZONE, head=signed_note.parse_head(note))
    assert report.findings == [] and report.erased > 5 * count
    async with engine.archive.begin_read() as conn:
        docs = [msgspec.json.decode(doc) for doc in (await conn.execute(select(message_rows.c.doc))).scalars()]
    assert len(docs) == 2 * count
    for doc in docs:
        if doc["sender"]["id"] == life.customer.id:
            assert (doc["text"], doc["erased"], doc["sender"]["name"]) == ("", True, "")
        else:
            assert doc["text"].startswith("Yes, [erased], ") and doc["sender"]["name"] == "Tom"


def test_what_is_kept_has_a_reason() -> None:
    """Each column that is kept by law says which law needs it, and no other column does."""
    assert set(REASONS) == {name for name, fate in DECLARATIONS.items() if fate == "by_law"}


def test_every_text_column_declares_its_erasure() -> None:
    """Each column with texts or bytes says what becomes of it when a person is erased, and no other column does."""
    columns = {
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, Text | LargeBinary)
    }
    assert set(DECLARATIONS) == columns
