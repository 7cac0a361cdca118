"""The witness of an audit tree: it has the last head that it saw, and accepts a newer one only with a proof that the
tree has only grown since. It runs on another machine than the server, so whoever rewrites the server's database cannot
rewrite what the witness has.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine.audit import signed_note
from engine.audit.signed_note import Head
from engine.process.signer import Signer
from engine.rules.merkle_tree import proves_consistency

AlarmKind = Literal["shrank", "forked", "restored", "other_installation", "other_key", "unreadable", "unreachable"]


class Alarm(NamedTuple):
    """A reason to ring. ``unreachable`` is none for the history: the server gave no answer."""

    kind: AlarmKind
    text: str


class WitnessState:
    """What a witness stores in its directory: its own key, the public keys of the server and the last head."""

    def __init__(self, folder: Path, zone: str) -> None:
        self._folder = folder
        self._head_path = folder / f"{zone}.head"
        self._keys_path = folder / f"{zone}.keys"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        seed = Signer.load_or_create(folder / "witness.key").derive_key("audit witness")
        self.key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public(self) -> str:
        """The witness's own public key in base64."""
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def last_head(self) -> Head | None:
        """Return the last accepted head; None before the first. Raises ValueError if the file has another content."""
        try:
            return signed_note.parse_head(self._head_path.read_text("utf-8"))
        except FileNotFoundError:
            return None

    def server_keys(self) -> list[bytes]:
        """Return the public keys of the server; an empty list before the first head. Raises ValueError."""
        try:
            return [
                base64.b64decode(text) for text in msgspec.json.decode(self._keys_path.read_bytes(), type=list[str])
            ]
        except FileNotFoundError:
            return []

    def pin_keys(self, keys: Sequence[bytes]) -> None:
        """Store the public keys under which heads are accepted from now on."""
        _replace(self._keys_path, msgspec.json.encode([base64.b64encode(key).decode() for key in keys]))

    def accept(self, head: Head, name: str, at_s: int) -> None:
        """Cosign a head at ``at_s`` (Unix seconds) and store it as the last one."""
        _replace(self._head_path, signed_note.cosign(head, name, self.key, at_s).encode())

    def set_aside(self, at_s: int) -> None:
        """Rename the files of the last head and of the keys, because an operator accepts another history."""
        for path in (self._head_path, self._keys_path):
            if path.exists():
                path.rename(path.with_name(f"{path.name}.until-{at_s}"))


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def needs_proof(last: Head | None, seen: Head) -> bool:
    """Return whether ``seen`` must be proved to continue ``last``."""
    return last is not None and seen.origin == last.origin and seen.size > last.size


def judge(last: Head | None, seen: Head, keys: Sequence[bytes], proof: Sequence[bytes] | None) -> Alarm | None:
    """Return why ``seen`` is not accepted after ``last``; None if it is. ``keys`` are the known public keys of the
    server. ``proof`` is the consistency proof between the two, or None if the server gave none.
    """
    if not any(signed_note.is_signed_by(seen, key) for key in keys):
        return Alarm("other_key", f"the head of {seen.size} leaves is signed by no known key of the server")
    if last is None:
        return None
    if seen.origin != last.origin:
        return _judge_origin(last, seen)
    if seen.size < last.size:
        return Alarm("shrank", f"the tree had {last.size} leaves and has {seen.size}")
    if not proves_consistency(last.size, last.root, seen.size, seen.root, proof or ()):
        return Alarm("forked", f"the tree of {seen.size} leaves does not contain the one of {last.size} leaves")
    return None


def _judge_origin(last: Head, seen: Head) -> Alarm:
    if (seen.deployment, seen.zone) != (last.deployment, last.zone):
        return Alarm("other_installation", f"the head is of {seen.origin}, not of {last.origin}")
    if seen.tree < last.tree:
        return Alarm("shrank", f"the zone had a tree {last.tree}, and its last one is now tree {seen.tree}")
    return Alarm("restored", f"the database was restored: tree {seen.tree} began after a head of tree {last.tree}")
