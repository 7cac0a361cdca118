"""Every way a command can fail, once: its code, HTTP status, close code and the word scripts reply with.

::

    CalloutError
    ├── Refused              the engine understood and said no; nothing was done
    │   ├── Unauthenticated  401   ├── TokenExpired
    │   ├── Forbidden        403   ├── ProfileIncomplete ├── KycNotApproved ├── AccountNotApproved
    │   │                          ├── NotMember └── WrongCode
    │   ├── NotFound         404
    │   ├── Conflict         409   ├── Taken ├── NotOffered ├── Expired ├── Cancelled ├── AtCapacity ├── TooEarly
    │   │                          ├── IllegalTransition ├── NotEditable ├── PriceLocked ├── Frozen
    │   │                          └── Duplicate ├── InFlight ├── ScheduleConflict ├── RoomClosed
    │   ├── VersionConflict  412
    │   ├── TooLarge         413
    │   ├── Invalid          422   ├── NotJson (400) ├── ReusedKey ├── OutOfArea └── ServiceInactive
    │   ├── CodeLocked       423
    │   └── RateLimited      429
    ├── Unavailable          503   nothing was done: repeat at will   └── Paused
    ├── Indeterminate        504   unknown: repeat with the same key
    └── Internal             500

``code`` is the contract of PROTOCOL §3; ``word`` is what Lua replies, mapped here and nowhere else.
"""

from __future__ import annotations

from typing import Any, ClassVar


class FieldError(tuple[str, str]):
    """One wrong field: JSON pointer and what is wrong with it."""

    __slots__ = ()

    def __new__(cls, pointer: str, detail: str) -> FieldError:
        return super().__new__(cls, (pointer, detail))


class CalloutError(Exception):
    """Base of all errors that cross a boundary of the engine.

    ``detail`` is for a person; ``extra`` are members added to the problem object (``attempts_left``, ``job``);
    ``repeated`` says that the verdict was remembered under the request key rather than reached now.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    temporary: ClassVar[bool] = False

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: list[FieldError] | None = None,
        retry_after: float | None = None,
        repeated: bool = False,
        **extra: Any,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.errors = errors or []
        self.retry_after = retry_after
        self.repeated = repeated
        self.extra = extra
        self.reply: list[bytes] = []
        """What a script replied beside its word: for the engine, never told."""


class Internal(CalloutError):
    """A bug: logged where it is caught, told without its text."""


class Unavailable(CalloutError):
    """Nothing was done; the caller may repeat as he likes."""

    code, status, title, temporary = "unavailable", 503, "Temporarily unavailable", True


class Paused(Unavailable):
    code, title = "paused", "Paused by the operator"


class Indeterminate(CalloutError):
    """The reply was lost: it may have been done. Repeat with the same request key to learn which."""

    code, status, title, temporary = "indeterminate", 504, "Outcome unknown", True


class Refused(CalloutError):
    """Understood, and no. Nothing was done."""


class Unauthenticated(Refused):
    code, status, title = "unauthenticated", 401, "Sign in first"


class TokenExpired(Unauthenticated):
    code, title = "token_expired", "Token expired"


class Forbidden(Refused):
    code, status, title = "forbidden", 403, "Not allowed"


class ProfileIncomplete(Forbidden):
    code, title = "profile_incomplete", "Complete profile first"


class KycNotApproved(Forbidden):
    code, title = "kyc_not_approved", "KYC must be approved"


class AccountNotApproved(Forbidden):
    code, title = "account_not_approved", "Account must be approved"


class NotMember(Forbidden):
    code, title = "not_member", "Not a member of this room"


class WrongCode(Forbidden):
    code, title = "wrong_code", "Wrong code"


class NotFound(Refused):
    code, status, title = "not_found", 404, "Not found"


class Conflict(Refused):
    status = 409


class Taken(Conflict):
    code, title = "taken", "Booking already taken"


class NotOffered(Conflict):
    code, title = "not_offered", "Not offered to you"


class Expired(Conflict):
    code, title = "expired", "Offer expired"


class Cancelled(Conflict):
    code, title = "cancelled", "Booking cancelled"


class AtCapacity(Conflict):
    code, title = "at_capacity", "You hold as many jobs as you may"


class TooEarly(Conflict):
    code, title = "too_early", "Not open to you yet"


class IllegalTransition(Conflict):
    code, title = "illegal_transition", "Not possible in this state"


class NotEditable(Conflict):
    code, title = "not_editable", "Not editable in this state"


class PriceLocked(Conflict):
    code, title = "price_locked", "The price is locked"


class Frozen(Conflict):
    code, title = "frozen", "Frozen by a dispute"


class Duplicate(Conflict):
    code, title = "duplicate", "Exists already"


class InFlight(Conflict):
    code, title, temporary = "in_flight", "The same request is still being worked on", True


class ScheduleConflict(Conflict):
    code, title = "schedule_conflict", "Overlaps another job"


class RoomClosed(Conflict):
    code, title = "room_closed", "The room is closed"


class VersionConflict(Refused):
    code, status, title = "version_conflict", 412, "The job has changed"


class TooLarge(Refused):
    code, status, title = "too_large", 413, "Too large"


class Invalid(Refused):
    """Bad input. ``errors`` names every wrong field by JSON pointer."""

    code, status, title = "invalid", 422, "Invalid input"


class NotJson(Invalid):
    status = 400
    title = "Not JSON"


class ReusedKey(Refused):
    code, status, title = "reused_key", 422, "Request key used for something else"


class OutOfArea(Refused):
    code, status, title = "out_of_area", 422, "Outside the service area"


class ServiceInactive(Refused):
    code, status, title = "service_inactive", 422, "Service not on offer"


class CodeLocked(Refused):
    code, status, title = "code_locked", 423, "Too many wrong codes"


class RateLimited(Refused):
    code, status, title, temporary = "rate_limited", 429, "Too many requests", True


def _tree(base: type[CalloutError]) -> list[type[CalloutError]]:
    return [base, *(leaf for sub in base.__subclasses__() for leaf in _tree(sub))]


BY_CODE: dict[str, type[CalloutError]] = {
    kind.code: kind for kind in reversed(_tree(CalloutError)) if kind is not CalloutError and "code" in vars(kind)
}
BY_WORD: dict[str, type[CalloutError]] = {code.upper(): kind for code, kind in BY_CODE.items()}
"""What a script's reply word means. A script replies with the code in capitals, so the map has one rule."""


class OtherBlueprint(Exception):
    """A script met a job of another blueprint (``key``) than its caller took it for. Never leaves the engine."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class StaleCode(Exception):
    """A code was compared under an issue that is no longer the current one. Never leaves the engine."""


UNAVAILABLE_REPLIES = (
    "ASK",
    "LOADING",
    "BUSY",
    "OOM",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "MISCONF",
    "MOVED",
    "NOREPLICAS",
    "TRYAGAIN",
    "NOPERM",
    "NOAUTH",
)
"""Redis errors that promise that nothing was done (DESIGN §4)."""
