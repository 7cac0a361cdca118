"""The page on blueprints says what is: its example is one, its charts are the files', its words are all there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from engine.blueprint import catalogue, schema
from engine.blueprint.chart import mermaid_chart

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "blueprints.md").read_text()


def blocks(kind: str) -> list[str]:
    """The fenced blocks of a kind."""
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The page's blueprint as a file."""
    [text] = blocks("toml")
    path = tmp_path / "roadside.toml"
    path.write_text(text)
    return path


def test_the_example_is_a_blueprint(example: Path) -> None:
    """It loads beside the shipped ones, and nothing is wrong with it."""
    assert catalogue.read_file(example)[1] == []
    assert "roadside" in catalogue.load_blueprints("home_service", catalogue.shipped_folder(), example.parent).by_name


def test_the_example_is_not_checked_in_vain(example: Path) -> None:
    """A word of it misspelt is told."""
    example.write_text(example.read_text().replace('command = "pass_on"', 'command = "pass"'))
    assert catalogue.read_file(example)[1] == ["roadside.toml: state asked: timer 1 gives an unknown command 'pass'"]


def test_the_charts_are_those_of_the_shipped_files() -> None:
    """Each of the five, in the page as `callout blueprint chart` prints it."""
    known = catalogue.load_blueprints("home_service", catalogue.shipped_folder()).by_name
    drawn = dict(re.findall(r"### (\w+)\n.*?```mermaid\n(.*?)```", PAGE, re.DOTALL))
    assert drawn == {name: mermaid_chart(each) for name, each in known.items()}


def test_every_word_of_the_language_is_on_the_page() -> None:
    """What a command can do, who can give it, how technicians are found, and each field of states and commands."""
    words = {*get_args(schema.Effect), *get_args(schema.Relation), *get_args(schema.Mode)} - {"move"}
    for kind in (schema.Blueprint, schema.State, schema.Command, schema.EventRule, schema.Timer):
        words |= {field.encode_name for field in msgspec.structs.fields(kind)}
    assert [word for word in sorted(words) if not re.search(rf"\b{word}\b", PAGE)] == []
