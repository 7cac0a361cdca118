"""Tests of the signing key and of the signature of access tokens."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from engine import clock
from engine.errors import TokenExpired, Unauthenticated
from engine.process import signer
from engine.process.settings import Settings, SettingsError
from engine.process.signer import Signer, open_signer, sign_token
from engine.types import UserId

USER_ID = UserId("usr_me")


def test_refuses_a_token_that_this_server_did_not_sign(tmp_path: Path) -> None:
    """A token with another key, no signature, another algorithm or wrong claims is refused with `unauthenticated`."""
    own_signer, other_signer = Signer.load_or_create(tmp_path / "a"), Signer.load_or_create(tmp_path / "b")
    claims = {"sub": USER_ID, "role": "admin", "name": "", "exp": 9_999_999_999}
    unsigned = jwt.encode({**claims, "iss": "callout", "iat": 1}, "", algorithm="none")
    symmetric = jwt.encode({**claims, "iss": "callout", "iat": 1}, "x" * 32, algorithm="HS256")
    key = load_pem_private_key((tmp_path / "a").read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    public = key.public_key().public_bytes_raw()
    bad = [
        "",
        "a.b.c",
        "é.ü.\ud800",
        other_signer.sign(claims),
        unsigned,
        symmetric,
        jwt.encode({**claims, "iss": "callout", "iat": 1}, public, algorithm="HS256"),
        jwt.encode({**claims, "iss": "callout", "iat": 1}, key, algorithm="EdDSA"),
        jwt.encode({**claims, "iss": "callout", "iat": 1}, own_signer.derive_key("refresh"), algorithm="HS256"),
        own_signer.sign(claims)[:-1],
        own_signer.sign({**claims, "iss": "someone"}),
        own_signer.sign({**claims, "role": "emperor"}),
        own_signer.sign({"sub": USER_ID}),
        own_signer.sign({**claims, "sub": 7}),
    ]
    for token in bad:
        with pytest.raises(Unauthenticated) as refusal:
            own_signer.verify(token)
        assert not isinstance(refusal.value, TokenExpired)


def test_refuses_a_token_whose_claims_were_changed(tmp_path: Path) -> None:
    """A token with a changed claim is refused, because the signature covers every claim."""
    own_signer = Signer.load_or_create(tmp_path / "key")
    head, body, proof = sign_token(own_signer, USER_ID, "customer").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**claims, "role": "admin"}).encode()).rstrip(b"=").decode()
    with pytest.raises(Unauthenticated):
        own_signer.verify(f"{head}.{forged}.{proof}")


def test_a_token_is_a_jwt_of_hs256(tmp_path: Path) -> None:
    """Another implementation of JWT reads our tokens, with the secret that is derived for them."""
    own_signer = Signer.load_or_create(tmp_path / "key")
    token = sign_token(own_signer, USER_ID, "customer", name="Zoë", login=("ses_1", 3))
    claims = jwt.decode(token, own_signer.derive_key("access token"), algorithms=["HS256"], issuer="callout")
    assert [claims[name] for name in ("sub", "role", "name", "sid", "gen")] == [USER_ID, "customer", "Zoë", "ses_1", 3]


def test_a_rotated_key_refuses_the_tokens_of_the_key_before(tmp_path: Path) -> None:
    """After the key file was replaced and the server restarted, tokens of the key before are refused."""
    token = sign_token(Signer.load_or_create(tmp_path / "key"), USER_ID, "customer")
    (tmp_path / "key").unlink()
    with pytest.raises(Unauthenticated):
        Signer.load_or_create(tmp_path / "key").verify(token)


def test_a_verified_token_expires_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was verified before is refused with `token_expired` once it has expired."""
    own_signer = Signer.load_or_create(tmp_path / "key")
    token = sign_token(own_signer, USER_ID, "customer", name="Zoë", expires_s=60)
    assert own_signer.verify(token) == own_signer.verify(token)
    assert (own_signer.verify(token).id, own_signer.verify(token).name) == (USER_ID, "Zoë")
    monkeypatch.setattr(signer, "now_ms", lambda: clock.now_ms() + 61_000)
    with pytest.raises(TokenExpired):
        own_signer.verify(token)


def test_refuses_an_unusable_key_file(tmp_path: Path) -> None:
    """A file that is no Ed25519 key, or cannot be read or created, is refused as a wrong setting in one line."""
    (tmp_path / "key").write_text("not a key")
    for path in (tmp_path / "key", tmp_path / "key" / "inside", tmp_path):
        with pytest.raises(SettingsError, match="signing key"):
            Signer.load_or_create(path)


def test_the_key_is_created_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """The key is created once, with mode 0600 and no temporary file beside it. Several servers may use one key file."""
    settings = Settings(data=str(tmp_path / "data"))
    token = sign_token(open_signer(settings), USER_ID, "customer")
    path = tmp_path / "data" / "signing.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["signing.key"]
    assert open_signer(Settings(data="elsewhere", key_file=str(path))).verify(token).id == USER_ID


def test_two_processes_that_create_the_key_use_the_same_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the key file appears between the check and the creation, the existing key is used."""
    path = tmp_path / "key"
    first = Signer.load_or_create(path)
    with monkeypatch.context() as patch:
        looks = iter([False])
        real = Path.exists
        patch.setattr(Path, "exists", lambda self: next(looks, True) if self == path else real(self))
        second = Signer.load_or_create(path)
    assert second.verify(sign_token(first, USER_ID, "admin")).role == "admin"


def test_secrets_of_different_purposes_are_different() -> None:
    """Secrets derived from one key differ by purpose; the same purpose always gives the same secret."""
    key = Ed25519PrivateKey.generate()
    one, two = Signer(key), Signer(key)
    assert one.derive_key("a") == two.derive_key("a") != one.derive_key("b")
    assert len(one.derive_key("a")) == 32
