"""The pages of the apps: one HTML document for each, which loads the scripts and styles that ``make web`` built.

They are not routes of the HTTP interface: anyone may read them, without a rate limit, and they are not in the OpenAPI
document. A page contains no data of its reader; its script requests data with the reader's token.
"""

from __future__ import annotations

import html
from hashlib import sha256
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from engine.process.settings import Settings
from server.api.endpoint import send_problem
from server.http.responses import Header
from server.schemas.problems import WrongMethod
from server.web.assets import FixedFile, send_file
from server.web.built import BuiltPages, Entry, Manifest
from server.web.policy import content_policy, map_origins, safety_headers
from server.web.static import WEB_FOLDER

NO_CACHE: Header = (b"cache-control", b"no-cache")
HTML_TYPE: Header = (b"content-type", b"text/html; charset=utf-8")
_NOT_BUILT = (WEB_FOLDER / "pages" / "not_built.html").read_text("utf-8")
_SHELL = (WEB_FOLDER / "pages" / "shell.html").read_text("utf-8")


class Shell(NamedTuple):
    """One page: the entry of the build that it loads, its title, and whether pages of this server may frame it."""

    entry: str
    title: str
    framed: bool = False


SHELLS: dict[str, Shell] = {
    "/": Shell("start", "Callout"),
    "/console": Shell("console", "Console · Callout"),
    "/book": Shell("book", "Book · Callout", framed=True),
    "/tech": Shell("tech", "Work · Callout", framed=True),
    "/track": Shell("track", "On the way · Callout", framed=True),
    "/docs": Shell("apidocs", "API · Callout"),
    "/docs/events": Shell("apidocs", "Events · Callout"),
}
BELOW = ("/console", "/book", "/tech", "/track")
"""Pages that are also sent for every path below theirs, because their script reads the path."""


class ShellPage:
    """The ASGI endpoint of one page and of the paths below it."""

    def __init__(self, path: str, pages: BuiltPages, settings: Settings) -> None:
        self._shell, self._pages, self._files = SHELLS[path], pages, FixedFile(pages)
        self._worker_scope: Header = (b"service-worker-allowed", path.encode())
        is_redoc = self._shell.entry == "apidocs"
        policy = content_policy(map_origins=map_origins(settings), framed=self._shell.framed, redoc=is_redoc)
        self._headers = safety_headers(policy)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD."""
        scope["state"]["operation"] = "page"
        if scope["method"] not in ("GET", "HEAD"):
            return await send_problem(scope, send, WrongMethod(["GET", "HEAD"]))
        file = self._files.find(scope["path"])
        if file is not None:
            return await send_file(scope, send, file, NO_CACHE, self._worker_scope)
        manifest = self._pages.manifest()
        page = _render(self._shell, manifest) if manifest else _NOT_BUILT
        await send_page(scope, send, page, self._headers)
        return None


async def send_page(scope: Scope, send: Send, page: str, headers: tuple[Header, ...]) -> None:
    """Send an HTML page. A browser requests it each time, and gets 304 if it has the present version."""
    body = page.encode()
    tag = b'"%b"' % sha256(body).hexdigest()[:32].encode()
    known = next((value for name, value in scope["headers"] if name == b"if-none-match"), b"")
    is_known = tag in (each.strip().removeprefix(b"W/") for each in known.split(b","))
    sent = [HTML_TYPE, NO_CACHE, (b"etag", tag), *headers]
    if not is_known:
        sent.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": 304 if is_known else 200, "headers": sent})
    await send({"type": "http.response.body", "body": b"" if is_known or scope["method"] == "HEAD" else body})


def _render(shell: Shell, manifest: Manifest) -> str:
    entry = manifest.entries[shell.entry]
    installable = f"/{shell.entry}/manifest.webmanifest"
    lines = [f'<link rel="manifest" href="{installable}">'] if installable in manifest.served else []
    lines += [f'<meta name="asset:{name}" content="/assets/{file}">' for name, file in manifest.named.items()]
    lines += [*style_links(entry), f'<script src="/assets/{manifest.boot}"></script>']
    lines += [f'<script type="module" src="/assets/{name}"></script>' for name in entry.scripts]
    page = _SHELL.replace("{title}", html.escape(shell.title)).replace("{app}", shell.entry)
    return page.replace("{head}", "\n".join(lines))


def style_links(entry: Entry) -> list[str]:
    """Return the links of a page to its styles and fonts, and to the scripts that its script imports at once."""
    return [
        *(f'<link rel="stylesheet" href="/assets/{name}">' for name in entry.styles),
        *(
            f'<link rel="preload" href="/assets/{name}" as="font" type="font/woff2" crossorigin>'
            for name in entry.fonts
        ),
        *(f'<link rel="modulepreload" href="/assets/{name}">' for name in entry.preloads),
    ]
