"""The witness of an audit tree. It stores the last head that it accepted, and accepts a newer head only with a proof
that the tree has only grown since then. It runs on another machine than the server, so that an attacker who rewrites
the server's database cannot rewrite the witness's files.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine.audit import signed_note
from engine.audit.signed_note import Head
from engine.process.settings import SettingsError
from engine.process.signer import Signer
from engine.rules.merkle_tree import proves_consistency

KEY_FILE = "witness.key"
AlarmKind = Literal["shrank", "forked", "restored", "other_installation", "other_key", "unreadable", "unreachable"]


class Alarm(NamedTuple):
    """Why the witness warns its operator, as a kind and a sentence. The kind ``unreachable`` says nothing about the
    server's history, because the server gave no answer.
    """

    kind: AlarmKind
    text: str


class UnusableState(Exception):
    """Raised if the directory of a witness cannot be read or written, or is not a witness's directory. The text is the
    reason.
    """


class WitnessState:
    """What a witness stores in its directory: its own key, the public keys of the server and the last head. Every
    method raises UnusableState.
    """

    def __init__(self, folder: Path, zone: str) -> None:
        self._folder = folder
        self._head_path = folder / f"{zone}.head"
        self._keys_path = folder / f"{zone}.keys"
        key_path = folder / KEY_FILE
        with self._using_folder():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not key_path.exists() and any(folder.iterdir()):
                raise UnusableState(
                    f"{folder}: it has other files and no {KEY_FILE}: give the witness its own directory"
                )
        try:
            seed = Signer.load_or_create(key_path).derive_key("audit witness")
        except SettingsError as error:
            raise UnusableState(str(error)) from error
        self.key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public(self) -> str:
        """The witness's own public key in base64."""
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def last_head(self) -> Head | None:
        """Return the last accepted head; None before the first. Raises ValueError if the file has another content."""
        content = self._read(self._head_path)
        return None if content is None else signed_note.parse_head(content.decode())

    def server_keys(self) -> list[bytes]:
        """Return the public keys of the server; an empty list before the first head. Raises ValueError."""
        content = self._read(self._keys_path)
        return [base64.b64decode(text) for text in msgspec.json.decode(content or b"[]", type=list[str])]

    def pin_keys(self, keys: Sequence[bytes]) -> None:
        """Store the server's public keys. From now on only heads that one of them signed are accepted."""
        self._replace(self._keys_path, msgspec.json.encode([base64.b64encode(key).decode() for key in keys]))

    def accept(self, head: Head, name: str, at_s: int) -> None:
        """Cosign a head at ``at_s`` (Unix seconds) and store it as the last one."""
        self._replace(self._head_path, signed_note.cosign(head, name, self.key, at_s).encode())

    def set_aside(self, at_s: int) -> None:
        """Rename the files of the last head and of the keys, because an operator accepts another history."""
        with self._using_folder():
            for path in (self._head_path, self._keys_path):
                if path.exists():
                    path.rename(path.with_name(f"{path.name}.until-{at_s}"))

    @contextmanager
    def _using_folder(self) -> Iterator[None]:
        """Raise UnusableState if the operating system refuses what the block does with the directory."""
        try:
            yield
        except OSError as error:
            raise UnusableState(f"{self._folder}: {error.strerror}") from error

    def _read(self, path: Path) -> bytes | None:
        with self._using_folder():
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def _replace(self, path: Path, content: bytes) -> None:
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with self._using_folder():
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)


def needs_proof(last: Head | None, seen: Head) -> bool:
    """Return whether ``seen`` must be proved to continue ``last``."""
    return last is not None and seen.origin == last.origin and seen.size > last.size


def find_alarm(last: Head | None, seen: Head, keys: Sequence[bytes], proof: Sequence[bytes] | None) -> Alarm | None:
    """Return why the head ``seen`` is not accepted after the head ``last``; None if it is accepted. ``keys`` are the
    known public keys of the server. ``proof`` is the consistency proof between the two, or None if the server gave
    none.
    """
    if not any(signed_note.is_signed_by(seen, key) for key in keys):
        return Alarm("other_key", f"the head of {seen.size} leaves is signed by no known key of the server")
    if last is None:
        return None
    if seen.origin != last.origin:
        return _explain_other_origin(last, seen)
    if seen.size < last.size:
        return Alarm("shrank", f"the tree had {last.size} leaves and has {seen.size}")
    if not proves_consistency(last.size, last.root, seen.size, seen.root, proof or ()):
        return Alarm("forked", f"the tree of {seen.size} leaves does not contain the one of {last.size} leaves")
    return None


def _explain_other_origin(last: Head, seen: Head) -> Alarm:
    """Return why the head is of another installation, zone or tree than the last one."""
    if (seen.deployment, seen.zone) != (last.deployment, last.zone):
        return Alarm("other_installation", f"the head is of {seen.origin}, not of {last.origin}")
    if seen.tree < last.tree:
        return Alarm("shrank", f"the zone had a tree {last.tree}, and its last one is now tree {seen.tree}")
    return Alarm("restored", f"the database was restored: tree {seen.tree} began after a head of tree {last.tree}")
