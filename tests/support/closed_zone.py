"""Close a zone and keep it closed: an engine opens a closed zone again within a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine.errors import Unavailable
from engine.store.connection import Store
from engine.types import Zone


@contextmanager
def closed_zone(store: Store, *zones: Zone, why: str = "a test") -> Iterator[None]:
    """Keep these zones closed while the block runs, with the reason ``why``."""

    async def refuse(*_: object, **__: object) -> None:
        raise Unavailable("a test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "reopen", refuse)
        for zone in zones:
            patch.setattr(store.zones[zone], "open", False)
            patch.setattr(store.zones[zone], "why", why)
        yield
