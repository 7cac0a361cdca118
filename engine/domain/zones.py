"""The zones of a deployment, as clients see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from engine.types import Zone

if TYPE_CHECKING:
    from engine.runtime import Engine


class ZoneCard(msgspec.Struct, frozen=True):
    """A zone. ``polygon`` is its area as GeoJSON; None is everywhere."""

    name: Zone
    polygon: dict[str, Any] | None = None


def list_zones(engine: Engine) -> list[ZoneCard]:
    """Return the zones that this process serves, in the order of the setting ``zones``."""
    return [ZoneCard(zone) for zone in engine.store.zones]
