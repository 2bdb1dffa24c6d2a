"""deploy/grafana/dashboard.json: as its tables say, nothing over anything else, no query that could not be asked."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.grafana.board import dashboard
from tests.grafana.rows import ROWS
from tests.unit.promql import DASHBOARD, strangers

UNITS = {"none", "short", "s", "bytes", "Bps", "reqps", "percentunit"}
"""Of Grafana's units, those that are used: a mistyped one would be shown behind the number."""
KINDS = {"row", "timeseries", "stat", "table", "state-timeline"}
COLUMNS = 24

BOARD: dict[str, Any] = json.loads(DASHBOARD.read_text())


def panels(*, rows: bool = False) -> list[dict[str, Any]]:
    found = [each for panel in BOARD["panels"] for each in (panel, *panel.get("panels", ()))]
    return [panel for panel in found if rows or panel["type"] != "row"]


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def plain(expression: str) -> str:
    """An expression without Grafana's variables."""
    return re.sub(r"\$(job|instance|client)\b", ".*", expression.replace("$__rate_interval", "5m"))


def test_the_file_is_what_the_tables_give() -> None:
    assert json.loads(json.dumps(dashboard(ROWS))) == BOARD, (
        "run: python -m tests.grafana > deploy/grafana/dashboard.json"
    )


def test_every_panel_has_a_number_of_its_own() -> None:
    numbers = [panel["id"] for panel in panels(rows=True)]
    assert len(numbers) == len(set(numbers))
    assert BOARD["schemaVersion"] >= 39  # Grafana 10
    assert {panel["type"] for panel in panels(rows=True)} <= KINDS


def test_no_panel_lies_over_another() -> None:
    """Nor do those of a folded row, once it is opened."""
    for group in (BOARD["panels"], *(row["panels"] for row in BOARD["panels"] if row["type"] == "row")):
        places = [panel["gridPos"] for panel in group]
        assert all(at["x"] >= 0 and at["x"] + at["w"] <= COLUMNS and at["h"] > 0 for at in places)
        for a, b in combinations(places, 2):
            beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
            assert beside or below, (a, b)


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: f"{panel['id']}")
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert re.fullmatch(r"[A-Z].*\.", panel["description"])
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"]["uid"] == "${datasource}"
    references = [target["refId"] for target in panel["targets"]]
    assert references == sorted(set(references))
    assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_titles_are_told_apart_within_a_row() -> None:
    for row in ROWS:
        titles = [panel.title for panel in row.panels]
        assert len(titles) == len(set(titles)), row.title


def test_every_variable_is_known() -> None:
    known = {variable["name"] for variable in BOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(BOARD))) - {"__rate_interval", "__all"}
    assert used <= known


def test_queries_read_only_what_there_is() -> None:
    assert list(strangers(expressions())) == []


def test_promtool_can_read_every_query(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool")
    rules = [{"record": f"q:{at}", "expr": plain(each)} for at, each in enumerate(expressions())]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(rules) > 100


def test_every_family_is_on_the_dashboard_or_left_out_on_purpose() -> None:
    from tests.unit.promql import families, recordings, scraped

    read = {name for each in expressions() for name in scraped(each, recordings())}
    ends = ("_bucket", "_sum", "_count")
    base = {re.sub(f"({'|'.join(ends)})$", "", name) for name in read}
    missing = {re.sub(f"({'|'.join(ends)})$", "", name) for name in families()} - base - set(LEFT_OUT)
    assert missing == set()


LEFT_OUT = {
    "roughfed_transfer_raw_bytes_total": "the compression says it",
    "roughfed_client_accuracy_clients": "roughfed status",
    "roughfed_client_accuracy_bin_clients": "the report draws the histogram",
    "roughfed_clusters": "only with clusters: roughfed status, the report",
    "roughfed_cluster_clients": "likewise",
    "roughfed_cluster_events_total": "likewise",
    "roughfed_tier_clients": "only with tiers of clients: roughfed status, the report",
    "roughfed_tier_upload_bytes": "likewise",
    "roughfed_tier_void_total": "likewise",
    "roughfed_class_clients": "old name of roughfed_tier_clients",
    "roughfed_class_upload_bytes": "likewise",
    "roughfed_class_void_total": "likewise",
    "roughfed_contribution_clients": "the table by client",
    "roughfed_reward_quality_ratio": "only with tiers: the report",
    "roughfed_defence_weight_ratio": "only with rules that weigh",
    "roughfed_client_weight_ratio": "what clients count for by their loss is beside",
    "roughfed_client_trainer_state_lost_total": "the client's log",
    "roughfed_client_train_epochs": "settings, in the client's log",
    "roughfed_client_train_batch_size": "likewise",
    "roughfed_client_train_steps": "likewise",
    "roughfed_client_transfer_resumes_total": "the server's counts them all",
    "roughfed_client_resident_bytes": "by kind beside it",
    "roughfed_client_disclosed_rounds": "its owner's: roughfed disclosed",
    "roughfed_client_disclosed_ratio": "likewise",
    "roughfed_client_disclosed_fewest_members": "likewise",
}
