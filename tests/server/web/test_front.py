"""The front page and the pages under /docs/."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from starlette.types import Message

from server.serve import RunningServer
from server.web.front import FIRST_PAGES, DocsPages, FrontPage, docs_folder
from tests.support.http import open_http

LOCAL_LINK = re.compile(r'(?:href|src)="(/[^"#]*)')


async def render_page(endpoint: FrontPage | DocsPages, name: str = "") -> str:
    """Return the HTML with which an ASGI endpoint answers."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path_params": {"name": name}, "state": {}, "headers": []}
    await endpoint(scope, receive, send)
    return str(messages[1]["body"].decode())


async def test_the_front_page_links_to_existing_pages(site: RunningServer) -> None:
    """`/` is an HTML page, every link on it exists, and it shows no logins because this server is not a demo."""
    async with open_http(site.url) as http:
        page = await http.get("/")
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert "Password" not in page.text and "{version}" not in page.text
        links = sorted(set(LOCAL_LINK.findall(page.text)))
        assert {"/openapi.json", "/asyncapi.json", "/web/try.html", "/docs/first-hour"} <= set(links)
        for link in links:
            assert (await http.get(link)).status_code == 200, link
        assert (await http.post("/")).status_code == 405


async def test_every_docs_page_is_served_with_valid_links(site: RunningServer) -> None:
    """Each page of docs/ is served as HTML with its title, and each link in it leads to a page or heading
    that exists.
    """
    folder = docs_folder()
    assert folder is not None
    names = {path.stem for path in folder.glob("*.md")}
    async with open_http(site.url) as http:
        index = await http.get("/docs/")
        listed = re.findall(r'<li><a href="([a-z0-9-]+)">', index.text)
        assert names == set(listed) and tuple(listed[: len(FIRST_PAGES)]) == FIRST_PAGES
        for name in names:
            page = await http.get(f"/docs/{name}")
            assert page.status_code == 200 and "<h1>" in page.text
            assert set(re.findall(r'href="([a-z0-9-]+)(?:#[^"]*)?"', page.text)) <= names
            assert set(re.findall(r'href="#([^"]*)"', page.text)) <= set(re.findall(r'<h[2-4] id="([^"]*)"', page.text))
        assert (await http.get("/docs/no-such-page")).status_code == 404


async def test_a_demo_shows_its_logins(tmp_path: Path) -> None:
    """The front page of a demo shows the logins of its file, with HTML escaped. Before the file exists it
    shows none.
    """
    path = tmp_path / "logins.json"
    front = FrontPage(str(path))
    assert "Password" not in await render_page(front)
    path.write_text(json.dumps([{"role": "admin", "email": "<b>a@b</b>", "password": "pass&word"}]))
    page = await render_page(front)
    assert "&lt;b&gt;a@b&lt;/b&gt;" in page and "pass&amp;word" in page


async def test_an_installation_without_docs_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """If docs/ is not installed, the index says so."""
    monkeypatch.setattr("server.web.front.docs_folder", lambda: None)
    assert "not part of this installation" in await render_page(DocsPages())
