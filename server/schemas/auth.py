"""Sign-up, sign-in, tickets and logins."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, field

from server.schemas.decode import Body
from server.schemas.fields import Email, Name, Password, Phone, Token
from server.schemas.objects import Shape
from server.schemas.users import User


class Register(Body):
    email: Email
    password: Password
    name: Name
    role: Literal["customer", "technician"]
    phone: Phone | None = None


class Login(Body):
    email: Annotated[str, Meta(min_length=1, max_length=300)]
    password: Annotated[str, Meta(max_length=256)]


class RefreshToken(Body):
    refresh_token: Token


class NewTicket(Body):
    """The kind of ticket to issue. ``socket``: for one WebSocket of a browser, valid for 30 s. ``events``: for
    EventSource, valid for 15 min.
    """

    purpose: Literal["socket", "events"] = field(name="for", default="socket")


class TokensReply(Shape):
    """A user and their new tokens. ``access_token`` is a bearer token, valid for ``expires_in`` seconds. Each use of
    ``refresh_token`` replaces it.
    """

    user: User
    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"]
    expires_in: int


class ActiveLogin(Shape):
    """One login of the caller, with all tokens that were refreshed from it."""

    id: str
    created_at: datetime
    last_seen: Annotated[datetime, Meta(description="when its tokens were last issued: at most an hour behind")]
    device: Annotated[str | None, Meta(description="the client's `User-Agent`, if it sent one")]
    current: Annotated[bool, Meta(description="whether this request used it")]


class Ticket(Shape):
    ticket: str
    expires_in: int
