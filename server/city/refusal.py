"""What a client sees of a failure: the problem object of PROTOCOL §1, or no answer at all."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
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


class Unreachable(Exception):
    """No answer within the caller's patience: whether it was done is unknown."""


class Ended(Exception):
    """The connection is closed for good: by its owner, or by a close code that does not come back."""
