"""A photo in the decoded document of a job."""

from __future__ import annotations

import msgspec


class JobFile(msgspec.Struct, frozen=True):
    """A photo of a job: its id, the SHA-256 of its bytes in hex, and its kind."""

    id: str
    sha256: str
    kind: str
