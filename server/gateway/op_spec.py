"""The declaration of an op of the socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from engine.types import Role
from server.gateway.gateway import Gateway
from server.gateway.session import Session
from server.http import policy

OpFunction = Callable[[Gateway, Session, Any], Awaitable[Any]]


class OpSpec(NamedTuple):
    """The declaration of an op: its function, the limit that counts it, the roles that may use it, and which relation a
    caller needs to the thing that the op names. ``function`` is None for the op ``location``, which is executed at once
    and without a task.
    """

    function: OpFunction | None
    limit_name: str
    roles: frozenset[Role]
    policy: policy.Policy
