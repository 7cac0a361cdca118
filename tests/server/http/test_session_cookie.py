"""Sessions of pages: the refresh token in a cookie that scripts cannot read."""

from __future__ import annotations

import uuid
from http.cookies import SimpleCookie

import httpx
import pytest

from server.serve import RunningServer
from tests.server.http.client import Client, code_of, pointers
from tests.support.http import open_http

PASSWORD = "correct horse"
WRONG_ORIGINS = {
    "none": {},
    "another host": {"Origin": "https://evil.example"},
    "another port": {"Origin": "http://127.0.0.1:1"},
    "a host that begins alike": {"Origin": "{url}.evil.example"},
    "a page without an origin": {"Origin": "null"},
    "the host without a scheme": {"Origin": "{host}"},
}


def own_headers(site: RunningServer, **more: str) -> dict[str, str]:
    """Return the headers of a request from a page of the server."""
    return {"Origin": site.url, **more}


async def sign_up(site: RunningServer, http: httpx.AsyncClient, app: str = "book", **changes: str) -> httpx.Response:
    """Register a customer with a session in the cookie of ``app``."""
    email = f"{uuid.uuid4().hex}@example.org"
    body = {"email": email, "password": PASSWORD, "name": "Ada", "role": "customer", "cookie": app, **changes}
    return await http.post("/v1/auth/register", json=body, headers=own_headers(site))


def cookie_of(answer: httpx.Response, app: str = "book") -> str:
    """Return the value of the cookie that the response sets."""
    return SimpleCookie(answer.headers["set-cookie"])[f"callout_{app}"].value


def origin_headers(site: RunningServer, wrong: str) -> dict[str, str]:
    """Return the headers of a request with a wrong ``Origin``."""
    host = site.url.removeprefix("http://")
    return {name: value.format(url=site.url, host=host) for name, value in WRONG_ORIGINS[wrong].items()}


@pytest.mark.parametrize("wrong", WRONG_ORIGINS)
async def test_only_a_page_of_the_server_gets_or_uses_a_cookie(site: RunningServer, wrong: str) -> None:
    """A registration, a sign-in, a refresh and a sign-out with a cookie are refused without the exact `Origin` of the
    server, set no cookie, and change nothing: the session can still be used.
    """
    async with open_http(site.url) as http:
        answer = await sign_up(site, http)
        token, email = cookie_of(answer), answer.json()["user"]["email"]
        headers = {**origin_headers(site, wrong), "Cookie": f"callout_book={token}"}
        new = {"email": f"{uuid.uuid4().hex}@example.org", "password": PASSWORD, "name": "Eve", "role": "customer"}
        for path, body in (
            ("register", {**new, "cookie": "book"}),
            ("login", {"email": email, "password": PASSWORD, "cookie": "book"}),
            ("refresh", {"cookie": "book"}),
            ("logout", {"cookie": "book"}),
        ):
            refused = await http.post(f"/v1/auth/{path}", json=body, headers=headers)
            assert code_of(refused) == (403, "forbidden"), path
            assert "set-cookie" not in refused.headers
        assert (await http.post("/v1/auth/register", json=new)).status_code == 201  # no account was created
        own = own_headers(site, Cookie=f"callout_book={token}")
        assert (await http.post("/v1/auth/refresh", json={"cookie": "book"}, headers=own)).status_code == 200


@pytest.mark.parametrize(
    "cookie", ["", "callout_book=", "callout_book=forged", "callout_tech={token}", "callout_book=é"]
)
async def test_a_missing_or_wrong_cookie_is_refused(site: RunningServer, cookie: str) -> None:
    """Without the cookie of the named app, or with a forged one, a refresh is refused with 401. The session of another
    app does not count.
    """
    async with open_http(site.url) as http:
        token = cookie_of(await sign_up(site, http))
        headers = [(b"Origin", site.url.encode()), (b"Cookie", cookie.format(token=token).encode("latin-1"))]
        answer = await http.post("/v1/auth/refresh", json={"cookie": "book"}, headers=headers)
    assert code_of(answer) == (401, "unauthenticated")


@pytest.mark.parametrize("other", ['x={"a": [1]}', "a b,c=1", "é=1", "=", 'x="', "callout_book_2=1", "a[b]=1"])
async def test_cookies_of_others_change_nothing(site: RunningServer, other: str) -> None:
    """Other servers on this host may set cookies with any characters. The server finds its own cookie among them."""
    async with open_http(site.url) as http:
        token = cookie_of(await sign_up(site, http))
        for cookies in (f"{other}; callout_book={token}", f"callout_book={token};{other}"):
            headers = [(b"Origin", site.url.encode()), (b"Cookie", cookies.encode("latin-1"))]
            answer = await http.post("/v1/auth/refresh", json={"cookie": "book"}, headers=headers)
            assert answer.status_code == 200, cookies


async def test_a_second_cookie_of_the_same_name_is_refused(site: RunningServer) -> None:
    """A page on another port or a subdomain can set a cookie of the same name with another path, to bring in the
    session of a stranger. Two different values are refused in each order and end no session. The same value twice
    counts as one.
    """
    async with open_http(site.url) as http:
        own, foreign = [cookie_of(await sign_up(site, http)) for _ in range(2)]
        for first, second in ((own, foreign), (foreign, own)):
            headers = own_headers(site, Cookie=f"callout_book={first}; callout_book={second}")
            answer = await http.post("/v1/auth/refresh", json={"cookie": "book"}, headers=headers)
            assert code_of(answer) == (401, "unauthenticated")
        headers = own_headers(site, Cookie=f"callout_book={own}; callout_book={own}")
        assert (await http.post("/v1/auth/refresh", json={"cookie": "book"}, headers=headers)).status_code == 200


@pytest.mark.parametrize("body", [{}, {"refresh_token": "rft_1", "cookie": "book"}, {"cookie": None}])
async def test_a_refresh_names_exactly_one_session(nobody: Client, body: dict[str, object]) -> None:
    """A refresh and a sign-out with neither a token nor a cookie, or with both, are invalid."""
    for path in ("refresh", "logout"):
        assert pointers(await nobody("POST", f"/v1/auth/{path}", body)) == {"/refresh_token"}


@pytest.mark.parametrize("name", ["", "Book", "a;b", "a b", "x" * 17, "é"])
async def test_a_cookie_has_a_plain_name(nobody: Client, name: str) -> None:
    """The name of an app with other characters than letters is invalid, because it becomes the name of a cookie."""
    assert pointers(await nobody("POST", "/v1/auth/refresh", {"cookie": name})) == {"/cookie"}


async def test_an_access_token_in_a_cookie_admits_nobody(site: RunningServer) -> None:
    """Only routes of `/v1/auth` read a cookie: with the cookies of a session and no token, `/v1/me` is 401."""
    async with open_http(site.url) as http:
        answer = await sign_up(site, http)
        cookies = f"callout_book={cookie_of(answer)}; access_token={answer.json()['access_token']}"
        refused = await http.get("/v1/me", headers=own_headers(site, Cookie=cookies))
    assert code_of(refused) == (401, "unauthenticated")


async def test_the_token_is_in_the_cookie_alone(site: RunningServer) -> None:
    """With `cookie` the reply has no refresh token. The cookie is HttpOnly, SameSite=Strict, only for `/v1/auth`, as
    long valid as the token, and Secure if the page came by https. Without `cookie` nothing is set.
    """
    async with open_http(site.url) as http:
        answer = await sign_up(site, http)
        assert "refresh_token" not in answer.json() and answer.json()["access_token"]
        token = cookie_of(answer)
        attributes = answer.headers["set-cookie"].removeprefix(f"callout_book={token}; ").split("; ")
        assert attributes == ["Path=/v1/auth", "Max-Age=2592000", "HttpOnly", "SameSite=Strict"]
        body = {"email": answer.json()["user"]["email"], "password": PASSWORD}
        https = {"Origin": site.url.replace("http://", "https://")}
        secure = await http.post("/v1/auth/login", json={**body, "cookie": "book"}, headers=https)
        assert secure.headers["set-cookie"].endswith("; SameSite=Strict; Secure")
        plain = await http.post("/v1/auth/login", json=body, headers=own_headers(site))
        assert "set-cookie" not in plain.headers and plain.json()["refresh_token"]


async def test_a_session_is_refreshed_and_ended_by_its_cookie(site: RunningServer) -> None:
    """A refresh by the cookie returns a new access token and a new cookie. A sign-out deletes the cookie and ends the
    session: its cookie is refused from then on. The session of another app continues.
    """
    async with open_http(site.url) as http:
        first = await sign_up(site, http)
        other = cookie_of(await sign_up(site, http, "tech", role="technician"), "tech")
        own = own_headers(site, Cookie=f"callout_tech={other}; callout_book={cookie_of(first)}")
        second = await http.post("/v1/auth/refresh", json={"cookie": "book"}, headers=own)
        assert second.json()["user"] == first.json()["user"] and "refresh_token" not in second.json()
        assert cookie_of(second) != cookie_of(first)
        me = await http.get("/v1/me", headers={"Authorization": f"Bearer {second.json()['access_token']}"})
        assert me.status_code == 200
        own = own_headers(site, Cookie=f"callout_tech={other}; callout_book={cookie_of(second)}")
        ended = await http.post("/v1/auth/logout", json={"cookie": "book"}, headers=own)
        assert ended.status_code == 204 and "callout_book=; Path=/v1/auth; Max-Age=0" in ended.headers["set-cookie"]
        refused = await http.post("/v1/auth/refresh", json={"cookie": "book"}, headers=own)
        assert code_of(refused) == (401, "unauthenticated")
        assert (await http.post("/v1/auth/refresh", json={"cookie": "tech"}, headers=own)).status_code == 200
