"""The devices of a user, to which pushes are sent."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from server.schemas.constraints import describe_field
from server.schemas.decode import Body
from server.schemas.objects import Shape

Platform = Annotated[
    str,
    Meta(pattern=r"^[a-z][a-z0-9._-]{0,31}$(?!\n)", description="a word in lower case, such as ios, android or web"),
]
PushToken = Annotated[
    str,
    Meta(
        max_length=4096,
        pattern=r"^[\x21-\x7e]+$(?!\n)",
        description="a push token: visible ASCII without spaces, at most 4096",
    ),
]


class PutDevice(Body):
    """The push token of one device. On the platform ``webpush`` it is the JSON of a browser's push subscription.
    Callout does not interpret the tokens of other platforms: the receiver of pushes gets them.
    """

    platform: Platform
    token: Annotated[PushToken, describe_field("the token that the platform issued to the app. No reply contains it.")]


class Device(Shape):
    """A device of the caller, without its token. ``updated_at`` is when the token was last sent."""

    id: str
    platform: str
    updated_at: datetime


class DeviceReply(Shape):
    device: Device
