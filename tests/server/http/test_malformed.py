"""Input that nothing can be made of: on every route of the table the caller is told, nothing breaks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Literal, get_args, get_origin

import httpx
import msgspec
import pytest

from engine.errors import ERROR_OF_CODE, MEANING_OF_CODE
from engine.types import Role
from server.api.route import Route
from server.api.routes import ROUTES
from server.serve import Running
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Book
from tests.server.http.test_walk import address

BODIES = (
    b"\xff\xfe{\x00}\x00",
    b'{"email":"\xff","reason":"\xed\xa0\x80"}',
    b'{"\xc3":1}',
    b'{"a\\u0000b":1}',
    b'{"lat":1e999,"amount":-0.0,"version":18446744073709551616}',
    b"null",
)
QUERIES = ("%00=%00", "limit=%ed%a0%80", "cursor=%c3", "a&a&a&limit=" + "9" * 400)
HEADERS = ({"Idempotency-Key": "\xff"}, {"If-Match": '"\xff"'}, {"Authorization": "Bearer \xff\xfe"})


def sender(route: Route, staff: dict[Role, Client]) -> Client:
    """Somebody who may call the route."""
    return staff[sorted(route.roles or {"admin"})[0]]


def refused(answer: httpx.Response) -> None:
    """A refusal of the caller's input, as a problem with a code that is on the list."""
    status, code = code_of(answer)
    assert 400 <= status < 500 and code in ERROR_OF_CODE, answer.text


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_what_nothing_can_be_made_of_is_refused(route: Route, staff: dict[Role, Client]) -> None:
    """Bodies, queries and paths that are no text, no JSON, or have NUL in them."""
    send, path = sender(route, staff), address(route)
    for body in BODIES if route.body else ():
        refused(await send(route.method, path, body))
    for query in QUERIES:
        refused(await send(route.method, f"{path}?{query}"))
    for name in ("a%00b", "%ff") if "{" in route.path else ():
        changed = route.path.partition("{")[0] + name + "/x" * route.path.partition("}")[2].count("/")
        refused(await send(route.method, changed, b"{}" if route.body else None))


SENTENCES = {
    "Text without NUL, please",
    "Expected a UUID",
    "Expected the name of an event: lower case, digits, _ and dots",
    "Expected a telephone number: digits of any script, perhaps a +",
    "Expected a zone: lower case, digits and -",
    "Expected an ISO 4217 code in capitals",
    "Expected an e-mail address",
    "Expected an id: letters, digits, _ and -",
    "Expected one line of text, at most 64",
    "Expected one line of visible text without control characters, at most 200",
    "Expected one line, at most 128",
    "Expected six digits, of any script",
    "Expected text of a line or more, at most 500",
    "Expected text without NUL",
    "Expected text without NUL, at most 4000",
    "Invalid RFC3339 encoded datetime",
}
"""All that is said of a text with NUL in it. What a field is for, which the documents say, is not among them."""


def texts(kind: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """The text fields of a body by their pointers, and a value for each that has NUL in it."""
    for field in msgspec.structs.fields(kind):
        name = f"{at}/{field.encode_name}"
        for part in parts(field.type):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                yield from texts(part, f"{name}/0")
            elif part in (str, datetime) or get_origin(part) is Literal:
                yield f"{name}/0" if is_in_list(field.type) else name, "a text with\0 NUL"


def parts(kind: Any) -> set[Any]:
    """The types that a type is made of, without their bounds."""
    inner = get_args(kind)
    if not inner or get_origin(kind) in (Literal, dict):
        return {kind}
    return set().union(*(parts(part) for part in inner if not isinstance(part, msgspec.Meta)))


def is_in_list(kind: Any) -> bool:
    """Whether a field has a list of such texts."""
    return get_origin(kind) is list or any(is_in_list(part) for part in get_args(kind) if get_origin(kind) is not list)


def body_of(fields: Iterable[tuple[str, Any]]) -> Any:
    """The body that has these values at these pointers."""
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


def choices(kind: Any) -> set[frozenset[str]]:
    """The sentences that name the words which a field takes, of all fields of a body."""
    found: set[frozenset[str]] = set()
    for field in msgspec.structs.fields(kind):
        words = [each for part in parts(field.type) if get_origin(part) is Literal for each in get_args(part)]
        found.add(frozenset(words))
        for part in parts(field.type):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                found |= choices(part)
    return found


@pytest.mark.parametrize("route", [route for route in ROUTES if route.body], ids=lambda route: route.name)
async def test_every_text_that_is_refused_is_told_what_it_should_be(route: Route, staff: dict[Role, Client]) -> None:
    """With NUL in each of its texts, a body is refused for each, by its pointer and with a sentence about its value."""
    fields = dict(texts(route.body))
    told = await sender(route, staff)(route.method, address(route), body_of(fields.items()))
    assert not fields or code_of(told) == (422, "invalid")
    said = {wrong["pointer"]: wrong["detail"] for wrong in told.json()["errors"]} if fields else {}
    assert fields.keys() <= said.keys()
    for at in fields:
        listed = frozenset(said[at].removeprefix("Expected one of ").split(", "))
        assert said[at] in SENTENCES or listed in choices(route.body), (at, said[at])


@pytest.mark.parametrize("headers", HEADERS, ids=lambda headers: next(iter(headers)))
async def test_headers_that_are_no_ascii_are_refused(
    headers: dict[str, str], customer: Client, book: Book, site: Running
) -> None:
    """A key, a version or a token of other bytes is none."""
    path = f"/v1/jobs/{(await book(customer))['id']}/cancel"
    sent = {"Authorization": f"Bearer {customer.token}", **headers}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
    refused(await customer.http.post(path, content=b"{}", headers=raw))


async def test_what_is_no_utf_8_is_400(nobody: Client, customer: Client) -> None:
    """Of a body and of a query, without signing in too."""
    for answer in (
        await nobody("POST", "/v1/auth/login", b'{"email":"\xff","password":"x"}'),
        await customer("GET", "/v1/services?q=%ff"),
    ):
        assert code_of(answer) == (400, "invalid")
        assert answer.json()["title"] == "Not UTF-8"


async def test_a_query_is_read_as_utf_8(admin: Client, customer: Client) -> None:
    """An escaped letter of any script finds what has it, and stands so in the link to the next page."""
    body = {"name": "Müllabfuhr", "category": "waste", "base_amount": 1, "currency": "EUR", "pricing": "flat"}
    for _ in range(2):
        await admin("POST", "/v1/services", body)
    answer = await customer("GET", "/v1/services?q=M%C3%BCll&limit=1")
    assert [service["name"] for service in answer.json()["items"]] == ["Müllabfuhr"]
    assert "q=M%C3%BCll" in answer.headers["link"]


BOOKING = {"service": "srv_1", **HERE, "address": "x"}


@pytest.mark.parametrize(
    ("path", "body", "at"),
    [
        ("/v1/auth/login", {"email": "a\0@example.org", "password": "x"}, {"/email"}),
        ("/v1/auth/login", {"email": "a@example.org", "password": "\0"}, {"/password"}),
        ("/v1/auth/refresh", {"refresh_token": "a\0"}, {"/refresh_token"}),
        (
            "/v1/jobs",
            {**BOOKING, "metadata": {"a": ["b", {"c": "\0"}]}},
            {"/metadata/a/1/c"},
        ),
        ("/v1/jobs", {**BOOKING, "metadata": {"a\0": 1}}, {"/metadata"}),
    ],
)
async def test_no_text_has_nul(path: str, body: object, at: set[str], customer: Client) -> None:
    """PostgreSQL keeps none, so none is taken, wherever it stands."""
    assert pointers(await customer("POST", path, body)) == at


@pytest.mark.parametrize("query", ["q=%00", "category=a%00", "cursor=%00", "limit=%00"])
async def test_no_parameter_has_nul(query: str, customer: Client) -> None:
    """Nor does a parameter of the query."""
    assert pointers(await customer("GET", f"/v1/services?{query}")) == {"/" + query.partition("=")[0]}


async def test_what_looks_like_nul_is_text(customer: Client, book: Book) -> None:
    """A backslash and six letters are no NUL."""
    told = await book(customer, metadata={"path": "C:\\u0000"})
    assert told["metadata"] == {"path": "C:\\u0000"}


# Codes


@pytest.mark.parametrize("code", sorted(ERROR_OF_CODE))
async def test_every_type_of_a_problem_leads_somewhere(code: str, nobody: Client) -> None:
    """The address in `type` says what the code means."""
    told = (await nobody("GET", f"/problems/{code}")).json()["problem"]
    kind = ERROR_OF_CODE[code]
    assert (told["code"], told["status"], told["title"]) == (code, kind.status, kind.title)
    assert told["means"] == MEANING_OF_CODE[code] and told["means"].endswith(".")


@pytest.mark.parametrize("name", ["", "nonsense", "TAKEN", "%00"])
async def test_what_is_no_code_is_not_found(name: str, nobody: Client) -> None:
    """Other addresses below it are not there."""
    assert code_of(await nobody("GET", f"/problems/{name}")) == (404, "not_found")


def test_every_code_is_on_the_page() -> None:
    """docs/codes.md has a row for each code, with its status and what it means, and no other."""
    with open("docs/codes.md", encoding="utf-8") as page:
        rows = [line.strip("| \n").split(" | ") for line in page if line.startswith("| `")]
    order = sorted(ERROR_OF_CODE, key=lambda code: (ERROR_OF_CODE[code].status, code))
    assert rows == [
        [f"`{code}`", str(ERROR_OF_CODE[code].status), ERROR_OF_CODE[code].title, MEANING_OF_CODE[code]]
        for code in order
    ]


@pytest.mark.parametrize("path", ["/v1/me", "/v1/meta", "/nowhere", "/web/", "/web/try.html", "/metrics"])
async def test_no_answer_is_guessed_at(path: str, nobody: Client) -> None:
    """Browsers take each answer for what it says that it is."""
    assert (await nobody("GET", path)).headers.get_list("x-content-type-options") == ["nosniff"]


async def test_where_no_version_counts_none_is_looked_at(nobody: Client) -> None:
    """`If-Match` says nothing to a route that changes no job, so it refuses nothing there."""
    answer = await nobody("POST", "/v1/auth/register", {}, If_Match="nonsense")
    assert "/If-Match" not in pointers(answer)
