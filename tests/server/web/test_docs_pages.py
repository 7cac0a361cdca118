"""The project's pages under /docs/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.types import Message

from server.serve import RunningServer
from server.web.built import BuiltPages
from server.web.docs_pages import FIRST_PAGES, DocsPages, docs_folder
from tests.support.http import open_http


async def test_every_docs_page_is_served_with_valid_links(site: RunningServer) -> None:
    """Each page of docs/ is served as HTML with its title, and each link in it points to a page or heading that
    exists.
    """
    folder = docs_folder()
    assert folder is not None
    names = {path.stem for path in folder.glob("*.md")}
    async with open_http(site.url) as http:
        index = await http.get("/docs/pages")
        listed = re.findall(r'<li><a href="([a-z0-9-]+)">', index.text)
        assert names == set(listed) and tuple(listed[: len(FIRST_PAGES)]) == FIRST_PAGES
        for name in names:
            page = await http.get(f"/docs/{name}")
            assert page.status_code == 200 and "<h1>" in page.text
            assert set(re.findall(r'href="([a-z0-9-]+)(?:#[^"]*)?"', page.text)) <= names
            assert set(re.findall(r'href="#([^"]*)"', page.text)) <= set(re.findall(r'<h[2-4] id="([^"]*)"', page.text))
        assert (await http.get("/docs/no-such-page")).status_code == 404
        assert (await http.post("/docs/pages")).status_code == 405


async def test_an_installation_without_docs_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If docs/ is not installed, the index says so."""
    monkeypatch.setattr("server.web.docs_pages.docs_folder", lambda: None)
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path_params": {"name": "pages"}, "state": {}, "headers": []}
    await DocsPages(BuiltPages(tmp_path))(scope, receive, send)
    assert "not part of this installation" in str(messages[1]["body"].decode())
