"""The routes of files, as a part of the table in server/api/routes.py."""

from __future__ import annotations

from engine.roles import ANY_ROLE, JOB_READER_ROLES, PARTY_ROLES
from server.api.handlers import files
from server.api.route import Route, list_route
from server.http import policy
from server.schemas.files import File, FileReply, PhotoQuery, UploadQuery

IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp")

FILE_ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/files",
        files.upload,
        ANY_ROLE,
        policy.ADD_FILE,
        query=UploadQuery,
        reply=FileReply,
        status=201,
        other_statuses=(200,),
        limit_name="files",
        raw_body=IMAGE_TYPES,
    ),
    Route("GET", "/v1/files/{id}", files.read, ANY_ROLE, policy.READ_FILE),
)
PHOTO_ROUTES: tuple[Route, ...] = (
    list_route("/v1/jobs/{id}/photos", files.find, JOB_READER_ROLES, policy.READ_FULL_JOB, File),
    Route(
        "POST",
        "/v1/jobs/{id}/photos",
        files.upload_photo,
        PARTY_ROLES,
        policy.ADD_PHOTO,
        query=PhotoQuery,
        reply=FileReply,
        status=201,
        other_statuses=(200,),
        limit_name="files",
        raw_body=IMAGE_TYPES,
    ),
)
