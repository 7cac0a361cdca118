"""The documents of the pages and the files that they load: headers, policies and refusals."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from engine.process.settings import Settings
from server.serve import RunningServer, run_server
from server.web import built, shells
from server.web.built import BuiltPages, Manifest
from server.web.shells import SHELLS
from tests.server.http.client import code_of
from tests.support.http import open_http

ESCAPING_NAMES = ("..%2fbuilt.py", "%2e%2e", "manifest.json", "stamp", "%2fetc%2fpasswd", "start.js", "LICENSES.txt.gz")


@pytest.fixture
async def http(site: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    """Return an HTTP client without a token."""
    async with open_http(site.url) as client:
        yield client


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    """Return the manifest of the present build."""
    found = BuiltPages().manifest()
    if found is None:
        pytest.skip("the pages are not built: make web")
    return found


async def test_no_other_file_is_an_asset(http: httpx.AsyncClient) -> None:
    """A name that is not a file of the build, or points outside its folder, is 404; a method other than GET and HEAD is
    405.
    """
    for name in ESCAPING_NAMES:
        assert code_of(await http.get(f"/assets/{name}")) == (404, "not_found"), name
    assert (await http.post("/assets/LICENSES.txt")).status_code == 405
    assert (await http.post("/book")).status_code == 405


async def test_pages_that_are_not_built_say_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a build each page says that `make web` is needed, and the HTTP interface works."""
    monkeypatch.setattr(built.BuiltPages.__init__, "__defaults__", (tmp_path / "nothing",))
    async with (
        run_server(Settings(data=str(tmp_path / "data"), port=0, limits="off")) as server,
        open_http(server.url) as client,
    ):
        for path in SHELLS:
            page = await client.get(path)
            assert page.status_code == 200 and "make web" in page.text, path
        assert (await client.get("/v1/meta")).status_code == 200
        assert (await client.get("/assets/start.js")).status_code == 404


@pytest.mark.parametrize("path", [*SHELLS, "/console/jobs/job_1", "/book/x", "/tech/x/y", "/track/9f2c41ab"])
async def test_a_page_has_a_strict_policy(path: str, http: httpx.AsyncClient, manifest: Manifest) -> None:
    """Each page has nothing inline and names no other server. Its policy allows only scripts and styles that are files
    of this server; only the pages of Redoc may also write styles. Only the apps may be framed, by this server.
    """
    page = await http.get(path)
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    rules = dict(rule.strip().split(" ", 1) for rule in page.headers["content-security-policy"].split(";"))
    is_redoc = path.startswith("/docs")
    assert rules["default-src"] == rules["base-uri"] == "'none'" and rules["script-src"] == "'self'"
    assert rules["style-src"] == ("'self' 'unsafe-inline'" if is_redoc else "'self'")
    assert rules["font-src"] == ("'self' data:" if is_redoc else "'self'")
    assert rules["connect-src"] == rules["worker-src"] == "'self'"
    is_framed = path.startswith(("/book", "/tech", "/track"))
    assert rules["frame-ancestors"] == ("'self'" if is_framed else "'none'")
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|://", page.text)
    assert page.headers["cache-control"] == "no-cache" and page.headers["referrer-policy"] == "no-referrer"
    again = await http.get(path, headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_everything_that_a_page_names_is_served(http: httpx.AsyncClient, manifest: Manifest) -> None:
    """Each file that a page names exists. A file of the build may be stored for ever, has a type, and is sent
    compressed to clients that accept it.
    """
    named = {name for path in SHELLS for name in re.findall(r'"/assets/([^"]+)"', (await http.get(path)).text)}
    assert {manifest.boot, *manifest.named.values()} < named
    for name in named:
        plain = await http.get(f"/assets/{name}", headers={"Accept-Encoding": "identity"})
        assert plain.status_code == 200 and "content-encoding" not in plain.headers
        assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert plain.headers["content-type"].encode() in built.TYPES.values()
        packed = await http.get(f"/assets/{name}", headers={"Accept-Encoding": "gzip"})
        assert packed.content == plain.content and packed.headers["vary"] == "accept-encoding"
        assert int(packed.headers["content-length"]) == manifest.bytes[name]
        assert (packed.headers.get("content-encoding") == "gzip") == (manifest.bytes[name] < len(plain.content))
        etag = {"If-None-Match": packed.headers["etag"], "Accept-Encoding": "gzip"}
        assert (await http.get(f"/assets/{name}", headers=etag)).status_code == 304


async def test_a_new_build_is_served_without_a_restart(tmp_path: Path, manifest: Manifest) -> None:
    """After a new build the same server names and serves the new files, and no longer the old ones."""
    folder = tmp_path / "built"
    shutil.copytree(built.FOLDER, folder)
    pages = BuiltPages(folder)
    old = manifest.entries["start"].scripts[0]
    assert pages.file(old) is not None
    (folder / "start-NEW.js").write_text("export {};")
    text = (folder / "manifest.json").read_text().replace(old, "start-NEW.js")
    (folder / "manifest.json").write_text(text)
    os.utime(folder / "manifest.json", (1, 1))
    present = pages.manifest()
    assert present is not None and present.entries["start"].scripts == ["start-NEW.js"]
    assert pages.file(old) is None and pages.file("start-NEW.js") is not None


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({}, ""),
        ({"map_style": "https://maps.example/style.json"}, " https://maps.example"),
        ({"map_tiles": "https://t.example:8443/{z}/{x}/{y}.png"}, " https://t.example:8443"),
        (
            {"map_style": "https://maps.example/s.json", "map_origins": ("https://glyphs.example",)},
            " https://maps.example https://glyphs.example",
        ),
    ],
)
def test_a_map_of_the_operator_is_allowed_and_nothing_else(settings: dict[str, object], allowed: str) -> None:
    """The policy allows images and requests from the origins of the map that the operator chose, scripts from none."""
    page = shells.ShellPage("/book", BuiltPages(), Settings(**settings))  # type: ignore[arg-type]
    policy = dict(page._headers)[b"content-security-policy"].decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["connect-src"] == f"'self'{allowed}" and rules["img-src"] == f"'self' data: blob:{allowed}"
    assert rules["script-src"] == rules["style-src"] == rules["worker-src"] == "'self'"
