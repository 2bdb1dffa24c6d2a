"""Panels -> the JSON that Grafana imports (schema 39: Grafana 10.4 and later)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tests.grafana.panel import Panel, Row

SCHEMA = 39
COLUMNS = 24
HEIGHT = {"stat": 4, "timeseries": 8, "table": 8, "state-timeline": 8}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard(rows: Iterable[Row]) -> dict[str, Any]:
    """The dashboard as a whole; ids and places follow from the order of the rows alone."""
    return {
        "uid": "roughfed",
        "title": "roughfed",
        "description": "One federation: rounds, clients, learning, bytes, defence, and the machines that carry them.",
        "tags": ["roughfed", "federated-learning"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "",
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "links": [],
        "annotations": {"list": [_alerts()]},
        "templating": {"list": list(_variables())},
        "panels": _placed(rows),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {
        "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {},
        "hide": 0, "includeAll": False, "multi": False, "options": [], "refresh": 1, "regex": "",
    }  # fmt: skip
    yield _labels("job", "Job", "label_values(roughfed_build_info, job)")
    yield _labels("instance", "Server", 'label_values(roughfed_build_info{job=~"$job"}, instance)')
    yield _labels("client", "Clients' own pages", "label_values(roughfed_client_build_info, instance)")


def _labels(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "definition": query,
        "query": {"query": query, "refId": name}, "allValue": ".*", "includeAll": True, "multi": True,
        "current": {"text": "All", "value": "$__all"}, "hide": 0, "options": [], "refresh": 2, "regex": "", "sort": 1,
    }  # fmt: skip


def _alerts() -> dict[str, Any]:
    """Alerts that fire are marked in every time series."""
    return {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Roughfed.+",alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{instance}}",
        "step": "60s",
    }


def _placed(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows below one another; the panels of a folded row stand inside it."""
    placed: list[dict[str, Any]] = []
    number, top = 1, 0
    for row in rows:
        heading = {
            "id": number, "type": "row", "title": row.title, "collapsed": row.folded, "panels": [],
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
        }  # fmt: skip
        inside, bottom = _laid(row.panels, first=number + 1, top=top + 1)
        number += 1 + len(inside)
        if row.folded:
            placed.append(heading | {"panels": inside})
            top += 1
        else:
            placed += [heading, *inside]
            top = bottom
    return placed


def _laid(panels: Sequence[Panel], *, first: int, top: int) -> tuple[list[dict[str, Any]], int]:
    """Panels from left to right, as many beside one another as there is room for; the second value is their end."""
    found: list[dict[str, Any]] = []
    left = tallest = 0
    for number, panel in enumerate(panels, first):
        if left + panel.width > COLUMNS:
            top, left, tallest = top + tallest, 0, 0
        height = HEIGHT[panel.kind]
        found.append(_panel(panel, number) | {"gridPos": {"x": left, "y": top, "w": panel.width, "h": height}})
        left, tallest = left + panel.width, max(tallest, height)
    return found, top + tallest


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    instant = panel.kind in ("stat", "table")
    targets = [
        {
            "refId": chr(ord("A") + at), "datasource": SOURCE, "editorMode": "code", "expr": query,
            "legendFormat": legend, "instant": instant, "range": not instant,
            "format": "table" if panel.kind == "table" else "time_series",
        }
        for at, (query, legend) in enumerate(panel.queries.items())
    ]  # fmt: skip
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        "transformations": _transformations(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    found: dict[str, Any] = {"unit": panel.unit, "mappings": []}
    if panel.names:
        options = {value: {"text": text, "index": at} for at, (value, text) in enumerate(panel.names.items())}
        found["mappings"] = [{"type": "value", "options": options}]
    found |= {} if panel.least is None else {"min": panel.least}
    found |= {} if panel.most is None else {"max": panel.most}
    if panel.kind == "timeseries":
        found["custom"] = {
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if panel.stacked else 0, "showPoints": "never",
            "spanNulls": False, "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }  # fmt: skip
    return found


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        named = "name" if "{{" in "".join(panel.queries.values()) and not panel.names else "value"
        return {
            "reduceOptions": reduce, "textMode": named, "colorMode": "none", "graphMode": "none",
            "orientation": "auto", "justifyMode": "auto",
        }  # fmt: skip
    if panel.kind == "table":
        return {"showHeader": True, "cellHeight": "sm"}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    if panel.kind == "state-timeline":
        return {"legend": legend | {"showLegend": False}, "mergeValues": True, "rowHeight": 0.9, "showValue": "never"}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def _transformations(panel: Panel) -> list[dict[str, Any]]:
    """A table of instants: one column for each query, without the time."""
    if panel.kind != "table":
        return []
    names = {f"Value #{chr(ord('A') + at)}": legend for at, legend in enumerate(panel.queries.values())}
    renamed = names if len(names) > 1 else {"Value": next(iter(names.values()))}
    hidden = dict.fromkeys(("Time", "__name__", "job", "federation"), True)
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": hidden, "indexByName": {}, "renameByName": renamed}},
    ]
