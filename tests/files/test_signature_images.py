"""The image of a signature is stored only if the step can be done, and the image of a refused step is deleted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

from engine.domain import disputes, prices, signing
from engine.domain.signing import Signature
from engine.errors import Frozen, IllegalTransition, Indeterminate, NotFound, Unavailable, VersionConflict
from engine.files import deferred_rows, file_rows
from engine.rules.canonical import digest_of
from engine.runtime import Engine
from engine.sql.file_tables import files as file_table
from engine.sql.vault_tables import receipts
from engine.types import JobId, Principal
from engine.workers import archiver, file_removal
from tests.files.test_removal import is_stored
from tests.races.test_signature_races import allow_changes, finish_job
from tests.support import people
from tests.support.postgres import on_both_databases
from tests.support.signatures import make_png

Act = Callable[[], Awaitable[Any]]


async def signature_rows(engine: Engine) -> list[file_rows.FileRow]:
    """Return the rows that name images of signatures."""
    return await file_rows.find_rows(engine.archive, file_table.c.kind == "signature")


async def sign(engine: Engine, who: Principal, job: JobId, shade: int, digest: str | None = None) -> None:
    """Sign the present record of a job, or the record with ``digest``. Each shade gives another image."""
    shown = digest or (await signing.read_record(engine, who, job)).sha256
    await signing.sign_job(engine, who, job, Signature(shown, "Carla", make_png(shade=shade), "png"))


def do_before_the_step(engine: Engine, monkeypatch: pytest.MonkeyPatch, act: Act) -> None:
    """Do ``act`` once between the checks of a signature and its step, at the moment when its image is stored."""
    put, left = engine.blobs.put, [act]

    async def act_and_put(sha256: str, source: Any) -> None:
        if isinstance(source, bytes) and left:
            await left.pop()()
        await put(sha256, source)

    monkeypatch.setattr(engine.blobs, "put", act_and_put)


async def test_a_refused_signature_stores_nothing(engine: Engine) -> None:
    """A signature is refused before its image is stored: for strangers, for another record, in the wrong state, while a
    dispute is open, and after the signature for another image.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=5)
    early = people.id_of(await people.job(engine, carla, service, blueprint="managed"))
    job, disputed = [await finish_job(engine, carla, tom, service) for _ in range(2)]
    await disputes.open_dispute(engine, carla, disputed, "It leaks")
    other = await people.customer(engine)
    refusals: list[tuple[type[Exception], Principal, JobId, str | None]] = [
        (IllegalTransition, carla, early, None),
        (Frozen, carla, disputed, None),
        (VersionConflict, carla, job, "0" * 64),
        (NotFound, other, job, "0" * 64),
    ]
    for shade, (error, who, which, digest) in enumerate(refusals):
        with pytest.raises(error):
            await sign(engine, who, which, shade, digest)
        assert await signature_rows(engine) == [] and not await is_stored(engine, digest_of(make_png(shade=shade)))
    await sign(engine, carla, job, 100)
    await sign(engine, carla, job, 100)
    with pytest.raises(IllegalTransition, match="another image"):
        await sign(engine, carla, job, 101)
    assert [row.sha256 for row in await signature_rows(engine)] == [digest_of(make_png(shade=100))]
    assert not await is_stored(engine, digest_of(make_png(shade=101)))


async def change_price(engine: Engine, carla: Principal, tom: Principal, job: JobId) -> None:
    """Let the technician propose a price, and the customer accept it."""
    offered = await prices.propose_price(engine, tom, job, 9_000)
    name = msgspec.json.decode(offered.proposal)["id"]
    await prices.answer_proposal(engine, carla, job, name, "accepted")


@on_both_databases
@pytest.mark.parametrize("is_sql_away", [False, True])
async def test_what_a_refused_step_leaves_goes(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, is_sql_away: bool
) -> None:
    """If the job changes after the checks, the image of the refused step is deleted: immediately, or, if SQL was
    unavailable, like every unattached file. An image with the same bytes that another customer signed with stays.
    """
    allow_changes(engine)
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=5)
    job, signed = [await finish_job(engine, carla, tom, service) for _ in range(2)]
    sha256 = digest_of(make_png(shade=7))

    async def refuse(*_: object) -> None:
        raise Unavailable("SQL is away")

    with monkeypatch.context() as patch:
        if is_sql_away:
            patch.setattr(file_rows, "store_row", refuse)
        do_before_the_step(engine, patch, lambda: change_price(engine, carla, tom, job))
        with pytest.raises(VersionConflict) as conflict:
            await sign(engine, carla, job, 7)
        assert conflict.value.extra["sha256"] == (await signing.read_record(engine, carla, job)).sha256
    assert await is_stored(engine, sha256) and await signature_rows(engine) == []
    assert len(list((engine.blobs.temporary / deferred_rows.FOLDER).glob("*"))) == int(is_sql_away)
    await sign(engine, carla, signed, 7)
    await file_removal.run_once(engine)
    assert await is_stored(engine, sha256), "the other signature has the same image"
    assert len(await signature_rows(engine)) == 1 + int(is_sql_away)
    await archiver.run_once(engine)
    async with engine.archive.begin_write() as conn:
        await conn.execute(update(file_table).values(used_at=0))
    await file_removal.run_once(engine)
    assert await signature_rows(engine) == [] and await is_stored(engine, sha256), "the receipt names it"
    async with engine.archive.begin_write() as conn:
        await file_rows.release_blobs(conn, engine.archive, [sha256])
        await conn.execute(update(receipts).values(image=None))
    await file_removal.run_once(engine)
    assert not await is_stored(engine, sha256)


async def test_a_step_without_a_known_end_keeps_its_image(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the reply of the step is lost, its image stays, because the receipt may name it."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=5)
    job = await finish_job(engine, carla, tom, service)
    run, calls = signing._run_step, []

    async def lose_reply(*args: Any) -> Any:
        calls.append(args)
        done = await run(*args)
        raise Indeterminate if done else AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(signing, "_run_step", lose_reply)
        with pytest.raises(Indeterminate):
            await sign(engine, carla, job, 9)
    assert len(calls) == 2 and await is_stored(engine, digest_of(make_png(shade=9)))
    assert len(await signature_rows(engine)) == 1
    await archiver.run_once(engine)
    async with engine.archive.begin_read() as conn:
        assert (await conn.execute(select(receipts.c.image))).scalar_one() == digest_of(make_png(shade=9))
