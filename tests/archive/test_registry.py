"""Tests of the blueprint registry: SQL stores each blueprint under name and version once, and never changes it."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy import func, insert, select

from engine.blueprint import catalogue, registry
from engine.blueprint.catalogue import BlueprintError, Blueprints
from engine.blueprint.schema import Blueprint
from engine.errors import Unavailable
from engine.sql.database import Archive
from engine.sql.schema import blueprints as rows
from tests.archive.conftest import DatabaseAway

SHIPPED = catalogue.load_blueprints("home_service", catalogue.shipped_folder())


def catalogue_with_default(**changed: object) -> Blueprints:
    """Return the shipped blueprints. The keyword arguments replace fields of the default one."""
    return Blueprints([*SHIPPED.by_name.values(), msgspec.structs.replace(SHIPPED.default, **changed)], "home_service")


async def test_another_content_of_a_stored_version_is_refused(archive: Archive) -> None:
    """Another content under a stored version is refused with a message that names the blueprint and advises to raise
    the version. Nothing of the call is stored, not even its other blueprints.
    """
    await registry.store_blueprints(archive, Blueprints([SHIPPED.default], "home_service"))
    with pytest.raises(BlueprintError, match=r"home_service@3: .* raise the version"):
        await registry.store_blueprints(archive, catalogue_with_default(title="Another"))
    async with archive.begin_read() as conn:
        assert (await conn.execute(select(func.count()).select_from(rows))).scalar() == 1


async def test_another_order_of_states_is_another_content(archive: Archive) -> None:
    """The same states in another order are another content, because the first state is the initial one."""
    await registry.store_blueprints(archive, SHIPPED)
    backwards = dict(reversed(SHIPPED.default.states.items()))
    with pytest.raises(BlueprintError, match="home_service@3"):
        await registry.store_blueprints(archive, catalogue_with_default(states=backwards))


async def test_a_start_does_not_wait_for_an_absent_database(archive: Archive, database_away: DatabaseAway) -> None:
    """While the database is away `store` raises `Unavailable`, and `store_if_available`, which a start calls, raises
    nothing.
    """
    async with database_away():
        with pytest.raises(Unavailable):
            await registry.store_blueprints(archive, SHIPPED)
        await registry.store_if_available(archive, SHIPPED)


async def test_older_versions_are_loaded(archive: Archive) -> None:
    """A process that starts with version 4 also loads version 3 from SQL, unchanged; storing the same version again has
    no effect.
    """
    await registry.store_blueprints(archive, SHIPPED)
    newer = catalogue_with_default(version=4, title="Newer")
    for _ in range(2):
        await registry.store_blueprints(archive, newer)
    assert newer.find_or_default("home_service@3") == SHIPPED.default
    assert newer.find_or_default("home_service@4").title == newer.default.title == "Newer"


async def test_a_stored_blueprint_that_is_invalid_today_is_loaded(archive: Archive) -> None:
    """A stored blueprint that the linter would refuse today, such as one with the price source `quote`, is still
    loaded, because jobs use it.
    """
    managed = SHIPPED.by_name["managed"]
    price = msgspec.structs.replace(managed.price, source="quote")
    older = msgspec.structs.replace(managed, version=1, price=price)
    await registry.store_blueprints(archive, Blueprints([SHIPPED.default, older], "home_service"))
    newer = catalogue_with_default()
    await registry.store_blueprints(archive, newer)
    assert newer.find_or_default("managed@1") == older and newer.by_name["managed"] == managed


async def test_a_field_added_by_a_newer_callout_is_no_other_content(archive: Archive) -> None:
    """A stored blueprint of an older Callout without the newer fields is the same content if those fields have their
    defaults.
    """
    text = msgspec.json.decode(msgspec.json.encode(SHIPPED.default))
    del text["price"], text["codes"]
    async with archive.begin_write() as conn:
        doc = msgspec.json.encode(text).decode()
        await conn.execute(insert(rows).values(key=SHIPPED.default.key, doc=doc, kept_at=0))
    await registry.store_blueprints(archive, SHIPPED)


async def test_an_unreadable_stored_blueprint_does_not_prevent_a_start(archive: Archive) -> None:
    """A stored blueprint that cannot be decoded is left out and does not prevent a start."""
    async with archive.begin_write() as conn:
        await conn.execute(insert(rows).values(key="old@1", doc='{"name":"old"}', kept_at=0))
    blueprints = catalogue_with_default()
    await registry.store_blueprints(archive, blueprints)
    assert "old@1" not in blueprints.by_key


def test_a_blueprint_is_equal_after_encoding_and_decoding() -> None:
    """Each shipped blueprint is equal after encoding and decoding, with the order of its states."""
    for each in SHIPPED.by_name.values():
        again = msgspec.json.decode(msgspec.json.encode(each), type=Blueprint)
        assert again == each and list(again.states) == list(each.states)
