"""The pages for people: ``/`` describes this server and links to its parts; ``/docs/`` shows the project's pages.

Both are for a person who has just opened the address that ``callout serve`` printed. They are not routes of the HTTP
interface: anyone may read them, without a rate limit, and they are not in the OpenAPI document.
"""

from __future__ import annotations

import functools
import html
import re
from importlib.metadata import version
from pathlib import Path

import msgspec
from starlette.types import Receive, Scope, Send

from engine.errors import NotFound
from server.api.endpoint import send_problem
from server.http.responses import Header
from server.schemas.problems import WrongMethod
from server.web.static import MEDIA_TYPES, SECURITY_HEADERS, WEB_FOLDER

PAGES = WEB_FOLDER / "pages"
"""Templates. They are not served without changes."""
HTML_TYPE: Header = (b"content-type", MEDIA_TYPES[".html"])
NO_CACHE: Header = (b"cache-control", b"no-cache")
_PAGE = re.compile(r"[a-z0-9-]{1,64}")
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_LINK = re.compile(r'href="([a-z0-9-]+)\.md(#[^"]*)?"')
_HEADING = re.compile(r"<h([2-4])>(.+?)</h\1>")
FIRST_PAGES = ("first-hour", "running", "settings", "protocol", "codes", "clients", "design")
"""The first pages of the list, in the order in which to read them. The other pages follow by name."""


class DemoLogin(msgspec.Struct, frozen=True):
    """The login of one user of a demo, for the front page."""

    role: str
    email: str
    password: str


class FrontPage:
    """The ASGI endpoint of ``/``. ``demo`` is the file to which a demo writes its logins; None: no demo."""

    def __init__(self, demo: str | None = None) -> None:
        self._logins_file = Path(demo) if demo else None
        self._page = (PAGES / "index.html").read_text("utf-8").replace("{version}", html.escape(version("callout")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD."""
        scope["state"]["operation"] = "front"
        await _send_page(scope, send, self._page.replace("<!-- logins -->", _logins_table(self._read_logins())))

    def _read_logins(self) -> list[DemoLogin]:
        """Return the logins of the demo. Read at each request, because a demo creates its users after the server
        started.
        """
        try:
            text = self._logins_file.read_bytes() if self._logins_file else b"[]"
            return msgspec.json.decode(text, type=list[DemoLogin])
        except (OSError, msgspec.DecodeError):
            return []


class DocsPages:
    """The ASGI endpoint of ``/docs/`` and ``/docs/{name}``: Markdown pages as HTML."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or docs_folder()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD."""
        scope["state"]["operation"] = "docs"
        name = scope["path_params"].get("name", "")
        pages = _load_pages(self._folder) if self._folder else {}
        if name and name not in pages:
            return await send_problem(scope, send, NotFound("No such page"))
        await _send_page(scope, send, _render_page(name, pages))
        return None


def docs_folder() -> Path | None:
    """Return the folder of the pages: in ``server/`` of a wheel, at the top of a checkout; None if there is none."""
    here = Path(__file__).resolve().parents[1]
    return next((place for place in (here / "docs", here.parent / "docs") if (place / "protocol.md").is_file()), None)


@functools.cache
def _load_pages(folder: Path) -> dict[str, tuple[str, str]]:
    """Return title and Markdown of each page, by name: first the pages in ``FIRST_PAGES``, then all others."""
    found = {path.stem: path.read_text("utf-8") for path in folder.glob("*.md") if _PAGE.fullmatch(path.stem)}
    order = [*(name for name in FIRST_PAGES if name in found), *sorted(found.keys() - set(FIRST_PAGES))]
    texts = {name: found[name] for name in order}
    return {name: (title[1] if (title := _TITLE.search(text)) else name, text) for name, text in texts.items()}


def _render_page(page_name: str, pages: dict[str, tuple[str, str]]) -> str:
    title, text = pages[page_name] if page_name else ("Documentation", _index_text(pages))
    from markdown_it import MarkdownIt  # 50 ms, which a start does not need

    body = _HEADING.sub(_add_anchor, MarkdownIt("commonmark").enable("table").render(text))
    frame = (PAGES / "page.html").read_text("utf-8")
    return frame.replace("{title}", html.escape(title)).replace("{body}", _LINK.sub(r'href="\1\2"', body))


def _add_anchor(heading: re.Match[str]) -> str:
    """Return the HTML of the heading with an ``id`` like GitHub's, so that links to headings work here too."""
    text = html.unescape(re.sub(r"<[^>]+>", "", heading[2]))
    name = re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-")
    return f'<h{heading[1]} id="{name}">{heading[2]}</h{heading[1]}>'


def _index_text(pages: dict[str, tuple[str, str]]) -> str:
    lines = [f"- [{title}]({name}.md)" for name, (title, _) in pages.items()]
    return "\n".join(["# Documentation", "", *(lines or ["The pages are not part of this installation."])])


def _logins_table(logins: list[DemoLogin]) -> str:
    if not logins:
        return ""
    rows = "".join(
        f"<tr><td>{html.escape(login.role)}</td><td><code>{html.escape(login.email)}</code></td>"
        f"<td><code>{html.escape(login.password)}</code></td></tr>"
        for login in logins
    )
    return (
        '<section class="card"><h2>Sign in to this demo</h2>'
        "<table><thead><tr><th>Role</th><th>E-mail</th><th>Password</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        '<p class="hint">Use them on the <a href="/web/try.html">try page</a>.</p></section>'
    )


async def _send_page(scope: Scope, send: Send, page: str) -> None:
    if scope["method"] not in ("GET", "HEAD"):
        return await send_problem(scope, send, WrongMethod(["GET", "HEAD"]))
    body = page.encode()
    headers = [HTML_TYPE, NO_CACHE, *SECURITY_HEADERS, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
    return None
