"""Tests of ``callout token``, and of ``callout`` without a command or with an unknown one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import jwt
import pytest

from engine.process.settings import Settings, SettingsError
from engine.process.signer import open_signer
from server.cli.token import duration
from tests.support.process import environment, run_callout


@pytest.mark.parametrize("text", ["", "12", "h", "1.5h", "-1h", "0s", "00m", "12 h", "12w", "367d", "9" * 12 + "d"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    """A duration that is empty, malformed, zero or longer than a year is refused, and the error begins with the
    flag.
    """
    with pytest.raises(SettingsError, match=f"^--for {text}:"):
        duration(text, "--for")


def test_durations_have_units() -> None:
    """A duration is a number of seconds (s), minutes (m), hours (h) or days (d)."""
    assert [duration(text).total_seconds() for text in ("90s", "30m", "12h", "7d")] == [90, 1800, 43200, 604800]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ([], "Missing option '--role'."),
        (["--role", "king"], "--role king: must be one of customer, technician, "),
        (["--role", "admin", "--user", "a b"], "--user: an id is 1 to 64 letters, digits, _ or -"),
        (["--role", "admin", "--expires", "soon"], "--expires soon: must be a number with s, m, h or d, like 12h"),
        (["--role", "admin", "--data", "file"], "file is not a directory: give another --data"),
        (["--role", "admin", "--key-file", "file"], "signing key file: not an Ed25519 private key in PEM"),
        (["--role", "admin", "extra"], "Got unexpected extra argument"),
    ],
)
async def test_a_wrong_request_is_refused_in_one_line(flags: list[str], line: str, tmp_path: Path) -> None:
    """A wrong or missing option is refused with one line on stderr and the exit code 2, and no token is printed."""
    (tmp_path / "file").write_text("not a key")
    refused = await run_callout("token", *flags, cwd=tmp_path)
    assert refused.code == 2
    assert refused.error_line.startswith(line)


async def test_callout_without_a_command_lists_the_commands() -> None:
    """``callout`` alone lists the commands on stdout."""
    command = await run_callout()
    assert command.code == 0
    for verb in ("serve", "demo", "replay", "token", "doctor"):
        assert f"\n  {verb} " in command.out


async def test_an_unknown_command_is_named() -> None:
    """An unknown command is refused with one line that names it, and the exit code is 2."""
    refused = await run_callout("fly")
    assert (refused.code, refused.error_line) == (2, "No such command 'fly'.")


@pytest.mark.parametrize("exists", [False, True], ids=["no folder", "no key in it"])
async def test_a_directory_without_a_key_is_refused(tmp_path: Path, exists: bool) -> None:
    """If the data directory does not exist or has no signing key, the command is refused, and creates no file or
    directory. Otherwise a mistyped directory would lead to a token that no server accepts.
    """
    if exists:
        (tmp_path / "typo").mkdir()
    refused = await run_callout("token", "--role", "admin", "--data", "typo", cwd=tmp_path)
    assert (refused.code, refused.out) == (2, "")
    assert refused.error_line.startswith("no signing key in typo: ")
    assert [each.name for each in tmp_path.rglob("*")] == (["typo"] if exists else [])


async def test_a_key_file_needs_no_directory(tmp_path: Path) -> None:
    """With ``--key-file`` the command creates a missing key, which only its owner can read, and prints a token. So
    hosts that share a key can have it before the first server starts. A warning on stderr names the new file, because
    the path may be mistyped. With an existing key there is no warning.
    """
    command = await run_callout("token", "--role", "admin", "--key-file", "shared.key", cwd=tmp_path)
    assert command.code == 0 and "key_file_missing" in command.err and "shared.key" in command.err
    again = await run_callout("token", "--role", "admin", "--key-file", "shared.key", cwd=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert (tmp_path / "shared.key").stat().st_mode & 0o777 == 0o600
    claims = jwt.decode(command.out.strip(), options={"verify_signature": False})
    assert (claims["iss"], claims["sub"], claims["role"]) == ("callout", "cli_admin", "admin")
    assert claims["exp"] - claims["iat"] == timedelta(hours=12).total_seconds()


async def test_user_and_lifetime_come_from_the_options(tmp_path: Path) -> None:
    """The token has the user of ``--user`` and the lifetime of ``--expires``."""
    open_signer(Settings(data=str(tmp_path / "d")))
    command = await run_callout(
        "token", "--role", "service", "--user", "billing", "--expires", "30m", "--data", "d", cwd=tmp_path
    )
    claims = jwt.decode(command.out.strip(), options={"verify_signature": False})
    assert (claims["sub"], claims["role"], claims["exp"] - claims["iat"]) == ("billing", "service", 1800)


async def test_settings_come_from_the_environment_too(tmp_path: Path) -> None:
    """Without ``--data`` the command uses the data directory of `CALLOUT_DATA`."""
    open_signer(Settings(data=str(tmp_path / "elsewhere")))
    command = await run_callout("token", "--role", "admin", cwd=tmp_path, env=environment(data="elsewhere"))
    assert (command.code, command.err) == (0, "")
