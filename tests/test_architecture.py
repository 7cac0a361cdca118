"""The house keeps its shape: caps on files and functions, one home for keys, nothing done at import."""

from __future__ import annotations

import ast
import re
import statistics
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = sorted(p for room in ("engine", "server", "clients", "bench") for p in (ROOT / room).rglob("*.py"))
FILE_CAP, TEST_CAP, FUNCTION_CAP = 450, 500, 60


def functions(path: Path) -> list[tuple[str, int]]:
    """Name and number of lines of each function."""
    tree = ast.parse(path.read_text())
    found = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(f.name, (f.end_lineno or f.lineno) - f.lineno + 1) for f in found]


@pytest.mark.parametrize("path", OURS, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    """No file over 450 lines, no function over 60."""
    assert path.read_text().count("\n") <= FILE_CAP
    assert [f for f in functions(path) if f[1] > FUNCTION_CAP] == []


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_test_files_are_short(path: Path) -> None:
    """No test file over 500 lines."""
    assert path.read_text().count("\n") <= TEST_CAP


def test_the_median_function_is_short() -> None:
    """Most functions say one thing."""
    lengths = [lines for path in OURS if path.parts[-2] != "bench" for _, lines in functions(path)]
    assert statistics.median(lengths) <= 10


def test_no_import_goes_in_a_circle() -> None:
    """Modules can be put in an order in which each imports only earlier ones (annotations apart)."""
    graph = grimp.build_graph("engine", "server", "callout_client", exclude_type_checking_imports=True, cache_dir=None)
    waiting = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    while free := {module for module, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {module: needs for module, needs in waiting.items() if module not in free}
    assert sorted(waiting) == []


def test_keys_are_built_in_one_place() -> None:
    """No other module writes a hash tag."""
    strangers = [p for p in OURS if p.name != "keys.py" and re.search(r'f"\{\{\{', p.read_text())]
    assert strangers == []


@pytest.mark.parametrize("path", [p for p in OURS if p.parts[-2] != "bench"], ids=lambda p: str(p.relative_to(ROOT)))
def test_no_room_for_odds_and_ends(path: Path) -> None:
    """No utils, helpers, common, managers, services or repositories."""
    assert not re.fullmatch(r"utils?|helpers?|common|misc|managers?|repositor(y|ies)", path.stem)


def test_the_rules_do_no_input_nor_output() -> None:
    """Nothing under engine/rules imports Redis, SQL, sockets or asyncio."""
    for path in (ROOT / "engine" / "rules").glob("*.py"):
        names = {
            n.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import) for n in node.names
        }
        froms = {n.module or "" for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)}
        assert not {n.split(".")[0] for n in names | froms} & {"redis", "sqlalchemy", "asyncio", "hiredis", "socket"}


def test_no_failure_is_swallowed() -> None:
    """Whoever catches every exception logs it, raises another from it, or answers with it (`refuse` logs what is no
    refusal): a bug is never passed over in silence.
    """
    silent = []
    for path in [p for p in OURS if p.relative_to(ROOT).parts[0] != "bench"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ExceptHandler) or (node.type and ast.unparse(node.type) != "Exception"):
                continue
            deeds = [ast.unparse(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)]
            told = any(re.fullmatch(r"(log|logger)\.exception|refuse", deed) for deed in deeds)
            if not told and not any(isinstance(n, ast.Raise) for n in ast.walk(node)):
                silent.append(f"{path.name}:{node.lineno}")
    assert silent == []


def test_every_test_says_its_claim() -> None:
    """Each test has a sentence that says what it claims."""
    silent = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_test = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
            if is_test and not ast.get_docstring(node):
                silent.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert silent == []
