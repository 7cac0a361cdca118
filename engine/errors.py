"""The errors of the engine, each declared once: its code, HTTP status, close code and the reply word of scripts.

::

    CalloutError
    ├── Refused              the engine understood the request and refused it; nothing was done
    │   ├── Unauthenticated  401   ├── TokenExpired
    │   ├── Forbidden        403   ├── ProfileIncomplete ├── KycNotApproved ├── AccountNotApproved
    │   │                          ├── NotMember └── WrongCode
    │   ├── NotFound         404
    │   ├── MethodNotAllowed 405
    │   ├── Conflict         409   ├── Taken ├── NotOffered ├── Expired ├── Cancelled ├── AtCapacity ├── TooEarly
    │   │                          ├── IllegalTransition ├── NotEditable ├── PriceLocked ├── Frozen ├── Unsigned
    │   │                          ├── Duplicate ├── InFlight ├── ScheduleConflict ├── RoomClosed ├── NotErasable
    │   │                          └── InsufficientBalance ├── FilesMissing
    │   ├── VersionConflict  412
    │   ├── TooLarge         413
    │   ├── Invalid          422   ├── NotJson (400) ├── NotText (400) ├── ReusedKey ├── OutOfArea
    │   │                          └── ServiceInactive
    │   ├── CodeLocked       423
    │   └── RateLimited      429
    ├── Unavailable          503   nothing was done: safe to repeat   └── Paused
    ├── Indeterminate        504   outcome unknown: repeat with the same key
    └── Internal             500

``code`` is the contract of PROTOCOL §3. Scripts reply with the code in capitals; ``ERROR_OF_REPLY_WORD`` is the only
map from these reply words to the classes. The docstring of a class with a code is published as the meaning of that
code: at ``/problems/{code}``, in the OpenAPI document and in docs/codes.md."""

from __future__ import annotations

from typing import Any, ClassVar


class FieldError(tuple[str, str]):
    """A wrong field of a request: the field's JSON pointer, and a text that describes the error."""

    __slots__ = ()

    def __new__(cls, pointer: str, detail: str) -> FieldError:
        return super().__new__(cls, (pointer, detail))


class CalloutError(Exception):
    """Base of all errors that leave the engine.

    ``detail`` is text for a person. ``extra`` contains members for the problem object (``attempts_left``, ``job``).
    ``retry_after`` is in seconds. ``repeated`` is true if the error is the stored outcome of an earlier request with
    the same request key.
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
        """The script's reply without the reply word, for the engine alone."""


class Internal(CalloutError):
    """A bug in the server. The server logs it; the response does not contain its text."""

    code, status, title = "internal", 500, "Internal error"


class Unavailable(CalloutError):
    """A store or the server is not ready. Nothing was done, so the request can safely be repeated later."""

    code, status, title, temporary = "unavailable", 503, "Temporarily unavailable", True


class Paused(Unavailable):
    """An operator paused the zone. Nothing was done."""

    code, title = "paused", "Paused by the operator"


class Indeterminate(CalloutError):
    """The request may have been carried out, or not. Repeat it with the same request key to learn the outcome."""

    code, status, title, temporary = "indeterminate", 504, "Outcome unknown", True


class Refused(CalloutError):
    """The request was understood and refused. Nothing was done."""


class Unauthenticated(Refused):
    """The request has no token, or the token is not valid: sign in."""

    code, status, title = "unauthenticated", 401, "Sign in first"


class TokenExpired(Unauthenticated):
    """The token has expired: get a new token by `POST /v1/auth/refresh`."""

    code, title = "token_expired", "Token expired"


class Forbidden(Refused):
    """The caller's role, or their relation to the object, does not allow this."""

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
    """The code for the step is wrong. `attempts_left` is the number of attempts that remain."""

    code, title = "wrong_code", "Wrong code"


class NotFound(Refused):
    """The object does not exist, or the caller may not see it."""

    code, status, title = "not_found", 404, "Not found"


class MethodNotAllowed(Refused):
    """The path exists, but does not support this method. The `Allow` header lists the methods that the path
    supports.
    """

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class Conflict(Refused):
    status = 409


class Taken(Conflict):
    """Another technician already holds the job, or another mediator has taken the dispute."""

    code, title = "taken", "Booking already taken"


class NotOffered(Conflict):
    """The job is not offered to the caller, or the caller declined the offer."""

    code, title = "not_offered", "Not offered to you"


class Expired(Conflict):
    """The offer, the job, the quote or the day plan has expired."""

    code, title = "expired", "Offer expired"


class Cancelled(Conflict):
    """The job was cancelled."""

    code, title = "cancelled", "Booking cancelled"


class AtCapacity(Conflict):
    """The technician holds as many jobs as their `capacity` allows."""

    code, title = "at_capacity", "You hold as many jobs as you may"


class TooEarly(Conflict):
    """The caller may not take the step yet, but may be able to later."""

    code, title = "too_early", "Not open to you yet"


class IllegalTransition(Conflict):
    """The job's state does not allow the step. The job's `actions` lists the steps that are allowed."""

    code, title = "illegal_transition", "Not possible in this state"


class NotEditable(Conflict):
    """The fields cannot be changed in the job's present state. `errors` names them."""

    code, title = "not_editable", "Not editable in this state"


class PriceLocked(Conflict):
    """The price is agreed and cannot be changed by this request."""

    code, title = "price_locked", "The price is locked"


class Frozen(Conflict):
    """A dispute about the job is open: no step is possible until a mediator resolves it."""

    code, title = "frozen", "Frozen by a dispute"


class Duplicate(Conflict):
    """It exists already, or the quote is used up. `job.id` names the job that has the `reference` or the quote."""

    code, title = "duplicate", "Exists already"


class InFlight(Conflict):
    """A request with the same request key is still in progress: repeat it shortly with the same key."""

    code, title, temporary = "in_flight", "The same request is still being worked on", True


class ScheduleConflict(Conflict):
    """The time overlaps another job of the technician. `conflict` has its times; a booking also gets free `slots`."""

    code, title = "schedule_conflict", "Overlaps another job"


class Unsigned(Conflict):
    """Only the customer's signature takes this step: `POST /v1/jobs/{id}/sign`."""

    code, title = "unsigned", "The customer has to sign"


class FilesMissing(Conflict):
    """The step needs more files. `missing` has the number that is missing of each kind: `{"photo": 2}`."""

    code, title = "files_missing", "Files are missing"


class RoomClosed(Conflict):
    """The room is closed and accepts no more messages."""

    code, title = "room_closed", "The room is closed"


class InsufficientBalance(Conflict):
    """The technician has less available than the payout's amount. Money that is pending cannot be paid out yet."""

    code, title = "insufficient_balance", "Less is available"


class NotErasable(Conflict):
    """The person cannot be erased now. `blockers` says why: `job` (live), `dispute` (open), `balance` (money that they
    have or owe), `payout` (under way), `zone` (events in a zone that is not declared any more)."""

    code, title = "not_erasable", "Something of the account is still open"


class VersionConflict(Refused):
    """The job's version differs from the one that the request expects. `job` contains the present job."""

    code, status, title = "version_conflict", 412, "The job has changed"


class TooLarge(Refused):
    """The body or the header section of the request is larger than allowed."""

    code, status, title = "too_large", 413, "Too large"


class Invalid(Refused):
    """The input is not valid. `errors` names each wrong field by a JSON pointer."""

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
    """The request key was already used with other arguments: create a new key for each new request."""

    code, status, title = "reused_key", 422, "Request key used for something else"


class OutOfArea(Refused):
    """The location is outside the served area."""

    code, status, title = "out_of_area", 422, "Outside the service area"


class ServiceInactive(Refused):
    """The service cannot be booked now."""

    code, status, title = "service_inactive", 422, "Service not on offer"


class CodeLocked(Refused):
    """Too many wrong codes were entered: the customer must request new codes (`reissue`)."""

    code, status, title = "code_locked", 423, "Too many wrong codes"


class RateLimited(Refused):
    """The caller sends too many requests. Repeat after `retry_after` seconds."""

    code, status, title, temporary = "rate_limited", 429, "Too many requests", True


def _subclass_tree(base: type[CalloutError]) -> list[type[CalloutError]]:
    return [base, *(leaf for sub in base.__subclasses__() for leaf in _subclass_tree(sub))]


ERROR_OF_CODE: dict[str, type[CalloutError]] = {
    kind.code: kind
    for kind in reversed(_subclass_tree(CalloutError))
    if kind is not CalloutError and "code" in vars(kind)
}
MEANING_OF_CODE: dict[str, str] = {code: " ".join((kind.__doc__ or "").split()) for code, kind in ERROR_OF_CODE.items()}
"""What each code means, as published to clients."""
ERROR_OF_REPLY_WORD: dict[str, type[CalloutError]] = {code.upper(): kind for code, kind in ERROR_OF_CODE.items()}
"""The error class for each reply word of the scripts. A reply word is the code in capitals."""


class OtherBlueprint(Exception):
    """Raised when a script finds that the job has another blueprint than the script's caller assumed. ``key`` is the
    job's blueprint. Never leaves the engine.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class LookInArchive(Exception):
    """Raised when Redis no longer knows whether a chat message was sent: the engine looks in SQL and tries again."""


class StaleCode(Exception):
    """Raised when a script finds that the job's codes were replaced after the engine read them. It then tries again."""


INTERNAL_ERROR_OF_REPLY_WORD: dict[str, type[Exception]] = {"STALE_CODE": StaleCode, "LOOK": LookInArchive}
"""The exception for each reply word that the engine handles itself."""
