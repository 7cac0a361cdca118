"""Files under /web/: which paths are served, and with which headers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from server.serve import RunningServer
from server.web.static import MEDIA_TYPES, WEB_FOLDER
from tests.server.http.client import code_of
from tests.support.http import open_http
from tests.support.socket_client import JSON_SUBPROTOCOL

ESCAPING_PATHS = (
    "../app.py",
    "..%2fapp.py",
    "%2e%2e/app.py",
    "%2e%2e%2f%2e%2e%2fpyproject.toml",
    "..%5capp.py",
    "....//app.py",
    ".%00./app.py",
    "try.html%00.css",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "web/try.html",
    "pages",
    "pages/index.html",
    "try.html/",
    "try.html/..",
    ".",
    "..",
    "TRY.HTML",
    "try",
    "__init__.py",
)


@pytest.fixture
async def http(site: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    """Return an HTTP client without a token."""
    async with open_http(site.url) as client:
        yield client


async def request_raw(site: RunningServer, target: str) -> bytes:
    """Send a GET with the request target unchanged, and return the response. HTTP clients would remove
    ``..`` from it.
    """
    where = urlsplit(site.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def test_nothing_outside_the_folder_is_served(site: RunningServer) -> None:
    """A path that leads out of the folder, or to no file in it, is answered with 404 in any encoding."""
    for name in ESCAPING_PATHS:
        assert (await request_raw(site, f"/web/{name}")).split(b" ")[1] == b"404", name


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_files_are_read_only(method: str, http: httpx.AsyncClient) -> None:
    """A method other than GET and HEAD is refused with 405 and `Allow`."""
    answer = await http.request(method, "/web/try.html")
    assert code_of(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD"


async def test_an_unknown_file_is_not_found(http: httpx.AsyncClient) -> None:
    """A request for an unknown file is answered with 404 and a problem object."""
    assert code_of(await http.get("/web/no.js")) == (404, "not_found")


@pytest.mark.parametrize(
    "path", sorted(path for path in WEB_FOLDER.iterdir() if path.suffix in MEDIA_TYPES), ids=lambda path: path.name
)
async def test_each_file_is_served_with_its_type(path: Path, http: httpx.AsyncClient) -> None:
    """Each file of the folder is served without a token, unchanged, with its content type and `nosniff`."""
    answer = await http.get(f"/web/{path.name}")
    assert answer.status_code == 200
    assert answer.content == path.read_bytes()
    assert answer.headers["content-type"].encode() == MEDIA_TYPES[path.suffix]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_module_has_a_javascript_type(http: httpx.AsyncClient) -> None:
    """A module is served as `text/javascript`, because browsers run a module only with a JavaScript type."""
    assert (await http.get("/web/callout.js")).headers["content-type"] == "text/javascript; charset=utf-8"


async def test_an_unchanged_file_is_answered_with_304(http: httpx.AsyncClient) -> None:
    """A request with the file's `ETag` in `If-None-Match` is answered with 304 and without a body."""
    first = await http.get("/web/try.html")
    assert first.headers["cache-control"] == "no-cache"
    etag = first.headers["etag"]
    for etags in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        again = await http.get("/web/try.html", headers={"If-None-Match": etags})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
    assert (await http.get("/web/try.html", headers={"If-None-Match": '"other"'})).status_code == 200
    assert (await http.get("/web/try.css")).headers["etag"] != etag


async def test_head_returns_the_headers_without_a_body(http: httpx.AsyncClient) -> None:
    """HEAD returns the headers of GET and no body."""
    answer, head = await http.get("/web/callout.js"), await http.head("/web/callout.js")
    assert head.content == b""
    for name in ("content-type", "content-length", "etag"):
        assert head.headers[name] == answer.headers[name]


async def test_the_folder_redirects_to_the_page(http: httpx.AsyncClient) -> None:
    """`/web/` redirects to `/web/try.html`."""
    answer = await http.get("/web/", follow_redirects=True)
    assert answer.url.path == "/web/try.html"


async def test_the_policy_allows_only_this_server(http: httpx.AsyncClient) -> None:
    """The Content-Security-Policy names only 'self' and 'none', and the page has nothing inline that the policy would
    refuse.
    """
    policy = (await http.get("/web/try.html")).headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert {source for values in rules.values() for source in values.split()} == {"'self'", "'none'", "data:", "blob:"}
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["default-src"] == "'none'"
    assert rules["frame-ancestors"] == "'none'"
    page = (WEB_FOLDER / "try.html").read_text()
    assert "style=" not in page and "onclick=" not in page and "://" not in page


async def test_a_page_of_this_server_may_open_a_socket(site: RunningServer) -> None:
    """A page of this server may open a WebSocket without an entry in `CALLOUT_ORIGINS`. A page of another origin, also
    of another port, is refused with 403.
    """
    for foreign in ("http://127.0.0.1:1", "http://127.0.0.1", "null", f"{site.url}.evil.example"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(site.ws_url, origin=Origin(foreign), subprotocols=[JSON_SUBPROTOCOL], proxy=None)
        assert refused.value.response.status_code == 403
    async with connect(site.ws_url, origin=Origin(site.url), subprotocols=[JSON_SUBPROTOCOL], proxy=None) as socket:
        assert socket.subprotocol == JSON_SUBPROTOCOL
