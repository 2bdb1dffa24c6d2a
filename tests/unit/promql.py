"""What PromQL names, held against the families that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from roughfed.client import metrics as client_metrics
from roughfed.codec import CHAIN, CODECS
from roughfed.server import metrics as server_metrics
from roughfed.server.observe.health import ALERTS
from roughfed.telemetry import Family

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "roughfed.rules.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"

METRIC = re.compile(r"(?<![\w:$])(roughfed_\w+|roughfed:\w+(?::\w+)?)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')
PLACES = {"job", "instance", "federation", "le"}
"""Labels that a scrape, or a histogram, adds."""


@cache
def rules() -> list[dict[str, Any]]:
    """The shipped rules, recording ones and alerts."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@cache
def recordings() -> dict[str, str]:
    """Name of each recording rule -> its expression."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


@cache
def alerts() -> dict[str, dict[str, Any]]:
    """The alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


@cache
def families() -> dict[str, Family]:
    """Every series' name, those of a histogram one by one -> its family."""
    found: dict[str, Family] = {}
    for table in (server_metrics, client_metrics):
        for family in table.FAMILIES:
            ends = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
            found |= {f"{table.PREFIX}{family.name}{end}": family for end in ends}
    return found


def names(expression: str) -> set[str]:
    """Metrics and recorded series that an expression reads."""
    return {match[1] for match in METRIC.finditer(expression)}


def scraped(expression: str, known: Mapping[str, str]) -> set[str]:
    """Metrics that an expression needs, those behind recorded series included."""
    found: set[str] = set()
    for name in names(expression):
        found |= scraped(known[name], known) if name in known else {name}
    return found


def strangers(expressions: Sequence[str]) -> Iterator[str]:
    """What expressions name that there is not: metrics, labels of them, values of those labels."""
    known, recorded = families(), recordings()
    for expression in expressions:
        for match in METRIC.finditer(expression):
            name, matchers = match[1], match[2] or ""
            if name not in known and name not in recorded:
                yield name
            elif name in known:
                yield from (f"{name}{{{each}}}" for each in strange_labels(known[name], matchers))


def strange_labels(family: Family, matchers: str) -> Iterator[str]:
    """Labels that a family has not, and values that they never take."""
    for label, _, value in MATCHER.findall(matchers):
        if label in PLACES:
            continue
        if label not in family.labels:
            yield label
            continue
        possible = {*(family.labels[label] or (ALERTS if label == "alert" else [CHAIN, *CODECS])), "other"}
        wanted = [] if "." in value or "$" in value else value.split("|")
        yield from (f"{label}={each}" for each in wanted if each not in possible)
