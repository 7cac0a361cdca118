"""The server's key: signs access tokens, and gives the other secrets by derivation, so that hosts share one file."""

from __future__ import annotations

import contextlib
import functools
import hmac
import os
import secrets
from pathlib import Path
from typing import Any

import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from engine.clock import now_ms
from engine.errors import TokenExpired, Unauthenticated
from engine.process import datadir
from engine.process.settings import Settings, SettingsError
from engine.types import Principal, Role, UserId

ISSUER = "callout"
CLAIMS = ["iss", "sub", "role", "name", "iat", "exp"]
REMEMBERED = 4_096

log = structlog.get_logger(__name__)


class Signer:
    """Holds the Ed25519 key. Checking a signature costs some 0.1 ms, so that good tokens are remembered; when they
    expire is looked at each time.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public = key.public_key()
        self._seed = key.private_bytes_raw()
        self._checked = functools.lru_cache(REMEMBERED)(self._check)

    @classmethod
    def load_or_create(cls, path: Path) -> Signer:
        """The key at ``path``, made there (0600) where none is. Raises SettingsError for what is no such key."""
        try:
            if not path.exists():
                _create(path)
            text = path.read_bytes()
        except OSError as error:
            raise SettingsError(f"signing key {path}: {error.strerror}") from error
        if path.stat().st_mode & 0o077:
            log.warning("signing_key_readable_by_others", path=str(path))
        try:
            key = load_pem_private_key(text, password=None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise SettingsError(f"signing key {path}: not an Ed25519 private key in PEM")
        return cls(key)

    @functools.lru_cache(16)  # noqa: B019 - a signer lives as long as its process
    def derive(self, purpose: str) -> bytes:
        """32 secret bytes for one purpose, always the same under the same key."""
        return hmac.digest(self._seed, f"callout/{purpose}".encode(), "sha256")

    def sign(self, claims: dict[str, Any]) -> str:
        """``claims`` as a JWT of ours; ``iss`` and ``iat`` are added."""
        whole = {"iss": ISSUER, "iat": now_ms() // 1000, **claims}
        return jwt.encode(whole, self._key, algorithm="EdDSA")

    def verify(self, token: str) -> Principal:
        """Whom ``token`` names. Raises Unauthenticated for what is not ours, TokenExpired for what was."""
        principal = self._checked(token)
        if principal.expires <= now_ms() / 1000:
            raise TokenExpired
        return principal

    def _check(self, token: str) -> Principal:
        try:
            claims = jwt.decode(
                token,
                self._public,
                algorithms=["EdDSA"],
                issuer=ISSUER,
                options={"require": CLAIMS, "verify_exp": False, "verify_iat": False},
            )
            return msgspec.convert(
                {
                    "id": claims["sub"],
                    "role": claims["role"],
                    "name": claims["name"],
                    "expires": claims["exp"],
                    "family": claims.get("sid", ""),
                    "generation": claims.get("gen", 0),
                },
                Principal,
                strict=False,
            )
        except (jwt.InvalidTokenError, msgspec.ValidationError):
            raise Unauthenticated("Not a token of this server") from None


def open_signer(settings: Settings) -> Signer:
    """The key that ``settings`` name. Raises SettingsError."""
    if not settings.key_file:
        datadir.close_to_others(Path(settings.data), "signing.key")
    return Signer.load_or_create(key_path(settings))


def key_path(settings: Settings) -> Path:
    """Where the key lies: ``key_file``, or in the data directory."""
    return Path(settings.key_file) if settings.key_file else Path(settings.data) / "signing.key"


def access_token(
    signer: Signer,
    user: UserId,
    role: Role,
    *,
    name: str = "",
    expires_s: float = 3_600,
    login: tuple[str, int] | None = None,
) -> str:
    """A token that says who and in which role, good for ``expires_s`` seconds, or until its ``login`` (family and
    generation of refresh tokens) ends.
    """
    claims = {"sub": user, "role": role, "name": name, "exp": now_ms() // 1000 + int(expires_s)}
    return signer.sign({**claims, "sid": login[0], "gen": login[1]} if login else claims)


def _create(path: Path) -> None:
    """Written whole beside it, then linked into place: of two servers that start at once one key wins, and no
    reader ever sees half of it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
            log.info("signing_key_made", path=str(path))
    finally:
        draft.unlink()
