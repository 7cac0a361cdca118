"""The files under ``/web/``: the browser client and the page to try it on.

The files are read once, at start, into a table, and a request is looked up in the table by its whole name. No path of
a request is joined to a folder, so ``..`` can reach no other file. (Rejected: Starlette's StaticFiles. It looks up each
path on the disk, and is safe from ``..`` only if it joins paths correctly.) The files are not routes of the HTTP
interface: anyone may read them, without a rate limit, and they are not in the OpenAPI document.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from engine.errors import NotFound
from server.api.endpoint import send_problem
from server.http.responses import Header
from server.schemas.problems import WrongMethod
from server.web.policy import content_policy, safety_headers

WEB_FOLDER = Path(__file__).parent
CLIENT_FOLDER = Path(__file__).parents[2] / "clients" / "javascript"
CLIENT_FILES = ("callout.js", "live.js", "room.js")
START_FILE = "try.html"

MEDIA_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
}
"""The content type of each kind of file that is served. Files of other kinds in the folder are not served."""

SECURITY_HEADERS = safety_headers(content_policy())


class File(NamedTuple):
    """A served file: its bytes, its ETag and its headers."""

    body: bytes
    etag: bytes
    headers: tuple[Header, ...]


class StaticFiles:
    """The ASGI endpoint of ``/web/{name}``."""

    def __init__(self, folder: Path = WEB_FOLDER) -> None:
        paths = {path.name: path for path in (*client_paths(), *folder.iterdir()) if path.suffix in MEDIA_TYPES}
        self._files = {name: _load_file(path) for name, path in paths.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD; with 304 if the browser has the present file already."""
        scope["state"]["operation"] = "web"
        name = scope["path_params"].get("name", "")
        if scope["method"] not in ("GET", "HEAD"):
            return await send_problem(scope, send, WrongMethod(["GET", "HEAD"]))
        if not name:
            return await _send(scope, send, 307, ((b"location", START_FILE.encode()), (b"content-length", b"0")))
        file = self._files.get(name)
        if file is None:
            return await send_problem(scope, send, NotFound("No such file"))
        if _client_has_file(scope, file):
            return await _send(scope, send, 304, file.headers)
        length = (b"content-length", str(len(file.body)).encode())
        await _send(scope, send, 200, (*file.headers, length), file.body)
        return None


def client_paths() -> list[Path]:
    """Return the paths of the modules of the browser client.

    A wheel contains the client in ``web``. A checkout and an editable install have the client in
    ``clients/javascript`` only, because it is a package of its own.
    """
    folder = next(folder for folder in (WEB_FOLDER, CLIENT_FOLDER) if (folder / CLIENT_FILES[0]).is_file())
    return [folder / name for name in CLIENT_FILES]


def _load_file(path: Path) -> File:
    body = path.read_bytes()
    etag = b'"%b"' % sha256(body).hexdigest()[:32].encode()
    # A browser must ask again each time, also for scripts: a page and a client of two releases do not fit together.
    headers = (
        (b"content-type", MEDIA_TYPES[path.suffix]),
        (b"etag", etag),
        (b"cache-control", b"no-cache"),
        *SECURITY_HEADERS,
    )
    return File(body, etag, headers)


def _client_has_file(scope: Scope, file: File) -> bool:
    known = next((value for name, value in scope["headers"] if name == b"if-none-match"), b"")
    return known.strip() == b"*" or file.etag in (one.strip().removeprefix(b"W/") for one in known.split(b","))


async def _send(scope: Scope, send: Send, status: int, headers: tuple[Header, ...], body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
