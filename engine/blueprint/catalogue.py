"""The blueprints that a server works by: read from TOML, found by name or key, and asked what to tell to whom."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson

from engine.blueprint.linter import check, misshapen
from engine.blueprint.schema import OFFER, STATE_WORDS, Blueprint, Notice


class BlueprintError(ValueError):
    """Blueprints that cannot be used; ``problems`` names everything wrong, over all files."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Told(msgspec.Struct, frozen=True):
    """A notification that an event gives rise to."""

    user: str
    kind: str
    title: str
    body: str
    job: str


class _Reason(msgspec.Struct):
    reason: str = ""


_reason = msgspec.json.Decoder(_Reason)


class Blueprints:
    """All blueprints by name, and by key for what runs already. ``default`` names those of a zone's other events."""

    def __init__(self, all_of: Iterable[Blueprint], default: str) -> None:
        self.by_name: dict[str, Blueprint] = {b.name: b for b in all_of}
        self.by_key: dict[str, Blueprint] = {b.key: b for b in self.by_name.values()}
        self.default = self.by_name[default]

    def know(self, others: Iterable[Blueprint]) -> None:
        """Keep older ones, or another node's, for the jobs that began with them."""
        for other in others:
            self.by_key.setdefault(other.key, other)

    def renew(self, newer: Blueprints) -> None:
        """Take the names of ``newer`` for new jobs; what runs goes on by the keys known so far."""
        self.by_key = {**newer.by_key, **self.by_key}
        self.by_name = {b.name: self.by_key[b.key] for b in newer.by_name.values()}
        self.default = self.by_name[newer.default.name]

    def of(self, key: str) -> Blueprint:
        """The blueprint of a job or event; the default one for events without a job or of a life unknown here."""
        return self.by_key.get(key) or self.by_name.get(key.partition("@")[0]) or self.default

    def exactly(self, key: str) -> Blueprint | None:
        """The blueprint of this very version, where it is known: for who would do harm by another's table. The default
        one for the empty key, which stands for a job that is not there any more.
        """
        return self.by_key.get(key) if key else self.default

    def announcing(self, event: str) -> Blueprint | None:
        """The blueprint that declares ``event`` as an announcement, the default one before others."""
        declared = [b for b in (self.default, *self.by_name.values()) if event in b.events]
        return next((b for b in declared if b.events[event].announcement), None)

    def view(self, key: str, kind: str, data: bytes) -> tuple[str, bytes]:
        """An event as clients of its blueprint see it: its name, and its data with the fields added.

        The data is parsed only where the blueprint asks for it: most events pass as they stand in the log.
        """
        rule = self.of(key).events.get(kind)
        if rule is None:
            return kind, data
        name = rule.as_ if isinstance(rule.as_, str) else rule.as_.get(_reason.decode(data).reason, kind)
        return name or kind, _with_fields(self.of(key), rule.fields, data) if rule.fields else data

    def notices(self, key: str, kind: str, data: bytes) -> list[Told]:
        """Whom an event of this blueprint is to be notified to, and in which words."""
        blueprint = self.of(key)
        rule = blueprint.events.get(kind)
        if rule is None or not rule.notify or kind == OFFER:
            return []
        found = orjson.loads(data)
        job = found["job"]
        # Who is merely asked is notified by the event of their own, which holds the public part.
        holder = None if job.get("asked") else job.get("technician")
        former = found.get("former") if job.get("customer") and not holder else None
        users = {"customer": job.get("customer"), "holder": holder or former}
        words = _Words(found, blueprint.states[job["status"]].says)
        return [
            Told(users[who]["id"], kind, *_said(notice, words), job["id"])
            for who, notice in rule.notify.items()
            if users[who] and all(_at(found, path) == word for path, word in notice.when.items())
        ]

    def invitation(self, key: str, data: bytes) -> tuple[str, str] | None:
        """Title and body for who is offered a job by this ``offer.created``; None where its blueprint declares none."""
        blueprint = self.of(key)
        rule = blueprint.events.get(OFFER)
        if rule is None or "offered" not in rule.notify:
            return None
        found = orjson.loads(data)
        says = blueprint.states[found["offer"]["job"]["status"]].says
        return _said(rule.notify["offered"], _Words(found, says))


class _Dotted:
    """Lets ``{technician.name}`` read JSON."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self._value = value

    def __getattr__(self, name: str) -> Any:
        found = self._value.get(name)
        return _Dotted(found) if isinstance(found, dict) else found


class _Words(dict[str, Any]):
    def __init__(self, data: Mapping[str, Any], says: str) -> None:
        super().__init__({n: _Dotted(v) if isinstance(v, dict) else v for n, v in data.items()}, says=says)


def _said(notice: Notice, words: _Words) -> tuple[str, str]:
    return notice.title.format_map(words).replace("\0", ""), notice.body.format_map(words).replace("\0", "")


def _with_fields(blueprint: Blueprint, fields: Mapping[str, str | bool | int], data: bytes) -> bytes:
    found = orjson.loads(data)
    added = {name: _value(blueprint, what, found) for name, what in fields.items()}
    return orjson.dumps({**found, **{name: value for name, value in added.items() if name not in found}})


def _value(blueprint: Blueprint, what: str | bool | int, found: Mapping[str, Any]) -> Any:
    """What a field of an event is: a constant, a word for the job's state, or what stands at a path of the data."""
    if not isinstance(what, str):
        return what
    if what in STATE_WORDS:
        status = found["job"]["status"]
        return blueprint.states[status].says if what == "says" else blueprint.word(status)
    return _at(found, what)


def _at(found: Mapping[str, Any], path: str) -> Any:
    """What stands at a path (``job.id``) of an event's data; None where nothing does."""
    value: Any = found
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def load(default: str, *folders: Path) -> Blueprints:
    """Read all blueprints of the folders; a later folder's wins. Raises BlueprintError with every problem."""
    found: dict[str, Blueprint] = {}
    problems: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            problems.append(f"{folder} is not a directory")
        here, wrong = read_all(sorted(folder.glob("*.toml")))
        found |= here
        problems += wrong
    if default not in found and not problems:
        problems.append(f"the default blueprint {default!r} is not among {', '.join(sorted(found)) or 'none'}")
    if problems:
        raise BlueprintError(problems)
    return Blueprints(found.values(), default)


def read_all(paths: Iterable[Path]) -> tuple[dict[str, Blueprint], list[str]]:
    """The blueprints of files that are to stand together, by name, and everything that is wrong with them."""
    found: dict[str, Blueprint] = {}
    problems: list[str] = []
    homes: dict[str, Path] = {}
    for path in paths:
        blueprint, wrong = read(path)
        problems += wrong
        if blueprint is None:
            continue
        if blueprint.name in found:
            problems.append(f"{path.name}: name {blueprint.name!r} is that of {homes[blueprint.name].name} too")
        found[blueprint.name], homes[blueprint.name] = blueprint, path
    return found, problems


def read(path: Path) -> tuple[Blueprint | None, list[str]]:
    """One file's blueprint, where it has the shape of one, and everything that is wrong with it."""
    try:
        blueprint, wrong = _read(path.read_text("utf-8"))
    except OSError as error:
        return None, [f"{path}: {error.strerror}"]
    except UnicodeDecodeError as error:
        return None, [f"{path.name}: {error}"]
    return blueprint, [f"{path.name}: {problem}" for problem in wrong]


@functools.lru_cache(64)
def _read(text: str) -> tuple[Blueprint | None, tuple[str, ...]]:
    """The same of a text: one that was read before is not checked again."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return None, (str(error),)
    except RecursionError:
        return None, ("nested too deep",)
    if wrong := misshapen(raw):
        return None, tuple(wrong)
    blueprint = msgspec.convert(raw, Blueprint)
    return blueprint, tuple(check(blueprint))


def folders(own: str | None) -> list[Path]:
    """Where blueprints are read: the shipped ones, then those of the folder ``own``, which win."""
    return [shipped(), *([Path(own)] if own else [])]


def shipped() -> Path:
    """The folder of the blueprints that come with Callout."""
    return Path(__file__).with_name("shipped")
