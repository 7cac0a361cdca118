"""The errors with which a server does not start, each as one line for the operator."""

from __future__ import annotations

from engine.blueprint.catalogue import BlueprintError
from engine.errors import CalloutError
from engine.process.datadir import CannotStart
from engine.process.settings import SettingsError
from engine.store.connection import UnsuitableServer

START_ERRORS = (CannotStart, SettingsError, CalloutError, UnsuitableServer, BlueprintError)


def start_error_text(error: Exception) -> str:
    """Return the line for one of ``START_ERRORS``."""
    if isinstance(error, UnsuitableServer):
        return f"this Redis cannot be used: {error}"
    return f"blueprints: {error}" if isinstance(error, BlueprintError) else str(error)
