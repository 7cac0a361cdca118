"""How often a client should poll, as ``connect``, ``/v1/meta``, ``/v1/me`` and ``/v1/sync`` return it."""

from __future__ import annotations

POLL_INTERVALS_S = {"connected": 60, "disconnected": 15}
"""Seconds between two requests of a client that polls, with and without a live connection (PROTOCOL §4)."""
