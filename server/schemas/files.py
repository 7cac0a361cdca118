"""Files: photos of jobs, files of chat messages, documents of technicians."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from server.schemas.decode import Body
from server.schemas.objects import Actor, Shape

FileKind = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}$(?!\n)", description="small letters, digits and _, such as `photo`")
]
FileTarget = Annotated[
    str,
    Meta(
        pattern=r"^(job|room|technician):[A-Za-z0-9_-]{1,64}$(?!\n)",
        description="`job:<id>`, `room:<id>` or `technician:<id>`",
    ),
]


class PhotoQuery(Body):
    """What a photo shows (``kind``). Blueprints may require files of a kind."""

    kind: FileKind | None = None


class UploadQuery(PhotoQuery, kw_only=True, rename={"target": "for"}):
    """The target of a file (``for``), and what the file shows."""

    target: FileTarget


class File(Shape):
    """A stored image without metadata. ``sha256`` and ``bytes`` are those of the stored file. The uploader chose
    ``kind``.
    """

    id: str
    sha256: Annotated[str, Meta(description="64 hex digits")]
    kind: str
    bytes: int
    width: int
    height: int
    by: Actor
    at: datetime


class FileReply(Shape):
    file: File
