"""Tests of docs/blueprints.md: its example loads, its charts are those of the shipped files, and each word of the
language is on the page.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from engine.blueprint import catalogue, relation, schema
from engine.blueprint.chart import mermaid_chart

PAGE_TEXT = (Path(__file__).resolve().parents[2] / "docs" / "blueprints.md").read_text()


def read_blocks(kind: str) -> list[str]:
    """Return the content of the page's fenced blocks of this kind."""
    return re.findall(rf"```{kind}\n(.*?)```", PAGE_TEXT, re.DOTALL)


@pytest.fixture
def example_path(tmp_path: Path) -> Path:
    """Write the page's example blueprint to a file and return its path."""
    [text] = read_blocks("toml")
    path = tmp_path / "roadside.toml"
    path.write_text(text)
    return path


def test_the_example_is_a_blueprint(example_path: Path) -> None:
    """The example of the page has no problem and loads beside the shipped blueprints."""
    assert catalogue.read_file(example_path)[1] == []
    assert (
        "roadside" in catalogue.load_blueprints("home_service", catalogue.shipped_folder(), example_path.parent).by_name
    )


def test_a_misspelt_word_in_the_example_is_reported(example_path: Path) -> None:
    """A misspelt command in the example is reported, which shows that the example is really checked."""
    example_path.write_text(example_path.read_text().replace('command = "pass_on"', 'command = "pass"'))
    assert catalogue.read_file(example_path)[1] == [
        "roadside.toml: state asked: timer 1 gives an unknown command 'pass'"
    ]


def test_the_charts_are_those_of_the_shipped_files() -> None:
    """The page has the chart of each shipped blueprint as `callout blueprint chart` prints it."""
    blueprints = catalogue.load_blueprints("home_service", catalogue.shipped_folder()).by_name
    charts = dict(re.findall(r"### (\w+)\n.*?```mermaid\n(.*?)```", PAGE_TEXT, re.DOTALL))
    assert charts == {name: mermaid_chart(each) for name, each in blueprints.items()}


def test_every_word_of_the_language_is_on_the_page() -> None:
    """The page contains every effect, role and search mode of the language, and each field of blueprints, states,
    commands, event rules and timers.
    """
    words = {*get_args(schema.Effect), *get_args(relation.Relation), *get_args(schema.Mode)} - {"move"}
    for kind in (schema.Blueprint, schema.State, schema.Command, schema.EventRule, schema.Timer):
        words |= {field.encode_name for field in msgspec.structs.fields(kind)}
    assert [word for word in sorted(words) if not re.search(rf"\b{word}\b", PAGE_TEXT)] == []
