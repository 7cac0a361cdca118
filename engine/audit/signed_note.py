"""Signed heads of the audit tree: C2SP checkpoints (c2sp.org/tlog-checkpoint, c2sp.org/signed-note) and the
cosignatures of witnesses (c2sp.org/tlog-cosignature).

A checkpoint is a text of three lines: the origin, the number of leaves, the root in base64. An empty line and the
signatures follow. The origin is ``callout/<deployment>/<zone>/<tree>``, so that heads of different trees cannot be
confused.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ORIGIN_PREFIX = "callout/"
SIGNATURE_TYPE, COSIGNATURE_TYPE = b"\x01", b"\x04"
_SIGNATURE_START = "— "  # an em dash, as the format has it
MAX_NOTE_BYTES = 64 * 1024


class Signature(NamedTuple):
    """A signature line: the name of the key, the four bytes that identify the key, and the signature itself."""

    name: str
    key_id: bytes
    value: bytes


class Head(NamedTuple):
    """A parsed checkpoint. ``note`` is its whole text, and ``body`` the part that is signed."""

    origin: str
    size: int
    root: bytes
    body: str
    signatures: tuple[Signature, ...]
    note: str

    @property
    def deployment(self) -> str:
        """The id of the installation that the origin names."""
        return self.origin.split("/")[1]

    @property
    def zone(self) -> str:
        """The zone that the origin names."""
        return self.origin.split("/")[2]

    @property
    def tree(self) -> int:
        """The number of the tree that the origin names."""
        return int(self.origin.split("/")[3])


def make_origin(deployment: str, zone: str, tree: int) -> str:
    """Return the origin of a tree."""
    return f"{ORIGIN_PREFIX}{deployment}/{zone}/{tree}"


def sign_head(origin: str, size: int, root: bytes, key: Ed25519PrivateKey) -> str:
    """Return a checkpoint with the log's signature."""
    body = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    public = key.public_key().public_bytes_raw()
    return f"{body}\n{_signature_line(origin, SIGNATURE_TYPE, public, key.sign(body.encode()))}"


def cosign(head: Head, name: str, key: Ed25519PrivateKey, at_s: int) -> str:
    """Return the note of ``head`` with the cosignature of the witness ``name``, made at ``at_s`` (Unix seconds)."""
    public = key.public_key().public_bytes_raw()
    signed = key.sign(_cosigned_text(head, at_s))
    return head.note + _signature_line(name, COSIGNATURE_TYPE, public, at_s.to_bytes(8, "big") + signed)


def _cosigned_text(head: Head, at_s: int) -> bytes:
    return f"cosignature/v1\ntime {at_s}\n{head.body}".encode()


def _signature_line(name: str, kind: bytes, public: bytes, signature: bytes) -> str:
    return f"{_SIGNATURE_START}{name} {base64.b64encode(_key_id(name, kind, public) + signature).decode()}\n"


def _key_id(name: str, kind: bytes, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + kind + public).digest()[:4]


def parse_head(note: str) -> Head:
    """Return the head in a note. Raises ValueError if the note is not a checkpoint of Callout."""
    body, blank, rest = note.partition("\n\n")
    lines = body.split("\n")
    if not blank or len(note) > MAX_NOTE_BYTES or len(lines) < 3 or not lines[1].isdecimal():
        raise ValueError("not a checkpoint")
    parts = lines[0].split("/")
    if len(parts) != 4 or parts[0] + "/" != ORIGIN_PREFIX or not (parts[3].isascii() and parts[3].isdecimal()):
        raise ValueError(f"{lines[0]!r} is no origin of Callout")
    root = _decode(lines[2])
    if len(root) != 32 or not lines[1].isascii() or len(lines[1]) > 18:
        raise ValueError("not a checkpoint")
    signatures = tuple(_parse_signature(line) for line in rest.splitlines() if line)
    return Head(lines[0], int(lines[1]), root, body + "\n", signatures, note)


def _parse_signature(line: str) -> Signature:
    if not line.startswith(_SIGNATURE_START) or line.count(" ") != 2:
        raise ValueError("not a signature of a note")
    _, name, text = line.split(" ")
    value = _decode(text)
    return Signature(name, value[:4], value[4:])


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def is_signed_by(head: Head, public: bytes) -> bool:
    """Return whether the head has a good signature of the log under this public key (32 bytes)."""
    key_id = _key_id(head.origin, SIGNATURE_TYPE, public)
    values = [s.value for s in head.signatures if s.name == head.origin and s.key_id == key_id]
    return any(_is_good(public, value, head.body.encode()) for value in values)


def is_cosigned_by(head: Head, name: str, public: bytes) -> bool:
    """Return whether the head has a good cosignature of the witness ``name`` under this public key."""
    key_id = _key_id(name, COSIGNATURE_TYPE, public)
    values = [s.value for s in head.signatures if s.name == name and s.key_id == key_id]
    return any(_is_good(public, value[8:], _cosigned_text(head, int.from_bytes(value[:8], "big"))) for value in values)


def _is_good(public: bytes, signature: bytes, text: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True
