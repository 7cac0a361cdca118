"""What is wrong with a blueprint is told, each problem in a sentence that names the file and the place, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.rules import blueprint
from engine.rules.blueprint import BlueprintError
from tests.rules.wrong import WHOLE, WRONG


@pytest.mark.parametrize(("old", "new", "said"), WRONG, ids=[said for _, _, said in WRONG])
def test_each_problem_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    """What is written instead of what was right is told, with the file's name in front."""
    assert WHOLE.count(old) >= 1
    path = tmp_path / "walks.toml"
    path.write_text(WHOLE.replace(old, new, 1))
    _, problems = blueprint.read(path)
    assert [problem for problem in problems if problem.startswith("walks.toml: ") and said in problem], problems


def test_all_problems_of_all_files_come_in_one_report(tmp_path: Path) -> None:
    """Several in one file, one that is no TOML, one that is no blueprint: none hides another."""
    text = WHOLE.replace('to = "walking"', 'to = "flying"').replace('propose = ["booked"]', 'propose = ["flying"]')
    (tmp_path / "a.toml").write_text(text)
    (tmp_path / "b.toml").write_text("= [")
    (tmp_path / "c.toml").write_text(text.replace('"active"', '"busy"').replace('by = ["mediator"]', 'by = ["judge"]'))
    with pytest.raises(BlueprintError) as caught:
        blueprint.load("walks", tmp_path)
    told = "\n".join(caught.value.problems)
    for part in (
        "a.toml: command start: unknown state 'flying'",
        "a.toml: price: propose: 'flying'",
        "a.toml: state 'walking' cannot be reached",
        "b.toml: Invalid statement",
        "c.toml: states.walking.phase",
        "c.toml: states.back.phase",
        "c.toml: commands.settle.by[0]",
    ):
        assert part in told


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """In one folder a name stands once: which of the two holds would be chance."""
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(WHOLE)
    with pytest.raises(BlueprintError, match=r"b.toml: name 'walks' is that of a.toml too"):
        blueprint.load("walks", tmp_path)


def test_what_is_whole_is_told_so(tmp_path: Path) -> None:
    """The blueprint from which all the wrong ones were made has no problem, and neither has one that ships."""
    path = tmp_path / "walks.toml"
    path.write_text(WHOLE)
    assert blueprint.read(path)[1] == []
    assert [blueprint.read(each)[1] for each in sorted(blueprint.shipped().glob("*.toml"))] == [[]] * 5
