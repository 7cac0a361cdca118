"""The text of ``docs/settings.md``, from the fields of ``Settings``."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
from msgspec import Meta

from engine.process.settings import Settings
from engine.process.settings_names import VARIABLE_PREFIX


def settings_page() -> str:
    """Return the text of ``docs/settings.md``."""
    described = [field for field in msgspec.structs.fields(Settings) if isinstance(get_args(field.type)[-1], Meta)]
    return "\n".join([*_PAGE_HEAD, *map(_table_row, described), ""])


_PAGE_HEAD = """\
# Settings

The value of a setting comes from the first of these that has it: a flag of `callout serve`, its environment variable,
`callout.toml` in the working directory (`port = 8700`), the default. Lists are separated by commas. If a name is
unknown, or a value is of the wrong kind or out of range, the server prints all problems in one line and does not start.

The zones of a deployment are tables of `callout.toml`: [zones.md](zones.md).

`python -m engine.process.settings` prints this page.

| setting | environment | unit | default | range | effect |
|---|---|---|---|---|---|""".splitlines()


def _table_row(field: msgspec.structs.FieldInfo) -> str:
    """Return the table row of a setting."""
    kind, meta = get_args(field.type)
    unit = (
        "seconds"
        if field.name.endswith("_s")
        else "bytes"
        if field.name.endswith("_bytes")
        else "days"
        if field.name.endswith("_days")
        else ""
    )
    cells = (
        f"`{field.name}`",
        f"`{VARIABLE_PREFIX}{field.name.upper()}`",
        unit,
        _default_text(field.default),
        _range_text(kind, meta),
    )
    return f"| {' | '.join(cells)} | {meta.description} |"


def _default_text(value: Any) -> str:
    shown = ",".join(value) if isinstance(value, tuple) else "" if value is None else f"{value}".removesuffix(".0")
    return f"`{shown}`" if shown else "none"


def _range_text(kind: Any, meta: Meta) -> str:
    words = [word for part in (kind, *get_args(kind)) for word in get_args(part) if isinstance(word, str)]
    if words:
        return ", ".join(dict.fromkeys(words))
    metas = [meta, *(inner for part in get_args(kind) for inner in get_args(part) if isinstance(inner, Meta))]
    bound = next((each for each in metas if each.le is not None), None)
    if bound is None:
        return ""
    return f"{f'above {bound.gt}' if bound.ge is None else bound.ge} to {bound.le}"


if __name__ == "__main__":
    print(settings_page(), end="")
