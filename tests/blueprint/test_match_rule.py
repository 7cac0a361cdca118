"""`[dispatch] match` of a blueprint: the refusals of the linter, and the text that the scripts get."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.blueprint import catalogue
from engine.blueprint.compiler import state_entry
from tests.support.blueprints import edited_toml

RULE = 'match = { window_s = 1.0, reach_m = 2800, grow_m_s = 4.6, k = 20, jobs = 256, solver = "exact" }'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("window_s = 1.0", "window_s = 0", "match: window_s must be above 0, at most 60"),
        ("window_s = 1.0", "window_s = 61", "match: window_s must be above 0, at most 60"),
        ("window_s = 1.0", "window = 1", "dispatch.match: Object contains unknown field `window`"),
        ("reach_m = 2800", "reach_m = 0", "match: reach_m must be above 0"),
        ("grow_m_s = 4.6", "grow_m_s = 0", "match: grow_m_s must be above 0: otherwise a job could wait forever"),
        ("k = 20", "k = 65", "match: k must be from 1 to 64"),
        ("jobs = 256", "jobs = 0", "match: jobs must be from 1 to 1024"),
        ('solver = "exact"', 'solver = "nothing"', "match: solver 'nothing' is not installed"),
        ("job_s = 3600", "job_s = 3600\nradius_m = 500", "match: reach_m must not be above radius_m"),
        (
            "job_s = 3600",
            "job_s = 3600\nwaves = [{ size = 5, radius_m = 0, interval_s = 5 }]",
            "match: a blueprint with match has no waves and no head_start",
        ),
        (
            "job_s = 3600",
            "job_s = 3600\nhead_start = { first = 1, s = 5 }",
            "match: a blueprint with match has no waves and no head_start",
        ),
        ('seeks = "allocate"', 'seeks = "broadcast"', 'match: no state says seeks = "allocate"'),
    ],
)
def test_each_problem_of_a_rule_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Each invalid edit of `managed` is reported."""
    path = tmp_path / "managed.toml"
    path.write_text(edited_toml("managed", {old: new}))
    _, problems = catalogue.read_file(path)
    assert [problem for problem in problems if message in problem], problems


def test_only_a_state_in_which_the_engine_chooses_has_the_rule(tmp_path: Path) -> None:
    """The state entry of `requested` has the rule with the weights of the blueprint; no other state has it, and without
    the rule none has. The members have defaults.
    """
    (tmp_path / "default.toml").write_text(edited_toml("managed", {RULE: "match = {}"}))
    (tmp_path / "none.toml").write_text(edited_toml("managed", {RULE: ""}))
    for name, expected in (("default", " matches/1000/2800/4.6/20/0/1,2,0,0,5"), ("none", "")):
        blueprint, problems = catalogue.read_file(tmp_path / f"{name}.toml")
        assert blueprint is not None and not problems
        entries = {state: state_entry(blueprint, state) for state in blueprint.states}
        assert entries["requested"].endswith(expected or "1/1800000")
        assert [state for state, entry in entries.items() if "matches/" in entry] == (["requested"] if expected else [])
