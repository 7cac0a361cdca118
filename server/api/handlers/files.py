"""Files: uploads, and the stored bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from engine.domain import file_access, files
from engine.domain.files import UploadOutcome
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.file_response import FileResponse
from server.http.responses import Response
from server.schemas.decode import Body, NoQuery
from server.schemas.files import PhotoQuery, UploadQuery
from server.schemas.lists import ListQuery


async def upload(call: RequestContext[AsyncIterator[bytes], UploadQuery]) -> Response:
    """Upload an image: the body is a JPEG, PNG or WebP file of at most 8 MiB and 50 megapixels.

    Metadata such as the position is removed; the pixels do not change. A repeated upload of the same bytes returns the
    first file, with 200. A file of a room is attached by the message that names it. A file that is not attached within
    a day is deleted.
    """
    done = await files.upload(call.engine, call.caller, call.query.target, call.query.kind, call.body, trace=call.trace)
    return _upload_response(done)


async def upload_photo(call: RequestContext[AsyncIterator[bytes], PhotoQuery]) -> Response:
    """Upload a photo of a job, as `POST /v1/files?for=job:<id>` does.

    The customer and the technician may each add 20 photos, from acceptance until the job is signed or over.
    """
    done = await files.upload(call.engine, call.caller, f"job:{call.id}", call.query.kind, call.body, trace=call.trace)
    return _upload_response(done)


async def find(call: RequestContext[Body, ListQuery]) -> Response:
    """Return the photos of a job, the oldest first."""
    photos = await files.list_photos(call.engine, call.caller, call.id)
    return responses.list_response(call.next_link, call.query, photos, lambda photo: (photo.at, photo.id))


async def read(call: RequestContext[Body, NoQuery]) -> FileResponse:
    """Return the bytes of a file, if the caller may read the job, the message or the profile to which it is
    attached.
    """
    row = await file_access.read_file(call.engine, call.caller, call.id)
    engine, known_tags = call.engine, call.headers.get(b"if-none-match", b"")
    return FileResponse(row, known_tags, lambda: engine.blobs.stream(row.sha256), engine.downloads, call.caller.id)


def _upload_response(done: UploadOutcome) -> Response:
    answer = responses.object_response("file", done.file)
    return answer._replace(status=200) if done.repeated else answer
