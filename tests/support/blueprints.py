"""Blueprints of a test's own, made from the shipped ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.blueprint import catalogue
from engine.process.settings import Settings


def changed(name: str, changes: Mapping[str, str]) -> str:
    """A shipped blueprint with some passages put in the place of others, each of which it has once."""
    text = (catalogue.shipped() / f"{name}.toml").read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def named(settings: Settings, folder: Path, **texts: str) -> Settings:
    """The settings with a folder of these blueprints, each under its name."""
    folder.mkdir()
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text)
    return msgspec.structs.replace(settings, blueprints=str(folder))
