"""Validate each file of ``deploy/`` with the program that reads it. ``make check`` runs this in an environment of its
own.

It prints one line for each file, and ends with 1 if one is wrong. ``promtool`` and ``systemd-analyze`` come from the
operating system; a missing one is named, and is an error if ``CALLOUT_VALIDATE_ALL`` is set.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import yaml

HERE = Path(__file__).resolve().parent
CHART = HERE / "helm" / "callout"
KUBERNETES_VERSIONS = ("1.27", "1.34")
"""The versions of Kubernetes whose schemas the chart is checked against: the oldest that the chart names, and a recent
one.
"""

STORES: dict[str, object] = {"stores": {"existingSecret": "s"}}
FILES: dict[str, object] = {"settings": {"CALLOUT_FILES": "s3://photos/callout"}}
BAD_VALUES: dict[str, dict[str, object]] = {
    "no stores": FILES,
    "no place for files": STORES,
    "a database that is no PostgreSQL": {"stores": {"redis": "redis://r", "database": "sqlite:///x"}, **FILES},
    "no gateway": {"gateways": {"replicas": 0}, **STORES, **FILES},
    "an unknown name": {"gateway": {}, **STORES, **FILES},
    "an ingress without a host": {"ingress": {"enabled": True}, **STORES, **FILES},
}


class Missing(Exception):
    """Raised when a program is not installed."""


def run(*command: str, cwd: Path = HERE) -> list[str]:
    """Run a program. Return its output as problems if it fails, else []. Raises Missing."""
    path = shutil.which(command[0], path=f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin")
    if path is None:
        raise Missing(command[0])
    done = subprocess.run([path, *command[1:]], cwd=cwd, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines() if done.returncode else []


def check_image() -> list[str]:
    """Check the Dockerfile of the image."""
    return run("hadolint", "docker/Dockerfile")


def check_compose() -> list[str]:
    """Check the Docker Compose file for one host."""
    return run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose/compose.yaml")


def check_chart() -> list[str]:
    """Check the Helm chart: it makes valid objects with each file of values in ``ci``, and refuses bad values."""
    problems = []
    for file in sorted((CHART / "ci").glob("*.yaml")):
        values = yaml.safe_load(file.read_text())
        with helm.Chart.load(str(CHART)) as loaded:
            rendered = loaded.render(values, name="test", namespace="default")
        for name, text in rendered.items():
            if not name.endswith(".yaml"):
                continue
            for manifest in filter(None, yaml.safe_load_all(text)):
                problems += [f"{file.name}: {name}: {problem}" for problem in wrong_fields(manifest)]
    for what, bad in BAD_VALUES.items():
        with helm.Chart.load(str(CHART)) as loaded:
            try:
                loaded.render(bad, name="test", namespace="default")
            except helm.HelmError:
                continue
            problems.append(f"values with {what} are not refused")
    return problems


def wrong_fields(manifest: dict[str, object]) -> Iterator[str]:
    """Yield the fields of a manifest that Kubernetes would not accept."""
    for version in KUBERNETES_VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{manifest['kind']} ({version}): {error.message}"


def check_unit() -> list[str]:
    """Check the unit of systemd. Its program is replaced by one that exists on this machine."""
    text = (HERE / "systemd" / "callout.service").read_text()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "callout.service")
        file.write_text(text.replace("/opt/callout/bin/callout", "/bin/true"))
        return run("systemd-analyze", "verify", str(file)) or run(
            "systemd-analyze", "security", "--offline=yes", "--threshold=20", str(file)
        )


def check_alerts() -> list[str]:
    """Check the alert rules of Prometheus, and that each alert fires when it should."""
    return run("promtool", "check", "rules", "monitoring/alerts.yaml") or run(
        "promtool", "test", "rules", "monitoring/alerts.test.yaml"
    )


def check_dashboard() -> list[str]:
    """Check the queries of the dashboard, as if they were rules of Prometheus."""
    panels = json.loads((HERE / "monitoring" / "dashboard.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    rules = [
        {"record": f"query_{number}", "expr": query.replace("$__rate_interval", "1m").replace("$instance", ".*")}
        for number, query in enumerate(queries)
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rules.yaml")
        file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        return run("promtool", "check", "rules", str(file))


def check_caddy() -> list[str]:
    """Check Caddy's configuration file, including its formatting."""
    return run("caddy", "validate", "--adapter", "caddyfile", "--config", "proxy/Caddyfile") or run(
        "caddy", "fmt", "--diff", "proxy/Caddyfile"
    )


CHECKS: dict[str, Callable[[], list[str]]] = {
    "docker/Dockerfile": check_image,
    "compose/compose.yaml": check_compose,
    "helm/callout": check_chart,
    "systemd/callout.service": check_unit,
    "monitoring/alerts.yaml": check_alerts,
    "monitoring/dashboard.json": check_dashboard,
    "proxy/Caddyfile": check_caddy,
}
"""The check for each file of ``deploy/``. ``proxy/nginx.conf`` has none: it is a part of a configuration, and
``tests/deploy`` checks it with nginx.
"""


def main() -> int:
    """Run each check. Return the exit code."""
    code = 0
    for name, check in CHECKS.items():
        try:
            problems = check()
        except Missing as missing:
            print(f"deploy/{name}: not checked, {missing} is not installed")
            code |= bool(os.environ.get("CALLOUT_VALIDATE_ALL"))
            continue
        print(f"deploy/{name}: {'wrong' if problems else 'ok'}")
        print(*(f"  {problem}" for problem in problems), sep="\n", end="\n" if problems else "")
        code |= bool(problems)
    return code


if __name__ == "__main__":
    sys.exit(main())
