"""Errors that the client raises.

ClientError
├── Refusal       the server answered with an error: the problem object of PROTOCOL §1
├── Unreachable   there was no answer in time; the request may have been applied
└── Ended         the connection is closed and the client does not reconnect
"""

from __future__ import annotations

from typing import Any

RECONNECT_CLOSE_CODES = frozenset({1000, 1001, 1005, 1006, 1011, 1012, 1013, *range(4000, 4500)})
"""Close codes after which the client reconnects (PROTOCOL §4); 1006 means that there was no close frame."""
RECONNECT_LATER_CLOSE_CODE = 4010
"""The close code after which the client reconnects with a longer delay than usual."""
BAD_CREDENTIALS_CLOSE_CODE = 4501
_CLOSE_CODE_OF_ERROR = {"unauthenticated": BAD_CREDENTIALS_CLOSE_CODE, "forbidden": 4502}


class ClientError(Exception):
    """The base of all errors of the client. ``key`` is the idempotency key of the request, for a retry or for
    ``GET /v1/requests/{key}``; "" if the request had none.
    """

    key: str = ""


class Refusal(ClientError):
    """Raised if the server answers with an error. ``code`` is one of PROTOCOL §3; ``problem`` is the whole object."""

    def __init__(self, problem: dict[str, Any]) -> None:
        self.problem = problem
        self.code = str(problem.get("code", "internal"))
        self.temporary = bool(problem.get("temporary", False))
        wait = problem.get("retry_after")
        self.retry_after = float(wait) if wait is not None else None
        text = str(problem.get("detail") or problem.get("title") or self.code)
        wrong = "; ".join(f"{e.get('pointer')} {e.get('detail')}" for e in problem.get("errors") or ())
        super().__init__(f"{self.code}: {text}" + (f" ({wrong})" if wrong else ""))

    @property
    def close_code(self) -> int:
        """Return the close code of a socket that means the same as this refusal; 0 if the client may retry."""
        return _CLOSE_CODE_OF_ERROR.get(self.code, 0)


class Unreachable(ClientError):
    """Raised if no answer comes in the time that the caller allows. The request may have been applied."""


class Ended(ClientError):
    """Raised if the connection is closed and the client does not reconnect.

    Causes: ``close``, a close code that forbids reconnecting (``code``), or a listener that raised (the ``__cause__``).
    """

    def __init__(self, text: str, code: int = 1000) -> None:
        super().__init__(text)
        self.code = code
