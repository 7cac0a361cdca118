"""Do the steps of the Dockerfile without Docker, in a bare root. ``make test-image`` runs this; it needs root and
bubblewrap.

The build's ``RUN`` steps are done in a root directory that has the system's /usr, Python, a copy of the files that the
image may contain, and nothing else. Then the image's user starts the image's program without a network, where
everything except /data and /tmp is read-only. The server must become healthy by the image's own check, be unable to
write elsewhere, and end on the stop signal. A demo of five seconds must book jobs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "image"
BASE_IMAGE_STEP = "apt-get"
"""Steps with this program are left out: they change the base image, and this machine takes the place of the
base image.
"""

START = """
set -eu
[ "$(id -u):$(id -g)" = "$IMAGE_USER" ]
! touch /opt/callout/written 2>/dev/null
! touch /written 2>/dev/null
{program} >/data/started & server=$!
for _ in $(seq 100); do [ -s /data/started ] && break; sleep 0.2; done
{health}
python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8700/readyz', timeout=5)"
python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8701/metrics', timeout=5)"
callout token --role admin >/data/token
kill -{signal} $server
wait $server
callout demo --data /data/demo --port 0 --for 5s --json >/data/summary
"""


def read_instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Dockerfile, with their arguments."""
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            yield name, rest


def visible_files(ignore: str) -> Iterator[Path]:
    """Yield the files of the repository that the build may see, by its list of ignored files (``*`` and exceptions)."""
    lines = [line for line in ignore.splitlines() if line and not line.startswith("#")]
    shown = tuple(line[1:] for line in lines if line.startswith("!"))
    hidden = [line.removeprefix("**/").removeprefix("*") for line in lines if line.startswith("**/")]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in tracked.splitlines():
        parts = name.split("/")
        if not any(name == each or name.startswith(f"{each}/") for each in shown):
            continue
        if not any(each in parts or (each.startswith(".") and name.endswith(each)) for each in hidden):
            yield Path(name)


def bare_root(*binds: str, python: str) -> list[str]:
    """Return the beginning of a bubblewrap command whose root has /usr, Python and the folders of ``binds``."""
    links = [option for name in ("bin", "sbin", "lib", "lib64") for option in ("--symlink", f"usr/{name}", f"/{name}")]
    # The folders above Python must be open to the image's user.
    parents = [option for each in [*Path(python).parents][-2::-1] for option in ("--perms", "0755", "--dir", str(each))]
    own_python = [] if python.startswith("/usr/") else [*parents, "--ro-bind", python, python]
    return [
        *("bwrap", "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--clearenv", "--ro-bind", "/usr", "/usr"),
        *(*links, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", *own_python, *binds),
    ]


def do_build_stage(steps: list[tuple[str, str]], python: str) -> None:
    """Do the steps of the build stage."""
    for name in ("src", "opt", "wheel"):
        (WORK / name).mkdir(parents=True)
    for file in visible_files((ROOT / "deploy/docker/Dockerfile.dockerignore").read_text()):
        (WORK / "src" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, WORK / "src" / file)
    mounts = [option for name in ("src", "opt", "wheel") for option in ("--bind", f"{WORK}/{name}", f"/{name}")]
    # pip and npm use the package registries that are configured on this machine
    found_at = os.environ.get("PIP_FIND_LINKS", "").split()
    places = ("/etc", str(Path.home() / ".config" / "pip"), str(Path.home() / ".npmrc"), *found_at)
    configured = [place for place in places if place.startswith("/") and Path(place).exists()]
    mounts += [option for path in configured for option in ("--ro-bind", path, path)]
    passed_on = ("PIP_", "SSL_", "NPM_CONFIG_", "npm_config_")
    shown = {name: value for name, value in os.environ.items() if name.startswith(passed_on)}
    shown |= {"PIP_QUIET": "1", "PATH": f"{python}/bin:/usr/bin:/usr/sbin", "HOME": str(Path.home())}
    environment = [option for name, value in shown.items() for option in ("--setenv", name, value)]
    for name, rest in steps:
        if name == "RUN" and BASE_IMAGE_STEP not in rest:
            print(f"RUN {rest}", flush=True)
            command = [*bare_root(*mounts, python=python), *environment, "--chdir", "/src", "sh", "-euc", rest]
            subprocess.run(command, check=True)


def start_image(steps: list[tuple[str, str]], python: str) -> None:
    """Do the steps of the Dockerfile's final stage, and start the image's program."""
    for name in ("data", "etc"):
        (WORK / name).mkdir()
    for file in ("passwd", "group", "shadow", "gshadow", "login.defs", "ld.so.cache"):
        if Path("/etc", file).exists():
            shutil.copy2(Path("/etc", file), WORK / "etc" / file)
    environment, user, values = [f"PATH=/opt/callout/bin:{python}/bin:/usr/bin"], "", dict(steps)
    mounts = ["--bind", f"{WORK}/etc", "/etc", "--bind", f"{WORK}/data", "/data", "--ro-bind", f"{WORK}/opt", "/opt"]
    for name, rest in steps:
        if name == "RUN":
            print(f"RUN {rest}", flush=True)
            path = ["--setenv", "PATH", "/usr/bin:/usr/sbin"]
            subprocess.run([*bare_root(*mounts, python=python), *path, "sh", "-euc", rest], check=True)
        elif name == "ENV":
            environment += [each for each in rest.split() if not each.startswith("PATH=")]
        elif name == "USER":
            user = rest
    number, group = user.split(":")
    health = " ".join(quote_word(part) for part in json.loads(re.sub(r"^.*?CMD ", "", values["HEALTHCHECK"])))
    program = " ".join(json.loads(values["ENTRYPOINT"]) + json.loads(values["CMD"]))
    script = START.format(program=program, health=health, signal=values["STOPSIGNAL"].removeprefix("SIG"))
    settings = [option for each in environment for option in ("--setenv", *each.split("=", 1))]
    drop = f"setpriv --reuid {number} --regid {group} --clear-groups --bounding-set -all --no-new-privs".split()
    read_only = [option if option != "--bind" or index else "--ro-bind" for index, option in enumerate(mounts)]
    print(f"USER {user}\nCMD {program}", flush=True)
    command = [*bare_root(*read_only, python=python), "--unshare-net", *settings, "--setenv", "IMAGE_USER", user]
    command += ["--remount-ro", "/", "--chdir", values["WORKDIR"], *drop, "bash", "-c", script]
    subprocess.run(command, check=True, timeout=120)
    summary = json.loads((WORK / "data" / "summary").read_text().splitlines()[-1])
    print(json.dumps(summary))
    if not summary["jobs"] or summary["double_claims"]:
        raise SystemExit("the demo booked nothing, or a job had two holders")


def quote_word(part: str) -> str:
    """Return ``part`` quoted as one word of a shell command."""
    return "'" + part.replace("'", "'\\''") + "'"


def main() -> None:
    """Do all steps."""
    if os.getuid() != 0 or not shutil.which("bwrap"):
        sys.exit("the steps of the image need root and bubblewrap")
    shutil.rmtree(WORK, ignore_errors=True)
    steps = list(read_instructions((ROOT / "deploy/docker/Dockerfile").read_text()))
    final = [number for number, (name, _) in enumerate(steps) if name == "FROM"][1]
    python = os.path.realpath(sys.base_prefix)
    do_build_stage(steps[:final], python)
    start_image(steps[final:], python)
    print("the image's steps are done, and its server ran")


if __name__ == "__main__":
    main()
