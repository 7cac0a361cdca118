"""The event loop of a server process."""

from __future__ import annotations

from typing import Any


def loop_factory() -> Any:
    """Return the function that creates uvloop's event loop, None without uvloop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
