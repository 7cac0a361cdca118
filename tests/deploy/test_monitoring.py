"""Each metric that the dashboard and the alert rules use is in ``/metrics`` of a running server, with its labels."""

from __future__ import annotations

import json
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from server.serve import RunningServer
from tests.story.conftest import Scenario

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "monitoring"
SCRAPE_LABELS = {"instance", "job", "le"}
"""Prometheus adds the first two; the third is of every histogram."""

METRIC_PATTERN = re.compile(r"\b(?:callout|process)_\w+")
LABELS_PATTERN = re.compile(r"(?:by|on) \(([\w, ]+)\)|\{([^}]*)\}")


def queries() -> list[str]:
    """Return the queries of the dashboard and the expressions of the alert rules."""
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    found += re.findall(r"^ +expr: ([^#\n]+)", (FOLDER / "alerts.yaml").read_text(), re.MULTILINE)
    assert len(found) > 40
    return found


def labels_of(query: str) -> set[str]:
    """Return the labels that a query names."""
    found: set[str] = set()
    for grouped, matched in LABELS_PATTERN.findall(query):
        found |= {name.strip() for name in grouped.split(",") if name}
        found |= set(re.findall(r"(\w+)[=!]", matched))
    return found


async def test_each_metric_exists(server: RunningServer, scenario: Scenario) -> None:
    """A server that has refused requests and served others shows every metric, and each of its samples has the labels
    that a query names."""
    service = await scenario.create_service()
    carla = await scenario.create_person("customer", "Carla")
    booking = {"service": service, "lat": 40.75, "lon": -73.99, "address": "1 Main St"}
    assert (await carla.post("/v1/jobs", booking)).status_code == 201
    assert (await carla.post("/v1/jobs", {})).status_code == 422
    text = (await scenario.admin.request("GET", "/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {name for family in families.values() for name in (family.name, family.name + "_total")}
    samples |= {f"{family.name}_bucket" for family in families.values() if family.type == "histogram"}
    compared = 0
    for query in queries():
        for name in METRIC_PATTERN.findall(query):
            assert name in samples, query
            family = families.get(name) or families.get(name.removesuffix("_total").removesuffix("_bucket"))
            for sample in family.samples if family else ():
                compared += 1
                unknown = labels_of(query) - SCRAPE_LABELS - set(sample.labels)
                assert not unknown, f"{query}: {name} has no {unknown}"
    assert compared > 40
