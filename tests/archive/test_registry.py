"""Blueprints are kept in SQL under name and version, once and for ever."""

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
from tests.archive.conftest import Away

SHIPPED = catalogue.load_blueprints("home_service", catalogue.shipped_folder())


def with_default(**changed: object) -> Blueprints:
    """What ships, with another default of the same name."""
    return Blueprints([*SHIPPED.by_name.values(), msgspec.structs.replace(SHIPPED.default, **changed)], "home_service")


async def test_another_content_under_a_kept_version_is_refused(archive: Archive) -> None:
    """It names the blueprint, says what to do, and leaves what is kept as it was, new ones included."""
    await registry.store_blueprints(archive, Blueprints([SHIPPED.default], "home_service"))
    with pytest.raises(BlueprintError, match=r"home_service@2: .* raise the version"):
        await registry.store_blueprints(archive, with_default(title="Another"))
    async with archive.reading() as conn:
        assert (await conn.execute(select(func.count()).select_from(rows))).scalar() == 1


async def test_another_order_of_states_is_another_content(archive: Archive) -> None:
    """The first state is the initial one: order counts."""
    await registry.store_blueprints(archive, SHIPPED)
    backwards = dict(reversed(SHIPPED.default.states.items()))
    with pytest.raises(BlueprintError, match="home_service@2"):
        await registry.store_blueprints(archive, with_default(states=backwards))


async def test_a_database_that_is_away_is_told_and_waited_for(archive: Archive, away: Away) -> None:
    """Keeping is refused; a start goes on without it."""
    async with away():
        with pytest.raises(Unavailable):
            await registry.store_blueprints(archive, SHIPPED)
        await registry.store_if_available(archive, SHIPPED)


async def test_older_versions_come_back(archive: Archive) -> None:
    """Who begins with version 3 knows version 2 too, as it was; keeping it again changes nothing."""
    await registry.store_blueprints(archive, SHIPPED)
    newer = with_default(version=3, title="Newer")
    for _ in range(2):
        await registry.store_blueprints(archive, newer)
    assert newer.of("home_service@2") == SHIPPED.default
    assert newer.of("home_service@3").title == newer.default.title == "Newer"


async def test_one_that_may_not_be_written_any_more_comes_back_all_the_same(archive: Archive) -> None:
    """Jobs run by an older managed, which said that its price is quoted, as none that is loaded may: they go on."""
    managed = SHIPPED.by_name["managed"]
    price = msgspec.structs.replace(managed.price, source="quote")
    older = msgspec.structs.replace(managed, version=1, price=price)
    await registry.store_blueprints(archive, Blueprints([SHIPPED.default, older], "home_service"))
    newer = with_default()
    await registry.store_blueprints(archive, newer)
    assert newer.of("managed@1") == older and newer.by_name["managed"] == managed


async def test_a_field_that_callout_has_added_since_is_no_other_content(archive: Archive) -> None:
    """What an older Callout wrote with fewer fields is the same blueprint where those have their defaults."""
    text = msgspec.json.decode(msgspec.json.encode(SHIPPED.default))
    del text["price"], text["codes"]
    async with archive.writing() as conn:
        doc = msgspec.json.encode(text).decode()
        await conn.execute(insert(rows).values(key=SHIPPED.default.key, doc=doc, kept_at=0))
    await registry.store_blueprints(archive, SHIPPED)


async def test_one_that_cannot_be_read_any_more_keeps_nobody_from_starting(archive: Archive) -> None:
    """An unreadable older one is left out."""
    async with archive.writing() as conn:
        await conn.execute(insert(rows).values(key="old@1", doc='{"name":"old"}', kept_at=0))
    known = with_default()
    await registry.store_blueprints(archive, known)
    assert "old@1" not in known.by_key


def test_what_is_written_is_what_is_read() -> None:
    """Each shipped blueprint survives being kept, order included."""
    for each in SHIPPED.by_name.values():
        again = msgspec.json.decode(msgspec.json.encode(each), type=Blueprint)
        assert again == each and list(again.states) == list(each.states)
