"""Tests of ``callout blueprint``: ``check`` lists the problems of blueprint files, and ``chart`` prints the diagram of
one. Neither needs a server.
"""

from __future__ import annotations

import json
from pathlib import Path

from engine.blueprint import catalogue
from engine.blueprint.chart import mermaid_chart
from tests.support.process import run_callout

DELIVERY = catalogue.shipped_folder() / "delivery.toml"
DELIVERY_KEY = next(iter(catalogue.read_files([DELIVERY])[0].values())).key


async def test_all_problems_of_all_files_are_listed(tmp_path: Path) -> None:
    """``check`` prints each problem of each file in a line that begins with the file's name. The exit code is 1."""
    (tmp_path / "a.toml").write_text(DELIVERY.read_text().replace('to = "confirmed"', 'to = "nowhere"'))
    (tmp_path / "b.toml").write_text("= [")
    command = await run_callout("blueprint", "check", str(tmp_path), str(tmp_path / "none.toml"))
    lines = command.out.splitlines()
    assert command.code == 1
    assert "a.toml: command confirm: unknown state 'nowhere'" in lines
    assert [line for line in lines if line.startswith("b.toml: ")]
    assert f"{tmp_path / 'none.toml'}: No such file or directory" in lines
    assert lines[-1] == f"{len(lines) - 1} problems"


async def test_a_folder_without_a_blueprint_is_a_problem(tmp_path: Path) -> None:
    """``check`` reports a folder without a blueprint as a problem, because the caller may have named the wrong
    folder.
    """
    (tmp_path / "empty").mkdir()
    run = await run_callout("blueprint", "check", str(tmp_path / "empty"), str(DELIVERY))
    assert (run.code, run.out.splitlines()) == (1, [f"{tmp_path / 'empty'}: no *.toml in this folder", "1 problem"])


async def test_problems_as_json(tmp_path: Path) -> None:
    """``check --json`` prints one JSON object on stdout, with the blueprints and the problems."""
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(DELIVERY.read_text())
    command = await run_callout("blueprint", "check", "--json", str(tmp_path))
    assert command.code == 1
    assert json.loads(command.out) == {
        "ok": False,
        "blueprints": [DELIVERY_KEY],
        "problems": ["b.toml: name 'delivery' is that of a.toml too"],
    }


async def test_a_chart_of_an_invalid_or_unknown_blueprint_is_refused(tmp_path: Path) -> None:
    """``chart`` of an invalid file or of an unknown name prints one line on stderr, and the exit code is 2."""
    (tmp_path / "bad.toml").write_text('name = "bad"\n')
    bad = await run_callout("blueprint", "chart", str(tmp_path / "bad.toml"))
    assert bad.code == 2 and "bad.toml: states is missing" in bad.error_line
    command = await run_callout("blueprint", "chart", "nothing")
    assert command.code == 2
    assert (
        command.error_line == "nothing: no such file, and no shipped blueprint of that name"
        " (delivery, direct_booking, home_service, managed, marketplace)"
    )


async def test_the_shipped_blueprints_have_no_problems() -> None:
    """``check`` finds no problem in the shipped blueprints, and the exit code is 0."""
    command = await run_callout("blueprint", "check", str(catalogue.shipped_folder()))
    assert (command.code, command.out) == (0, "no problems\n")


async def test_a_chart_by_file_and_by_name() -> None:
    """``chart`` prints the same diagram for the name of a shipped blueprint as for its file."""
    spec, _ = catalogue.read_file(DELIVERY)
    assert spec is not None
    for what in (str(DELIVERY), "delivery"):
        command = await run_callout("blueprint", "chart", what)
        assert (command.code, command.out) == (0, mermaid_chart(spec))
    assert "ready --> on_the_way: depart" in mermaid_chart(spec) and "delivered --> [*]" in mermaid_chart(spec)
