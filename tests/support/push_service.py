"""A push service on loopback, and a browser that is subscribed to it: it decrypts what arrives, as RFC 8291 says, and
checks the server's token (RFC 8292).
"""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Answer = tuple[int, str]
"""A status and further lines of the head, each with its line end."""
CREATED: Answer = (201, "")


def to_base64url(content: bytes) -> str:
    """Return base64url without padding."""
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Return the bytes of base64url without padding."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def point_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the uncompressed point of a public key."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


class Subscriber:
    """A browser with the keys of one subscription."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.auth = secrets.token_bytes(16)

    @property
    def token(self) -> str:
        """The subscription as a page sends it."""
        keys = {"p256dh": to_base64url(point_of(self.key.public_key())), "auth": to_base64url(self.auth)}
        return json.dumps({"endpoint": self.endpoint, "expirationTime": None, "keys": keys}, separators=(",", ":"))

    def decrypt(self, body: bytes) -> bytes:
        """Return the text of a push. Raises if it was not encrypted for this subscription."""
        salt, size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
        assert size == 4096 and len(body) <= size and length == 65
        theirs, content = body[21 : 21 + length], body[21 + length :]
        secret = self.key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), theirs))
        info = b"WebPush: info\x00" + point_of(self.key.public_key()) + theirs
        material = HKDF(SHA256(), 32, self.auth, info).derive(secret)
        content_key = HKDF(SHA256(), 16, salt, b"Content-Encoding: aes128gcm\x00").derive(material)
        nonce = HKDF(SHA256(), 12, salt, b"Content-Encoding: nonce\x00").derive(material)
        text = AESGCM(content_key).decrypt(nonce, content, None).rstrip(b"\x00")
        assert text.endswith(b"\x02")
        return text[:-1]


@dataclass
class Arrived:
    """One request to the push service."""

    path: str
    headers: dict[str, str]
    body: bytes

    def claims(self, audience: str, key: str) -> dict[str, Any]:
        """Return the claims of the server's token. Raises unless ``key`` has signed it for ``audience``."""
        scheme, _, rest = self.headers["authorization"].partition(" ")
        parts = dict(part.strip().split("=", 1) for part in rest.split(","))
        assert (scheme, parts["k"]) == ("vapid", key)
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), from_base64url(key))
        return dict(jwt.decode(parts["t"], public, algorithms=["ES256"], audience=audience))


@dataclass
class PushService:
    """An HTTP server that records each request. ``answer`` says how the n-th one is answered; None: it is not."""

    answer: Callable[[int], Answer | None]
    port: int = 0
    arrived: list[Arrived] = field(default_factory=list)
    connections: int = 0

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def subscribe(self, name: str = "a") -> Subscriber:
        """Return a new subscription."""
        return Subscriber(f"{self.origin}/push/{name}")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                assert method == "POST"
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
                body = await reader.readexactly(int(headers["content-length"]))
                answer = self.answer(len(self.arrived))
                self.arrived.append(Arrived(path, headers, body))
                if answer is None:
                    await reader.read()
                    return
                status, lines = answer
                lines = lines or "Content-Length: 0\r\n"
                writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode())
                await writer.drain()
                if "chunked" in lines:
                    await self._write_endless(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _write_endless(self, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await writer.drain()


@asynccontextmanager
async def running_push_service(
    answer: Callable[[int], Answer | None] = lambda _: CREATED, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[PushService]:
    """Run a push service on a free port of loopback."""
    service = PushService(answer)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, ssl=tls)
    service.port = server.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        server.close()
