"""The server's signing key. The secrets that the server needs are derived from it, so that several hosts need to share
only this one file.

Access tokens are JWTs with an HMAC (HS256), which only a process with the key file can create or verify. (Rejected:
Ed25519 signatures. Nobody else verifies a token, because the public key is published nowhere, and a signature takes
many times as long to verify: after the loss of a gateway, its clients come back with tokens that the next gateway sees
for the first time. Code of our own instead of PyJWT: it would save about 15 µs of a connection, but every mistake in it
would be a hole.)
"""

from __future__ import annotations

import contextlib
import functools
import hmac
import os
import secrets
from pathlib import Path
from typing import Any, Literal

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

log = structlog.get_logger(__name__)


class _TokenClaims(msgspec.Struct):
    """The claims of an access token (a JWT). ``sid`` is the id of its login (the family of refresh tokens), ``gen`` the
    generation of the refresh token.
    """

    iss: Literal["callout"]
    sub: UserId
    role: Role
    name: str
    iat: float
    exp: float
    sid: str = ""
    gen: int = 0


_decode_claims = msgspec.json.Decoder(_TokenClaims).decode
_jws = jwt.PyJWS(algorithms=["HS256"])
MAX_CACHED_TOKENS = 4_096
"""How many verified tokens a process caches."""


class Signer:
    """The owner of the key: it signs and verifies access tokens, and derives the other secrets. A client sends the same
    token with each request, and PyJWT takes as long as routing the request. So verified tokens are cached; their expiry
    is checked at each use. Refused tokens are not cached.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._seed = key.private_bytes_raw()
        self._token_key = self.derive_key("access token")
        self._verified = functools.lru_cache(MAX_CACHED_TOKENS)(self._check_token)

    @classmethod
    def load_or_create(cls, path: Path) -> Signer:
        """Load the key at ``path``; create it there (mode 0600) if the file is missing.

        Raises SettingsError if the file cannot be read or written, or is not an Ed25519 private key.
        """
        try:
            if not path.exists():
                _create_key_file(path)
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
    def derive_key(self, purpose: str) -> bytes:
        """Return 32 secret bytes for ``purpose``. The same key and purpose always give the same bytes."""
        return hmac.digest(self._seed, f"callout/{purpose}".encode(), "sha256")

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a signed JWT with ``claims``. ``iss`` and ``iat`` are added."""
        whole = {"iss": ISSUER, "iat": now_ms() // 1000, **claims}
        return _jws.encode(msgspec.json.encode(whole), self._token_key, algorithm="HS256")

    def verify(self, token: str) -> Principal:
        """Verify ``token`` and return the user that it names.

        Raises Unauthenticated if this key did not sign the token, TokenExpired if the token has expired.
        """
        principal = self._verified(token)
        if principal.expires <= now_ms() / 1000:
            raise TokenExpired
        return principal

    def _check_token(self, token: str) -> Principal:
        """Verify signature and claims, without the expiry. Raises Unauthenticated."""
        try:
            claims = _decode_claims(_jws.decode(token, self._token_key, algorithms=["HS256"]))
        except (jwt.InvalidTokenError, msgspec.DecodeError, UnicodeError):
            raise Unauthenticated("Not a token of this server") from None
        return Principal(claims.sub, claims.role, claims.name, claims.exp, claims.sid, claims.gen)


def open_signer(settings: Settings) -> Signer:
    """Load or create the key of ``settings``. Raises the same errors as ``Signer.load_or_create``. A warning says that
    a key file was missing: its path may be mistyped, or a host may still lack its copy of the key.
    """
    path = key_path(settings)
    if not settings.key_file:
        datadir.make_files_private(Path(settings.data), "signing.key")
    elif not path.exists():
        log.warning("key_file_missing", path=str(path), effect="a new key is created there; copy it to the other hosts")
    return Signer.load_or_create(path)


def key_path(settings: Settings) -> Path:
    """Return the path of the key: the setting ``key_file``, or ``signing.key`` in the data directory."""
    return Path(settings.key_file) if settings.key_file else Path(settings.data) / "signing.key"


def sign_token(
    signer: Signer,
    user: UserId,
    role: Role,
    *,
    name: str = "",
    expires_s: float = 3_600,
    login: tuple[str, int] | None = None,
) -> str:
    """Return a signed token for ``user`` in ``role`` that expires after ``expires_s`` seconds. ``login`` is the family
    and generation of refresh tokens to which the token is bound: the token becomes invalid when that login ends. A
    token without ``login`` is bound to no login.
    """
    claims = {"sub": user, "role": role, "name": name, "exp": now_ms() // 1000 + int(expires_s)}
    return signer.sign({**claims, "sid": login[0], "gen": login[1]} if login else claims)


def _create_key_file(path: Path) -> None:
    """Create a key and write it to ``path`` unless another process does so first.

    The key is written to a temporary file in the same folder, which is then linked to ``path``. So no process reads
    half a key, and two servers that start at the same moment use the same key: the one that was linked first.
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
