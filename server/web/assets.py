"""The files of the pages: ``/assets/{name}``, whose names contain a hash of their content, and files with a fixed path
such as a service worker.
"""

from __future__ import annotations

from hashlib import sha256

from starlette.types import Receive, Scope, Send

from engine.errors import NotFound
from server.api.endpoint import send_problem
from server.http.responses import Header
from server.schemas.problems import WrongMethod
from server.web.built import IMMUTABLE, BuiltFile, BuiltPages
from server.web.policy import content_policy, safety_headers

_HEADERS = safety_headers(content_policy())
_VARY: Header = (b"vary", b"accept-encoding")


class Assets:
    """The ASGI endpoint of ``/assets/{name}``. A browser may cache these files forever, because changed content has
    another name.
    """

    def __init__(self, pages: BuiltPages) -> None:
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD."""
        scope["state"]["operation"] = "assets"
        if scope["method"] not in ("GET", "HEAD"):
            return await send_problem(scope, send, WrongMethod(["GET", "HEAD"]))
        file = self._pages.file(scope["path_params"]["name"])
        if file is None:
            return await send_problem(scope, send, NotFound("No such file"))
        return await send_file(scope, send, file, IMMUTABLE)


class FixedFile:
    """Sends the file of the build for the path of the request. ``find`` returns None if there is none."""

    def __init__(self, pages: BuiltPages) -> None:
        self._pages = pages

    def find(self, path: str) -> BuiltFile | None:
        """Return the file that is served under ``path``."""
        manifest = self._pages.manifest()
        served = manifest.served.get(path) if manifest else None
        found = self._pages.file(served.file) if served else None
        return found._replace(media=served.type.encode()) if found and served else None


async def send_file(scope: Scope, send: Send, file: BuiltFile, *headers: Header) -> None:
    """Send ``file``, compressed if the browser accepts that and it is smaller; 304 if the browser has it."""
    given = dict(scope["headers"])
    packs = file.packed is not None and b"gzip" in given.get(b"accept-encoding", b"")
    body = file.packed if packs and file.packed is not None else file.body
    tag = b'"%b%b"' % (sha256(file.body).hexdigest()[:32].encode(), b"-gz" if packs else b"")
    sent = [(b"content-type", file.media), (b"etag", tag), _VARY, *headers, *_HEADERS]
    if tag in (each.strip().removeprefix(b"W/") for each in given.get(b"if-none-match", b"").split(b",")):
        await send({"type": "http.response.start", "status": 304, "headers": sent})
        return await send({"type": "http.response.body", "body": b""})
    sent.append((b"content-length", str(len(body)).encode()))
    if packs:
        sent.append((b"content-encoding", b"gzip"))
    await send({"type": "http.response.start", "status": 200, "headers": sent})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
    return None
