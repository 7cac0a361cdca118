"""The front page and the pages under /docs/."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from server.serve import Running
from server.web.front import FIRST_PAGES, DocsPages, FrontPage, docs_folder

LINK = re.compile(r'(?:href|src)="(/[^"#]*)')


async def shown(endpoint: FrontPage | DocsPages, name: str = "") -> str:
    """The page as an ASGI endpoint answers it."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path_params": {"name": name}, "state": {}, "headers": []}
    await endpoint(scope, receive, send)
    return str(sent[1]["body"].decode())


async def test_who_opens_the_address_sees_where_things_are(site: Running) -> None:
    """A page and not a 404, and every link on it leads somewhere. It shows no logins: this is no demo."""
    async with httpx.AsyncClient(base_url=site.url, trust_env=False) as http:
        page = await http.get("/")
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert "Password" not in page.text and "{version}" not in page.text
        links = sorted(set(LINK.findall(page.text)))
        assert {"/openapi.json", "/asyncapi.json", "/web/try.html", "/docs/first-hour"} <= set(links)
        for link in links:
            assert (await http.get(link)).status_code == 200, link
        assert (await http.post("/")).status_code == 405


async def test_every_page_is_shown_and_links_to_pages(site: Running) -> None:
    """Each page of docs/ is HTML with its title; links between pages work there too."""
    folder = docs_folder()
    assert folder is not None
    names = {path.stem for path in folder.glob("*.md")}
    async with httpx.AsyncClient(base_url=site.url, trust_env=False) as http:
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
    """Those in its file, as text: a name cannot become markup. Before the file is there, none."""
    path = tmp_path / "logins.json"
    front = FrontPage(str(path))
    assert "Password" not in await shown(front)
    path.write_text(json.dumps([{"role": "admin", "email": "<b>a@b</b>", "password": "pass&word"}]))
    page = await shown(front)
    assert "&lt;b&gt;a@b&lt;/b&gt;" in page and "pass&amp;word" in page


async def test_an_installation_without_pages_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index then has no links."""
    monkeypatch.setattr("server.web.front.docs_folder", lambda: None)
    assert "not part of this installation" in await shown(DocsPages())
