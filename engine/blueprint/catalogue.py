"""The blueprints of a server: they are read from TOML and found by name or key. The class ``Blueprints`` also computes
the name and data of an event for clients, and the notifications that an event causes.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson

from engine.blueprint.linter import check_blueprint, shape_problems
from engine.blueprint.schema import OFFER_EVENT, STATE_FIELD_WORDS, Blueprint, NotificationText


class BlueprintError(ValueError):
    """Raised when blueprints cannot be used. ``problems`` lists everything that is wrong, a sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class NoticeText(msgspec.Struct, frozen=True):
    """The text of one notification that an event causes: for the user ``user``, about the job ``job``."""

    user: str
    kind: str
    title: str
    body: str
    job: str


class _EventReason(msgspec.Struct):
    reason: str = ""


_event_reason_decoder = msgspec.json.Decoder(_EventReason)


class Blueprints:
    """A set of blueprints: one version by name, for new jobs, and all known versions by key, for jobs that run already.
    ``default`` is the name of the blueprint for jobs that name none and for events without a job.
    """

    def __init__(self, all_of: Iterable[Blueprint], default: str) -> None:
        self.by_name: dict[str, Blueprint] = {b.name: b for b in all_of}
        self.by_key: dict[str, Blueprint] = {b.key: b for b in self.by_name.values()}
        self.default = self.by_name[default]

    def add_versions(self, others: Iterable[Blueprint]) -> None:
        """Add versions of blueprints that are older, or that other processes use: running jobs need them."""
        for other in others:
            self.by_key.setdefault(other.key, other)

    def replace_current(self, newer: Blueprints) -> None:
        """Use the blueprints of ``newer`` for new jobs. All versions known so far stay available by their keys."""
        self.by_key = {**newer.by_key, **self.by_key}
        self.by_name = {b.name: self.by_key[b.key] for b in newer.by_name.values()}
        self.default = self.by_name[newer.default.name]

    def find_or_default(self, key: str) -> Blueprint:
        """Return the blueprint under ``key`` for reading a job or event. If this version is unknown here, return the
        current version of the same name, or else the default blueprint; for "" (an event without a job), the default
        blueprint.
        """
        return self.by_key.get(key) or self.by_name.get(key.partition("@")[0]) or self.default

    def find_exact(self, key: str) -> Blueprint | None:
        """Return the blueprint of exactly this version; None if this process does not know it. Call this instead of
        ``find_or_default`` where the states and commands of another version would lead to errors. For "", which stands
        for a job that does not exist any more, return the default blueprint.
        """
        return self.by_key.get(key) if key else self.default

    def find_announcing(self, event: str) -> Blueprint | None:
        """Return the blueprint that declares the announcement ``event``, or None. The default one has priority."""
        declared = [b for b in (self.default, *self.by_name.values()) if event in b.events]
        return next((b for b in declared if b.events[event].announcement), None)

    def client_event(self, key: str, event_type: str, data: bytes) -> tuple[str, bytes]:
        """Return the name and the data of an event for clients, with the fields that the blueprint ``key`` declares.

        ``data`` is parsed only if the blueprint declares further fields for the event, or names that depend on the
        event's reason: most events are sent exactly as they are in the log.
        """
        rule = self.find_or_default(key).events.get(event_type)
        if rule is None:
            return event_type, data
        name = rule.as_
        if not isinstance(name, str):
            name = name.get(_event_reason_decoder.decode(data).reason, event_type)
        return name or event_type, _add_fields(self.find_or_default(key), rule.fields, data) if rule.fields else data

    def notices_of_event(self, key: str, event_type: str, data: bytes) -> list[NoticeText]:
        """Return the notifications that an event of the blueprint ``key`` causes: the recipients and their texts."""
        blueprint = self.find_or_default(key)
        rule = blueprint.events.get(event_type)
        if rule is None or not rule.notify or event_type == OFFER_EVENT:
            return []
        found = orjson.loads(data)
        job = found["job"]
        # A technician who has not accepted yet is notified by an event of their own, with the public part.
        holder = None if job.get("asked") else job.get("technician")
        former = found.get("former") if job.get("customer") and not holder else None
        users = {"customer": job.get("customer"), "holder": holder or former}
        words = _Placeholders(found, blueprint.states[job["status"]].text)
        return [
            NoticeText(users[who]["id"], event_type, *_fill_notice(notice, words), job["id"])
            for who, notice in rule.notify.items()
            if users[who] and all(_value_at(found, path) == word for path, word in notice.when.items())
        ]

    def offer_notice(self, key: str, data: bytes) -> tuple[str, str] | None:
        """Return title and body of the notice for the technicians to whom this ``offer.created`` offers a job; None if
        its blueprint declares no such notice.
        """
        blueprint = self.find_or_default(key)
        rule = blueprint.events.get(OFFER_EVENT)
        if rule is None or "offered" not in rule.notify:
            return None
        found = orjson.loads(data)
        says = blueprint.states[found["offer"]["job"]["status"]].text
        return _fill_notice(rule.notify["offered"], _Placeholders(found, says))


class _AttributeView:
    """A JSON object whose members are attributes, so that ``{technician.name}`` works in a format string."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self._value = value

    def __getattr__(self, attribute: str) -> Any:
        found = self._value.get(attribute)
        return _AttributeView(found) if isinstance(found, dict) else found


class _Placeholders(dict[str, Any]):
    """The values of a notice's placeholders: the members of the event's data, and ``says``: the text of the job's
    state."""

    def __init__(self, data: Mapping[str, Any], says: str) -> None:
        super().__init__({n: _AttributeView(v) if isinstance(v, dict) else v for n, v in data.items()}, says=says)


def _fill_notice(notice: NotificationText, placeholders: _Placeholders) -> tuple[str, str]:
    """Return title and body with the placeholders filled. NUL is removed, because PostgreSQL stores none."""
    title, body = notice.title.format_map(placeholders), notice.body.format_map(placeholders)
    return title.replace("\0", ""), body.replace("\0", "")


def _add_fields(blueprint: Blueprint, fields: Mapping[str, str | bool | int], data: bytes) -> bytes:
    """Return ``data`` with the declared fields added. A member that the data already has is not replaced."""
    found = orjson.loads(data)
    added = {name: _field_value(blueprint, what, found) for name, what in fields.items()}
    return orjson.dumps({**found, **{name: value for name, value in added.items() if name not in found}})


def _field_value(blueprint: Blueprint, declared: str | bool | int, data: Mapping[str, Any]) -> Any:
    """Return the value of a declared field: a constant, a text of the job's state, or a value from the data."""
    if not isinstance(declared, str):
        return declared
    if declared in STATE_FIELD_WORDS:
        status = data["job"]["status"]
        return blueprint.states[status].text if declared == "says" else blueprint.status_word(status)
    return _value_at(data, declared)


def _value_at(data: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path (``job.id``) in an event's data; None if there is none."""
    value: Any = data
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def load_blueprints(default: str, *folders: Path) -> Blueprints:
    """Read all blueprints of the folders. A later folder's blueprint replaces one of the same name.

    Raises BlueprintError with every problem.
    """
    found: dict[str, Blueprint] = {}
    problems: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            problems.append(f"{folder} is not a directory")
        here, wrong = read_files(sorted(folder.glob("*.toml")))
        found |= here
        problems += wrong
    if default not in found and not problems:
        problems.append(f"the default blueprint {default!r} is not among {', '.join(sorted(found)) or 'none'}")
    if problems:
        raise BlueprintError(problems)
    return Blueprints(found.values(), default)


def read_files(paths: Iterable[Path]) -> tuple[dict[str, Blueprint], list[str]]:
    """Read files. Return the blueprints by name, and all problems. Two blueprints with the same name are a problem."""
    found: dict[str, Blueprint] = {}
    problems: list[str] = []
    homes: dict[str, Path] = {}
    for path in paths:
        blueprint, wrong = read_file(path)
        problems += wrong
        if blueprint is None:
            continue
        if blueprint.name in found:
            problems.append(f"{path.name}: name {blueprint.name!r} is that of {homes[blueprint.name].name} too")
        found[blueprint.name], homes[blueprint.name] = blueprint, path
    return found, problems


def read_file(path: Path) -> tuple[Blueprint | None, list[str]]:
    """Read one file. Return its blueprint, or None if a value in the file has a wrong type, and all problems."""
    try:
        blueprint, wrong = _parse_blueprint(path.read_text("utf-8"))
    except OSError as error:
        return None, [f"{path}: {error.strerror}"]
    except UnicodeDecodeError as error:
        return None, [f"{path.name}: {error}"]
    return blueprint, [f"{path.name}: {problem}" for problem in wrong]


@functools.lru_cache(64)
def _parse_blueprint(toml_text: str) -> tuple[Blueprint | None, tuple[str, ...]]:
    """Parse and check the text of a file. Results are cached, so that the same text is not checked again."""
    try:
        raw = tomllib.loads(toml_text)
    except tomllib.TOMLDecodeError as error:
        return None, (str(error),)
    except RecursionError:
        return None, ("nested too deep",)
    if wrong := shape_problems(raw):
        return None, tuple(wrong)
    blueprint = msgspec.convert(raw, Blueprint)
    return blueprint, tuple(check_blueprint(blueprint))


def blueprint_folders(own: str | None) -> list[Path]:
    """Return the folders of blueprints: the shipped ones, then the user's folder ``own``, which has priority."""
    return [shipped_folder(), *([Path(own)] if own else [])]


def shipped_folder() -> Path:
    """Return the folder of the blueprints that come with Callout."""
    return Path(__file__).with_name("shipped")
