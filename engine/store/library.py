"""Load the script library into a server."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from engine.store import scripts
from engine.store.error_replies import ErrorReply
from engine.store.scripts import ScriptLibrary


async def load_library(
    library: ScriptLibrary, send: Callable[..., Awaitable[Any]], *, delete_others: bool = False
) -> None:
    """Load this release's library if the server that ``send`` reaches lacks it. With ``delete_others``, delete those of
    other releases.

    Only a process that starts uses ``delete_others``. If a running process of another release, which then loads its
    library again, deleted the others too, the two would delete each other's library in turn.
    """
    found = [
        entry[1].decode() for entry in await send("FUNCTION", "LIST", "LIBRARYNAME", scripts.FUNCTION_PREFIX + "*")
    ]
    if library.name not in found:
        with _ignore_error_reply("already exists"):
            await send("FUNCTION", "LOAD", library.source)
    for other in found if delete_others else ():
        if other != library.name:
            with _ignore_error_reply("not found"):
                await send("FUNCTION", "DELETE", other)


@contextlib.contextmanager
def _ignore_error_reply(expected_text: str) -> Iterator[None]:
    """Ignore an error reply that contains ``expected_text``: another process may have done the same a moment before."""
    try:
        yield
    except ErrorReply as error:
        if expected_text not in str(error):
            raise
