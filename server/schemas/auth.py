"""Sign-up, sign-in, tickets and logins."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, field

from engine.errors import FieldError
from server.schemas.decode import Body
from server.schemas.fields import CookieName, Email, Name, Password, Phone, Token
from server.schemas.objects import Shape
from server.schemas.users import User

NULL = {"type": "null"}


class Register(Body):
    email: Email
    password: Password
    name: Name
    role: Literal["customer", "technician"]
    phone: Phone | None = None
    cookie: CookieName | None = None


class Login(Body):
    email: Annotated[str, Meta(min_length=1, max_length=300)]
    password: Annotated[str, Meta(max_length=256)]
    cookie: CookieName | None = None


class RefreshToken(Body):
    """A session, named either by its refresh token or by the app whose cookie has the token."""

    rules_schema: ClassVar[dict[str, Any]] = {
        "oneOf": [
            {"required": ["refresh_token"], "properties": {"refresh_token": {"type": "string"}, "cookie": NULL}},
            {"required": ["cookie"], "properties": {"cookie": {"type": "string"}, "refresh_token": NULL}},
        ]
    }
    refresh_token: Token | None = None
    cookie: CookieName | None = None

    def find_errors(self) -> list[FieldError]:
        if (self.refresh_token is None) == (self.cookie is None):
            return [FieldError("/refresh_token", "Required, or else the name of a cookie")]
        return []


class NewTicket(Body):
    """The kind of ticket to issue. ``socket``: for one WebSocket of a browser, valid for 30 s. ``events``: for
    EventSource, valid for 15 min.
    """

    purpose: Literal["socket", "events"] = field(name="for", default="socket")


class TokensReply(Shape):
    """A user and their new tokens. ``access_token`` is a bearer token, valid for ``expires_in`` seconds. Each use of
    ``refresh_token`` replaces it. With ``cookie`` the refresh token is in the cookie alone.
    """

    user: User
    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    refresh_token: str | None = None


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
