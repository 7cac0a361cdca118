"""The record of a job, its signature, and the receipt in the vault."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from engine.errors import FieldError
from engine.rules.signature_image import Point
from server.schemas import constraints
from server.schemas.decode import Body
from server.schemas.fields import Name
from server.schemas.jobs import Job
from server.schemas.objects import Ref, Shape

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)", description="a SHA-256 in hexadecimal, lower case")]
MAX_IMAGE_CHARS = 350_000
"""256 KiB in base64, with the prefix of a data URL."""
SIGN_BODY_BYTES = 384 * 1024
Stroke = Annotated[list[Point], Meta(min_length=1)]


class Sign(Body):
    """The signature of a job's record: the digest that the customer was shown, their name, and the image (a PNG of at
    most 256 KiB, in base64) or the strokes of the pen (at most 500, with 5,000 points together). A body without any of
    these is refused as `unsigned`.
    """

    sha256: Sha256 | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    image: Annotated[str, Meta(max_length=MAX_IMAGE_CHARS, description="base64, or a data URL")] | UnsetType = UNSET
    strokes: Annotated[list[Stroke], Meta(min_length=1, max_length=500)] | UnsetType = UNSET

    rules_schema = constraints.WHOLE_SIGNATURE

    @property
    def is_empty(self) -> bool:
        """Return whether the body has no member of a signature."""
        return all(part is UNSET for part in (self.sha256, self.name, self.image, self.strokes))

    def find_errors(self) -> list[FieldError]:
        if self.is_empty:
            return []
        missing = [FieldError(f"/{name}", "Required") for name in ("sha256", "name") if getattr(self, name) is UNSET]
        if (self.image is UNSET) == (self.strokes is UNSET):
            missing.append(FieldError("/image", "Either `image` or `strokes`"))
        return missing


class RecordReply(Shape):
    """The record of a job, as canonical JSON (RFC 8785), and its SHA-256 in hexadecimal."""

    record: dict[str, Any]
    sha256: str


class SignReply(Shape, kw_only=True):
    job: Job | None = None
    message: str | None = None
    receipt: Ref


class VaultQuery(Body):
    """``format=zip`` asks for a file with everything, which `callout vault verify` checks without a server."""

    format: Literal["json", "zip"] = "json"


class VaultImage(Shape):
    """The image or the strokes of a signature. ``data`` is base64; null if it was erased."""

    kind: Literal["png", "strokes"]
    sha256: str
    data: str | None


class Receipt(Shape, omit_defaults=True, kw_only=True):
    """A receipt. ``record`` is the canonical JSON that the customer signed, ``document`` the canonical JSON that the
    server signed. ``event`` and ``tree`` prove that the signature is in the audit tree. ``tree`` is left out until a
    head covers the event; until then ``pending`` is true.
    """

    id: str
    job: str
    at: datetime
    by: Ref
    sha256: str
    document: str
    image: VaultImage
    pending: bool
    record: dict[str, Any] | None = None
    name: str | None = None
    salt: str | None = None
    signature: str | None = None
    key: str | None = None
    event: dict[str, Any] | None = None
    leaf: str | None = None
    tree: dict[str, Any] | None = None
    erased: bool = False


class ReceiptReply(Shape):
    receipt: Receipt


class VerifyQuery(Body):
    """The digest of the record. Only callers who know it may verify the receipt."""

    sha256: Sha256


class CheckResult(Shape):
    name: str
    result: Literal["ok", "failed", "missing", "erased", "retired", "pending"]
    detail: str = ""


class VerifyReply(Shape):
    """The results of the checks. ``verified`` is true if nothing is wrong or missing. ``pending`` is true if no check
    failed, but the server has not signed the receipt yet or no head covers it yet.
    """

    receipt: str
    verified: bool
    pending: bool
    checks: list[CheckResult]
