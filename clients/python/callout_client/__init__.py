"""Callout from Python: a connection that stays up, resumes where it was, and hands on every event once and in order.

``docs/clients.md`` is the page to read. Nothing of the engine is imported here: this is a client like any other, and
as light as one.
"""

from callout_client.api import Api
from callout_client.backoff import Backoff
from callout_client.callout import Callout
from callout_client.cursors import Cursors
from callout_client.failures import ClientError, Ended, Refusal, Unreachable
from callout_client.listeners import On, Status, Sync

__all__ = [
    "Api",
    "Backoff",
    "Callout",
    "ClientError",
    "Cursors",
    "Ended",
    "On",
    "Refusal",
    "Status",
    "Sync",
    "Unreachable",
]
