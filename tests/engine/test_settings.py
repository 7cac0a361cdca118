"""Settings: which values are refused, all at once, and how the others are normalised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.process import settings
from engine.process.settings import Settings, SettingsError, read_settings

ROOT = Path(__file__).resolve().parents[2]


def wrong(tmp_path: Path, toml: bytes = b"", env: dict[str, str] | None = None, **flags: Any) -> str:
    """Return the error message for settings that cannot be used."""
    path = tmp_path / "callout.toml"
    path.write_bytes(toml)
    with pytest.raises(SettingsError) as refused:
        read_settings(flags, env=env or {}, file=path)
    return str(refused.value)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"redis": ""}, "redis: "),
        ({"redis": "nonsense"}, "redis: not an address"),
        ({"redis": "redis://h?foo=1"}, "redis: the address has something after ?"),
        ({"redis": "redis://h:99999"}, "redis: "),
        ({"redis": "redis://"}, "redis: the address names no host"),
        ({"redis": "redis://h/x"}, "redis: /x is no number"),
        ({"redis": "unix://"}, "redis: unix://"),
        ({"database": ""}, "database: "),
        ({"zones": "north"}, "zones: north: this version serves one zone"),
        ({"zones": "main,north"}, "zones: main, north"),
        ({"roles": "gateway,king"}, "roles: "),
        ({"roles": ""}, "roles: "),
        ({"port": 70000}, "port: "),
        ({"key_file": "/no/such/folder/key"}, "key_file: /no/such/folder is not a directory"),
        ({"origins": "app.example"}, "origins: 'app.example' is no origin"),
        ({"origins": "https://app.example/login"}, "origins: "),
        ({"origins": "*"}, "origins: "),
        ({"app_min_version": "driver="}, "app_min_version: "),
        ({"app_min_version": "2.x"}, "app_min_version: "),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_in_words(tmp_path: Path, flags: dict[str, Any], said: str) -> None:
    """Each wrong setting is named with what is wrong."""
    assert said in wrong(tmp_path, **flags)


NUMBERS = [
    field.name
    for field in msgspec.structs.fields(Settings)
    if isinstance(field.default, int | float) or field.name == "job_lifetime_s"
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e300", "ten", ""])
def test_no_number_is_beyond_its_range(tmp_path: Path, name: str, value: str) -> None:
    """A value that is not a number or out of range is refused."""
    assert name in wrong(tmp_path, env={f"CALLOUT_{name.upper()}": value})


@pytest.mark.parametrize("name", [name for name in NUMBERS if name not in ("port", "drain_s")])
def test_nothing_that_must_be_above_0_is_0(tmp_path: Path, name: str) -> None:
    """A lease, a memory or a number of sockets of 0 would give a server that silently does nothing."""
    if name.startswith("token_"):
        assert getattr(read_settings({}, env={f"CALLOUT_{name.upper()}": "0"}, file=tmp_path / "none"), name) == 0
    else:
        assert name in wrong(tmp_path, env={f"CALLOUT_{name.upper()}": "0"})


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (b"port = ", "Invalid value"),
        (b"port = \xff", "not UTF-8"),
        (b"port = " + b"[" * 5000, "nested too deep"),
        (b"prot = 1", "unknown setting 'prot' (did you mean port?)"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, toml: bytes, said: str) -> None:
    """The message has its path and the error, in one line."""
    found = wrong(tmp_path, toml)
    assert f"{tmp_path / 'callout.toml'}: " in found and said in found


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    """Errors of the file, of the environment, where unknown names are errors too, and of the flags are reported
    together.
    """
    found = wrong(tmp_path, b"colour = 1", {"CALLOUT_ORIGNS": "x", "CALLOUT_PING_S": "nan"}, redis="")
    assert all(
        part in found for part in ("colour", "CALLOUT_ORIGNS (did you mean CALLOUT_ORIGINS?)", "ping_s", "redis")
    )


def test_names_of_others_are_left_alone(tmp_path: Path) -> None:
    """Variables of the client examples and of the tests may be set in the same shell."""
    env = {"CALLOUT_URL": "http://x", "CALLOUT_TOKEN": "x", "CALLOUT_TEST_REDIS": "redis-server", "HOME": "/"}
    assert read_settings({}, env=env, file=tmp_path / "none") == Settings()


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("https://app.example, https://b.example", ("https://app.example", "https://b.example")),
        ("HTTPS://App.Example/", ("https://app.example",)),
        ("https://app.example:443,http://app.example:80", ("https://app.example", "http://app.example")),
        ("http://[::1]:8080", ("http://[::1]:8080",)),
        ("https://bücher.example", ("https://xn--bcher-kva.example",)),
    ],
)
def test_an_origin_is_kept_as_browsers_write_it(tmp_path: Path, typed: str, kept: tuple[str, ...]) -> None:
    """Spaces, capitals, a final slash and a default port make no other origin."""
    assert read_settings({}, env={"CALLOUT_ORIGINS": typed}, file=tmp_path / "none").origins == kept


def test_a_table_of_the_file_is_a_prefix(tmp_path: Path) -> None:
    """`[app] min_version` is `app_min_version`."""
    path = tmp_path / "callout.toml"
    path.write_text('[app]\nmin_version = "2.1"\n')
    assert read_settings({}, env={}, file=path).app_min_version == ("2.1",)


def test_the_page_of_settings_is_true() -> None:
    """docs/settings.md is what `python -m engine.process.settings` prints."""
    assert (ROOT / "docs" / "settings.md").read_text() == settings.settings_page()
