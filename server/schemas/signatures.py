"""The signature of a job in the job itself."""

from __future__ import annotations

from datetime import datetime

from server.schemas.objects import Shape


class JobSignature(Shape):
    """The signature of a job: its receipt in the vault, the digest of the record that was signed, and when."""

    receipt: str
    sha256: str
    at: datetime
