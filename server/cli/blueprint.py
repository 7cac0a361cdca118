"""``callout blueprint``: work on blueprints without a server. ``check`` lists problems, ``chart`` prints a diagram."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from engine.process.settings import SettingsError
from server.cli.options import Json

blueprint = typer.Typer(help="Check blueprints or print one as a chart.", no_args_is_help=True)

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="TOML files, or folders with TOML files.")]
OneFile = Annotated[str, typer.Argument(metavar="FILE", help="A TOML file, or the name of a shipped blueprint.")]


@blueprint.command()
def check(files: Files, *, as_json: Json = False) -> None:
    """List all problems of the blueprints. All files are checked as if they were in one folder. The exit code is 1 if
    there are problems.
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
    if problems:
        raise typer.Exit(1)


@blueprint.command()
def chart(file: OneFile) -> None:
    """Print a blueprint as a Mermaid state diagram."""
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
