"""What is told of the interface that blueprints have a part in: made when asked for, since they may be read anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.blueprint.catalogue import Blueprints


class Document:
    """One document, made by ``make`` of the blueprints that new jobs may name, and kept until these are others."""

    def __init__(self, make: Callable[[Blueprints], bytes], blueprints: Blueprints) -> None:
        self._make = make
        self._blueprints = blueprints
        self._made = b""
        self._made_of: Mapping[str, Any] = {}
        self._making = asyncio.Lock()

    async def text(self) -> bytes:
        """As it is now. Made beside the loop: it takes some 50 ms, in which sockets would wait."""
        async with self._making:
            found = self._blueprints.by_name
            if found is not self._made_of:  # a reload puts another mapping in its place
                self._made = await asyncio.to_thread(self._make, self._blueprints)
                self._made_of = found
            return self._made
