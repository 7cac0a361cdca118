"""Blueprints for one test, made from the shipped ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.blueprint import catalogue
from engine.process.settings import Settings


def edited(name: str, changes: Mapping[str, str]) -> str:
    """Return a shipped blueprint's TOML with each old passage replaced. Each passage occurs exactly once."""
    text = (catalogue.shipped_folder() / f"{name}.toml").read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def settings_with(settings: Settings, folder: Path, **texts: str) -> Settings:
    """Write these blueprints to ``folder``, each under its name, and return settings that use the folder."""
    folder.mkdir()
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text)
    return msgspec.structs.replace(settings, blueprints=str(folder))
