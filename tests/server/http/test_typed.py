"""Texts that people type: different Unicode spellings of a text are treated as the same text, and invisible characters
are refused."""

from __future__ import annotations

import unicodedata
import uuid

import pytest

from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Join
from tests.server.http.test_auth import PASSWORD, registration_body

DECOMPOSED_TEXT = unicodedata.normalize("NFD", "Größe und Höhe")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "\u200b\u200b"),
        ("name", "\u2800\ufe0f"),
        ("name", "\u3164"),
        ("name", "Ada\u202egnp.exe"),
        ("name", "A\u00adda"),
        ("name", "Ada\x85"),
        ("name", "\U000e0061\U000e0062"),
        ("name", "Ada\U0001d173"),
        ("email", "ada\ufe0f@example.org"),
        ("email", "ada\u3164@example.org"),
        ("email", "ada\u034f@example.org"),
        ("email", "ada\u200d@example.org"),
        ("email", "ada\U000e0100@example.org"),
        ("name", "Ada\u2028Eve"),
        ("email", "ada\u200b@example.org"),
        ("email", "a\u00adda@example.org"),
        ("email", "\u202eada@example.org"),
        ("email", "a da@example.org"),
        ("password", "password123"),
        ("password", "QWERTYuiop"),
        ("password", "tab\tand more"),
    ],
)
async def test_invisible_text_and_common_passwords_are_refused(field: str, value: str, nobody: Client) -> None:
    """Invisible, bidirectional and control characters in a name or an e-mail address are refused, and so are the most
    common passwords.
    """
    assert pointers(await nobody("POST", "/v1/auth/register", registration_body(**{field: value}))) == {f"/{field}"}


@pytest.mark.parametrize("name", ["علی‌رضا", "क्‍ष", "Zoë ❤️", "O’Brien-Sçhmidt", "李 小龍"])
async def test_names_of_all_scripts_are_accepted(name: str, nobody: Client) -> None:
    """A name may contain the joiners of Persian and Hindi, emoji and combining marks."""
    answer = await nobody("POST", "/v1/auth/register", registration_body(name=name))
    assert answer.json()["user"]["name"] == unicodedata.normalize("NFC", name)


async def test_a_name_is_stored_trimmed_and_composed(nobody: Client) -> None:
    """A name is stored without spaces around it and in the Unicode form NFC."""
    answer = await nobody("POST", "/v1/auth/register", registration_body(name=f"  {DECOMPOSED_TEXT}\u00a0"))
    assert answer.json()["user"]["name"] == "Größe und Höhe"


@pytest.mark.parametrize(
    ("registered", "typed"),
    [
        ("Größe und Höhe", DECOMPOSED_TEXT),
        (DECOMPOSED_TEXT, "Größe und Höhe"),
        ("one two three", "one\u00a0two\u3000three"),
    ],
)
async def test_a_password_matches_in_any_unicode_form(registered: str, typed: str, nobody: Client) -> None:
    """A password matches in composed or decomposed form and with any kind of space (RFC 8265). In capitals it is
    refused.
    """
    new = registration_body(password=registered)
    await nobody("POST", "/v1/auth/register", new)
    login = {"email": new["email"], "password": typed}
    assert (await nobody("POST", "/v1/auth/login", login)).status_code == 200
    assert code_of(await nobody("POST", "/v1/auth/login", {**login, "password": typed.upper()}))[0] == 401


async def test_an_email_is_shown_as_typed_and_found_in_any_spelling(nobody: Client) -> None:
    """An e-mail address is shown as it was typed. Full-width letters, capitals, `ss` for `ß` and spaces around it find
    the same account.
    """
    tag = uuid.uuid4().hex
    typed = f"Straße.{tag}@Example.org"
    registered = await nobody("POST", "/v1/auth/register", registration_body(email=f" {typed}\n"))
    assert registered.json()["user"]["email"] == typed
    wide = "".join(chr(ord(char) + 0xFEE0) for char in "strasse") + f".{tag.upper()}@example.org"
    for spelling in (f"{typed} ", typed.upper(), wide):
        answer = await nobody("POST", "/v1/auth/login", {"email": spelling, "password": PASSWORD})
        assert answer.json()["user"]["email"] == typed
        again = await nobody("POST", "/v1/auth/register", registration_body(email=spelling))
        assert code_of(again) == (409, "duplicate")


async def test_a_phone_may_have_digits_of_any_script(nobody: Client) -> None:
    """A phone number in Persian digits is stored in ASCII digits."""
    answer = await nobody("POST", "/v1/auth/register", registration_body(phone="+۹۸ ۲۱ ۱۲۳۴"))
    assert answer.json()["user"]["phone"] == "+98 21 1234"


@pytest.mark.parametrize(
    ("address", "stored"),
    [
        ("1 Main St\nApt 4\n", "1 Main St\nApt 4"),
        ("1 Main St\r\nApt 4", "1 Main St\nApt 4"),
        (f"  {DECOMPOSED_TEXT}", "Größe und Höhe"),
    ],
)
async def test_an_address_may_have_several_lines(join: Join, address: str, stored: str, service: str) -> None:
    """The lines of an address are stored with LF between them and without an LF at the end."""
    customer = await join("customer")
    body = {"service": service, "lat": 40.75, "lon": -73.99, "address": address}
    answer = await customer("POST", "/v1/jobs", body)
    assert answer.json()["job"]["address"] == stored
