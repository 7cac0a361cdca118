"""Malformed input is refused on every route with a problem object that names the field. It never causes a
server error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Literal, get_args, get_origin

import httpx
import msgspec
import pytest

from engine.errors import ERROR_OF_CODE, MEANING_OF_CODE, NotText
from engine.types import Role
from server.api.route import Route
from server.api.routes import ROUTES
from server.schemas.query import query_pairs
from server.serve import RunningServer
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Book
from tests.server.http.test_walk import example_path

MALFORMED_BODIES = (
    b"\xff\xfe{\x00}\x00",
    b'{"email":"\xff","reason":"\xed\xa0\x80"}',
    b'{"\xc3":1}',
    b'{"a\\u0000b":1}',
    b'{"lat":1e999,"amount":-0.0,"version":18446744073709551616}',
    b"null",
)
MALFORMED_QUERIES = ("%00=%00", "limit=%ed%a0%80", "cursor=%c3", "a&a&a&limit=" + "9" * 400)
NON_ASCII_HEADERS = ({"Idempotency-Key": "\xff"}, {"If-Match": '"\xff"'}, {"Authorization": "Bearer \xff\xfe"})


def permitted_client(route: Route, staff: dict[Role, Client]) -> Client:
    """Return a client whose role may call the route."""
    return staff[sorted(route.roles or {"admin"})[0]]


def assert_refused(answer: httpx.Response) -> None:
    """Assert that the response is a 4xx problem with a code of the catalogue."""
    status, code = code_of(answer)
    assert 400 <= status < 500 and code in ERROR_OF_CODE, answer.text


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_malformed_input_is_refused(route: Route, staff: dict[Role, Client]) -> None:
    """Bodies, queries and paths that are not UTF-8, not JSON, or contain NUL are refused on every route."""
    send, path = permitted_client(route, staff), example_path(route)
    for body in MALFORMED_BODIES if route.body else ():
        assert_refused(await send(route.method, path, body))
    for query in MALFORMED_QUERIES:
        assert_refused(await send(route.method, f"{path}?{query}"))
    for name in ("a%00b", "%ff") if "{" in route.path else ():
        changed = route.path.partition("{")[0] + name + "/x" * route.path.partition("}")[2].count("/")
        assert_refused(await send(route.method, changed, b"{}" if route.body else None))


ERROR_DETAILS = {
    "Text without NUL, please",
    "Expected a UUID",
    "Expected HH:MM",
    "Expected HH:MM, up to 24:00; not after `from`: on the next day",
    "Expected YYYY-MM-DD",
    "Expected the name of an event: lower case, digits, _ and dots",
    "Expected a telephone number: digits of any script, perhaps a +",
    "Expected a zone: lower case, digits and -",
    "Expected an ISO 4217 code in capitals",
    "Expected an e-mail address",
    "Expected an id: letters, digits, _ and -",
    "Expected a SHA-256 in hexadecimal, lower case",
    "Expected the app whose session is in a cookie: 1 to 16 letters a to z",
    "Expected one line of text, at most 64",
    "Expected one line of visible text without control characters, at most 200",
    "Expected one line, at most 128",
    "Expected six digits, of any script",
    "Expected 1 to 64 letters, digits, dots, _ and -",
    "Expected a push token: visible ASCII without spaces, at most 4096",
    "Expected a word in lower case, such as ios, android or web",
    "Expected text of a line or more, at most 500",
    "Expected text without NUL",
    "Expected text without NUL, at most 4000",
    "Expected visible text of a line or more, at most 4000 characters in NFC",
    "Invalid RFC3339 encoded datetime",
}
"""All error details that a text with NUL may get. They describe the expected form, not the purpose of the field."""


def text_fields(kind: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the JSON pointer of each text field of a body type, with a value that contains NUL."""
    for field in msgspec.structs.fields(kind):
        name = f"{at}/{field.encode_name}"
        for part in member_types(field.type):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                yield from text_fields(part, f"{name}/0")
            elif part in (str, datetime) or get_origin(part) is Literal:
                yield f"{name}/0" if is_in_list(field.type) else name, "a text with\0 NUL"


def member_types(kind: Any) -> set[Any]:
    """Return the types in a union or a list, without their constraints."""
    inner = get_args(kind)
    if not inner or get_origin(kind) in (Literal, dict):
        return {kind}
    return set().union(*(member_types(part) for part in inner if not isinstance(part, msgspec.Meta)))


def is_in_list(kind: Any) -> bool:
    """Return whether the field's type is a list, or a union with a list."""
    return get_origin(kind) in (list, tuple) or any(is_in_list(part) for part in get_args(kind))


def build_body(fields: Iterable[tuple[str, Any]]) -> Any:
    """Return a body with these values at these JSON pointers."""
    body: dict[str, Any] = {}
    for at, value in fields:
        first, *rest = at.strip("/").split("/")
        if not rest:
            body[first] = value
        elif len(rest) == 1:
            body[first] = [value]
        else:
            body.setdefault(first, [{}])[0][rest[1]] = value
    return body


def literal_words(kind: Any) -> set[frozenset[str]]:
    """Return, for each field of a body type, the set of words that the field accepts; empty if it accepts any text."""
    word_sets: set[frozenset[str]] = set()
    for field in msgspec.structs.fields(kind):
        words = [each for part in member_types(field.type) if get_origin(part) is Literal for each in get_args(part)]
        word_sets.add(frozenset(words))
        for part in member_types(field.type):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                word_sets |= literal_words(part)
    return word_sets


@pytest.mark.parametrize("route", [route for route in ROUTES if route.body], ids=lambda route: route.name)
async def test_each_text_with_nul_is_named_with_the_expected_form(route: Route, staff: dict[Role, Client]) -> None:
    """A body with NUL in each of its texts is refused. Each text has an error with its pointer and a detail that says
    which form is expected.
    """
    fields = dict(text_fields(route.body))
    answer = await permitted_client(route, staff)(route.method, example_path(route), build_body(fields.items()))
    assert not fields or code_of(answer) == (422, "invalid")
    details = {wrong["pointer"]: wrong["detail"] for wrong in answer.json()["errors"]} if fields else {}
    assert fields.keys() <= details.keys()
    for at in fields:
        listed = frozenset(details[at].removeprefix("Expected one of ").split(", "))
        assert details[at] in ERROR_DETAILS or listed in literal_words(route.body), (at, details[at])


@pytest.mark.parametrize("headers", NON_ASCII_HEADERS, ids=lambda headers: next(iter(headers)))
async def test_non_ascii_headers_are_refused(
    headers: dict[str, str], customer: Client, book: Book, site: RunningServer
) -> None:
    """An idempotency key, an `If-Match` or a token with bytes that are not ASCII is refused with a 4xx problem."""
    path = f"/v1/jobs/{(await book(customer))['id']}/cancel"
    all_headers = {"Authorization": f"Bearer {customer.token}", **headers}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in all_headers.items()]
    assert_refused(await customer.http.post(path, content=b"{}", headers=raw))


async def test_bytes_that_are_not_utf_8_are_refused_with_400(nobody: Client, customer: Client) -> None:
    """A body or a query that is not UTF-8 is refused with 400 and the title `Not UTF-8`, also on a route without a
    token.
    """
    for answer in (
        await nobody("POST", "/v1/auth/login", b'{"email":"\xff","password":"x"}'),
        await customer("GET", "/v1/services?q=%ff"),
    ):
        assert code_of(answer) == (400, "invalid")
        assert answer.json()["title"] == "Not UTF-8"
        assert "codec" not in answer.text


def test_each_parameter_that_is_not_utf_8_is_named() -> None:
    """A refusal names each query parameter that is not UTF-8 by its pointer, percent-encoded or not. If the name itself
    is not UTF-8, the empty pointer means the whole query.
    """
    for raw, at in (
        (b"id=%FF", [("/id", "Not UTF-8")]),
        (b"a=\xff&b=%C3%BC&c=%c3", [("/a", "Not UTF-8"), ("/c", "Not UTF-8")]),
        (b"%ff=1", [("", "The name of a parameter is not UTF-8")]),
    ):
        with pytest.raises(NotText) as refused:
            query_pairs(raw)
        assert list(refused.value.errors) == at
    assert query_pairs(b"q=M%C3%BCll&q=\xc3\xbc&e=") == [("q", "Müll"), ("q", "ü"), ("e", "")]


async def test_a_query_is_read_as_utf_8(admin: Client, customer: Client) -> None:
    """A percent-encoded non-ASCII letter in a query finds the service with this letter, and is encoded again in the
    link to the next page.
    """
    body = {"name": "Müllabfuhr", "category": "waste", "base_amount": 1, "currency": "EUR", "pricing": "flat"}
    for _ in range(2):
        await admin("POST", "/v1/services", body)
    answer = await customer("GET", "/v1/services?q=M%C3%BCll&limit=1")
    assert [service["name"] for service in answer.json()["items"]] == ["Müllabfuhr"]
    assert "q=M%C3%BCll" in answer.headers["link"]


NEW_JOB = {"service": "srv_1", **HERE, "address": "x"}


@pytest.mark.parametrize(
    ("path", "body", "at"),
    [
        ("/v1/auth/login", {"email": "a\0@example.org", "password": "x"}, {"/email"}),
        ("/v1/auth/login", {"email": "a@example.org", "password": "\0"}, {"/password"}),
        ("/v1/auth/refresh", {"refresh_token": "a\0"}, {"/refresh_token"}),
        (
            "/v1/jobs",
            {**NEW_JOB, "metadata": {"a": ["b", {"c": "\0"}]}},
            {"/metadata/a/1/c"},
        ),
        ("/v1/jobs", {**NEW_JOB, "metadata": {"a\0": 1}}, {"/metadata"}),
    ],
)
async def test_nul_in_a_body_is_refused(path: str, body: object, at: set[str], customer: Client) -> None:
    """A text with NUL in a body is refused at any depth, because PostgreSQL cannot store NUL in a text."""
    assert pointers(await customer("POST", path, body)) == at


@pytest.mark.parametrize("query", ["q=%00", "category=a%00", "cursor=%00", "limit=%00"])
async def test_nul_in_a_query_parameter_is_refused(query: str, customer: Client) -> None:
    """A query parameter with NUL is refused by its name."""
    assert pointers(await customer("GET", f"/v1/services?{query}")) == {"/" + query.partition("=")[0]}


async def test_an_escape_of_nul_is_accepted_as_text(customer: Client, book: Book) -> None:
    """A text with a backslash and `u0000` does not contain NUL, so it is accepted and returned unchanged."""
    job = await book(customer, metadata={"path": "C:\\u0000"})
    assert job["metadata"] == {"path": "C:\\u0000"}


# Codes


@pytest.mark.parametrize("code", sorted(ERROR_OF_CODE))
async def test_each_problem_type_is_a_page(code: str, nobody: Client) -> None:
    """The URL in a problem's `type` returns the code with its status, title and meaning."""
    problem = (await nobody("GET", f"/problems/{code}")).json()["problem"]
    kind = ERROR_OF_CODE[code]
    assert (problem["code"], problem["status"], problem["title"]) == (code, kind.status, kind.title)
    assert problem["means"] == MEANING_OF_CODE[code] and problem["means"].endswith(".")


@pytest.mark.parametrize("name", ["", "nonsense", "TAKEN", "%00"])
async def test_the_page_of_an_unknown_code_is_not_found(name: str, nobody: Client) -> None:
    """A request for the page of an unknown code is answered with 404."""
    assert code_of(await nobody("GET", f"/problems/{name}")) == (404, "not_found")


def test_the_codes_page_lists_every_code() -> None:
    """docs/codes.md has exactly one row for each code, with its status, title and meaning."""
    with open("docs/codes.md", encoding="utf-8") as page:
        rows = [line.strip("| \n").split(" | ") for line in page if line.startswith("| `")]
    order = sorted(ERROR_OF_CODE, key=lambda code: (ERROR_OF_CODE[code].status, code))
    assert rows == [
        [f"`{code}`", str(ERROR_OF_CODE[code].status), ERROR_OF_CODE[code].title, MEANING_OF_CODE[code]]
        for code in order
    ]


@pytest.mark.parametrize("path", ["/v1/me", "/v1/meta", "/nowhere", "/web/", "/web/try.html", "/metrics"])
async def test_every_response_forbids_content_sniffing(path: str, nobody: Client) -> None:
    """Every response has `X-Content-Type-Options: nosniff`, so that a browser uses the declared type."""
    assert (await nobody("GET", path)).headers.get_list("x-content-type-options") == ["nosniff"]


async def test_if_match_is_ignored_on_routes_without_a_version(nobody: Client) -> None:
    """A malformed `If-Match` is ignored by a route that changes no job."""
    answer = await nobody("POST", "/v1/auth/register", {}, If_Match="nonsense")
    assert "/If-Match" not in pointers(answer)
