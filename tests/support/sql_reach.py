"""Which functions of the engine ran a statement on which database, and which functions must have done so.

Every function that touches SQL has to be reached on SQLite and on PostgreSQL: what one of them accepts, the other may
refuse. The functions are found in the source, and the statements are seen as they run, so nobody has to maintain a
list. A run of the whole suite fails if a function was not reached on both.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "engine"
KINDS = ("sqlite", "postgresql")
SETUP_FILES = (
    "engine/sql/database.py",
    "engine/sql/insert.py",
    "engine/sql/migrate.py",
    "engine/sql/sqlite_connection.py",
)
"""Files whose functions run for every other function, before it, or for one database alone."""
_STATEMENT_METHODS = ("execute", "exec_driver_sql", "scalar", "scalars", "stream")
_TRANSACTION_METHODS = ("begin_read", "begin_write")

Reached = set[tuple[str, str]]
"""Pairs of a database's kind and a function, ``file:qualified name``."""
reached: Reached = set()


def record() -> None:
    """Record in ``reached`` which function of the engine runs each SQL statement of this process."""
    for name in _STATEMENT_METHODS:
        setattr(AsyncConnection, name, _recorded(getattr(AsyncConnection, name)))


def _recorded(method: Any) -> Any:
    def run(self: AsyncConnection, *args: Any, **options: Any) -> Any:
        kind, frame = self.dialect.name, sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            known = _functions.get(id(code)) or _functions.setdefault(id(code), (code, _engine_function(code)))
            if known[1]:
                reached.add((kind, known[1]))
            frame = frame.f_back  # type: ignore[assignment]
        return method(self, *args, **options)

    return run


_functions: dict[int, tuple[CodeType, str]] = {}
"""The code objects that were seen and the engine's function of each. The key is the object's id, because a hash of a
code object takes long."""


def _engine_function(code: CodeType) -> str:
    """Return the function of the engine that has this code, ``file:qualified name``; "" for any other code."""
    path = Path(code.co_filename)
    if ENGINE not in path.parents:
        return ""
    return f"{path.relative_to(ROOT)}:{code.co_qualname.partition('.<locals>')[0]}"


def unreached() -> list[str]:
    """Return the functions that touch SQL and were not reached on each database, one line for each."""
    return [f"{name} ({kind})" for name in sql_functions() for kind in KINDS if (kind, name) not in reached]


def sql_functions() -> list[str]:
    """Return the engine's functions that begin a transaction or are given a connection."""
    files = (path for path in sorted(ENGINE.rglob("*.py")) if "migrations" not in path.parts)
    return [
        f"{name}:{function}"
        for path in files
        if (name := str(path.relative_to(ROOT))) not in SETUP_FILES
        for function in _sql_functions_of(ast.parse(path.read_text()).body)
    ]


def _sql_functions_of(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _sql_functions_of(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.AsyncFunctionDef) and _touches_sql(node):
            yield prefix + node.name


def _touches_sql(function: ast.AsyncFunctionDef) -> bool:
    return any(
        (isinstance(node, ast.Attribute) and node.attr in _TRANSACTION_METHODS)
        or (
            isinstance(node, ast.arg)
            and node.annotation is not None
            and "AsyncConnection" in ast.unparse(node.annotation)
        )
        for node in ast.walk(function)
    )
