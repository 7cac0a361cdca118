"""A blueprint whose commission is the whole amount, on both databases."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.blueprint import catalogue
from engine.errors import Invalid
from engine.process.settings import Settings
from engine.runtime import Engine
from tests.archive.test_ledger import pay, read_sums
from tests.archive.test_refunds import archive_and_forget, create_confirmed_job


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with a `marketplace` whose commission is the whole amount."""
    text = (catalogue.shipped_folder() / "marketplace.toml").read_text()
    assert "per_mille = 100," in text
    folder = tmp_path / "blueprints"
    folder.mkdir()
    (folder / "marketplace.toml").write_text(text.replace("per_mille = 100,", "per_mille = 1000,"))
    return msgspec.structs.replace(settings, blueprints=str(folder))


async def test_a_refund_takes_back_the_fees_of_a_forgotten_job(engine: Engine) -> None:
    """The ledger has no line of the technician. Nevertheless a refund and a later capture change the fees after Redis
    has deleted the job, and nothing stays in the job's account.
    """
    _, job = await create_confirmed_job(engine)
    await pay(engine, job, "captured", 5000, "pi_1")
    assert await read_sums(engine) == {"clearing": -5000, "fees": 5000}
    await archive_and_forget(engine, job)
    with pytest.raises(Invalid):
        await pay(engine, job, "refunded", 5001, "pi_1")
    await pay(engine, job, "refunded", 2000, "pi_1")
    await pay(engine, job, "captured", 10, "pi_2")
    assert await read_sums(engine) == {"clearing": -3010, "fees": 3010}
