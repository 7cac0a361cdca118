"""The architecture tests: sizes of files and functions, the purity of the rules, one home for the Redis keys."""

from __future__ import annotations

import ast
import functools
import re
import statistics
import tomllib
from pathlib import Path

import grimp

from tests.support.for_each import for_each

ROOT = Path(__file__).resolve().parents[1]
SOURCE_FILES = sorted(p for room in ("engine", "server", "clients", "bench") for p in (ROOT / room).rglob("*.py"))
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))

LARGEST_FILES_LIST = ROOT / "tests" / "largest_files.txt"
"""The files over the limit, one a line: path and the number of lines that the file may have."""
FILE_LIMIT, TEST_LIMIT, FUNCTION_LIMIT = 250, 350, 60
"""The most lines of a source file and of a test file that is not on the list, and of a function. No other file contains
these numbers."""
SHRUNK_BY = 30
"""A file that is this many lines shorter than its number in the list gets a lower number, or leaves the list."""

PURE_MODULES = ("engine.rules", "engine.blueprint", "engine.archive.projection", "server.gateway.protocol")
IMPURE_MODULES = {"engine.blueprint.registry"}
INPUT_AND_OUTPUT = {"asyncio", "socket", "ssl", "redis", "hiredis", "sqlalchemy", "httpx", "starlette", "uvicorn"}


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    """Return all nodes of a file's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text())))


def functions(path: Path) -> list[tuple[str, int]]:
    """Return the name and the number of lines of each function in a file."""
    found = [n for n in nodes_of(path) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(f.name, (f.end_lineno or f.lineno) - f.lineno + 1) for f in found]


def rounded_up(lines: int) -> int:
    """Return ``lines`` rounded up to the next ten, so that a file may grow by a few lines."""
    return -(-lines // 10) * 10


def test_the_largest_files_only_shrink() -> None:
    """A file over the limit is on the list, does not grow, and gets a lower number when it has shrunk.

    A file whose subject needs more lines may be put on the list. (Rejected: a limit without a list. Files were split
    where the limit fell, not where the subject ended.)
    """
    allowed = {path: int(lines) for path, lines in (row.split() for row in LARGEST_FILES_LIST.read_text().splitlines())}
    assert list(allowed) == sorted(allowed)
    wrong = [f"{path}: is gone, take it off the list" for path in allowed if not (ROOT / path).is_file()]
    for path in [*SOURCE_FILES, *TEST_FILES]:
        name, lines = str(path.relative_to(ROOT)), path.read_text().count("\n")
        limit = TEST_LIMIT if path in TEST_FILES else FILE_LIMIT
        allowed_lines = allowed.get(name, limit)
        if lines > allowed_lines:
            wrong.append(f"{name}: {lines} lines, {allowed_lines} are allowed")
        elif name in allowed and lines <= limit:
            wrong.append(f"{name}: {lines} lines, take it off the list")
        elif lines <= allowed_lines - SHRUNK_BY and name in allowed:
            wrong.append(f"{name}: {lines} lines, lower its number to {rounded_up(lines)}")
    assert wrong == []


@for_each(SOURCE_FILES, lambda path: str(path.relative_to(ROOT)))
def test_functions_are_short(path: Path) -> None:
    """No function has more than 60 lines."""
    assert [f for f in functions(path) if f[1] > FUNCTION_LIMIT] == []


def test_the_median_function_is_short() -> None:
    """At least half of the functions have ten lines or fewer."""
    lengths = [lines for path in SOURCE_FILES if path.parts[-2] != "bench" for _, lines in functions(path)]
    assert statistics.median(lengths) <= 10


def test_no_import_goes_in_a_circle() -> None:
    """The import graph has no cycle; imports for annotations count too."""
    graph = grimp.build_graph("engine", "server", "callout_client", cache_dir=None)
    waiting = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    while free := {module for module, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {module: needs for module, needs in waiting.items() if module not in free}
    assert sorted(waiting) == []


def test_the_import_contract_names_every_room() -> None:
    """Each room and module of engine/ and server/ has a layer. The contract does not restrict one without a layer, nor
    rooms that share a line with ``:``, so there is no such line.
    """
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = contracts[0]["layers"]
    assert [line for line in layers if ":" in line] == []
    named = {name for line in layers for name in line.split(" | ")}
    entries = [path for package in ("engine", "server") for path in (ROOT / package).iterdir()]
    modules = [p for p in entries if (p / "__init__.py").exists() or (p.suffix == ".py" and p.stem != "__init__")]
    assert named == {f"{path.parent.name}.{path.stem}" for path in modules}


def test_keys_are_built_in_one_place() -> None:
    """Only engine/store/keys.py and connection_keys.py write a hash tag."""
    homes = {"keys.py", "connection_keys.py"}
    outside = [p for p in SOURCE_FILES if p.name not in homes and re.search(r'f"\{\{\{', p.read_text())]
    assert outside == []


@for_each([path for path in SOURCE_FILES if path.parts[-2] != "bench"], lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_named_for_leftovers(path: Path) -> None:
    """No module is called utils, helpers, common, misc, managers or repositories."""
    assert not re.fullmatch(r"utils?|helpers?|common|misc|managers?|repositor(y|ies)", path.stem)


def test_the_rules_do_no_input_nor_output() -> None:
    """The rules, the blueprint language, the archive's projection and the socket protocol reach no input or output, not
    even through the modules that they import.
    """
    graph = grimp.build_graph("engine", "server", include_external_packages=True, cache_dir=None)
    pure = [
        m for m in graph.modules - IMPURE_MODULES if any(m == room or m.startswith(f"{room}.") for room in PURE_MODULES)
    ]
    assert len(pure) > len(PURE_MODULES)
    wrong = {m: found for m in pure if (found := graph.find_upstream_modules(m) & INPUT_AND_OUTPUT)}
    assert wrong == {}


def test_no_failure_is_swallowed() -> None:
    """A handler for every exception logs it, raises another from it, or replies with it (`send_problem` logs every
    error that is not a refusal). A bug never passes in silence.
    """
    silent = []
    for path in [p for p in SOURCE_FILES if p.relative_to(ROOT).parts[0] != "bench"]:
        for node in nodes_of(path):
            if not isinstance(node, ast.ExceptHandler) or (node.type and ast.unparse(node.type) != "Exception"):
                continue
            calls = [ast.unparse(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)]
            reported = any(re.fullmatch(r"(log|logger)\.exception|send_problem", call) for call in calls)
            if not reported and not any(isinstance(n, ast.Raise) for n in ast.walk(node)):
                silent.append(f"{path.name}:{node.lineno}")
    assert silent == []


def test_every_test_has_a_docstring() -> None:
    """Each test states its claim in a docstring."""
    silent = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in nodes_of(path):
            is_test = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
            if is_test and not ast.get_docstring(node):
                silent.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert silent == []


def test_the_migrations_are_one_chain() -> None:
    """Each migration follows the one before it: two that were written at the same time do not have one number."""
    files = sorted((ROOT / "engine/sql/migrations/versions").glob("0*.py"))
    numbers = [
        re.findall(r'^(?:down_)?revision(?:: \S+)? = "?(\w+)"?', path.read_text(), re.MULTILINE) for path in files
    ]
    assert [number for number, _ in numbers] == [path.name[:4] for path in files]
    assert [before for _, before in numbers] == ["None", *(number for number, _ in numbers[:-1])]
