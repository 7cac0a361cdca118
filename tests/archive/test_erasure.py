"""A person who is erased is in no table, key, file or log any more, and the audit tree still verifies."""

from __future__ import annotations

import inspect
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import LargeBinary, Text, select

from engine.archive import erase_events, erase_rows, erasure_list
from engine.archive.erasure_list import ListedErasure
from engine.audit import heads, signed_note
from engine.audit.head_key import HeadKey
from engine.audit.verifier import verify_zone
from engine.domain import erasures, jobs, messages, ratings
from engine.domain.commands import CommandInput
from engine.domain.messages import MessageDraft
from engine.identity import accounts
from engine.identity.accounts import NewAccount
from engine.process.settings import Settings
from engine.rebuild import rebuilder
from engine.runtime import Engine
from engine.sql import compaction
from engine.sql.columns import metadata
from engine.sql.erasure_declarations import DECLARATIONS, REASONS
from engine.sql.room_tables import messages as message_rows
from engine.startup import open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, UserId, room_of
from engine.workers import archiver, eraser, redis_erasure
from tests.engine import staff
from tests.support import people, valkey
from tests.support.process import run_callout
from tests.support.traces import traces_in_files, traces_in_redis, traces_in_sql

JOBS = 50
NAME, PHONE, EMAIL, ADDRESS = "Zenobia Quillfeather", "+1 555 7310942", "zenobia.quill@example.org", "77 Larkspur Mews"
NOTES, TEXT, COMMENT = "the blue door with the brass owl", "please bring a ladder for the attic", "swept the hallway"
TEXTS = (NAME, PHONE, EMAIL, ADDRESS, NOTES, TEXT, COMMENT)
PASSWORD = "correct horse"
on_sqlite = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
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


class Killed(BaseException):
    """Raised in place of the end of a process."""


KILLED_AFTER: list[tuple[Any, str]] = [
    (erasure_list, "add_to_list"),
    (redis_erasure, "erase_copies"),
    (eraser, "append_event"),
    (erase_events, "erase_events"),
    (erase_rows, "erase_rows"),
    (erase_rows, "erase_account"),
    (redis_erasure, "rewrite_files"),
    (compaction, "compact"),
]
"""The steps of an erasure after which a test ends the process."""


async def kill_after(engine: Engine, owner: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the eraser until it has done a step, and end it there. Its lease is over."""
    original = getattr(owner, name)

    def killed(*args: Any, **options: Any) -> Any:
        done = original(*args, **options)
        if not inspect.isawaitable(done):
            raise Killed

        async def wait() -> None:
            await done
            raise Killed

        return wait()

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(Killed):
            await eraser.run_once(engine)


@on_sqlite
async def test_an_erasure_goes_on_wherever_it_was_interrupted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process that ends after any step is continued by the next. The log explains each salt that is gone, after each
    of them.
    """
    life = await begin_life(engine, 1)
    await erasures.request_erasure(engine, people.ADMIN, life.customer.id, reason="asked", password=None)
    await life.archive_all()
    for owner, name in KILLED_AFTER:
        await kill_after(engine, owner, name, monkeypatch)
        await archiver.run_once(engine)
        assert (await verify_zone(engine.archive, DEFAULT_ZONE)).findings == [], name
        assert (await erasures.read_erasure(engine, people.ADMIN, life.customer.id)).state != "done"
    assert await eraser.run_once(engine) == 1 and await eraser.run_once(engine) == 0
    assert await traces_in_sql(engine.archive, TEXTS) == [] and await traces_in_redis(engine, TEXTS) == []
    listed = (Path(engine.settings.data) / erasure_list.FILE_NAME).read_bytes()
    assert listed.count(b"\n") == 1 and life.customer.id.encode() in listed


@on_sqlite
async def test_an_erasure_waits_for_the_window_of_the_log(engine: Engine) -> None:
    """While a log has an event of the person, nothing is erased; so it is while a technician's job is live."""
    life = await begin_life(engine, 1)
    await erasures.request_erasure(engine, people.ADMIN, life.customer.id, reason="asked", password=None)
    await archiver.run_once(engine)
    for _ in range(2):
        assert await eraser.run_once(engine) == 0
    assert {"waiting"} == {(await erasures.read_erasure(engine, people.ADMIN, life.customer.id)).state}
    assert not (Path(engine.settings.data) / erasure_list.FILE_NAME).exists()
    await life.archive_all()
    assert await eraser.run_once(engine) == 1


@on_sqlite
async def test_a_restored_backup_is_erased_before_its_zone_opens(
    engine: Engine, own_redis: tuple[Path, str], tmp_path: Path
) -> None:
    """The database of before the erasure comes back, with the list of erasures: when the zone opens, nothing of the
    person is in SQL and Redis, and the log explains it afterwards.
    """
    life = await begin_life(engine, 2)
    await archiver.run_once(engine)
    backup, data = tmp_path / "backup.db", tmp_path / "restored"
    with (
        closing(sqlite3.connect(Path(engine.settings.data) / "callout.db")) as live,
        closing(sqlite3.connect(backup)) as copy,
    ):
        live.backup(copy)
    await life.archive_all()
    await life.erase()
    data.mkdir()
    shutil.copyfile(backup, data / "callout.db")
    shutil.copyfile(Path(engine.settings.data) / erasure_list.FILE_NAME, data / erasure_list.FILE_NAME)
    await engine.store.command("FLUSHALL")
    async with open_engine(msgspec.structs.replace(engine.settings, data=str(data))) as restored:
        assert restored.store.zones[DEFAULT_ZONE].word == "EMPTY"
        assert await traces_in_sql(restored.archive, TEXTS) != []
        assert len(await rebuilder.run_once(restored)) == 1
        assert restored.store.zones[DEFAULT_ZONE].open
        assert await traces_in_sql(restored.archive, TEXTS) == [] and await traces_in_redis(restored, TEXTS) == []
        assert (await erasures.read_erasure(restored, people.ADMIN, life.customer.id)).state == "running"
        await archiver.run_once(restored)
        assert await eraser.run_once(restored) == 1
        await archiver.run_once(restored)
        report = await verify_zone(restored.archive, DEFAULT_ZONE)
        assert report.findings == [] and report.erased > 10
        assert traces_in_files(data, TEXTS) + traces_in_files(own_redis[0], TEXTS) == []


@on_sqlite
async def test_callout_restore_erases_again(engine: Engine, tmp_path: Path) -> None:
    """`callout restore` with the list of erasures writes a directory in which no file has the person."""
    life = await begin_life(engine, 1)
    await archiver.run_once(engine)
    folder, listed, data = tmp_path / "snapshot", tmp_path / "erasures.jsonl", tmp_path / "again"
    folder.mkdir()
    (folder / "snapshot.json").write_text("{}")
    (folder / "redis.rdb").write_bytes(TEXT.encode())
    with (
        closing(sqlite3.connect(Path(engine.settings.data) / "callout.db")) as live,
        closing(sqlite3.connect(folder / "callout.db")) as copy,
    ):
        live.backup(copy)
    erasure_list.add_to_list(listed, ListedErasure("era_1", life.customer.id, 1))
    erasure_list.add_to_list(listed, ListedErasure("era_2", UserId("usr_nobody"), 1))
    assert traces_in_files(folder, TEXTS) != []
    done = await run_callout("restore", str(folder), "--data", str(data), "--erasures", str(listed))
    assert done.code == 0 and "erased again: 1" in done.out, done.err
    assert traces_in_files(data, TEXTS) == [] and not (data / "valkey").exists()


async def test_a_torn_line_of_the_list_is_skipped(tmp_path: Path) -> None:
    """A line that was not completely written is not applied, and the next one is written on a line of its own."""
    path = tmp_path / "list" / "erasures.jsonl"
    assert erasure_list.read_list(path) == []
    one, other = ListedErasure("era_1", UserId("u1"), 1), ListedErasure("era_2", UserId("u2"), 2)
    erasure_list.add_to_list(path, one)
    with path.open("ab") as file:
        file.write(b'{"id":"era_')
    erasure_list.add_to_list(path, other)
    erasure_list.add_to_list(path, one)
    assert erasure_list.read_list(path) == [one, other] and path.stat().st_mode & 0o077 == 0
