"""Tests of the settings: which values are refused, all in one message, and how the other values are normalised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.process.settings import Settings, SettingsError, read_settings
from engine.process.settings_page import settings_page

ROOT = Path(__file__).resolve().parents[2]


def load_error(tmp_path: Path, toml: bytes = b"", env: dict[str, str] | None = None, **flags: Any) -> str:
    """Load settings that must be refused, and return the error message."""
    path = tmp_path / "callout.toml"
    path.write_bytes(toml)
    with pytest.raises(SettingsError) as refused:
        read_settings(flags, env=env or {}, file=path)
    return str(refused.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"redis": ""}, "redis: "),
        ({"redis": "nonsense"}, "redis: not an address"),
        ({"redis": "redis://h?foo=1"}, "redis: the address has something after ?"),
        ({"redis": "redis://h:99999"}, "redis: "),
        ({"redis": "redis://"}, "redis: the address names no host"),
        ({"redis": "redis://h/x"}, "redis: /x is no number"),
        ({"redis": "unix://"}, "redis: unix://"),
        ({"database": ""}, "database: "),
        ({"zones": "north"}, "zones: 'north': there are main; others need a [zones.NAME]"),
        ({"zones": "main,"}, "zones: ''"),
        ({"roles": "gateway,king"}, "roles: "),
        ({"roles": ""}, "roles: "),
        ({"port": 70000}, "port: "),
        ({"key_file": "/no/such/folder/key"}, "key_file: /no/such/folder is not a directory"),
        ({"origins": "app.example"}, "origins: 'app.example' is no origin"),
        ({"map_origins": "app.example"}, "map_origins: 'app.example' is no origin"),
        ({"web_push_contact": "ops@example.org"}, "web_push_contact: 'ops@example.org' is neither"),
        ({"web_push_origins": "push.example"}, "web_push_origins: 'push.example' is no origin"),
        ({"map_style": "/style.json"}, "map_style: '/style.json' is no address"),
        ({"map_style": "https://a.example/s; script-src *"}, "is no address"),
        ({"map_tiles": "https://a.example/tiles.png"}, "has no {z}, {x} and {y}"),
        ({"origins": "https://app.example/login"}, "origins: "),
        ({"origins": "*"}, "origins: "),
        ({"app_min_version": "driver="}, "app_min_version: "),
        ({"app_min_version": "2.x"}, "app_min_version: "),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_with_its_reason(tmp_path: Path, flags: dict[str, Any], message: str) -> None:
    """A wrong value is refused with a message that names the setting and the reason."""
    assert message in load_error(tmp_path, **flags)


NUMERIC_SETTINGS = [
    field.name
    for field in msgspec.structs.fields(Settings)
    if isinstance(field.default, int | float) or field.name == "job_lifetime_s"
]


@pytest.mark.parametrize("name", NUMERIC_SETTINGS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e300", "ten", ""])
def test_no_number_is_beyond_its_range(tmp_path: Path, name: str, value: str) -> None:
    """A numeric setting that is not a number, or is out of its range, is refused by its name."""
    assert name in load_error(tmp_path, env={f"CALLOUT_{name.upper()}": value})


@pytest.mark.parametrize("name", [name for name in NUMERIC_SETTINGS if name not in ("port", "drain_s")])
def test_zero_is_refused_where_it_would_disable_the_server(tmp_path: Path, name: str) -> None:
    """0 is refused for each numeric setting but `port`, `drain_s` and those of `token_*` and `keep_*`. A lease, a
    buffer or a limit of 0 would give a server that does nothing and reports no error.
    """
    if name.startswith(("token_", "keep_")):
        assert getattr(read_settings({}, env={f"CALLOUT_{name.upper()}": "0"}, file=tmp_path / "none"), name) == 0
    else:
        assert name in load_error(tmp_path, env={f"CALLOUT_{name.upper()}": "0"})


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (b"port = ", "Invalid value"),
        (b"port = \xff", "not UTF-8"),
        (b"port = " + b"[" * 5000, "nested too deep"),
        (b"prot = 1", "unknown setting 'prot' (did you mean port?)"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, toml: bytes, message: str) -> None:
    """The message about an unreadable settings file contains its path and the error in one line."""
    error = load_error(tmp_path, toml)
    assert f"{tmp_path / 'callout.toml'}: " in error and message in error


def test_all_errors_are_in_one_message(tmp_path: Path) -> None:
    """The errors of the file, of the environment and of the flags are in one message. Unknown names are errors in each
    of them.
    """
    error = load_error(tmp_path, b"colour = 1", {"CALLOUT_ORIGNS": "x", "CALLOUT_PING_S": "nan"}, redis="")
    assert all(
        part in error for part in ("colour", "CALLOUT_ORIGNS (did you mean CALLOUT_ORIGINS?)", "ping_s", "redis")
    )


def test_variables_that_are_no_settings_are_ignored(tmp_path: Path) -> None:
    """Environment variables of the client examples and of the tests are ignored, because they may be set in the same
    shell.
    """
    env = {"CALLOUT_URL": "http://x", "CALLOUT_TOKEN": "x", "CALLOUT_TEST_REDIS": "redis-server", "HOME": "/"}
    assert read_settings({}, env=env, file=tmp_path / "none") == Settings()


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("https://app.example, https://b.example", ("https://app.example", "https://b.example")),
        ("HTTPS://App.Example/", ("https://app.example",)),
        ("https://app.example:443,http://app.example:80", ("https://app.example", "http://app.example")),
        ("http://[::1]:8080", ("http://[::1]:8080",)),
        ("https://bücher.example", ("https://xn--bcher-kva.example",)),
    ],
)
def test_an_origin_is_stored_as_browsers_send_it(tmp_path: Path, typed: str, stored: tuple[str, ...]) -> None:
    """An origin is stored in the form that browsers send: without spaces, capitals, a final slash or a default port."""
    assert read_settings({}, env={"CALLOUT_ORIGINS": typed}, file=tmp_path / "none").origins == stored


def test_a_table_of_the_file_is_a_prefix(tmp_path: Path) -> None:
    """A table of the file is a prefix of names: `min_version` in `[app]` sets `app_min_version`."""
    path = tmp_path / "callout.toml"
    path.write_text('[app]\nmin_version = "2.1"\n')
    assert read_settings({}, env={}, file=path).app_min_version == ("2.1",)


def test_the_page_of_settings_is_up_to_date() -> None:
    """docs/settings.md is equal to the output of `python -m engine.process.settings`."""
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page()
