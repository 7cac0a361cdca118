"""What the project says of itself leads somewhere: cited chapters and promises, links, files and tests of pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.store import keys
from server.api import reference
from server.gateway.protocol import Close

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("engine", "server", "clients", "lua", "tests", "bench", "docs")
READMES = ("", "lua", "bench", "clients/python", "clients/javascript")
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / room / "README.md" for room in READMES)])
TEXTS = sorted(
    {
        *PAGES,
        *(
            p
            for room in ROOMS
            for p in (ROOT / room).rglob("*")
            if p.suffix in {".py", ".lua", ".js", ".toml", ".html", ".css", ".c"}
        ),
    }
)
OWN = Path(__file__)
"""Left out: its samples are wrong on purpose."""

HOMES = {"DESIGN": "design.md", "PROTOCOL": "protocol.md"}
ELSEWHERE = ("FACTS", "CASES", "HOUSE", "DURABLE", "SCENARIOS", "INTELLIGENCE")
CITED = re.compile(r"\b(DESIGN|PROTOCOL) §(\d+)|\bG(\d{1,2})\b")
STRANGE = re.compile(rf"\b(?:{'|'.join(ELSEWHERE)})\b|\.\./shared\b")
LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]*))?\)")
PATH = re.compile(rf"(?<![\w./:…-])((?:{'|'.join(ROOMS)})/[\w./-]+\.(?:py|lua|md|toml|js|c|csv))\b(?:::(test_\w+))?")
QUOTED = re.compile(r"`([\w./-]+\.(?:py|lua|md|js|c)|…)(?:::(\w+…?))?`")
NOT_OURS = {"mine.toml", "callout.toml", "engine/lua/job_claim.lua"}
"""A user's files, and where a wheel has the scripts."""


def headings(page: Path) -> list[str]:
    """The headings of a page, without what is inside its examples."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


def anchor(heading: str) -> str:
    """What a link to a heading ends with."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


CHAPTERS = {
    name: {found[1] for heading in headings(ROOT / "docs" / page) if (found := re.match(r"(\d+)\. ", heading))}
    for name, page in HOMES.items()
}
PROMISES = set(re.findall(r"^\| G(\d+) \|", (ROOT / "docs/design.md").read_text(), re.MULTILINE))
TESTS = {name for path in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
NAMES = {path.name for room in ROOMS for path in (ROOT / room).rglob("*") if path.is_file()}


def uncited(text: str) -> Iterator[str]:
    """Citations in ``text`` that lead nowhere."""
    for found in CITED.finditer(text):
        known = found[2] in CHAPTERS[found[1]] if found[1] else found[3] in PROMISES
        if not known:
            yield found[0]
    yield from STRANGE.findall(text)


def unnamed(text: str) -> Iterator[str]:
    """Files by their whole path, and tests in them, that are not there."""
    for path, test in PATH.findall(text):
        if not is_there(path) or (test and test not in TESTS):
            yield f"{path}::{test}"


def dead(page: Path, text: str) -> Iterator[str]:
    """Links and names of files and tests in ``text``, as if it stood in ``page``, that are not there."""
    for found in LINK.finditer(text):
        target = (page.parent / found[1]).resolve() if found[1] else page
        if not target.exists() or (found[2] and found[2] not in map(anchor, headings(target))):
            yield found[0]
    yield from unnamed(text)
    for path, name in QUOTED.findall(text):
        if path != "…" and not path.startswith("/") and not is_there(path):
            yield path
        if name.startswith("test_") and not any(each.startswith(name.rstrip("…")) for each in TESTS):
            yield name


def is_there(path: str) -> bool:
    """Whether a page may name this file: from the top, from tests/ or lua/, or by its name alone."""
    somewhere = any((ROOT / room / path).exists() for room in ("", "tests", "lua"))
    return somewhere or path in NOT_OURS or ("/" not in path and path in NAMES)


@pytest.mark.parametrize(
    "text",
    ["DESIGN §99", "PROTOCOL §0", "as G99 says", "(FACTS: ten retries)", "see HOUSE §2", "in ../shared it stands"],
)
def test_a_citation_that_leads_nowhere_is_found(text: str) -> None:
    """Of a chapter or a promise that there is not, and of papers that are no part of the project."""
    assert list(uncited(text))


@pytest.mark.parametrize(
    "text",
    [
        *("[a](nowhere.md)", "[a](log.md#nowhere)", "[a](#nowhere)", "see engine/nowhere.py", "`nowhere.py`"),
        *("`faults/nowhere.py`", "tests/test_ci.py::test_nowhere", "`test_ci.py::test_nowhere`", "`…::test_nowhere…`"),
    ],
)
def test_a_name_that_leads_nowhere_is_found(text: str) -> None:
    """Links to pages and headings, files by path or name, tests."""
    assert list(dead(ROOT / "docs/log.md", text))


def test_every_citation_leads_somewhere() -> None:
    """In code, scripts, tests, benchmarks and pages alike; the files that they name too."""
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in TEXTS if path != OWN}
    assert {name: wrong for name, text in texts.items() if (wrong := [*uncited(text), *unnamed(text)])} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_names_what_is_there(page: Path) -> None:
    """Its links, and the files and tests that it names."""
    assert list(dead(page, page.read_text())) == []


def test_the_protocols_tables_are_the_codes() -> None:
    """docs/protocol.md is what `python -m server.api.reference` writes."""
    page = reference.PAGE.read_text()
    assert reference.fill_tables(page) == page, "run: python -m server.api.reference"


def test_every_object_has_a_name_of_its_own() -> None:
    """Two objects under one name in docs/protocol.md would be one to its readers."""
    names = re.findall(r"^\| \*(\w+)\* \|", reference.objects(), re.MULTILINE)
    assert "Job" in names and len(names) == len(set(names))


def test_every_close_code_says_what_to_do() -> None:
    """Each that the server sends stands in the table of docs/protocol.md."""
    table = [line for line in reference.PAGE.read_text().splitlines() if re.match(r"\| \d{4}\b", line)]
    assert {code.value for code in Close} <= {int(code) for line in table for code in re.findall(r"\b\d{4}\b", line)}


def test_the_table_of_keys_is_the_codes() -> None:
    """docs/design.md names each key of engine/store/keys.py with its type, and says "none" of those without a TTL."""
    rows = re.findall(r"^\| `(\{.+?)` \| (.+) \|$", (ROOT / "docs/design.md").read_text(), re.MULTILINE)
    cells = [(key, rest.split(" | ")) for key, rest in rows]
    assert {(_bare(key), kind, ttl.startswith("none")) for key, (kind, _, ttl, _) in cells} == set(known())


def known() -> Iterator[tuple[str, str, bool]]:
    """Pattern, type, and whether it is permanent, of every key but the live channel, which is none."""
    for name, build in vars(keys).items():
        if getattr(build, "__module__", "") != keys.__name__ or name == "live_channel":
            continue
        key = build(*("z" if arg == "zone" else "<>" for arg in build.__annotations__ if arg != "return"))
        kind = build.__doc__.removeprefix("Return the key of a ").split()[0].rstrip(":,")
        yield key, kind, _permanent(key.partition("}:")[2])


def _permanent(name: str) -> bool:
    """A job's keys and a dispute's are not, once they are over."""
    over = name.startswith(("job:", "dispute:"))
    return not over and any(re.fullmatch(kind.replace("*", ".*"), name) for kind in keys.PERMANENT)


def _bare(key: str) -> str:
    return re.sub(r"<\w+>", "<>", key)
