"""``callout blueprint``: work on blueprints without a server. ``check`` lists problems, ``chart`` prints a diagram."""

from __future__ import annotations

import json
from pathlib import Path

import click

from engine.process.settings import SettingsError
from server.cli import options


@click.group
def blueprint() -> None:
    """Check blueprints or print one as a chart."""


@blueprint.command
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@options.as_json
def check(*, files: tuple[Path, ...], as_json: bool) -> int:
    """List all problems of blueprints.

    Each FILE is a TOML file or a folder with TOML files. All are checked as if they were in one folder. The exit code
    is 1 if there are problems.
    """
    from engine.blueprint.catalogue import read_files

    inside = {file: sorted(file.glob("*.toml")) if file.is_dir() else [file] for file in files}
    found, wrong = read_files([path for paths in inside.values() for path in paths])
    problems = [f"{folder}: no *.toml in this folder" for folder, paths in inside.items() if not paths] + wrong
    if as_json:
        keys = sorted(each.key for each in found.values())
        print(json.dumps({"ok": not problems, "blueprints": keys, "problems": problems}))
    else:
        for problem in problems:
            print(problem)
        print(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}" if problems else "no problems")
    return 1 if problems else 0


@blueprint.command
@click.argument("file", metavar="FILE")
def chart(*, file: str) -> None:
    """Print a blueprint as a Mermaid state diagram.

    FILE is a TOML file, or the name of a shipped blueprint.
    """
    from engine.blueprint import catalogue
    from engine.blueprint.chart import mermaid_chart

    path = Path(file)
    if not path.is_file():
        path = catalogue.shipped_folder() / f"{file}.toml"
    if not path.is_file():
        names = ", ".join(sorted(each.stem for each in catalogue.shipped_folder().glob("*.toml")))
        raise SettingsError(f"{file}: no such file, and no shipped blueprint of that name ({names})")
    found, problems = catalogue.read_file(path)
    if found is None or problems:
        raise SettingsError("; ".join(problems))
    print(mermaid_chart(found), end="")
