"""The files under ``/web/``: the browser client and the page to try it on.

They are read once, at start, into a table; a request is looked up in it by its whole name. No path is ever joined to a
folder, so there is nothing to climb out of. (Rejected: Starlette's StaticFiles, which asks the disk, and is right about
``..`` only as long as its joins are.) They are no routes of the interface: for anyone, not metered, and not in the
OpenAPI document.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from engine.errors import NotFound
from server.api.endpoint import refuse
from server.http.responses import Header
from server.schemas.problems import WrongMethod

FOLDER = Path(__file__).parent
CHECKOUT = Path(__file__).parents[2] / "clients" / "javascript"
CLIENT = "callout.js"
START = "try.html"

TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
}
"""What is served at all: a file of another kind in the folder is not."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Everything from this server and nothing written into the page: what a name or an address smuggles in cannot run."""

GUARDS: tuple[Header, ...] = (
    (b"content-security-policy", POLICY),
    (b"referrer-policy", b"no-referrer"),
)


class File(NamedTuple):
    """One file as it is sent."""

    body: bytes
    etag: bytes
    headers: tuple[Header, ...]


class Files:
    """An ASGI endpoint with the path parameter ``name``."""

    def __init__(self, folder: Path = FOLDER) -> None:
        paths = {path.name: path for path in (client(), *folder.iterdir()) if path.suffix in TYPES}
        self._files = {name: _file(path) for name, path in paths.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD; 304 to who has the file already."""
        scope["state"]["operation"] = "web"
        name = scope["path_params"].get("name", "")
        if scope["method"] not in ("GET", "HEAD"):
            return await refuse(scope, send, WrongMethod(["GET", "HEAD"]))
        if not name:
            return await _send(scope, send, 307, ((b"location", START.encode()), (b"content-length", b"0")))
        file = self._files.get(name)
        if file is None:
            return await refuse(scope, send, NotFound("No such file"))
        if _has(scope, file):
            return await _send(scope, send, 304, file.headers)
        length = (b"content-length", str(len(file.body)).encode())
        await _send(scope, send, 200, (*file.headers, length), file.body)
        return None


def client() -> Path:
    """Return the path of the browser client.

    A wheel carries it in ``web``. A checkout and an editable install have it in ``clients/javascript`` only: it is a
    package of its own.
    """
    return next(path for path in (FOLDER / CLIENT, CHECKOUT / CLIENT) if path.is_file())


def _file(path: Path) -> File:
    body = path.read_bytes()
    etag = b'"%b"' % sha256(body).hexdigest()[:32].encode()
    # Asked for again each time, scripts too: a page and a client of two releases do not belong together.
    headers = ((b"content-type", TYPES[path.suffix]), (b"etag", etag), (b"cache-control", b"no-cache"), *GUARDS)
    return File(body, etag, headers)


def _has(scope: Scope, file: File) -> bool:
    known = next((value for name, value in scope["headers"] if name == b"if-none-match"), b"")
    return known.strip() == b"*" or file.etag in (one.strip().removeprefix(b"W/") for one in known.split(b","))


async def _send(scope: Scope, send: Send, status: int, headers: tuple[Header, ...], body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
