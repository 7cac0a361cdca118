"""The signature of a job in the job itself, and its receipt in the payload of ``job.signed``."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from server.schemas.objects import Shape


class JobSignature(Shape):
    """The signature of a job: its receipt in the vault, the digest of the record that was signed, and when."""

    receipt: str
    sha256: str
    at: datetime


class ReceiptImage(Shape):
    """The image or the strokes of a signature, by their digest."""

    sha256: str
    kind: Literal["png", "strokes"]


class EventReceipt(Shape):
    """The receipt of a signature: the canonical ``record`` that was signed, and the name that the customer typed, which
    the receipt names by its digest with a random ``salt``.
    """

    id: str
    sha256: str
    image: ReceiptImage
    name: str
    salt: str
    record: str
