"""Every chapter, promise, link, file and test that a text of the project names exists, and generated tables of docs/
match the code.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.sql.schema import metadata
from engine.store import keys
from server.api import reference
from server.gateway.protocol import Close

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("engine", "server", "clients", "lua", "tests", "bench", "docs", "web")
README_FOLDERS = ("", "lua", "web", "bench", "clients/python", "clients/javascript")
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / room / "README.md" for room in README_FOLDERS)])


def is_written(path: Path) -> bool:
    """Return whether a person wrote the file. Files that `make web` installs or builds are no sources."""
    return not {"node_modules", "built"} & set(path.parts) and path.name != "schema.ts"


SEARCHED_FILES = sorted(
    {
        *PAGES,
        *(
            p
            for room in FOLDERS
            for p in (ROOT / room).rglob("*")
            if p.suffix in {".py", ".lua", ".js", ".ts", ".tsx", ".toml", ".html", ".css", ".c"} and is_written(p)
        ),
    }
)
THIS_FILE = Path(__file__)
"""This file is not searched, because its examples are wrong on purpose."""

PAGE_OF_PAPER = {"DESIGN": "design.md", "PROTOCOL": "protocol.md"}
FOREIGN_PAPERS = ("FACTS", "CASES", "HOUSE", "DURABLE", "SCENARIOS", "INTELLIGENCE")
"""Papers that are no part of the project, so no text may cite them."""
CITATION_PATTERN = re.compile(r"\b(DESIGN|PROTOCOL) §(\d+)|\bG(\d{1,2})\b")
FOREIGN_PAPER_PATTERN = re.compile(rf"\b(?:{'|'.join(FOREIGN_PAPERS)})\b|\.\./shared\b(?!/\S+\.(?:tsx?|css)\")")
LINK_PATTERN = re.compile(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]*))?\)")
PATH_PATTERN = re.compile(
    rf"(?<![\w./:…-])((?:{'|'.join(FOLDERS)})/[\w./-]+\.(?:py|lua|md|toml|js|c|csv))\b(?:::(\w+))?"
)
QUOTED_NAME_PATTERN = re.compile(r"`([\w./-]+\.(?:py|lua|md|js|c)|…)(?:::(\w+…?))?`")
PERMITTED_NAMES = {"mine.toml", "callout.toml", "engine/lua/job_claim.lua"}
"""Files that a text may name although the checkout does not have them: a user's files, and a script's path in a wheel.
"""


def headings(page: Path) -> list[str]:
    """Return the headings of a page, without the lines inside its code blocks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


def anchor(heading: str) -> str:
    """Return the part of a link after ``#`` that leads to this heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


CHAPTERS = {
    name: {found[1] for heading in headings(ROOT / "docs" / page) if (found := re.match(r"(\d+)\. ", heading))}
    for name, page in PAGE_OF_PAPER.items()
}
PROMISES = set(re.findall(r"^\| G(\d+) \|", (ROOT / "docs/design.md").read_text(), re.MULTILINE))
"""The numbers of the promises in docs/design.md, which texts cite as `G1`, `G2` and so on."""
TEST_NAMES = {
    name for path in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
}
DEFINITION_PATTERN = re.compile(r"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)|^(\w+)[ \t]*[:=]", re.MULTILINE)
"""The definition of a function, a class, a method, or a variable of a module."""
FILE_NAMES = {path.name for room in FOLDERS for path in (ROOT / room).rglob("*") if path.is_file()}


def wrong_citations(page_text: str) -> Iterator[str]:
    """Yield the citations in a page of chapters and promises that do not exist, and of papers outside the project."""
    for found in CITATION_PATTERN.finditer(page_text):
        known = found[2] in CHAPTERS[found[1]] if found[1] else found[3] in PROMISES
        if not known:
            yield found[0]
    yield from FOREIGN_PAPER_PATTERN.findall(page_text)


def missing_paths(page_text: str) -> Iterator[str]:
    """Yield each whole path of a file in ``page_text``, with the name after ``::``, if file or name does not exist."""
    for path, name in PATH_PATTERN.findall(page_text):
        if not exists(path) or not defines(path, name):
            yield f"{path}::{name}"


def missing_names(page: Path, page_text: str) -> Iterator[str]:
    """Yield the links, files and tests in ``page_text``, which is a part of ``page``, that do not exist."""
    for found in LINK_PATTERN.finditer(page_text):
        target = (page.parent / found[1]).resolve() if found[1] else page
        if not target.exists() or (found[2] and found[2] not in map(anchor, headings(target))):
            yield found[0]
    yield from missing_paths(page_text)
    for path, name in QUOTED_NAME_PATTERN.findall(page_text):
        if path != "…" and not path.startswith("/") and not exists(path):
            yield path
        if path != "…" and not name.startswith("test_") and not defines(path, name):
            yield f"{path}::{name}"
        if name.startswith("test_") and not any(each.startswith(name.rstrip("…")) for each in TEST_NAMES):
            yield name


def exists(path: str) -> bool:
    """Return whether this file exists: by its path from the checkout, from tests/ or lua/, or by its name alone."""
    somewhere = any((ROOT / room / path).exists() for room in ("", "tests", "lua"))
    return somewhere or path in PERMITTED_NAMES or ("/" not in path and path in FILE_NAMES)


def defines(path: str, name: str) -> bool:
    """Return whether a Python file with this path or file name defines ``name``. A test may be in any file of tests/.
    An empty name, and names in files of other languages, count as defined.
    """
    if not name or not path.endswith(".py"):
        return True
    if name.startswith("test_"):
        return name in TEST_NAMES
    files = [file for file in SEARCHED_FILES if f"/{file.relative_to(ROOT).as_posix()}".endswith(f"/{path}")]
    return any(name in found.groups() for file in files for found in DEFINITION_PATTERN.finditer(file.read_text()))


@pytest.mark.parametrize(
    "text",
    ["DESIGN §99", "PROTOCOL §0", "as G99 says", "(FACTS: ten retries)", "see HOUSE §2", "in ../shared it stands"],
)
def test_a_wrong_citation_is_found(text: str) -> None:
    """A citation of a chapter or promise that does not exist, or of a paper outside the project, is found."""
    assert list(wrong_citations(text))


@pytest.mark.parametrize(
    "text",
    [
        *("[a](nowhere.md)", "[a](log.md#nowhere)", "[a](#nowhere)", "see engine/nowhere.py", "`nowhere.py`"),
        *("`faults/nowhere.py`", "tests/test_ci.py::test_nowhere", "`test_ci.py::test_nowhere`", "`…::test_nowhere…`"),
        *("engine/errors.py::NOWHERE", "`errors.py::NOWHERE`", "`resume.py::_nowhere`"),
    ],
)
def test_a_missing_name_is_found(text: str) -> None:
    """A link to a missing page or heading, and the name of a missing file or test, are found."""
    assert list(missing_names(ROOT / "docs/log.md", text))


def test_every_citation_is_valid() -> None:
    """Every chapter, promise and whole path that code, scripts, tests, benchmarks and pages name exists."""
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in SEARCHED_FILES if path != THIS_FILE}
    assert {
        name: wrong for name, text in texts.items() if (wrong := [*wrong_citations(text), *missing_paths(text)])
    } == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_names_existing_files(page: Path) -> None:
    """Every link, file and test that a page names exists."""
    assert list(missing_names(page, page.read_text())) == []


def test_the_tables_of_the_protocol_match_the_code() -> None:
    """The tables of docs/protocol.md are those that `python -m server.api.reference` writes."""
    page = reference.PAGE.read_text()
    assert reference.fill_tables(page) == page, "run: python -m server.api.reference"


def test_every_object_has_a_name_of_its_own() -> None:
    """No two objects in docs/protocol.md have the same name."""
    names = re.findall(r"^\| \*(\w+)\* \|", reference.objects_table(), re.MULTILINE)
    assert "Job" in names and len(names) == len(set(names))


def test_every_close_code_is_documented() -> None:
    """Every close code that the server sends is in the table of docs/protocol.md."""
    table = [line for line in reference.PAGE.read_text().splitlines() if re.match(r"\| \d{4}\b", line)]
    assert {code.value for code in Close} <= {int(code) for line in table for code in re.findall(r"\b\d{4}\b", line)}


def test_the_table_of_keys_matches_the_code() -> None:
    """docs/design.md lists each key of engine/store/keys.py with its type, and has "none" as TTL of permanent keys."""
    rows = re.findall(r"^\| `(\{.+?)` \| (.+) \|$", (ROOT / "docs/design.md").read_text(), re.MULTILINE)
    cells = [(key, rest.split(" | ")) for key, rest in rows]
    assert {(_without_placeholders(key), kind, ttl.startswith("none")) for key, (kind, _, ttl, _) in cells} == set(
        redis_keys()
    )


def test_the_table_of_sql_tables_matches_the_code() -> None:
    """docs/design.md lists each SQL table once, by the kind of its data, and no other one."""
    chapter = (ROOT / "docs/design.md").read_text().partition("## 7. What lasts")[2]
    rows = re.findall(r"^\| (?:source|memory|queue|model|projection) \| (.+?) \|", chapter, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(metadata.tables)


def test_the_list_of_dependencies_is_whole() -> None:
    """docs/design.md names each package that the server needs."""
    chapter = (ROOT / "docs/design.md").read_text().partition("## 10. Dependencies")[2].lower()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]}  # type: ignore[index]
    assert {name for name in packages - {"redis"} if name not in chapter} == set()


def redis_keys() -> Iterator[tuple[str, str, bool]]:
    """Yield the pattern and the type of each Redis key, and whether it is permanent."""
    for build in vars(keys).values():
        if not (getattr(build, "__doc__", None) or "").startswith("Return the key of a "):
            continue
        key = build(*("z" if arg == "zone" else "<>" for arg in build.__annotations__ if arg != "return"))
        kind = build.__doc__.removeprefix("Return the key of a ").split()[0].rstrip(":,")
        yield key, kind, _is_permanent_key(key.partition("}:")[2])


def _is_permanent_key(key: str) -> bool:
    """Return whether a key never expires. The keys of a job, a dispute or a room expire after its end."""
    over = key.startswith(("job:", "dispute:", "room:"))
    return not over and any(re.fullmatch(kind.replace("*", ".*"), key) for kind in keys.PERMANENT)


def _without_placeholders(key: str) -> str:
    """Return the pattern of a key without the names of its parts."""
    return re.sub(r"<\w+>", "<>", key)
