"""``callout token``: print an access token, signed with the data directory's key. The first admin signs in with it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import click

from engine.process.datadir import CannotStart
from engine.process.settings import SettingsError
from engine.types import ROLES, UserId, is_id
from server.cli import options

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
MAX_LIFETIME = timedelta(days=366)


@click.command
@click.option("--role", required=True, help=f"One of {', '.join(ROLES)}.")
@click.option("--user", metavar="ID", help="Default: cli_<role>.")
@click.option("--expires", default="12h", help="Lifetime of the token: 90s, 30m, 12h, 7d.")
@options.data
@options.key_file
def token(*, role: str, user: str | None, expires: str, data: str | None, key_file: str | None) -> None:
    """Print an access token, signed with the server's key. The server must have been started once; it need not run now.

    Without --user the principal is cli_<role>: it is always active and has no account.
    """
    if role not in ROLES:
        raise SettingsError(f"--role {role}: must be one of {', '.join(ROLES)}")
    if user is not None and not is_id(user):
        raise SettingsError("--user: an id is 1 to 64 letters, digits, _ or -")
    lifetime = duration(expires)
    settings = options.load_settings(data=data, key_file=key_file)
    from engine.process.signer import key_path, open_signer, sign_token

    if settings.key_file is None:
        _check_data(Path(settings.data), key_path(settings))
    who = UserId(user or f"cli_{role}")
    print(sign_token(open_signer(settings), who, role, expires_s=lifetime.total_seconds()))


def _check_data(data: Path, key: Path) -> None:
    """Raise CannotStart if the data directory has no signing key. A key that this command created would be accepted by
    no server.
    """
    if data.exists() and not data.is_dir():
        raise CannotStart(f"{data} is not a directory: give another --data")
    if not key.exists():
        raise CannotStart(f"no signing key in {data}: a server creates it at its first start there; or give --key-file")


def duration(text: str, flag: str = "--expires") -> timedelta:
    """Return the duration that ``text`` means: ``90s``, ``30m``, ``12h`` or ``7d``. ``flag`` is for the error's text.

    Raises SettingsError for any other text, and for more than 366 days.
    """
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None or match[1].strip("0") == "":
        raise SettingsError(f"{flag} {text}: must be a number with s, m, h or d, like 12h")
    length = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if length > MAX_LIFETIME:
        raise SettingsError(f"{flag} {text}: at most {MAX_LIFETIME.days}d")
    return length
