"""The data of the event that a photo was added to a job."""

from __future__ import annotations

from server.schemas.files import File
from server.schemas.jobs import Job
from server.schemas.objects import Shape


class FileEventData(Shape):
    """A photo was added to a job."""

    file: File
    job: Job
