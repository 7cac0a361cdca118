"""Asyncio client for Callout: a connection that reconnects, resumes, and delivers every event once and in order.

``docs/clients.md`` is the manual. This package does not import the engine or the server, so an application that uses
this package does not have to install them.
"""

from callout_client.api import Api
from callout_client.backoff import Backoff
from callout_client.callout import Callout
from callout_client.cursors import Cursors
from callout_client.errors import ClientError, Ended, Refusal, Unreachable
from callout_client.listeners import Listeners, Status, Sync
from callout_client.positions import Positions
from callout_client.presence import Presence
from callout_client.room import Room

__all__ = [
    "Api",
    "Backoff",
    "Callout",
    "ClientError",
    "Cursors",
    "Ended",
    "Listeners",
    "Positions",
    "Presence",
    "Refusal",
    "Room",
    "Status",
    "Sync",
    "Unreachable",
]
