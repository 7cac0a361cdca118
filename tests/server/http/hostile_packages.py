"""Create hostile and incomplete files for `callout vault verify` from a good one."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from engine.vault import package
from server.cli import commands

Members = dict[str, bytes | None]
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
DEEP = "[" * 50_000
ORDER = "\x1b[2J\u202e"
"""Clears the screen, and turns the direction of the text that follows."""


class GoodFile:
    """The files in a good ZIP, and functions that change them."""

    def __init__(self, folder: Path) -> None:
        with zipfile.ZipFile(folder / "receipt.zip") as good:
            self.members = {info.filename: good.read(info) for info in good.infolist()}
        self.evidence: dict[str, Any] = json.loads(self.members["receipt.json"])
        self.record: dict[str, Any] = json.loads(self.members["record.json"])
        self.photos = [name for name in self.members if name.startswith("photos/")]
        self.without_photos: Members = dict.fromkeys(self.photos)
        self.path = folder / "hostile.zip"

    def evidence_with(self, **changes: Any) -> Members:
        """Return the evidence with changed members; None removes a member."""
        changed = {name: value for name, value in {**self.evidence, **changes}.items() if value is not None}
        return {"receipt.json": json.dumps(changed).encode()}

    def write(self, changes: Members, method: int = STORED) -> str:
        """Write the file with these changes, and return its path."""
        with zipfile.ZipFile(self.path, "w", method) as hostile:
            for name, data in {**self.members, **changes}.items():
                if data is not None:
                    hostile.writestr(name, data)
        return str(self.path)


def check_hostile_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that the command reports a hostile file as wrong or as not being a receipt, and that no control character
    of it reaches the terminal.
    """
    good = GoodFile(folder)
    keys = good.evidence["keys"]
    wrong_photos = json.dumps(good.record | {"photos": [{"sha256": []}]}).encode()
    name, photo = good.evidence["name"], good.photos[0]
    cases: tuple[tuple[Members, int, int], ...] = (
        (good.evidence_with(name=name[1:], salt=good.evidence["salt"] + name[:1].encode().hex()), STORED, 1),
        ({"signature.png": b"another image"}, STORED, 1),
        (
            good.evidence_with(image_kind="png")
            | {"signature.png": good.members["signature.json"], "signature.json": None},
            STORED,
            1,
        ),
        ({"photos/another.jpg": b"another photo"}, STORED, 1),
        ({f"{photo}.jpg": good.members[photo], photo: b"another photo"}, STORED, 1),
        ({"photos/": b""}, STORED, 0),
        ({"agreement.html": b"another text"}, STORED, 2),
        (good.evidence_with(keys=[{**key, "public": "x"} for key in keys]), STORED, 1),
        ({"record.json": wrong_photos}, STORED, 1),
        ({}, DEFLATED, 0),
        ({}, zipfile.ZIP_BZIP2, 2),
        ({"receipt.json": b'{"id":"a","document":"b","x":' + DEEP.encode()}, STORED, 2),
        (good.evidence_with(document='{"x":' + DEEP), STORED, 1),
        (good.evidence_with(event={**good.evidence["event"], "data": '{"x":' + DEEP}), STORED, 1),
        ({"record.json": b'{"photos":' + DEEP.encode()}, STORED, 1),
        (good.evidence_with(id=ORDER, keys=[{**key, "id": ORDER, "use": ORDER} for key in keys]), STORED, 1),
        ({ORDER: bytes(package.MAX_MEMBER_BYTES + 1)}, DEFLATED, 2),
    )
    for changes, method, exit_code in cases:
        assert commands.run(["vault", "verify", good.write(changes, method)]) == exit_code, (changes.keys(), method)
        shown = capsys.readouterr()
        assert (shown.out + shown.err).replace("\n", "").isprintable()
        is_ordered = ORDER in changes or json.dumps(ORDER)[1:-1].encode() in (changes.get("receipt.json") or b"")
        assert ("\\x1b[2J\\u202e" in shown.out + shown.err) == is_ordered
    Path(good.write({})).write_bytes(b"%PDF-1.7 another text" + good.path.read_bytes())
    assert commands.run(["vault", "verify", str(good.path)]) == 2
    assert "something else before" in capsys.readouterr().err
    with zipfile.ZipFile(good.path, "w", DEFLATED) as hostile:
        hostile.writestr("receipt.json", good.members["receipt.json"])
    data = bytearray(good.path.read_bytes())
    data[42:60] = b"\xff" * 18  # not a DEFLATE stream
    good.path.write_bytes(data)
    assert commands.run(["vault", "verify", str(good.path)]) == 2
    assert "no file of the vault" in capsys.readouterr().err


def check_stripped_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that no incomplete file is verified, even if it claims erasures or ages, and that a photo that the record
    names many times is read once.
    """
    good = GoodFile(folder)
    gone = [name.removeprefix("photos/").partition(".")[0] for name in good.photos]
    no_event = good.evidence_with(event=None)
    stripped: Members = {"record.json": None, **good.without_photos, "signature.json": None}
    for changes, exit_code in (
        (good.without_photos, 1),
        ({"signature.json": None}, 1),
        (no_event, 1),
        (good.evidence_with(photos_erased=True, gone_photos=gone), 0),
        (good.evidence_with(photos_erased=True, gone_photos=gone) | good.without_photos, 3),
        (good.evidence_with(photos_retired=True, gone_photos=gone) | good.without_photos, 3),
        (good.evidence_with(photos_erased=True, photos_retired=True, gone_photos=[]) | good.without_photos, 1),
        (good.evidence_with(photos_erased=True, photos_retired=True) | {"signature.json": None}, 1),
        (good.evidence_with(event=None, retired=True), 3),
        (good.evidence_with(event=None, event_erased=True), 3),
        (good.evidence_with(name=None, salt=None, event=None, erased=True) | stripped, 3),
        (good.evidence_with(tree=None), 3),
    ):
        assert commands.run(["vault", "verify", good.write(changes), "--json"]) == exit_code, changes.keys()
        found = json.loads(capsys.readouterr().out)
        assert found["verified"] == (exit_code == 0) and bool(found["unchecked"]) == (exit_code == 3)
    photo = good.record["photos"][0]
    many = json.dumps(good.record | {"photos": [photo] * 300}).encode()
    with pytest.MonkeyPatch.context() as patch:
        read: list[str] = []
        pieces = package._pieces
        patch.setattr(package, "_pieces", lambda archive, name: read.append(name) or pieces(archive, name))
        assert commands.run(["vault", "verify", good.write({"record.json": many})]) == 1
        assert "WRONG: record" in capsys.readouterr().out and len(read) == len(set(read)) == 4
