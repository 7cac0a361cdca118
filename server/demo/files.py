"""The files of a demo in its data directory: the password of its accounts, the logins, and the town."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

import msgspec

from server.schemas.towns import TOWN_FILE
from server.simulation.town import Town

LOGINS_FILE = "demo-logins.json"


class DemoCredentials(msgspec.Struct):
    """The tag and the password of the demo's accounts. They are stored, so that the next start uses the same accounts.

    The password is random, because the data directory of a demo may later be used for real users. Then it must contain
    no admin with a well-known password.
    """

    tag: str
    password: str


def load_credentials(data: Path) -> DemoCredentials:
    """Return the tag and the password of an earlier start; at the first start, create them."""
    path = data / "demo.json"
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=DemoCredentials)
    credentials = DemoCredentials(secrets.token_hex(3), secrets.token_urlsafe(12))
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(credentials))
    return credentials


def write_logins(data: Path, logins: list[tuple[str, str, str]]) -> None:
    """Write the file of the logins for the front page. Only a server that a demo starts reads this file."""
    path = data / LOGINS_FILE
    path.touch(mode=0o600)
    path.write_bytes(
        msgspec.json.encode([dict(zip(("role", "email", "password"), login, strict=True)) for login in logins])
    )


def write_town(data: Path, town: Town) -> None:
    """Write the file of the town, which a server of a demo sends to maps. Do nothing if the disk is full: the server
    then reports it.
    """
    with suppress(OSError):
        (data / TOWN_FILE).write_bytes(msgspec.json.encode(town.geojson))
