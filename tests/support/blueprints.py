"""Create blueprints for a test by changes to the shipped ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.blueprint import catalogue
from engine.process.settings import Settings


def edited_toml(name: str, changes: Mapping[str, str]) -> str:
    """Return the TOML of the shipped blueprint ``name`` after each key of ``changes`` is replaced by its value. Each
    key must occur exactly once in the TOML.
    """
    text = (catalogue.shipped_folder() / f"{name}.toml").read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def settings_with_blueprints(settings: Settings, folder: Path, **texts: str) -> Settings:
    """Write each blueprint of ``texts`` (name to TOML) to a file in ``folder``, and return settings that load the
    blueprints of this folder.
    """
    folder.mkdir()
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text)
    return msgspec.structs.replace(settings, blueprints=str(folder))
