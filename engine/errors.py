"""Every way a command can fail, once: its code, HTTP status, close code and the word scripts reply with.

::

    CalloutError
    ├── Refused              the engine understood and said no; nothing was done
    │   ├── Unauthenticated  401   ├── TokenExpired
    │   ├── Forbidden        403   ├── ProfileIncomplete ├── KycNotApproved ├── AccountNotApproved
    │   │                          ├── NotMember └── WrongCode
    │   ├── NotFound         404
    │   ├── MethodNotAllowed 405
    │   ├── Conflict         409   ├── Taken ├── NotOffered ├── Expired ├── Cancelled ├── AtCapacity ├── TooEarly
    │   │                          ├── IllegalTransition ├── NotEditable ├── PriceLocked ├── Frozen
    │   │                          └── Duplicate ├── InFlight ├── ScheduleConflict ├── RoomClosed
    │   ├── VersionConflict  412
    │   ├── TooLarge         413
    │   ├── Invalid          422   ├── NotJson (400) ├── NotText (400) ├── ReusedKey ├── OutOfArea
    │   │                          └── ServiceInactive
    │   ├── CodeLocked       423
    │   └── RateLimited      429
    ├── Unavailable          503   nothing was done: repeat at will   └── Paused
    ├── Indeterminate        504   unknown: repeat with the same key
    └── Internal             500

``code`` is the contract of PROTOCOL §3; ``word`` is what Lua replies, mapped here and nowhere else. The docstring of a
class that has a code is what clients are told of that code, at ``/problems/{code}``, in the OpenAPI document and in
docs/codes.md.
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
    """A bug on the server's side: logged where it is caught, told without its text."""

    code, status, title = "internal", 500, "Internal error"


class Unavailable(CalloutError):
    """Nothing was done, because a store or the server is not ready: repeat at will, later."""

    code, status, title, temporary = "unavailable", 503, "Temporarily unavailable", True


class Paused(Unavailable):
    """An operator closed the zone; nothing was done."""

    code, title = "paused", "Paused by the operator"


class Indeterminate(CalloutError):
    """The reply was lost: it may have been done. Repeat with the same request key to learn which."""

    code, status, title, temporary = "indeterminate", 504, "Outcome unknown", True


class Refused(CalloutError):
    """Understood, and no. Nothing was done."""


class Unauthenticated(Refused):
    """No token was given, or it is not valid: sign in."""

    code, status, title = "unauthenticated", 401, "Sign in first"


class TokenExpired(Unauthenticated):
    """The token was valid and has ended: get a new one by `POST /v1/auth/refresh`."""

    code, title = "token_expired", "Token expired"


class Forbidden(Refused):
    """The caller's role, or their relation to the thing, does not allow this."""

    code, status, title = "forbidden", 403, "Not allowed"


class ProfileIncomplete(Forbidden):
    """The technician's profile lacks a name, a zone or a service."""

    code, title = "profile_incomplete", "Complete profile first"


class KycNotApproved(Forbidden):
    """The technician's identity check is not approved."""

    code, title = "kyc_not_approved", "KYC must be approved"


class AccountNotApproved(Forbidden):
    """The technician's account is not approved, or it is suspended."""

    code, title = "account_not_approved", "Account must be approved"


class NotMember(Forbidden):
    """The caller is not a member of the room."""

    code, title = "not_member", "Not a member of this room"


class WrongCode(Forbidden):
    """The code of the step is wrong; `attempts_left` says how many more may be tried."""

    code, title = "wrong_code", "Wrong code"


class NotFound(Refused):
    """There is no such thing, or it is not the caller's to see."""

    code, status, title = "not_found", 404, "Not found"


class MethodNotAllowed(Refused):
    """The path exists, but not under this method; `Allow` names those that it has."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class Conflict(Refused):
    status = 409


class Taken(Conflict):
    """Another technician has the job."""

    code, title = "taken", "Booking already taken"


class NotOffered(Conflict):
    """The job is not offered to the caller, or they declined it."""

    code, title = "not_offered", "Not offered to you"


class Expired(Conflict):
    """The offer ran out, or the job did."""

    code, title = "expired", "Offer expired"


class Cancelled(Conflict):
    """The job was cancelled."""

    code, title = "cancelled", "Booking cancelled"


class AtCapacity(Conflict):
    """The technician holds as many jobs as their `capacity` allows."""

    code, title = "at_capacity", "You hold as many jobs as you may"


class TooEarly(Conflict):
    """The step is not open to the caller yet; later it may be."""

    code, title = "too_early", "Not open to you yet"


class IllegalTransition(Conflict):
    """The job's state does not allow the step; `actions` of the job names those that it allows."""

    code, title = "illegal_transition", "Not possible in this state"


class NotEditable(Conflict):
    """The fields may not be changed in the job's state; `errors` names them."""

    code, title = "not_editable", "Not editable in this state"


class PriceLocked(Conflict):
    """The price is agreed and cannot be changed here."""

    code, title = "price_locked", "The price is locked"


class Frozen(Conflict):
    """A dispute is open: no step is taken until a mediator resolves it."""

    code, title = "frozen", "Frozen by a dispute"


class Duplicate(Conflict):
    """Something else exists under this name already. For a booking's `reference`, `job.id` is its job."""

    code, title = "duplicate", "Exists already"


class InFlight(Conflict):
    """A request with the same key is still being worked on: repeat a little later with the same key."""

    code, title, temporary = "in_flight", "The same request is still being worked on", True


class ScheduleConflict(Conflict):
    """The time overlaps another job of the technician."""

    code, title = "schedule_conflict", "Overlaps another job"


class RoomClosed(Conflict):
    """The room takes no more messages."""

    code, title = "room_closed", "The room is closed"


class VersionConflict(Refused):
    """The job has another version than the step was bound to; `job` is the job as it is now."""

    code, status, title = "version_conflict", 412, "The job has changed"


class TooLarge(Refused):
    """The body or the head of the request is larger than allowed."""

    code, status, title = "too_large", 413, "Too large"


class Invalid(Refused):
    """The input is not what is asked for. `errors` names every wrong field by JSON pointer."""

    code, status, title = "invalid", 422, "Invalid input"


class NotJson(Invalid):
    """The body is not JSON."""

    status = 400
    title = "Not JSON"


class NotText(Invalid):
    """The body or the query is not UTF-8."""

    status = 400
    title = "Not UTF-8"


class ReusedKey(Refused):
    """The request key was used before for other arguments: make a new one for a new request."""

    code, status, title = "reused_key", 422, "Request key used for something else"


class OutOfArea(Refused):
    """The place lies outside the area that is served."""

    code, status, title = "out_of_area", 422, "Outside the service area"


class ServiceInactive(Refused):
    """The service is not on offer."""

    code, status, title = "service_inactive", 422, "Service not on offer"


class CodeLocked(Refused):
    """Too many wrong codes were tried: the customer has to ask for new ones (`reissue`)."""

    code, status, title = "code_locked", 423, "Too many wrong codes"


class RateLimited(Refused):
    """The caller asks too often; `retry_after` says when to come back."""

    code, status, title, temporary = "rate_limited", 429, "Too many requests", True


def _tree(base: type[CalloutError]) -> list[type[CalloutError]]:
    return [base, *(leaf for sub in base.__subclasses__() for leaf in _tree(sub))]


BY_CODE: dict[str, type[CalloutError]] = {
    kind.code: kind for kind in reversed(_tree(CalloutError)) if kind is not CalloutError and "code" in vars(kind)
}
MEANING: dict[str, str] = {code: " ".join((kind.__doc__ or "").split()) for code, kind in BY_CODE.items()}
"""What each code means, for who meets it."""
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

WRITES_REFUSED = ("MISCONF", "NOREPLICAS", "OOM")
"""Those of them by which a server that is there, and can be read, takes no writes: its disk or memory is full, or too
few replicas follow it."""
