"""Accounts of users."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from engine.rules.fixes import FixRate
from engine.types import Role
from server.schemas.about import Poll
from server.schemas.decode import Body
from server.schemas.fields import Email, MediumText, Name, Password, Phone
from server.schemas.lists import ListQuery
from server.schemas.objects import Shape
from server.schemas.technicians import Technician


class NewUser(Body):
    email: Email
    password: Password
    name: Name
    role: Role
    phone: Phone | None = None


class PatchUser(Body):
    role: Role | None = None
    active: bool | None = None


class Suspend(Body):
    """The suspension of a user. ``reassign`` offers the jobs that the user holds to others, if the job's blueprint
    still allows this.
    """

    reason: MediumText
    jobs: Literal["keep", "reassign"] = "keep"


class UsersQuery(ListQuery):
    role: Role | None = None
    active: bool | None = None


class User(Shape):
    id: str
    email: str
    name: str
    role: Role
    phone: str | None
    active: bool
    created_at: datetime


class UserReply(Shape):
    user: User


class Account(Shape):
    """An account as ops see it. Only admins see ``email`` and ``phone``."""

    id: str
    name: str
    role: Role
    active: bool
    created_at: datetime
    email: str | None = None
    phone: str | None = None


class AccountReply(Shape):
    user: Account


class MeReply(Shape):
    user: User
    poll: Poll
    fix: FixRate
    technician: Technician | None = None
    clock_offset_s: Annotated[
        float | None, Meta(description="seconds by which the device's clock is ahead, if more than 30")
    ] = None
