"""Start nginx and Caddy with the files of ``deploy/proxy``, before gateways of a test, with TLS."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.support import valkey
from tests.support.wait import wait_until

ROOT = Path(__file__).resolve().parents[2]
PROXY_FILES = ROOT / "deploy" / "proxy"
VALIDATORS_FOLDER = ROOT / "build" / "validators" / "bin"
"""The programs that ``make check`` installs; Caddy is one of them."""


def find_program(name: str) -> str | None:
    """Return the path of a program; None if it is neither installed nor among the validators."""
    return shutil.which(name, path=f"{VALIDATORS_FOLDER}:{os.environ['PATH']}:/usr/sbin")


@dataclass(frozen=True)
class RunningProxy:
    """A proxy at ``url``. ``certificate`` is the file that a client must trust."""

    url: str
    certificate: Path


@asynccontextmanager
async def run_nginx(folder: Path, gateways: Sequence[str]) -> AsyncIterator[RunningProxy]:
    """Run nginx with ``deploy/proxy/nginx.conf``, whose port, certificate and gateways are replaced."""
    certificate, key = _write_certificate(folder)
    port, text = valkey.free_port(), (PROXY_FILES / "nginx.conf").read_text()
    lines = [line for line in text.splitlines() if "server 127.0.0.1:" in line]
    assert len(lines) == 2, "the file names two gateways"
    options = lines[0].split(";")[0].split("127.0.0.1:8700")[1]
    upstreams = "\n".join(f"server {gateway}{options};" for gateway in gateways)
    for old, new in (
        ("\n".join(lines), upstreams),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("callout.example", "localhost"),
        ("/etc/ssl/callout/fullchain.pem", str(certificate)),
        ("/etc/ssl/callout/privkey.pem", str(key)),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "callout.conf").write_text(text)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;\nevents {{}}\n"
        f"http {{ access_log off;\n{paths}\ninclude {folder}/callout.conf; }}\n"
    )
    async with _run("nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "errors"), folder=folder, port=port):
        yield RunningProxy(f"https://localhost:{port}", certificate)


@asynccontextmanager
async def run_caddy(folder: Path, gateways: Sequence[str]) -> AsyncIterator[RunningProxy]:
    """Run Caddy with ``deploy/proxy/Caddyfile``. The certificate is of an authority that Caddy makes in ``folder``."""
    port = valkey.free_port()
    options = f"{{\nadmin off\nskip_install_trust\nauto_https disable_redirects\nstorage file_system {folder}\n}}\n"
    file = folder / "Caddyfile"
    file.write_text(options + (PROXY_FILES / "Caddyfile").read_text())
    env = {"CALLOUT_SITE": f"localhost:{port}", "CALLOUT_GATEWAYS": " ".join(gateways), "HOME": str(folder)}
    async with _run("caddy", "run", "--config", str(file), "--adapter", "caddyfile", folder=folder, port=port, env=env):
        yield RunningProxy(f"https://localhost:{port}", folder / "pki" / "authorities" / "local" / "root.crt")


PROXIES: dict[str, Callable[..., object]] = {"nginx": run_nginx, "caddy": run_caddy}


@asynccontextmanager
async def _run(
    program: str, *arguments: str, folder: Path, port: int, env: dict[str, str] | None = None
) -> AsyncIterator[None]:
    path = find_program(program)
    assert path
    with (folder / "output").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            path, *arguments, stdout=output, stderr=output, env=os.environ | (env or {})
        )
    try:
        await wait_until(lambda: process.returncode is not None or _listens(port), what=program)
        assert process.returncode is None, (folder / "output").read_text()
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate of ``localhost``, signed by itself, and its key. Return their paths."""
    key, now = Ed25519PrivateKey.generate(), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, None)
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths
