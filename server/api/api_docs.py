"""The documents of the interface that depend on the blueprints. They are made on request, because blueprints may be
reloaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.blueprint.catalogue import Blueprints


class Document:
    """A document that ``build`` makes from the blueprints for new jobs. It is cached until these blueprints change."""

    def __init__(self, build: Callable[[Blueprints], bytes], blueprints: Blueprints) -> None:
        self._build = build
        self._blueprints = blueprints
        self._text = b""
        self._text_keys: Mapping[str, Any] = {}
        self._lock = asyncio.Lock()

    async def text(self) -> bytes:
        """Return the present document. A thread makes the document, because this takes about 50 ms, and on the event
        loop all sockets would wait.
        """
        async with self._lock:
            present = self._blueprints.by_name
            if present is not self._text_keys:  # a reload of the blueprints replaces the mapping
                self._text = await asyncio.to_thread(self._build, self._blueprints)
                self._text_keys = present
            return self._text
