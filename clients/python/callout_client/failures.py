"""What a client sees of a failure.

ClientError
├── Refusal       the server's answer was an error: the problem object of PROTOCOL §1
├── Unreachable   no answer in time: it may have been done
└── Ended         the connection is closed for good
"""

from __future__ import annotations

from typing import Any

COMES_BACK = frozenset({1000, 1001, 1005, 1006, 1011, 1012, 1013, *range(4000, 4500)})
"""Close codes after which a client comes back by itself (PROTOCOL §4); 1006 where there was none."""
TOO_MANY = 4010
"""Comes back too, but later than usual."""
BAD_CREDENTIALS = 4501
_ENDS = {"unauthenticated": BAD_CREDENTIALS, "forbidden": 4502}


class ClientError(Exception):
    """``key`` is the request's, where it had one: to ask again with, or after (``GET /v1/requests/{key}``)."""

    key: str = ""


class Refusal(ClientError):
    """The server's answer was an error. ``code`` is PROTOCOL §3's; ``problem`` the whole object."""

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
    def ends(self) -> int:
        """The close code of a socket that is refused its events so; 0 where it may come back."""
        return _ENDS.get(self.code, 0)


class Unreachable(ClientError):
    """No answer within the caller's patience: whether it was done is unknown."""


class Ended(ClientError):
    """The connection is closed for good: by its owner, by a close code that does not come back (``code``), or because
    a listener raised (then that is the ``__cause__``).
    """

    def __init__(self, text: str, code: int = 1000) -> None:
        super().__init__(text)
        self.code = code
