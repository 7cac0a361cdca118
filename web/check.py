"""Check the TypeScript of ``web/``: layout, lint, types. ``make check`` calls it, and ``make fmt`` with ``fmt``.

The types of the interface are written first, from the present code. So a page that uses a field which no longer exists
fails here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from build import deno_environment, find_deno

WEB = Path(__file__).parent
CHECKS = (("install", "--quiet"), ("fmt", "--quiet", "--check"), ("lint", "--quiet"), ("check", "--quiet", "."))


def main() -> None:
    """Run all checks, and exit with 1 if one fails."""
    deno, env = find_deno(), deno_environment()
    if sys.argv[1:] == ["fmt"]:
        sys.exit(subprocess.run([deno, "fmt", "--quiet"], cwd=WEB, env=env, check=False).returncode)
    module = ["-m", "server.api.typescript", str(WEB / "shared" / "schema.ts")]
    subprocess.run([sys.executable, *module], cwd=WEB.parent, check=True)
    for check in CHECKS:
        if subprocess.run([deno, *check], cwd=WEB, env=env, check=False).returncode:
            sys.exit(f"deno {check[0]} found something in web/")


if __name__ == "__main__":
    main()
