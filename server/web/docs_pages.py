"""The project's pages: ``/docs/pages`` lists them, ``/docs/{name}`` shows one.

They are not routes of the HTTP interface: anyone may read them, without a rate limit, and they are not in the OpenAPI
document.
"""

from __future__ import annotations

import functools
import html
import re
from pathlib import Path

from starlette.types import Receive, Scope, Send

from engine.errors import NotFound
from server.api.endpoint import send_problem
from server.schemas.problems import WrongMethod
from server.web.built import BuiltPages
from server.web.policy import content_policy, safety_headers
from server.web.shells import send_page, style_links
from server.web.static import WEB_FOLDER

PAGES = WEB_FOLDER / "pages"
"""Templates. They are not served without changes."""
INDEX = "pages"
"""The name of the list of all pages."""
_PAGE = re.compile(r"[a-z0-9-]{1,64}")
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_LINK = re.compile(r'href="([a-z0-9-]+)\.md(#[^"]*)?"')
_HEADING = re.compile(r"<h([2-4])>(.+?)</h\1>")
_PLAIN_STYLES = '<link rel="stylesheet" href="/web/try.css">\n<link rel="stylesheet" href="/web/page.css">'
_HEADERS = safety_headers(content_policy())
FIRST_PAGES = ("first-hour", "running", "settings", "protocol", "codes", "clients", "design")
"""The first pages of the list, in the order in which to read them. The other pages follow by name."""


class DocsPages:
    """The ASGI endpoint of ``/docs/{name}``: Markdown pages as HTML."""

    def __init__(self, pages: BuiltPages, folder: Path | None = None) -> None:
        self._built, self._folder = pages, folder or docs_folder()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD."""
        scope["state"]["operation"] = "docs"
        name = scope["path_params"]["name"]
        pages = _load_pages(self._folder) if self._folder else {}
        if name != INDEX and name not in pages:
            return await send_problem(scope, send, NotFound("No such page"))
        if scope["method"] not in ("GET", "HEAD"):
            return await send_problem(scope, send, WrongMethod(["GET", "HEAD"]))
        return await send_page(scope, send, _render_page(name, pages, self._styles()), _HEADERS)

    def _styles(self) -> str:
        """Return the links to the styles; those of the try page if the pages are not built."""
        manifest = self._built.manifest()
        return "\n".join(style_links(manifest.entries["guide"])) if manifest else _PLAIN_STYLES


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


def _render_page(page_name: str, pages: dict[str, tuple[str, str]], styles: str) -> str:
    title, text = ("Documentation", _index_text(pages)) if page_name == INDEX else pages[page_name]
    from markdown_it import MarkdownIt  # imported here, because it takes 50 ms that a start does not need

    body = _HEADING.sub(_add_anchor, MarkdownIt("commonmark").enable("table").render(text))
    frame = (PAGES / "page.html").read_text("utf-8")
    frame = frame.replace("{title}", html.escape(title)).replace("{head}", styles)
    return frame.replace("{body}", _LINK.sub(r'href="\1\2"', body))


def _add_anchor(heading: re.Match[str]) -> str:
    """Return the HTML of the heading with an ``id`` like GitHub's, so that links to headings work here too."""
    text = html.unescape(re.sub(r"<[^>]+>", "", heading[2]))
    name = re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-")
    return f'<h{heading[1]} id="{name}">{heading[2]}</h{heading[1]}>'


def _index_text(pages: dict[str, tuple[str, str]]) -> str:
    lines = [f"- [{title}]({name}.md)" for name, (title, _) in pages.items()]
    return "\n".join(["# Documentation", "", *(lines or ["The pages are not part of this installation."])])
