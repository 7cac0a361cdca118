"""The declaration of one route: a row of the table in server/api/routes.py."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

import msgspec

from engine.types import Role
from server.http import policy
from server.http.policy import Policy
from server.http.responses import Response, StreamingResponse
from server.http.throttle import MAX_BODY_BYTES
from server.schemas.decode import Body, NoQuery
from server.schemas.jobs import Step, StepReply
from server.schemas.lists import Items, ListQuery, LiveItems


class Handler(Protocol):
    """A function in server/api/handlers: three to eight lines that read the request, call the engine and build the
    answer.
    """

    __name__: str
    __module__: str

    def __call__(self, call: Any, /) -> Awaitable[Response | StreamingResponse]:
        """Return the answer to ``call``. Raises CalloutError."""


class Route(msgspec.Struct, frozen=True):
    """The declaration of one operation. Routing, checks, limits and the OpenAPI document use it."""

    method: str
    path: str
    handler: Handler
    roles: frozenset[Role] | None
    """The roles that may call the route. None admits anyone, also without a token."""
    policy: Policy
    """The kind of object in the path, and the relation that the caller must have to this object."""
    body: type[Body] | None = None
    query: type[Body] = NoQuery
    reply: Any = None
    """The type of the answer's body, for the document and the tests. None: the answer is not JSON."""
    status: int = 200
    reply_with_problem: Any = None
    """The type of a body that is sent with 200 instead of ``status`` if there is something to report."""
    limit_name: str = "requests"
    """The name of the rate limit that the request uses up; "" is none."""
    needs_only_sql: bool = False
    """Whether the route is also served while a zone is closed. Then each process counts the requests in its own memory:
    the meters of the limits belong to the zone.
    """
    has_key: bool = False
    """Whether the route accepts an ``Idempotency-Key``: its effect happens only once for each key."""
    other_statuses: tuple[int, ...] = ()
    """Other statuses with the same type of body."""
    takes_bytes: bool = False
    """Whether the handler gets the body as it was sent, because a signature of its bytes is checked."""
    max_body_bytes: int = MAX_BODY_BYTES
    """The largest body in bytes."""
    raw_body: tuple[str, ...] = ()
    """The media types of a body that is no JSON. The handler gets it as a stream, of at most ``photos.MAX_BYTES``."""
    serves_suspended: bool = False
    """Whether a suspended technician may call the route: they may read what they have earned."""
    may_stream: bool = False
    """Whether the answer may be an event stream. Then a ticket for events may replace the token."""

    @property
    def is_conditional(self) -> bool:
        """Return whether the caller may send the expected version of the job: in the body, or as ``If-Match``."""
        return self.body is not None and "version" in self.body.__struct_fields__

    @property
    def raw_content(self) -> dict[str, Any]:
        """Return the media types of a body that is not decoded, for the OpenAPI document."""
        if self.takes_bytes:
            return {"application/json": {"schema": {}}}
        return {media: {"schema": {"type": "string", "format": "binary"}} for media in self.raw_body}

    @property
    def name(self) -> str:
        """Return the operation id of the document and the metrics: the handler's module and name, as ``jobs_claim``."""
        return f"{self.handler.__module__.rpartition('.')[2]}_{self.handler.__name__}"


def list_route(
    path: str,
    handler: Handler,
    roles: frozenset[Role],
    policy: Policy,
    item_type: Any,
    *,
    query: type[ListQuery] = ListQuery,
    live: bool = False,
    needs_only_sql: bool = False,
) -> Route:
    """Return the route of a list. A list has pages, so its query always has `limit` and `cursor`."""
    reply = LiveItems[item_type] if live else Items[item_type]
    return Route("GET", path, handler, roles, policy, query=query, reply=reply, needs_only_sql=needs_only_sql)


def step_route(
    path: str,
    handler: Handler,
    roles: frozenset[Role],
    body: type[Body] = Step,
    *,
    limit_name: str = "requests",
) -> Route:
    """Return the route of a step of a job. The job's blueprint decides who may take it."""
    return Route(
        "POST", path, handler, roles, policy.STEP_OF_JOB, body, reply=StepReply, has_key=True, limit_name=limit_name
    )
