"""An S3 server process (moto) for tests, with one bucket."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.valkey import free_port

BUCKET = "photos"


@contextmanager
def run_s3_server() -> Iterator[str]:
    """Run a server and yield its URL. The credentials of clients are not checked."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with suppress(OSError):
                urllib.request.urlopen(urllib.request.Request(f"{url}/{BUCKET}", method="PUT"), timeout=5).close()
                break
            assert process.poll() is None, "the S3 server has ended"
            time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()
